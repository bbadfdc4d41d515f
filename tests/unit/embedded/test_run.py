# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The embedded server's launcher, as a process; eventlet is the scenario's."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio

ROLES = Path(__file__).resolve().parents[3] / "roles"
FILES = [
    ROLES / "embedded" / "files" / "run.py",
    ROLES / "_instances" / "files" / "debug_logging.py",
    ROLES / "_instances" / "files" / "drain.py",
    ROLES / "_instances" / "files" / "websocket_messages.py",
    ROLES / "_instances" / "files" / "path_prefix.py",
]
APP = """
import os
import threading

from flask import Flask
from flask_socketio import SocketIO

app = Flask(__name__)
app.debug = True
socketio = SocketIO(app, async_mode={mode!r})


@socketio.on("patched")
def patched(_data):
    return ["gevent" in threading.Event.__module__, app.debug]


@socketio.on("echo")
def echo(data):
    return data


@socketio.on("umask")
def umask(_data):
    umask = os.umask(0)
    os.umask(umask)
    return umask


def create_app():
    return app
"""


class Launched:
    def __init__(self, directory: Path, mode: str, *options: str, unix: bool = False) -> None:
        files = directory / "generation"
        files.mkdir()
        for file in FILES:
            shutil.copy(file, files)
        (directory / "chat.py").write_text(APP.format(mode=mode), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.socket = directory / "s" if unix else None
        address = f"unix:{self.socket}" if unix else f"127.0.0.1:{self.port}"
        command = [sys.executable, files / "run.py", f"--async-mode={mode}"]
        self.process = subprocess.Popen(
            [*command, f"--bind={address}", *options, "chat:create_app()"],
            cwd=directory,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    async def session(self, event: str, *, stop: bool = False) -> Any:
        """Connect, emit, return the acknowledgement; with stop, ask the server to end meanwhile."""
        connector = aiohttp.UnixConnector(str(self.socket)) if self.socket else None
        http = aiohttp.ClientSession(connector=connector)
        client = socketio.AsyncClient(reconnection=False, http_session=http)
        for _attempt in range(200):
            try:
                await client.connect(f"http://127.0.0.1:{self.port}", wait_timeout=5)
                break
            except socketio.exceptions.ConnectionError:
                assert self.process.poll() is None, self.output()
                await asyncio.sleep(0.1)
        try:
            answer = await client.call(event, "hello", timeout=5)
            assert client.transport() == "websocket"
            if stop:
                self.process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(self.process.wait, 15)
            return answer
        finally:
            await client.disconnect()
            await http.close()

    def output(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read()


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Any]:
    launched: list[Launched] = []

    def start(mode: str, *options: str, unix: bool = False) -> Launched:
        launched.append(Launched(tmp_path, mode, *options, unix=unix))
        return launched[-1]

    yield start
    for one in launched:
        one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize(
    ("mode", "options"), [("gevent", ()), ("gevent", ("--patch",)), ("threading", ())]
)
def test_it_serves_and_ends_on_sigterm_with_a_websocket_open(
    launch: Any, mode: str, options: tuple[str, ...]
) -> None:
    server = launch(mode, *options)
    assert asyncio.run(server.session("echo", stop=True)) == "hello"
    assert server.process.returncode == 0
    assert "Traceback" not in server.output()


def test_werkzeug_listens_on_a_socket_that_the_proxy_may_use(launch: Any) -> None:
    umask = os.umask(0o027)
    try:
        server = launch("threading", unix=True)
    finally:
        os.umask(umask)
    assert asyncio.run(server.session("echo")) == "hello"
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o666
    assert asyncio.run(server.session("umask")) == 0o027
    server.process.terminate()
    assert server.process.wait(15) == 0
    assert not server.socket.exists()


@pytest.mark.parametrize(("options", "patched"), [((), False), (("--patch",), True)])
def test_it_patches_before_the_app_is_imported_and_never_debugs(
    launch: Any, options: tuple[str, ...], patched: bool
) -> None:
    """app.debug is true in the app: with it, run() would start the debugger and a reloader."""
    server = launch("gevent", *options)
    assert asyncio.run(server.session("patched")) == [patched, False]
    server.process.terminate()
    said, _ = server.process.communicate(timeout=15)
    assert "Debugger" not in said


def test_at_the_limit_a_client_waits(launch: Any) -> None:
    server = launch("gevent", "--connections=1")
    assert asyncio.run(server.session("echo")) == "hello"

    async def two() -> None:
        first = socketio.AsyncClient(reconnection=False)
        second = socketio.AsyncClient(reconnection=False)
        url = f"http://127.0.0.1:{server.port}"
        await first.connect(url, transports=["websocket"], wait_timeout=5)
        try:
            with pytest.raises((socketio.exceptions.ConnectionError, TimeoutError)):
                await asyncio.wait_for(second.connect(url, transports=["websocket"]), 2)
        finally:
            await first.disconnect()

    asyncio.run(two())


@pytest.mark.parametrize("debug", [True, False])
def test_the_libraries_tell_packets_on_request(launch: Any, debug: bool) -> None:
    """The launcher looks beside itself, where the role puts the file."""
    server = launch("gevent", *(["--debug"] if debug else []))
    asyncio.run(server.session("echo"))
    server.process.terminate()
    said, _ = server.process.communicate(timeout=15)
    for told in ("engineio.server: ", "socketio.server: ", "GET /socket.io/"):
        assert (told in said) == debug, said
