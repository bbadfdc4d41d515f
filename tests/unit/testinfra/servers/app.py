"""Answers as the example app does, and badly when it is told so by its environment."""

import os

from flask import Flask, request
from flask_socketio import SocketIO, emit

# Which of the messages, by their order, are treated how.
TWICE, UNHEARD, UNANSWERED = 2, 3, 4
BAD = bool(os.environ.get("BAD"))
REFUSES = bool(os.environ.get("REFUSES"))

app = Flask(__name__)
socketio = SocketIO(app, async_mode="gevent", allow_upgrades=not os.environ.get("NO_UPGRADE"))
seen: list[str] = []


@socketio.on("connect")
def on_connect() -> bool:
    # The app's own no comes after open and upgrade.
    if REFUSES:
        return False
    cookie = request.cookies.get("socketio_whoami", "none")
    emit("whoami", {"node": "here", "instance": cookie if "COOKIES" in os.environ else "1"})
    return True


@socketio.on("say")
def on_say(text: str) -> bool:
    seen.append(text)
    said = {"text": text, "node": "here"}
    if not (BAD and len(seen) == UNHEARD):
        emit("said", said, broadcast=True)
    if BAD and len(seen) == TWICE:
        emit("said", said)
    if BAD and len(seen) == UNANSWERED:
        # Longer than any test.
        socketio.sleep(60)
    return True
