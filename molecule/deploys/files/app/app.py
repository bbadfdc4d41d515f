"""Writes the id of each note to a file, which tells later what was handled more than once."""

import os
import socket
from pathlib import Path

from flask import Flask
from flask_socketio import SocketIO, emit
from version import VERSION

HANDLED = Path("/var/lib/flask-socketio/whoami/handled")
# Seconds that a note takes, so that some wait for their answer whenever connections end.
SLOW = 0.2

app = Flask(__name__)
socketio = SocketIO(
    app,
    async_mode=os.environ.get("SOCKETIO_ASYNC_MODE"),
    message_queue=os.environ.get("SOCKETIO_MESSAGE_QUEUE"),
    channel=os.environ.get("SOCKETIO_CHANNEL", "flask-socketio"),
    ping_interval=int(os.environ.get("PING_INTERVAL", "25")),
)


def whoami() -> dict[str, str | int]:
    return {
        "node": socket.gethostname(),
        "instance": os.environ.get("SOCKETIO_INSTANCE", ""),
        "version": VERSION,
        "ping_interval": int(socketio.server.eio.ping_interval),
        "async_mode": socketio.async_mode,
    }


@app.get("/whoami")
def who() -> dict[str, str | int]:
    return whoami()


@socketio.on("connect")
def on_connect() -> None:
    emit("whoami", whoami())


@socketio.on("note")
def on_note(note: str) -> bool:
    with HANDLED.open("a") as handled:
        handled.write(f"{note}\n")
    socketio.sleep(SLOW)
    return True
