"""Serve a Flask-SocketIO application with socketio.run(), patched before it is imported.

    python run.py --async-mode gevent|eventlet|threading --bind HOST:PORT|unix:PATH
        [--connections NUMBER] [--patch] [--debug] module:callable

Starts in the application's directory. SIGTERM ends it with status 0. Only threading, which makes
socketio.run() start Werkzeug's server, can listen on a unix socket.
"""

import argparse
import importlib
import os
import runpy
import signal
import sys
from pathlib import Path


def patch(async_mode):
    """Replace the standard library's blocking calls, as gunicorn's workers of that name do."""
    if async_mode == "gevent":
        from gevent import monkey

        monkey.patch_all()
    elif async_mode == "eventlet":
        import eventlet

        eventlet.monkey_patch()


def load(target):
    """Return the application that `module:callable` or `module:factory()` names."""
    module, _, attribute = target.partition(":")
    found = getattr(importlib.import_module(module), attribute.removesuffix("()"))
    return found() if attribute.endswith("()") else found


def server_options(async_mode, connections, debug):
    """Return what socketio.run() hands to the server of an async_mode."""
    if async_mode == "gevent":
        return {"spawn": connections, "log_output": debug}
    if async_mode == "eventlet":
        return {"max_size": connections, "log_output": debug}
    return {"allow_unsafe_werkzeug": True}


def leave_on_sigterm(async_mode):
    """End the main greenlet on SIGTERM: raised elsewhere, a bare except may swallow it."""
    if async_mode == "gevent":
        import gevent

        gevent.signal_handler(signal.SIGTERM, gevent.kill, gevent.getcurrent(), SystemExit(0))
        return
    main_and_hub = ()
    if async_mode == "eventlet":
        import greenlet
        from eventlet.hubs import get_hub

        main_and_hub = (greenlet.getcurrent(), get_hub().greenlet)

    def leave(*_arguments):
        if main_and_hub and greenlet.getcurrent() not in main_and_hub:
            get_hub().schedule_call_global(0, main_and_hub[0].throw, SystemExit(0))
        else:
            raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)


def open_to_the_proxy():
    """Let everybody connect to Werkzeug's unix socket, whose directory decides who gets there.

    The application keeps the unit's umask.
    """
    from werkzeug.serving import BaseWSGIServer

    bind = BaseWSGIServer.server_bind

    def server_bind(server):
        umask = os.umask(0o111)
        try:
            bind(server)
        finally:
            os.umask(umask)

    BaseWSGIServer.server_bind = server_bind


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--async-mode", required=True, choices=("gevent", "eventlet", "threading"))
    parser.add_argument("--bind", required=True, metavar="ADDRESS")
    parser.add_argument("--connections", type=int, default=10000)
    parser.add_argument("--patch", action="store_true")
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("target")
    arguments = parser.parse_args()
    if arguments.patch:
        patch(arguments.async_mode)
    if arguments.debug:
        runpy.run_path(str(Path(__file__).with_name("debug_logging.py")))
    # Not this file's directory, which may hold a name that the application imports.
    sys.path[0] = str(Path.cwd())
    app = load(arguments.target)
    for name in ("path_prefix.py", "websocket_messages.py", "drain.py"):
        runpy.run_path(str(Path(__file__).with_name(name)))
    leave_on_sigterm(arguments.async_mode)
    host, _, port = arguments.bind.rpartition(":")
    path = Path(port) if host == "unix" else None
    if path:
        open_to_the_proxy()
    try:
        # Never Flask's debugger and reloader, whatever app.debug says: they run code for visitors.
        app.extensions["socketio"].run(
            app,
            host=f"unix://{path}" if path else host,
            port=0 if path else int(port),
            debug=False,
            use_reloader=False,
            **server_options(arguments.async_mode, arguments.connections, arguments.debug),
        )
    finally:
        if path:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
