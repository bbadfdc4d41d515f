"""An app that follows a failover.

Flask-SocketIO hands redis+sentinel:// to Kombu, so it is given python-socketio's manager instead.
"""

import os

import socketio as python_socketio
from flask import Flask
from flask_socketio import SocketIO, emit
from redis.backoff import ConstantBackoff
from redis.retry import Retry

app = Flask(__name__)
socketio = SocketIO(
    app,
    async_mode=os.environ.get("SOCKETIO_ASYNC_MODE"),
    client_manager=python_socketio.RedisManager(
        os.environ["SOCKETIO_MESSAGE_QUEUE"],
        channel=os.environ["SOCKETIO_CHANNEL"],
        # Ask four times again before python-socketio pauses, each time twice as long.
        redis_options={"retry": Retry(ConstantBackoff(0.5), 4)},
    ),
)


@app.get("/")
def page() -> str:
    return os.environ["SOCKETIO_INSTANCE"]


@socketio.on("connect")
def on_connect() -> None:
    emit("whoami", {"node": os.uname().nodename, "instance": os.environ["SOCKETIO_INSTANCE"]})


@socketio.on("echo")
def on_echo(data: object) -> object:
    return data


@socketio.on("say")
def on_say(text: str) -> bool:
    emit("said", {"text": text}, broadcast=True)
    return True
