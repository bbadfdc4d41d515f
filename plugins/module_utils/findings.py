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
}
HEADLINES = {
    "module": "the module of app_module was not found",
    "callable": "the callable of app_module was not found",
    "import": "importing it fails",
    "factory": "its factory fails",
    "not_socketio": "it is not a Flask-SocketIO app",
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
    lines = [f"app_module {target!r}: {HEADLINES[kind]}: {error['message']}."]
    lines += error.get("traceback", [])
    return "\n".join([*lines, f"Remedy: {REMEDIES[kind]}."])


def findings(
    app: dict[str, Any], versions: dict[str, str], async_mode: str, server: str
) -> list[str]:
    """Return a sentence with its remedy for each contradiction of the app and its server.

    app: the inspector's facts; versions: of installed packages; async_mode: the one that the
    server can run; server: how the server is called in messages.
    """
    found = []
    if re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", app["path"]) is None:
        found.append(
            f"the app's Socket.IO path is {app['path']!r}, which a front door can't serve: use "
            "letters, digits, dots, hyphens and underscores, with slashes between them."
        )
    if app["async_mode"] != async_mode:
        found.append(
            f"the app's async_mode is {app['async_mode']!r} but {server} runs {async_mode!r}: "
            "write SocketIO(async_mode=os.environ.get('SOCKETIO_ASYNC_MODE')), "
            f"or async_mode={async_mode!r}, or remove the package of the other mode from the "
            "requirements."
        )
    if not app["websocket"]:
        found.append(
            "the app's Socket.IO server refuses WebSocket (allow_upgrades or transports): remove "
            "allow_upgrades=False and keep 'websocket' in transports."
        )
    if server == "gunicorn" and async_mode == "gevent" and "gevent-websocket" in versions:
        found.append(
            "gevent-websocket is installed, with which every WebSocket answers 500 under "
            "gunicorn's gevent worker: remove gevent-websocket from the requirements."
        )
    return found
