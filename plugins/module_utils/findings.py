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
    "queue_scheme": "let message_queue begin with redis://, rediss:// or amqp://, which "
    "SocketIO(message_queue=...) knows; or write "
    "SocketIO(client_manager=socketio.RedisManager(url, channel=...)), which also takes unix://, "
    "valkey:// and redis+sentinel://",
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
    "queue_scheme": "its message queue has a URL that Kombu does not know",
    "stray_run": "importing it starts a server",
}
READ_QUEUE = (
    "SocketIO(message_queue=os.environ.get('SOCKETIO_MESSAGE_QUEUE'), "
    "channel=os.environ.get('SOCKETIO_CHANNEL', 'flask-socketio'))"
)
READ_SENTINEL = (
    "SocketIO(client_manager=socketio.RedisManager(os.environ['SOCKETIO_MESSAGE_QUEUE'], "
    "channel=os.environ['SOCKETIO_CHANNEL']))"
)


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


def _queue_findings(app: dict[str, Any], instances: int, channel: str, node: str) -> list[str]:
    """Return what speaks against the message queue that the app uses, or does not use."""
    if not app["has_queue"]:
        if channel:
            return [
                "message_queue is set, but the app has no message queue: write "
                f"{READ_QUEUE}, or set message_queue to 'none'."
            ]
        if instances > 1:
            return [
                f"{instances} instances are to serve it, but the app has no message queue, without "
                "which a broadcast reaches the clients of one instance only: write "
                f"{READ_QUEUE} and set message_queue to 'redis', 'rabbitmq' or a URL, or set "
                "app_instances to 1 on one node."
            ]
        return []
    if app["queue_scheme"] == "redis+sentinel" and app["manager"] == "KombuManager":
        return [
            "the app hands redis+sentinel:// to Kombu, as SocketIO(message_queue=...) does; the "
            f"app would start, but no client could connect: write {READ_SENTINEL}."
        ]
    if app["queue_scheme"] == "memory" and instances > 1:
        return [
            f"{instances} instances are to serve it, but its message queue memory:// reaches "
            "nothing but its own process: set message_queue to 'redis', 'rabbitmq' or a URL."
        ]
    found = []
    if app["missing_queue_client"]:
        found.append(
            f"the app's message queue needs the package {app['missing_queue_client']}, which is "
            "not installed; the app would start, but no client could connect: add "
            f"{app['missing_queue_client']} to the requirements."
        )
    if app["patched"] is False:
        found.append(
            f"the app has a message queue, and under {app['async_mode']!r} its client needs monkey "
            "patching, without which every client is refused when it connects: let the server "
            "patch before the app is imported."
        )
    if app["queue_is_given"] is False:
        found.append(
            f"the app uses the message queue {app['queue_address']}, which is not the one that "
            f"message_queue names: write {READ_QUEUE}, or set message_queue to the URL that the "
            "app uses."
        )
    if channel and app["channel"] != channel:
        found.append(
            f"the app's channel is {app['channel']!r}, but message_queue_channel is {channel!r}, "
            f"the one that is allowed and checked: write {READ_QUEUE}, or set "
            f"message_queue_channel to {app['channel']!r}."
        )
    if app["queue_error"] and not found:
        found.append(
            f"the message queue at {app['queue_address']} can't be used from {node}: "
            f"{app['queue_error']}. The app would start and only log it: check that it runs, that "
            "its address is right and reachable from here, and its user and password."
        )
    return found


def findings(
    app: dict[str, Any],
    versions: dict[str, str],
    async_mode: str,
    server: str,
    instances: int = 1,
    channel: str = "",
    websocket_only: bool = False,
    node: str = "this node",
) -> list[str]:
    """Return a sentence with its remedy for each contradiction of the app and its server.

    app: the inspector's facts; versions: of installed packages; async_mode: the one that the
    server can run; server: how the server is called in messages; instances: how many processes
    are to serve the application, on all nodes; channel: the message queue's channel that the
    app was given, empty without one; websocket_only: whether the front door ties no client to an
    instance; node: what the host is called in messages.
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
    found += _queue_findings(app, instances, channel, node)
    if websocket_only and app["polling"]:
        found.append(
            "nginx_sticky is 'none', which is for clients that use nothing but WebSocket, but the "
            "app accepts polling, with which a client's requests would reach different instances: "
            "write SocketIO(transports=['websocket']), or set nginx_sticky to 'auto'."
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
