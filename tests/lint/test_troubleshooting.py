# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""docs/troubleshooting.md has the words of every refusal, so that it is found by searching."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = " ".join((ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8").split())
PHRASES = (
    "the module of app_module was not found",
    "the callable of app_module was not found",
    "importing it fails",
    "its factory fails",
    "importing it starts a server",
    "it is not a Flask-SocketIO app",
    "the app gave no answer",
    "the app's async_mode is",
    "can't be used here",
    "the app's Socket.IO server refuses WebSocket",
    "the app's Socket.IO server offers no WebSocket, because simple-websocket is missing",
    "gevent-websocket is installed",
    "can't load its worker",
    "its message queue needs a package that is not installed",
    "the app's message queue needs the package",
    "the app has a message queue, and",
    "instances are to serve it, but the app has no message queue",
    "message_queue is set, but the app has no message queue",
    "the app uses the message queue",
    "the app's channel is",
    "the message queue at",
    "the app hands redis+sentinel:// to Kombu",
    "its message queue has a URL that Kombu does not know",
    "its message queue memory:// reaches nothing but its own process",
    "nginx_sticky is 'none'",
    "not shown that messages pass",
    "uWSGI was built without SSL",
    "Cannot obtain socket from WSGI environment",
    "You need to use the eventlet server",
    "under uWSGI app_async_mode must be 'gevent_uwsgi'",
    "leave it out or set it to 1",
    "clients; set app_instances",
    "Apache passes WebSockets on by HTTP only",
    "listens there already",
    "serves that name on port",
    "it was not made by this role",
    "of two none may go on alone",
    "which is made for development",
    "can't listen on a unix socket",
    "the app's Socket.IO path",
    "is held by another run",
    "gave no certificate for",
    "there is no readable certificate",
    "there is no readable key",
    "it is not the key of the certificate",
    "it ends within",
    "an authority that asks over HTTP gives none for",
    "the certificate ends in",
    "there is no such release, or its building was cut short",
    "no release was the current one before",
    "that is not the same release on all hosts",
    "did not end within",
    "Its last words:",
    "another command of the app still runs",
)


def spoken() -> str:
    """What the code can say: its texts, joined where a line's end parts them."""
    texts = []
    for path in (*ROOT.glob("plugins/**/*.py"), *ROOT.glob("roles/**/*.yml")):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            nodes = [n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant)]
            text = "\n".join(value for value in nodes if isinstance(value, str))
        texts.append(text)
    return " ".join("\n".join(texts).split())


SPOKEN = spoken()


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_refusal_is_said_and_explained(phrase: str) -> None:
    assert phrase in SPOKEN
    assert phrase.lower() in DOCS.lower()
