"""Answers as the example app does, and badly when it is told so by its environment."""

import itertools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flask import Flask, request
from flask_socketio import SocketIO, disconnect, emit

# Which of the messages, by their order, are treated how.
TWICE, UNHEARD, UNANSWERED = 2, 3, 4
BAD = bool(os.environ.get("BAD"))
REFUSES = bool(os.environ.get("REFUSES"))
DISMISSES = os.environ.get("DISMISSES", "")
HANDLED = Path(os.environ.get("HANDLED", os.devnull))
# The one POST request that is refused, by its order.
REFUSED_POST = int(os.environ.get("REFUSED_POST", "0"))
# Seconds that it takes to handle a note.
SLOW = float(os.environ.get("SLOW", "0"))

app = Flask(__name__)
socketio = SocketIO(app, async_mode="gevent", allow_upgrades=not os.environ.get("NO_UPGRADE"))
seen: list[str] = []
posts = itertools.count(1)
answer = app.wsgi_app


def refuse_a_post(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    if environ["REQUEST_METHOD"] == "POST" and next(posts) == REFUSED_POST:
        start("400 BAD REQUEST", [])
        return []
    return answer(environ, start)


app.wsgi_app = refuse_a_post  # type: ignore[method-assign]


@socketio.on("connect")
def on_connect() -> bool:
    # The app's own no comes after open and upgrade.
    if REFUSES:
        return False
    cookie = request.cookies.get("socketio_whoami", "none")
    instance = cookie if "COOKIES" in os.environ else "1"
    emit("whoami", {"node": "here", "instance": instance, "version": os.environ.get("VERSION", "")})
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


@socketio.on("note")
def on_note(text: str) -> bool:
    seen.append(text)
    with HANDLED.open("a") as handled:
        handled.write(f"{text}\n")
    if BAD and len(seen) == UNANSWERED:
        socketio.sleep(60)
    if len(seen) == TWICE and DISMISSES == "socketio":
        disconnect()
    if len(seen) == TWICE and DISMISSES == "engineio":
        socketio.server.eio.disconnect(socketio.server.manager.eio_sid_from_sid(request.sid, "/"))
    socketio.sleep(SLOW)
    return True
