"""The example's events, with pings so frequent that a silent loss is soon noticed."""

import os
import socket

from flask import Flask
from flask_socketio import SocketIO, emit

app = Flask(__name__)
socketio = SocketIO(
    app,
    async_mode=os.environ.get("SOCKETIO_ASYNC_MODE"),
    message_queue=os.environ.get("SOCKETIO_MESSAGE_QUEUE"),
    channel=os.environ.get("SOCKETIO_CHANNEL", "flask-socketio"),
    ping_interval=4,
    ping_timeout=4,
)


@app.get("/")
def page() -> str:
    return "a page"


@socketio.on("connect")
def on_connect() -> None:
    emit("whoami", {"node": socket.gethostname(), "instance": os.environ["SOCKETIO_INSTANCE"]})


@socketio.on("say")
def on_say(text: str) -> bool:
    emit("said", {"text": text}, broadcast=True)
    return True
