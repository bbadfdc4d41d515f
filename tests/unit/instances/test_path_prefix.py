# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an app below a path sees of a request, and without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[3] / "roles/_instances/files/path_prefix.py"
PROGRAM = """
import json, runpy, sys

from flask import Flask, url_for
from flask_socketio import SocketIO

app = Flask(__name__)
SocketIO(app, async_mode="threading")


@app.route("/")
def page():
    return url_for("page")


runpy.run_path(sys.argv[1])
client = app.test_client()
asked = ["/", "/chat", "/chat/", "/chats/", "/chat/socket.io/?EIO=4&transport=polling"]
answers = [client.get(path) for path in asked]
print(json.dumps([[answer.status_code, answer.text] for answer in answers]))
"""


def answers(**environment: str) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(FILE)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    found: list[Any] = json.loads(done.stdout)
    return found


def test_below_a_path() -> None:
    top, bare, below, other, handshake = answers(SOCKETIO_PATH_PREFIX="/chat")
    # A probe's, which knows nothing of it.
    assert top == [200, "/"]
    assert bare[0] == 308
    assert below == [200, "/chat/"]
    assert other[0] == 404
    assert (handshake[0], handshake[1][:7]) == (200, '0{"sid"')


@pytest.mark.parametrize("environment", [{}, {"SOCKETIO_PATH_PREFIX": ""}])
def test_at_the_top(environment: dict[str, str]) -> None:
    statuses = [status for status, _ in answers(**environment)]
    assert statuses == [200, 404, 404, 404, 404]
