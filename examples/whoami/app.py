"""One page that says which process serves it, and over which transport."""

import os
import socket

from flask import Flask, render_template, request
from flask_socketio import SocketIO, emit, join_room

MAX_TEXT = 200
ORIGINS = os.environ.get("SOCKETIO_CORS_ALLOWED_ORIGINS") or None
PATH = os.environ.get("SOCKETIO_PATH", "socket.io").strip("/")

app = Flask(__name__)
socketio = SocketIO(
    app,
    async_mode=os.environ.get("SOCKETIO_ASYNC_MODE"),
    message_queue=os.environ.get("SOCKETIO_MESSAGE_QUEUE"),
    channel=os.environ.get("SOCKETIO_CHANNEL", "flask-socketio"),
    cors_allowed_origins=ORIGINS.split(",") if ORIGINS and ORIGINS != "*" else ORIGINS,
    path=PATH,
)

# One process is one instance, so a set of this process counts its tabs.
tabs: set[str] = set()


def whoami() -> dict[str, str | int | None]:
    return {
        "node": socket.gethostname(),
        "pid": os.getpid(),
        "instance": os.environ.get("SOCKETIO_INSTANCE"),
        "async_mode": socketio.async_mode,
    }


def tell_tabs() -> None:
    # A message queue would carry a broadcast to other instances, whose count differs: hence a
    # room that only the tabs of this instance have joined.
    socketio.emit("tabs", len(tabs), to=own_room())


def own_room() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


@app.get("/")
def page() -> str:
    return render_template("index.html", path=f"{request.script_root}/{PATH}")


@app.get("/whoami")
def who() -> dict[str, str | int | None]:
    return whoami()


@socketio.on("connect")
def on_connect() -> None:
    tabs.add(request.sid)
    join_room(own_room())
    emit("whoami", whoami())
    tell_tabs()


@socketio.on("disconnect")
def on_disconnect(_reason: str) -> None:
    tabs.discard(request.sid)
    tell_tabs()


@socketio.on("echo")
def on_echo(data: object = None) -> object:
    return data


@socketio.on("say")
def on_say(text: object) -> bool:
    text = str(text).strip()[:MAX_TEXT]
    if text:
        emit("said", {"text": text, "node": socket.gethostname()}, broadcast=True)
    return bool(text)


if __name__ == "__main__":
    socketio.run(app)
