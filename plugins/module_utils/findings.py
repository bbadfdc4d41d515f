# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What speaks against serving an application, from its own answers."""

from __future__ import annotations

import json
import re
from typing import Any

REMEDIES = {
    "module": "set app_module to module:callable, where the module is a file or package at the "
    "top of app_source",
    "callable": "set app_module to module:callable, or to module:factory() for a function that "
    "returns the app",
    "import": "run it where the app works, with the same requirements and environment: "
    "python -c 'import ...'",
    "factory": "give the factory what it needs by app_environment; it is called without arguments",
    "not_socketio": "name the Flask app that SocketIO(app) or socketio.init_app(app) was called "
    "with",
    "queue_client": "add it to the requirements",
    "stray_run": "put the call under if __name__ == '__main__', or remove it",
}
# What each async_mode needs, and what to do without it.
MODE_REMEDIES = {
    "gevent_uwsgi": "exists only inside of uWSGI: set app_server to 'uwsgi'",
    "gevent": "needs gevent: add it to the requirements",
    "eventlet": "needs eventlet: add it to the requirements",
    "threading": "needs simple-websocket, without which there is no WebSocket: add it to the "
    "requirements",
    None: "finds neither gevent, eventlet nor simple-websocket: add one of them to the "
    "requirements",
}
MODE_FROM_ENVIRONMENT = "write SocketIO(async_mode=os.environ.get('SOCKETIO_ASYNC_MODE'))"
# What other modes do under uWSGI, in its log's words.
UWSGI_EFFECTS = {
    "eventlet": " (every WebSocket would end with 'You need to use the eventlet server.')",
    "gevent": " (every WebSocket would end with 'Cannot obtain socket from WSGI environment.')",
    "threading": " (every WebSocket would end with 'Cannot obtain socket from WSGI environment.')",
}
HEADLINES = {
    "module": "the module of app_module was not found",
    "callable": "the callable of app_module was not found",
    "import": "importing it fails",
    "factory": "its factory fails",
    "not_socketio": "it is not a Flask-SocketIO app",
    "queue_client": "its message queue needs a package that is not installed",
    "stray_run": "importing it starts a server",
}


def parse(stdout: str) -> dict[str, Any] | None:
    """Return the inspector's answer, the last line of its output; None when there is none."""
    for line in reversed(stdout.splitlines()):
        if line.strip():
            try:
                answer = json.loads(line)
            except ValueError:
                return None
            return answer if isinstance(answer, dict) and "versions" in answer else None
    return None


def refusal(target: str, error: dict[str, Any]) -> str:
    """Return the message for an application that could not be asked."""
    kind = error["kind"]
    if kind == "async_mode":
        mode = error["async_mode"]
        why = MODE_REMEDIES.get(mode, "is none that python-engineio knows")
        return (
            f"app_module {target!r}: its async_mode={mode!r} can't be used here, because it {why}; "
            f"or {MODE_FROM_ENVIRONMENT}, which is the one that app_server runs."
        )
    lines = [f"app_module {target!r}: {HEADLINES[kind]}: {error['message']}."]
    lines += error.get("traceback", [])
    return "\n".join([*lines, f"Remedy: {REMEDIES[kind]}."])


def _worker_sentence(worker: str, error: str, versions: dict[str, str]) -> str:
    """Return why gunicorn can't load its worker, and the remedy."""
    if "packaging" in error and "packaging" not in versions:
        remedy = "add packaging to the requirements"
    elif worker == "eventlet" and "eventlet" in versions:
        remedy = (
            "gunicorn 26 removed it; require gunicorn below 26, or set app_async_mode to 'gevent'"
        )
    else:
        remedy = "install what its worker imports"
    gunicorn = f"gunicorn {versions.get('gunicorn', '')}".strip()
    return f"{gunicorn} can't load its worker {worker!r} ({error}): {remedy}."


def findings(
    app: dict[str, Any],
    versions: dict[str, str],
    async_mode: str,
    server: str,
    instances: int = 1,
) -> list[str]:
    """Return a sentence with its remedy for each contradiction of the app and its server.

    app: the inspector's facts; versions: of installed packages; async_mode: the one that the
    server can run; server: how the server is called in messages; instances: how many processes
    are to serve the application.
    """
    found = []
    if re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", app["path"]) is None:
        found.append(
            f"the app's Socket.IO path is {app['path']!r}, which a front door can't serve: use "
            "letters, digits, dots, hyphens and underscores, with slashes between them."
        )
    if app["uwsgi_has_ssl"] is False:
        found.append(
            "uWSGI was built without SSL, and with it without WebSocket, as pyuwsgi always is: "
            "set uwsgi_source to 'distribution' or 'pypi', and take pyuwsgi out of the "
            "requirements."
        )
    if app["async_mode"] != async_mode:
        effect = UWSGI_EFFECTS.get(app["async_mode"], "") if server == "uwsgi" else ""
        found.append(
            f"the app's async_mode is {app['async_mode']!r} but {server} runs {async_mode!r}"
            f"{effect}: "
            f"{MODE_FROM_ENVIRONMENT}, or async_mode={async_mode!r}, or remove the package of the "
            "other mode from the requirements."
        )
    if not app["websocket"]:
        found.append(
            "the app's Socket.IO server refuses WebSocket (allow_upgrades or transports): remove "
            "allow_upgrades=False and keep 'websocket' in transports."
        )
    if not app["websocket_driver"]:
        found.append(
            "the app's Socket.IO server offers no WebSocket, because simple-websocket is missing: "
            "add simple-websocket to the requirements."
        )
    if instances > 1 and not app["has_queue"]:
        found.append(
            f"app_instances is {instances}, but the app has no message queue, without which a "
            "broadcast reaches the clients of one instance only: write "
            "SocketIO(message_queue=os.environ.get('SOCKETIO_MESSAGE_QUEUE')) and give its URL in "
            "app_environment, or set app_instances to 1."
        )
    if app["missing_queue_client"]:
        found.append(
            f"the app's message queue needs the package {app['missing_queue_client']}, which is "
            "not installed; the app would start, but no client could connect: add "
            f"{app['missing_queue_client']} to the requirements."
        )
    if app["has_queue"] and app["patched"] is False:
        found.append(
            f"the app has a message queue, and under {app['async_mode']!r} its client needs monkey "
            "patching, without which every client is refused when it connects: let the server "
            "patch before the app is imported."
        )
    if app["worker_error"]:
        found.append(_worker_sentence(app["worker"], app["worker_error"], versions))
    if app["worker"] == "gevent" and "gevent-websocket" in versions:
        found.append(
            "gevent-websocket is installed, with which every WebSocket answers 500 under "
            "gunicorn's gevent worker: remove gevent-websocket from the requirements."
        )
    return found


def warnings(app: dict[str, Any], versions: dict[str, str], server: str) -> list[str]:
    """Return a sentence for what works, but should not stay."""
    found = []
    if app["cors_allowed_origins"] == "*":
        found.append(
            "the app's cors_allowed_origins is '*': every site of the web may use it as its "
            "visitors. Name the origins instead, or leave them out when the page comes from the "
            "app's own address."
        )
    if app["async_mode"] == "eventlet":
        found.append(
            f"eventlet {versions.get('eventlet', '')} is deprecated: its authors only mend bugs "
            "and advise against it, and gunicorn 26 removed its worker. Set app_async_mode to "
            "'gevent'."
        )
    if "geventwebsocket" in (app["worker"] or ""):
        found.append(
            "gevent-websocket is deprecated: it had its last release in 2017. Set gunicorn_worker "
            "to 'auto' and remove gevent-websocket from the requirements."
        )
    if server == "embedded" and app["async_mode"] == "threading":
        found.append(
            "Werkzeug's server is made for development. Set app_server to 'gunicorn' for anything "
            "else."
        )
    return found
