# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Clients that drain.py lets go come back by themselves, from every server that is installed here.

DRAIN_PYTHON is another Python to serve with, such as one that has uWSGI or eventlet.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import aiohttp
import pytest
import socketio

PROJECT = Path(__file__).resolve().parents[3]
DRAIN = PROJECT / "roles/_instances/files/drain.py"
JAVASCRIPT = PROJECT / "molecule/resources/js"
PYTHON = os.environ.get("DRAIN_PYTHON", sys.executable)
APP = """
import os
import socket as sockets

from flask import Flask, request
from flask_socketio import SocketIO

app = Flask(__name__)
SocketIO(app, async_mode=os.environ["MODE"], path="second")
socketio = SocketIO(app, async_mode=os.environ["MODE"])
engine = socketio.server.eio
reasons = []


@app.route("/reasons")
def told():
    return reasons


@socketio.on("disconnect")
def gone(reason):
    reasons.append(reason)


@socketio.on("echo")
def echo(data):
    return data


@socketio.on("last words")
def last_words(count):
    # More than a connection takes at once.
    for number in range(count):
        socketio.emit("word", [number, "x" * 200000], to=request.sid)
    with sockets.socket(sockets.AF_UNIX) as drain:
        drain.connect(os.environ["SOCKETIO_DRAIN"])
        drain.sendall(b"0\\n")


@socketio.on("control")
def control(how):
    sid = request.sid
    if how == "engine":
        engine.disconnect(socketio.server.manager.eio_sid_from_sid(sid, "/"))
    else:
        socketio.server.disconnect(sid)
"""
GUNICORN = ["-m", "gunicorn", "--config={files}/gunicorn.conf.py", "--bind=127.0.0.1:{port}"]
GUNICORN += ["--log-level=warning", "chat:app"]
EMBEDDED = ["{files}/run.py", "--async-mode={mode}", "--bind=127.0.0.1:{port}"]
UWSGI = ["--http-socket=127.0.0.1:{port}", "--module=chat:app", "--virtualenv={venv}"]
UWSGI += ["--gevent=100", "--gevent-early-monkey-patch", "--master", "--processes=1"]
UWSGI += ["--lazy-apps", "--need-app", "--die-on-term", "--disable-logging"]
FRAMES = ["--import={files}/websocket_frames.py"]
# What they need, their async_mode and their command.
SERVERS = {
    "gunicorn-gevent": ("gunicorn gevent", "gevent", GUNICORN),
    "gunicorn-geventwebsocket": ("gunicorn geventwebsocket", "gevent", GUNICORN),
    "gunicorn-gthread": ("gunicorn", "threading", GUNICORN),
    "gunicorn-eventlet": ("gunicorn eventlet", "eventlet", GUNICORN),
    "embedded-gevent": ("gevent", "gevent", [*EMBEDDED, "--patch", "chat:app"]),
    "embedded-gevent-unpatched": ("gevent", "gevent", [*EMBEDDED, "chat:app"]),
    "embedded-eventlet": ("eventlet", "eventlet", [*EMBEDDED, "--patch", "chat:app"]),
    "embedded-eventlet-unpatched": ("eventlet", "eventlet", [*EMBEDDED, "chat:app"]),
    "embedded-threading": ("", "threading", [*EMBEDDED, "chat:app"]),
    "uwsgi": ("uwsgidecorators", "gevent_uwsgi", [*UWSGI, *FRAMES, "--import={files}/drain.py"]),
    "uwsgi-native": ("uwsgidecorators", "gevent_uwsgi", [*UWSGI, "--import={files}/drain.py"]),
}
WORKERS = {
    "geventwebsocket": "geventwebsocket.gunicorn.workers.GeventWebSocketWorker",
    "gthread": "gthread",
    "eventlet": "eventlet",
}
TRANSPORTS = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "browser": ["polling", "websocket"],
}


def is_there(server: str) -> bool:
    modules = SERVERS[server][0].split()
    # gevent-websocket and eventlet stand in the way of the others.
    rival = {"geventwebsocket", "eventlet"}.isdisjoint(modules)
    program = (
        "import sys; from importlib.util import find_spec as find;"
        "names, rival = sys.argv[2:], sys.argv[1];"
        "sys.exit(not all(map(find, names)) or rival == 'True' and bool(find('geventwebsocket')))"
    )
    return not subprocess.run([PYTHON, "-c", program, str(rival), *modules], check=False).returncode


AVAILABLE = [server for server in SERVERS if is_there(server)]
FIRST = AVAILABLE[0]


class Served:
    def __init__(self, directory: Path, server: str, grace: float) -> None:
        _, self.mode, arguments = SERVERS[server]
        directory.mkdir()
        shutil.copy(PROJECT / "roles/embedded/files/run.py", directory)
        shutil.copy(PROJECT / "roles/uwsgi/files/websocket_frames.py", directory)
        for name in ("websocket_messages.py", "path_prefix.py"):
            shutil.copy(DRAIN.with_name(name), directory)
        source = DRAIN.read_text(encoding="utf-8")
        assert "\nGRACE = 5\n" in source
        source = source.replace("\nGRACE = 5\n", f"\nGRACE = {grace}\n")
        (directory / "drain.py").write_text(source, encoding="utf-8")
        (directory / "queue_retry.py").touch()
        (directory / "chat.py").write_text(APP, encoding="utf-8")
        config = PROJECT / "molecule/default/tests/expected/gunicorn.conf.py"
        worker = WORKERS.get(server.partition("-")[2], "gevent")
        text = config.read_text(encoding="utf-8").replace('"gevent"', f'"{worker}"')
        if worker == "gthread":
            text = text.replace("workers = 1", "workers = 1\nthreads = 64")
        (directory / "gunicorn.conf.py").write_text(text, encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.socket = directory / "drain"
        venv = Path(PYTHON).parents[1]
        words = {"files": directory, "port": self.port, "mode": self.mode, "venv": venv}
        program = venv / "bin/uwsgi" if server.startswith("uwsgi") else PYTHON
        with (directory / "log").open("w") as log:
            self.process = subprocess.Popen(
                [program, *(argument.format(**words) for argument in arguments)],
                cwd=directory,
                env=os.environ | {"SOCKETIO_DRAIN": str(self.socket), "MODE": self.mode},
                stdout=log,
                stderr=log,
            )
        self.log = directory / "log"

    def ready(self) -> Served:
        for _attempt in range(300):
            # gunicorn listens before it has loaded the app.
            with contextlib.suppress(OSError), urlopen(f"{self.url}/reasons", timeout=10):  # noqa: S310
                return self
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
        said = self.log.read_text()
        assert "Traceback" not in said, said


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    served: list[Served] = []

    def start(server: str = FIRST, grace: float = 0.2) -> Served:
        served.append(Served(tmp_path / str(len(served)), server, grace))
        return served[-1].ready()

    yield start
    for one in served:
        one.stop()


async def drain(seconds: float, *sockets: Path) -> dict[str, Any]:
    """Run the command, as on the host; returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, str(DRAIN), f"--seconds={seconds:g}", *map(str, sockets)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, errors = await process.communicate()
    answered: dict[str, Any] = json.loads(out)
    return answered | {"status": process.returncode, "errors": errors.decode()}


def without_time(answered: dict[str, Any]) -> dict[str, int]:
    assert (answered["status"], answered["errors"]) == (0, "")
    return {name: answered[name] for name in ("clients", "closed", "left")}


def counts(number: int, left: int = 0) -> dict[str, int]:
    return {"clients": number, "closed": number - left, "left": left}


class Client:
    """One of python-socketio's."""

    def __init__(self, served: Served, kind: str, delay: float) -> None:
        self.served, self.kind = served, kind
        self.connected: list[float] = []
        self.gone: list[float] = []
        self.words: list[int] = []
        self.client = socketio.AsyncClient(
            reconnection_delay=delay,
            reconnection_delay_max=60,
            randomization_factor=0,
            handle_sigint=False,
        )
        self.client.on("connect", lambda: self.connected.append(time.monotonic()))
        self.client.on("disconnect", lambda _reason: self.gone.append(time.monotonic()))
        self.client.on("word", lambda word: self.words.append(word[0]))

    async def open(self) -> None:
        await self.client.connect(
            self.served.url, transports=TRANSPORTS[self.kind], wait_timeout=20
        )

    async def is_back(self, seconds: float = 10) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if len(self.connected) > 1 and self.client.connected:
                answered: str = await self.client.call("echo", self.kind, timeout=10)
                return answered == self.kind
            await asyncio.sleep(0.02)
        return False


@contextlib.asynccontextmanager
async def connected(served: Served, *kinds: str, delay: float = 0.1) -> AsyncIterator[list[Client]]:
    """`delay`: the seconds until they come back, which is to the same process."""
    clients = [Client(served, kind, delay) for kind in kinds]
    await asyncio.gather(*(client.open() for client in clients))
    try:
        yield clients
    finally:
        for client in clients:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(client.client.shutdown(), 1)


@contextlib.asynccontextmanager
async def raw(
    served: Served, path: str = "socket.io", sid: str = ""
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket that a test speaks by hand, to see each packet, and to be silent."""
    address = f"{served.url}/{path}/?EIO=4&transport=websocket"
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(
            address + (f"&sid={sid}" if sid else ""),
            autoclose=False,
            timeout=aiohttp.ClientWSTimeout(ws_close=0.1),
        ) as websocket,
    ):
        yield websocket


@pytest.mark.parametrize("server", AVAILABLE)
def test_they_come_back(serve: Any, server: str) -> None:
    async def session() -> None:
        served = serve(server)
        assert stat.S_IMODE(served.socket.stat().st_mode) == 0o600
        async with connected(served, *TRANSPORTS, *TRANSPORTS) as clients:
            await asyncio.sleep(0.5)
            answered = await drain(0, served.socket)
            assert without_time(answered) == counts(6)
            assert answered["seconds"] < 1.5
            assert all(await asyncio.gather(*(client.is_back() for client in clients)))
            assert [len(client.gone) for client in clients] == [1] * 6
            async with aiohttp.ClientSession() as http, http.get(f"{served.url}/reasons") as told:
                assert await told.json() == ["transport close"] * 6

        # No packet CLOSE (1) or DISCONNECT (41) comes before the frame. By that a silent client is
        # at its end under some servers; under the others it is not waited for.
        async with raw(served, "second") as websocket:
            assert (await websocket.receive_str())[0] == "0"
            await websocket.send_str("40")
            assert (await websocket.receive_str())[:2] == "40"
            await asyncio.sleep(0.5)
            draining = asyncio.create_task(drain(30, served.socket))
            message = await websocket.receive()
            status = 0 if server == "gunicorn-geventwebsocket" else 1001
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, status)
            answered = await draining
            assert (answered["clients"], answered["closed"] + answered["left"]) == (1, 1)
            assert answered["seconds"] < 3.5

    asyncio.run(session())


@pytest.mark.parametrize("server", AVAILABLE)
def test_what_was_sent_before_arrives(serve: Any, server: str) -> None:
    async def session() -> None:
        served = serve(server)
        for kind in TRANSPORTS:
            async with connected(served, kind) as (client,):
                await client.client.emit("last words", 10)
                assert await client.is_back()
                assert client.words == list(range(10))
                assert len(client.gone) == 1

    asyncio.run(session())


def test_after_a_packet_close_they_would_stay_away(serve: Any) -> None:
    """The control: the same clients, let go by Engine.IO's and by Socket.IO's packet."""

    async def session() -> None:
        async with connected(serve(), *TRANSPORTS, *TRANSPORTS) as clients:
            for client, how in zip(clients, ["engine"] * 3 + ["manager"] * 3, strict=True):
                await client.client.emit("control", how)
            assert not await clients[0].is_back(3)
            assert [len(client.connected) for client in clients] == [1] * 6
            assert [len(client.gone) for client in clients] == [1] * 6

    asyncio.run(session())


def test_they_go_one_after_the_other(serve: Any) -> None:
    async def session() -> None:
        served = serve()
        async with connected(served, *["websocket", "polling"] * 12, delay=60) as clients:
            await asyncio.sleep(0.5)
            began = time.monotonic()
            answered = await drain(1.2, served.socket)
            assert without_time(answered) == counts(24)
            assert 1 < answered["seconds"] < 2
            times = sorted(client.gone[0] - began for client in clients)
            quarters = [
                sum(0.3 * q <= t - times[0] < 0.3 * (q + 1) for t in times) for q in range(4)
            ]
            assert sum(quarters) >= 22, times
            assert max(quarters) <= 10, times

    asyncio.run(session())


def test_few_do_not_take_all_the_time(serve: Any) -> None:
    async def session() -> None:
        served = serve()
        async with connected(served, *["websocket", "polling"] * 5, delay=60):
            await asyncio.sleep(0.5)
            answered = await drain(60, served.socket)
            assert without_time(answered) == counts(10)
            assert answered["seconds"] < 3

    asyncio.run(session())


def test_a_young_one_waits_until_it_is_older(serve: Any) -> None:
    async def session() -> None:
        served = serve(grace=5)
        async with connected(served, *TRANSPORTS, delay=60) as clients:
            answered = await drain(30, served.socket)
            assert without_time(answered) == counts(3)
            ages = [client.gone[0] - client.connected[0] for client in clients]
            # From the handshake's beginning, which comes a little before its end.
            assert all(4.5 < age < 7 for age in ages), ages

    asyncio.run(session())


def test_one_that_connects_meanwhile_goes_too(serve: Any) -> None:
    async def session() -> None:
        served = serve(grace=1)
        async with connected(served, "websocket") as (first,):
            draining = asyncio.create_task(drain(3, served.socket))
            await asyncio.sleep(0.5)
            async with connected(served, "polling") as (second,):
                answered = await draining
                # The first comes back to the same process, until the time is over.
                assert answered["clients"] > 3
                assert answered["closed"] == answered["clients"] - answered["left"]
                assert 3 < answered["seconds"] < 6
                assert len(first.gone) > 1
                assert len(second.gone) > 1
                assert all(await asyncio.gather(first.is_back(), second.is_back()))

    asyncio.run(session())


def test_a_request_that_waits_is_answered_with_a_packet_and_the_next_refused(serve: Any) -> None:
    """An empty answer would not be Engine.IO."""

    async def session() -> None:
        served = serve()
        address = f"{served.url}/socket.io/?EIO=4&transport=polling"
        async with aiohttp.ClientSession() as http:

            async def get(sid: str = "") -> tuple[int, str]:
                async with http.get(address + (f"&sid={sid}" if sid else "")) as answer:
                    return answer.status, await answer.text()

            sid = json.loads((await get())[1][1:])["sid"]
            waiting = asyncio.create_task(get(sid))
            await asyncio.sleep(0.5)
            assert without_time(await drain(30, served.socket)) == counts(1)
            assert await waiting == (200, "6")
            assert (await get(sid))[0] == 400

    asyncio.run(session())


def test_an_upgrade_is_not_broken(serve: Any) -> None:
    async def session() -> None:
        served = serve()
        address = f"{served.url}/socket.io/?EIO=4&transport=polling"
        async with aiohttp.ClientSession() as http, http.get(address) as answer:
            sid = json.loads((await answer.text())[1:])["sid"]
        async with raw(served, sid=sid) as websocket:
            await websocket.send_str("2probe")
            assert await websocket.receive_str() == "3probe"
            await asyncio.sleep(0.5)
            draining = asyncio.create_task(drain(30, served.socket))
            with pytest.raises(TimeoutError):
                await websocket.receive(timeout=2)
            assert not draining.done()
            await websocket.send_str("5")
            while (message := await websocket.receive()).type == aiohttp.WSMsgType.TEXT:
                assert message.data == "6"
            assert message.type == aiohttp.WSMsgType.CLOSE
            await websocket.close()
            assert without_time(await draining) == counts(1)

    asyncio.run(session())


def test_processes_are_asked_at_once_and_one_that_is_gone_has_nobody(
    serve: Any, tmp_path: Path
) -> None:
    async def session() -> None:
        one, other = serve(), serve()
        gone = tmp_path / "gone"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(gone))
        kinds = ["websocket", "polling"] * 8
        async with connected(one, *kinds, delay=60), connected(other, *kinds, delay=60):
            await asyncio.sleep(0.5)
            answered = await drain(1.5, one.socket, gone, tmp_path / "never", other.socket)
            assert without_time(answered) == counts(32)
            assert 1 < answered["seconds"] < 2.5

    asyncio.run(session())
    assert asyncio.run(drain(30)) == counts(0) | {"seconds": 0, "status": 0, "errors": ""}


@pytest.mark.parametrize(("said", "seconds"), [(b"[]", 0), (b"", 0), (None, 5)])
def test_nonsense_or_silence_is_an_error(
    serve: Any, tmp_path: Path, said: bytes | None, seconds: int
) -> None:
    async def session() -> None:
        served = serve()

        async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if said is None:
                await asyncio.sleep(60)
            else:
                writer.write(said)
            writer.close()

        async with connected(served, "websocket"):
            await asyncio.sleep(0.5)
            path = tmp_path / "other"
            await asyncio.start_unix_server(talk, path)
            answered = await drain(0, path, served.socket)
            assert answered["status"] == 1
            assert answered["errors"].startswith(f"{path}: ")
            assert seconds <= answered["seconds"] < seconds + 2
            assert answered["closed"] == 1

    asyncio.run(session())


BROWSER = """
const { io } = require("socket.io-client");
const [url, transports, control] = process.argv.slice(1);
const options = { transports: transports.split(","), reconnectionDelay: 100, forceNew: true };
const socket = io(url, options);
let connections = 0;
const reasons = [];
const done = (back) => { console.log(JSON.stringify({ back, reasons })); process.exit(0); };
socket.on("disconnect", (reason) => {
  reasons.push(reason);
  setTimeout(() => done(false), 3000);
});
socket.on("connect", async () => {
  connections += 1;
  if (connections > 1) done((await socket.emitWithAck("echo", "hello")) === "hello");
  else if (control) socket.emit("control", control);
  else setTimeout(() => console.log("ready"), 500);
});
"""


@pytest.mark.skipif(
    not (JAVASCRIPT / "node_modules/socket.io-client").is_dir() or not shutil.which("node"),
    reason="socket.io-client is not installed",
)
@pytest.mark.parametrize(
    ("kind", "control"), [*((kind, False) for kind in TRANSPORTS), ("browser", True)]
)
def test_the_javascript_client_comes_back(serve: Any, kind: str, control: bool) -> None:
    """The control: after a packet DISCONNECT it would not."""

    async def session() -> None:
        served = serve()
        node = await asyncio.create_subprocess_exec(
            *["node", "-e", BROWSER, served.url, ",".join(TRANSPORTS[kind])],
            *(["manager"] if control else []),
            cwd=JAVASCRIPT,
            stdout=subprocess.PIPE,
        )
        assert node.stdout
        if control:
            wanted = {"back": False, "reasons": ["io server disconnect"]}
        else:
            assert await node.stdout.readline() == b"ready\n"
            assert without_time(await drain(0, served.socket)) == counts(1)
            reason = "transport error" if kind == "polling" else "transport close"
            wanted = {"back": True, "reasons": [reason]}
        assert json.loads(await node.stdout.readline()) == wanted
        await node.wait()

    asyncio.run(session())


def test_without_the_variable_nothing_listens() -> None:
    program = (
        f"import runpy, threading; runpy.run_path({str(DRAIN)!r}); print(threading.active_count())"
    )
    environment = {key: value for key, value in os.environ.items() if key != "SOCKETIO_DRAIN"}
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment
    )
    assert done.stdout == "1\n"
