"""What no server can run is refused before traffic moves, and the running instance is not touched.

Named to run before the rows: what converge deployed, the embedded server with gevent, runs on.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from refusals import deploy, difference, snapshot
from stack import PROJECT

REMOVED = "What this run had made of the new release was removed. What runs was not touched."
FROM_ENVIRONMENT = "write SocketIO(async_mode=os.environ.get('SOCKETIO_ASYNC_MODE'))"
ARTICLE = {
    "app_source": str(PROJECT / "tests" / "fixtures" / "article"),
    "app_module": "websocket:app",
}
# All that the app and gunicorn's gevent worker need, but packaging.
WITHOUT_PACKAGING = [
    *("flask", "blinker", "click", "itsdangerous", "jinja2", "markupsafe", "werkzeug"),
    *("flask-socketio", "python-socketio", "python-engineio", "bidict", "typing-extensions"),
    *("simple-websocket", "wsproto", "h11"),
    *("gevent", "greenlet", "zope.event", "zope.interface"),
]


def case(name: str, message: str, **variables: Any) -> Any:
    return pytest.param(variables, message, id=name)


def exactly(*lines: str) -> str:
    return re.escape("\n".join(lines))


# What one task refuses shares a run.
STATIC = [
    case(
        "the-app",
        exactly(
            "app_environment is ['WEB_CONCURRENCY']: leave it out or set it to 1; a second worker "
            "of one server does not know the first one's clients, which then get 400 'Invalid "
            "session'.",
            "app_port is 80: a TCP port from 1024 to 65000, the first of those that instances "
            "take.",
        ),
        app_environment={"WEB_CONCURRENCY": 3},
        app_port=80,
    ),
    case(
        "gunicorn",
        exactly(
            "gunicorn_worker is 'geventwebsocket': this worker runs app_async_mode 'gevent' only; "
            "use that, or gunicorn_worker 'auto'.",
            "gunicorn_workers is 2: 1; a second worker of one gunicorn does not know the first "
            "one's clients, which then get 400 'Invalid session'.",
        ),
        app_server="gunicorn",
        app_async_mode="threading",
        gunicorn_worker="geventwebsocket",
        gunicorn_workers=2,
    ),
    case(
        "gevent-uwsgi-under-gunicorn",
        exactly(
            "gunicorn_async_mode is 'gevent_uwsgi': it exists only inside of uWSGI; use app_server "
            "'uwsgi', or app_async_mode 'gevent'."
        ),
        app_server="gunicorn",
        app_async_mode="gevent_uwsgi",
    ),
    case(
        "werkzeug-in-production",
        exactly(
            "embedded_async_mode is 'threading': it makes socketio.run() start Werkzeug's server, "
            "which is made for development; use app_server 'gunicorn', or app_async_mode 'gevent', "
            "or set embedded_allow_development_server to true."
        ),
        app_async_mode="threading",
    ),
    case(
        "embedded-on-a-unix-socket",
        exactly(
            "embedded_bind is 'unix': with gevent and eventlet socketio.run() can't listen on a "
            "unix socket; set app_bind to 'auto' or 'tcp', or use app_server 'gunicorn'."
        ),
        app_bind="unix",
    ),
]
STAGED = [
    case(
        "the-article-under-gunicorn",
        exactly(
            "app_module 'websocket:app': its async_mode='gevent_uwsgi' can't be used here, because "
            "it exists only inside of uWSGI: set app_server to 'uwsgi'; or "
            f"{FROM_ENVIRONMENT}, which is the one that app_server runs.",
            REMOVED,
        ),
        app_server="gunicorn",
        **ARTICLE,
    ),
    case(
        "no-redis-and-no-patching",
        exactly(
            "app_module 'app:app': the app's message queue needs the package redis, which is not "
            "installed; the app would start, but no client could connect: add redis to the "
            "requirements.",
            "the app has a message queue, and under 'gevent' its client needs monkey patching, "
            "without which every client is refused when it connects: let the server patch before "
            "the app is imported.",
            REMOVED,
        ),
        app_environment={"SOCKETIO_MESSAGE_QUEUE": "redis://"},
        embedded_monkey_patch=False,
    ),
    case(
        "no-kombu",
        exactly(
            "app_module 'app:app': its message queue needs a package that is not installed: kombu.",
            "Remedy: add it to the requirements.",
            REMOVED,
        ),
        app_environment={"SOCKETIO_MESSAGE_QUEUE": "amqp://"},
    ),
    case(
        "no-packaging",
        r"app_module 'app:app': gunicorn \S+ can't load its worker 'gevent' \(.*No module named "
        r"'packaging'.*\): add packaging to the requirements\.\n" + exactly(REMOVED),
        app_server="gunicorn",
        app_requirements=WITHOUT_PACKAGING,
        app_pip_extra_args="--no-deps",
    ),
    case(
        "no-simple-websocket",
        exactly(
            "app_module 'app:app': its async_mode='threading' can't be used here, because it needs "
            "simple-websocket, without which there is no WebSocket: add it to the requirements; or "
            f"{FROM_ENVIRONMENT}, which is the one that app_server runs.",
            REMOVED,
        ),
        app_server="gunicorn",
        app_async_mode="threading",
        app_requirements=[name for name in WITHOUT_PACKAGING if name != "simple-websocket"],
        app_pip_extra_args="--no-deps",
        # The role itself brings what is missing here.
        gunicorn_requirements=["gunicorn", "packaging"],
    ),
    case(
        "a-worker-that-gunicorn-no-longer-has",
        exactly(
            "app_module 'app:app': gunicorn 27.0.1 can't load its worker 'eventlet' (ImportError: "
            "Entry point ('gunicorn.workers', 'eventlet') not found): gunicorn 26 removed it; "
            "require gunicorn below 26, or set app_async_mode to 'gevent'.",
            REMOVED,
        ),
        app_server="gunicorn",
        app_async_mode="eventlet",
        # Against the role's own bound, which the next case meets.
        gunicorn_requirements=["gunicorn==27.0.1", "eventlet"],
    ),
    case(
        "a-gunicorn-too-new-for-its-worker",
        # In the words of pip 23 or of pip 25.
        r"Install the requirements into the release's virtualenv: failed\.\n(?:.*\n)*"
        r".*Cannot install gunicorn<26(?:,| and )>=21\.2 and gunicorn>=26 because these package "
        r"versions have conflicting dependencies\.\n(?:.*\n)*"
        r"Remedy: correct the requirements of the app, .*gunicorn>=21\.2,<26, eventlet\.\n"
        + exactly(REMOVED),
        app_server="gunicorn",
        app_async_mode="eventlet",
        app_requirements=["flask-socketio", "gunicorn>=26"],
    ),
]


@pytest.mark.parametrize(("variables", "message"), STATIC)
def test_settings_that_contradict_each_other_are_refused(
    variables: dict[str, Any], message: str
) -> None:
    run = deploy("--limit=debian12", **variables)
    assert run.refused, run.output
    assert re.fullmatch(message, run.message), run.message
    assert run.changed == {"debian12": 0}


@pytest.mark.parametrize(("variables", "message"), STAGED)
def test_a_release_that_no_server_can_run_is_refused(
    variables: dict[str, Any], message: str
) -> None:
    before = snapshot("debian12")
    run = deploy("--limit=debian12", **variables)
    assert run.refused, run.output
    assert re.fullmatch(message, run.message), run.message
    assert difference(before, snapshot("debian12")) == []
