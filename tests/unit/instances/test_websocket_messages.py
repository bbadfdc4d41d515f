# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Large messages in and out, as simple-websocket takes and sends them and with the file."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

FILE = Path(__file__).resolve().parents[3] / "roles/_instances/files/websocket_messages.py"
LIMIT = 1_000_000
SIZE = 20_000_000
# More than a unix socket's buffer holds.
LARGE = 900_000
APP = f"""
from flask import Flask
from flask_socketio import SocketIO

app = Flask(__name__)
socketio = SocketIO(app, async_mode="{{mode}}", max_http_buffer_size={LIMIT})


@socketio.on("size")
def size(text):
    return len(text)


@socketio.on("echo")
def echo(text):
    return text
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


async def send(path: Path, event: str, size: int) -> aiohttp.WSMessage:
    """Send one event of a size over a WebSocket of its own; returns what comes back."""
    url = "http://app/socket.io/?EIO=4&transport=websocket"
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.ws_connect(url) as websocket,
    ):
        await websocket.receive_str(timeout=5)
        await websocket.send_str("40")
        await websocket.receive_str(timeout=5)
        head, tail = f'421["{event}","', '"]'
        # The server may close before it has all.
        await asyncio.gather(
            websocket.send_str(head + "x" * (size - len(head + tail)) + tail),
            return_exceptions=True,
        )
        return await websocket.receive(timeout=3 if event == "echo" else 20)


@pytest.fixture(params=["gevent", "threading"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def served(
    tmp_path: Path, mode: str, *, with_file: bool
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The server's process and its socket."""
    (tmp_path / "app.py").write_text(APP.format(mode=mode), "utf-8")
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURATION if with_file else "", "utf-8")
    path = tmp_path / "socket"
    worker = ["-k", "gevent"] if mode == "gevent" else ["-k", "gthread", "--threads", "4"]
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", *worker]
    command += ["--bind", f"unix:{path}", "app:app"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(200):
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    asyncio.run(send(path, "size", 100))
                    break
                time.sleep(0.1)
            yield process, path
        finally:
            process.terminate()


@pytest.mark.parametrize("with_file", [True, False], ids=["with the file", "without"])
def test_a_message_beyond_the_limit(tmp_path: Path, mode: str, with_file: bool) -> None:
    with served(tmp_path, mode, with_file=with_file) as (process, path):
        assert asyncio.run(send(path, "size", LIMIT)).data.startswith("431[")
        before = peak(process)
        answer = asyncio.run(send(path, "size", SIZE))
        grown = peak(process) - before
    if with_file:
        # Status 1009, unless the connection was reset before it arrived.
        assert answer.data in (aiohttp.WSCloseCode.MESSAGE_TOO_BIG, None), answer
        assert grown < SIZE / 4
    else:
        assert grown > SIZE


def test_a_large_message_arrives_whole(tmp_path: Path, mode: str) -> None:
    with served(tmp_path, mode, with_file=True) as (_, path):
        answer = asyncio.run(send(path, "echo", LARGE))
    assert answer.data == "431[" + '"' + "x" * (LARGE - len('421["echo",""]')) + '"]'


def test_without_the_file_gevent_sends_a_part(tmp_path: Path) -> None:
    with (
        served(tmp_path, "gevent", with_file=False) as (_, path),
        pytest.raises(TimeoutError),
    ):
        asyncio.run(send(path, "echo", LARGE))
