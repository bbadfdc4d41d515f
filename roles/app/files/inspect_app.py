"""Import an application and say what its Socket.IO server is, as one line of JSON.

Runs inside the application's virtualenv, in its working directory, with its environment, read
from standard input so that nothing is left on the host:

    python - [--patch=gevent|eventlet] [--worker=CLASS] module:callable

The answer is all that is on standard output; what the application prints goes to standard error.
It has either `app` (the facts) or `error` with a `kind` (module, callable, import, factory,
not_socketio, async_mode, queue_client, queue_scheme, stray_run), a `message` and the last
`traceback` lines.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
import threading
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
    "packaging",
    "redis",
    "valkey",
    "kombu",
)
# What python-socketio's RedisManager needs for a URL's scheme, and misses only when it connects.
QUEUE_CLIENTS = {
    "redis": ("redis",),
    "rediss": ("redis",),
    "valkey": ("valkey",),
    "valkeys": ("valkey",),
    "unix": ("redis", "valkey"),
}
# Seconds that the message queue has to answer.
QUEUE_SECONDS = 10


class Refusal(Exception):
    """The application is not what it must be; args are the kind and a message."""


class StrayRun(BaseException):
    """A server was started by importing; not an Exception, which the application might catch."""


def started_by(frames):
    """Return which call of socketio.run() or app.run() is among stack frames, or none."""
    for frame in frames:
        module = frame.f_globals.get("__name__")
        if frame.f_code.co_name == "run" and module in ("flask_socketio", "flask.app"):
            name = "socketio.run()" if module == "flask_socketio" else "app.run()"
            caller = frame.f_back
            return f"{name} in {os.path.relpath(caller.f_code.co_filename)}, line {caller.f_lineno}"
    return None


def forbid_servers():
    """Let a server that importing starts fail instead of serving for ever."""

    def on_event(event, _arguments):
        if event == "socket.bind":
            frames = [frame for frame, _ in traceback.walk_stack(sys._getframe(1))]
            if started_by(frames):
                raise StrayRun

    sys.addaudithook(on_event)


def requested_async_mode(error):
    """Return the async_mode that python-engineio was asked for when it raised."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").startswith("engineio."):
            found = frame.f_locals.get("async_mode", found)
    return found


def explain(error):
    """Return kind and details of what an application raised while it was imported or made."""
    call = started_by([frame for frame, _ in traceback.walk_tb(error.__traceback__)])
    if call:
        return {"kind": "stray_run", "message": call}
    if isinstance(error, ValueError) and str(error) == "Invalid async_mode specified":
        mode = requested_async_mode(error)
        return {"kind": "async_mode", "message": f"async_mode={mode!r}", "async_mode": mode}
    client = re.match(r"([\w-]+) package is not installed", str(error))
    if isinstance(error, RuntimeError) and client:
        return {"kind": "queue_client", "message": client[1].lower()}
    transport = re.search(r"No such transport: ([\w+-]+)", str(error))
    if transport:
        return {"kind": "queue_scheme", "message": transport[1]}
    return {
        "kind": "import",
        "message": f"{type(error).__name__}: {error}",
        "traceback": traceback.format_exc().splitlines()[-8:],
    }


def worker_error(name):
    """Return why gunicorn can't load a worker class; none when it can."""
    try:
        from gunicorn.util import load_class

        load_class(name, section="gunicorn.workers")
    except BaseException as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip(" ]")]
        return lines[-1].rstrip("]") if lines else type(error).__name__
    return None


def is_patched(async_mode):
    """Return whether sockets are monkey patched, none where they need not be."""
    if async_mode == "eventlet":
        from eventlet.patcher import is_monkey_patched

        return is_monkey_patched("socket")
    if "gevent" in async_mode:
        from gevent.monkey import is_module_patched

        return is_module_patched("socket")
    return None


def uwsgi_has_ssl():
    """Return whether the uWSGI that this runs in was built with SSL, none outside of uWSGI."""
    try:
        import uwsgi
    except ImportError:
        return None
    # Of the functions that are compiled in with SSL only; those of WebSocket are always there.
    return hasattr(uwsgi, "i_am_the_lord")


def missing_queue_client(manager):
    """Return the package that the client manager will miss when it connects, or none."""
    if "RedisManager" not in [cls.__name__ for cls in type(manager).__mro__]:
        return None
    scheme = str(manager.redis_url).partition(":")[0].partition("+")[0].lower()
    packages = QUEUE_CLIENTS.get(scheme, ())
    if not packages or any(importlib.util.find_spec(name) for name in packages):
        return None
    return packages[0]


def queue_url(manager):
    """Return the URL of the client manager's message queue, or none."""
    found = (getattr(manager, name, None) for name in ("redis_url", "url", "kafka_url"))
    return next((url for url in found if isinstance(url, str)), None)


def reach_queue(manager):
    """Subscribe to the message queue and leave it again; raises what its client raises."""
    names = [cls.__name__ for cls in type(manager).__mro__]
    if "RedisManager" in names:
        # As the manager itself does in its own thread, where a failure is only logged.
        manager._redis_connect()
        manager.redis.ping()
        manager.pubsub.subscribe(manager.channel)
        manager.pubsub.parse_response(block=True)
        manager.pubsub.close()
    elif "KombuManager" in names:
        with manager._connection() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
            with connection.SimpleQueue(manager._queue()) as queue:
                queue.queue.delete()


def queue_error(manager):
    """Return why the app's message queue can't be used from here, or none."""
    failures = []

    def reach():
        try:
            reach_queue(manager)
        except BaseException as error:
            failures.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=reach, daemon=True)
    thread.start()
    thread.join(QUEUE_SECONDS)
    if thread.is_alive():
        return f"no answer within {QUEUE_SECONDS} s"
    return failures[0] if failures else None


def describe_queue(manager, async_mode):
    """Return the facts of a client manager that passes messages to other processes."""
    url = queue_url(manager)
    given = os.environ.get("SOCKETIO_MESSAGE_QUEUE")
    missing = missing_queue_client(manager)
    patched = is_patched(async_mode)
    return {
        "manager": type(manager).__name__,
        "has_queue": hasattr(manager, "channel"),
        "missing_queue_client": missing,
        "patched": patched,
        "channel": getattr(manager, "channel", None),
        "queue_scheme": url.partition(":")[0].lower() if url else None,
        # Without user and password.
        "queue_address": re.sub(r"(?<=//)[^/@;]*@", "", url) if url else None,
        "queue_is_given": url == given if given and url else None,
        "queue_error": queue_error(manager)
        if url and not missing and patched is not False
        else None,
    }


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
        if explain(error)["kind"] != "import":
            raise
        raise Refusal("factory", f"{target} raised {type(error).__name__}: {error}") from error


def describe(application, worker):
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
        **describe_queue(manager, server.async_mode),
        "ping_interval": engine.ping_interval + engine.ping_interval_grace_period,
        "ping_timeout": engine.ping_timeout,
        "max_http_buffer_size": engine.max_http_buffer_size,
        "cors_allowed_origins": engine.cors_allowed_origins
        if isinstance(engine.cors_allowed_origins, (str, list, tuple, type(None)))
        else "callable",
        "polling": "polling" in engine.transports,
        "websocket": bool(engine.allow_upgrades) and "websocket" in engine.transports,
        "websocket_driver": engine._async["websocket"] is not None,
        "uwsgi_has_ssl": uwsgi_has_ssl(),
        "worker": worker,
        "worker_error": worker_error(worker) if worker else None,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--patch", choices=("gevent", "eventlet"))
    parser.add_argument("--worker", help="the class of gunicorn's worker")
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
        forbid_servers()
        answer = {"app": describe(load(arguments.target), arguments.worker)}
    except Refusal as refusal:
        kind, message = refusal.args
        answer = {"error": {"kind": kind, "message": message}}
        if refusal.__cause__ is not None and kind == "factory":
            answer["error"]["traceback"] = traceback.format_exc().splitlines()[-8:]
    except BaseException as error:
        answer = {"error": explain(error)}
    answer["versions"] = versions()
    with os.fdopen(answers, "w") as stream:
        stream.write(json.dumps(answer) + "\n")
    # Threads that the application started at import would keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()
