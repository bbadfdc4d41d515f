# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A message beyond the limit, as python-engineio takes it and with the file."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest

FILE = Path(__file__).resolve().parents[3] / "roles/_instances/files/message_limit.py"
LIMIT = 1_000_000
SIZE = 40_000_000
APP = f"""
from flask import Flask
from flask_socketio import SocketIO

app = Flask(__name__)
socketio = SocketIO(app, async_mode="{{mode}}", max_http_buffer_size={LIMIT})


@socketio.on("size")
def size(text):
    return len(text)
"""
CONFIGURATION = f"""
import runpy


def post_worker_init(worker):
    runpy.run_path("{FILE}")
"""


def peak(process: subprocess.Popen[bytes]) -> int:
    """The most memory that the worker ever had, in bytes."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("utf-8")
    status = Path(f"/proc/{children.split()[0]}/status").read_text("utf-8")
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    assert found
    return int(found[1]) * 1024


async def send(port: int, size: int) -> aiohttp.WSMessage:
    """Send one event of a size over a WebSocket of its own; returns what comes back."""
    url = f"http://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as websocket:
        await websocket.receive_str(timeout=5)
        await websocket.send_str("40")
        await websocket.receive_str(timeout=5)
        head, tail = '421["size","', '"]'
        # The server may close before it has all.
        await asyncio.gather(
            websocket.send_str(head + "x" * (size - len(head + tail)) + tail),
            return_exceptions=True,
        )
        return await websocket.receive(timeout=20)


@pytest.mark.parametrize("mode", ["gevent", "threading"])
@pytest.mark.parametrize("limited", [True, False], ids=["with the file", "without"])
def test_a_message_beyond_the_limit(tmp_path: Path, mode: str, limited: bool) -> None:
    (tmp_path / "app.py").write_text(APP.format(mode=mode), "utf-8")
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURATION if limited else "", "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    worker = ["-k", "gevent"] if mode == "gevent" else ["-k", "gthread", "--threads", "4"]
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", *worker]
    command += ["--bind", f"127.0.0.1:{port}", "app:app"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(200):
                try:
                    just_within = asyncio.run(send(port, LIMIT))
                    break
                except aiohttp.ClientConnectionError:
                    time.sleep(0.1)
            assert just_within.data.startswith("431[")
            before = peak(process)
            answer = asyncio.run(send(port, SIZE))
            grown = peak(process) - before
        finally:
            process.terminate()
    if limited:
        # Status 1009, unless the connection was reset before it arrived.
        assert answer.data in (aiohttp.WSCloseCode.MESSAGE_TOO_BIG, None), answer
        assert grown < SIZE / 4
    else:
        assert grown > SIZE
