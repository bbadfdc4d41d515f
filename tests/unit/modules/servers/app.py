# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The app behind the probe's tests; ALLOW_UPGRADES and TRANSPORTS make it a poorer one."""

import os
from typing import Any

from flask import Flask, request
from flask_socketio import ConnectionRefusedError as Refused
from flask_socketio import SocketIO

app = Flask(__name__)
socketio = SocketIO(
    app,
    async_mode="gevent",
    ping_interval=20,
    ping_timeout=10,
    allow_upgrades=os.environ.get("ALLOW_UPGRADES", "yes") == "yes",
    transports=os.environ.get("TRANSPORTS", "polling websocket").split(),
)


@app.get("/worker")
def worker() -> str:
    return str(os.getpid())


@app.get("/page/")
def page() -> str:
    return "<!doctype html>\n<title>A page</title>"


@app.get("/sessions")
def sessions() -> dict[str, int]:
    return {"open": sum(not s.closed for s in socketio.server.eio.sockets.values())}


@socketio.on("echo")
def echo(data: Any = None) -> Any:
    return data


@socketio.on("failing")
def failing(_data: Any = None) -> None:
    raise RuntimeError("never acknowledged")


@socketio.on("connect", namespace="/private")
def connect_private(auth: dict[str, str] | None = None) -> None:
    token = (auth or {}).get("token") or request.headers.get("X-Token")
    if token != "open-sesame":
        raise Refused("members only")


@socketio.on("connect", namespace="/broken")
def connect_broken() -> None:
    raise RuntimeError("as a message queue without monkey patching raises it")
