"""What no server can run is refused before traffic moves, and the running instance is not touched.

Cases share a run, each as a host of its own that is the same container.

Named to run before the rows: what converge deployed, the embedded server with gevent, runs on.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from refusals import Run, deploy_cases, difference, snapshot
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


@dataclass(frozen=True)
class Case:
    name: str
    message: str
    variables: dict[str, Any]


def case(name: str, message: str, **variables: Any) -> Case:
    return Case(name, message, variables)


def exactly(*lines: str) -> str:
    return re.escape("\n".join(lines))


OF_THE_APP = [
    case(
        "the-app",
        exactly(
            "app_environment is ['WEB_CONCURRENCY']: leave it out or set it to 1; a second worker "
            "of one server does not know the first one's clients, which then get 400 'Invalid "
            "session'.",
            "app_port is 70: a TCP port from 1024 to 65000, the first of those that instances "
            "take.",
        ),
        app_environment={"WEB_CONCURRENCY": 3},
        app_port=70,
    ),
]
OF_GUNICORN = [
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
]
OF_THE_EMBEDDED_SERVER = [
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
BUILT = [
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
BUILT_WITH_ANOTHER_GUNICORN = [
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
        requirements=["gunicorn", "packaging"],
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
        requirements=["gunicorn==27.0.1", "eventlet"],
    ),
]
# What one task refuses shares a run.
STATIC = {"app": OF_THE_APP, "gunicorn": OF_GUNICORN, "embedded": OF_THE_EMBEDDED_SERVER}
STAGED = {"built": BUILT, "built-with-another-gunicorn": BUILT_WITH_ANOTHER_GUNICORN}
# A role's own variable gives way to an extra one only, which is the same for all hosts.
EXTRA = {"built-with-another-gunicorn": {"gunicorn_requirements": "{{ requirements }}"}}


def each(stages: dict[str, list[Case]]) -> list[Any]:
    return [
        pytest.param(stage, number, id=one.name)
        for stage, cases in stages.items()
        for number, one in enumerate(cases)
    ]


Refuse = Callable[[str], tuple[Run, list[str]]]


@pytest.fixture(scope="module")
def refuse_all(tmp_path_factory: pytest.TempPathFactory) -> Refuse:
    """Deploy all cases of a stage; return the run and what it changed on the host."""

    @functools.cache
    def run(stage: str) -> tuple[Run, list[str]]:
        before = snapshot("debian12")
        done = deploy_cases(
            tmp_path_factory.mktemp("cases"),
            "debian12",
            [one.variables for one in (STATIC | STAGED)[stage]],
            **EXTRA.get(stage, {}),
        )
        return done, difference(before, snapshot("debian12"))

    return run


@pytest.mark.parametrize(("stage", "number"), each(STATIC))
def test_settings_that_contradict_each_other_are_refused(
    refuse_all: Refuse, stage: str, number: int
) -> None:
    run, changes = refuse_all(stage)
    host = f"case{number}"
    (told,) = run.told(host)
    assert re.fullmatch(STATIC[stage][number].message, told), told
    assert (run.failed[host], run.changed[host]) == (1, 0)
    assert run.returncode != 0
    assert changes == []


@pytest.mark.parametrize(("stage", "number"), each(STAGED))
def test_a_release_that_no_server_can_run_is_refused(
    refuse_all: Refuse, stage: str, number: int
) -> None:
    run, changes = refuse_all(stage)
    host = f"case{number}"
    told = run.told(host)[-1]
    assert re.fullmatch(STAGED[stage][number].message, told), told
    assert run.failed[host] == 1
    assert run.returncode != 0
    assert changes == []
