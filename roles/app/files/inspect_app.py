"""Import an application and say what its Socket.IO server is, as one line of JSON.

Runs inside the application's virtualenv, in its working directory, with its environment, read
from standard input so that nothing is left on the host:

    python - [--patch=gevent|eventlet] module:callable

The answer is all that is on standard output; what the application prints goes to standard error.
It has either `app` (the facts) or `error` with a `kind` (module, callable, import, factory,
not_socketio), a `message` and the last `traceback` lines.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import traceback
import types

PACKAGES = (
    "flask-socketio",
    "python-socketio",
    "python-engineio",
    "gevent",
    "gevent-websocket",
    "eventlet",
    "simple-websocket",
    "gunicorn",
)


class Refusal(Exception):
    """The application is not what it must be; args are the kind and a message."""


def versions():
    """Return the versions of the packages that decide what works, without those not installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def load(target):
    """Return the WSGI application that `module:callable` or `module:factory()` names."""
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise Refusal("module", f"there is no module {error.name!r} in the source") from error
        raise
    name = attribute.removesuffix("()")
    if not hasattr(module, name):
        # By their types: a proxy such as flask.request raises when it is asked itself.
        names = sorted(
            key for key, value in vars(module).items() if hasattr(type(value), "wsgi_app")
        )
        hint = f"; it has {', '.join(names)}" if names else ""
        raise Refusal("callable", f"module {module_name!r} has no {name!r}{hint}")
    found = getattr(module, name)
    if not attribute.endswith("()"):
        return found
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise Refusal("factory", f"{target} raised {type(error).__name__}: {error}") from error


def describe(application):
    """Return the facts of the Socket.IO server that is attached to a Flask application."""
    socketio = getattr(application, "extensions", {}).get("socketio")
    server = getattr(socketio, "server", None)
    if server is None:
        if isinstance(application, types.FunctionType):
            raise Refusal(
                "not_socketio", f"a function; for a factory write {application.__name__}()"
            )
        kind = type(application)
        raise Refusal(
            "not_socketio",
            f"a {kind.__module__}.{kind.__qualname__} without extensions['socketio']",
        )
    manager = server.manager
    engine = server.eio
    return {
        "async_mode": server.async_mode,
        "path": socketio.sockio_mw.engineio_path.strip("/"),
        "manager": type(manager).__name__,
        "has_queue": hasattr(manager, "channel"),
        "ping_interval": engine.ping_interval + engine.ping_interval_grace_period,
        "ping_timeout": engine.ping_timeout,
        "max_http_buffer_size": engine.max_http_buffer_size,
        "cors_allowed_origins": engine.cors_allowed_origins
        if isinstance(engine.cors_allowed_origins, (str, list, tuple, type(None)))
        else "callable",
        "websocket": bool(engine.allow_upgrades) and "websocket" in engine.transports,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--patch", choices=("gevent", "eventlet"))
    parser.add_argument("target")
    arguments = parser.parse_args()
    answers = os.dup(1)
    os.dup2(2, 1)
    if arguments.patch == "gevent":
        from gevent import monkey

        monkey.patch_all()
    elif arguments.patch == "eventlet":
        import eventlet

        eventlet.monkey_patch()
    try:
        answer = {"app": describe(load(arguments.target))}
    except Refusal as refusal:
        kind, message = refusal.args
        answer = {"error": {"kind": kind, "message": message}}
        if refusal.__cause__ is not None and kind == "factory":
            answer["error"]["traceback"] = traceback.format_exc().splitlines()[-8:]
    except BaseException as error:
        answer = {
            "error": {
                "kind": "import",
                "message": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc().splitlines()[-8:],
            }
        }
    answer["versions"] = versions()
    with os.fdopen(answers, "w") as stream:
        stream.write(json.dumps(answer) + "\n")
    # Threads that the application started at import would keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()
