# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.realtime.flask_socketio.plugins.module_utils.findings import (
    HEADLINES,
    REMEDIES,
    findings,
    parse,
    refusal,
    warnings,
)

APP: dict[str, Any] = {
    "async_mode": "gevent",
    "path": "socket.io",
    "websocket": True,
    "websocket_driver": True,
    "has_queue": False,
    "missing_queue_client": None,
    "channel": None,
    "queue_scheme": None,
    "queue_address": None,
    "queue_is_given": None,
    "queue_error": None,
    "manager": "Manager",
    "polling": True,
    "patched": True,
    "cors_allowed_origins": None,
    "worker": "gevent",
    "worker_error": None,
    "uwsgi_has_ssl": None,
}
QUEUE = {
    "has_queue": True,
    "manager": "RedisManager",
    "channel": "chat",
    "queue_scheme": "redis",
    "queue_address": "redis://10.0.0.20:6380/0",
    "queue_is_given": True,
}


@pytest.mark.parametrize(
    "stdout",
    [
        '{"app": {}, "versions": {}}',
        'the app says hello\n\n{"app": {}, "versions": {}}\n\n',
        '{"app": {}, "versions": {"a": "old"}}\n{"app": {}, "versions": {}}',
    ],
)
def test_the_answer_is_the_last_line(stdout: str) -> None:
    assert parse(stdout) == {"app": {}, "versions": {}}


@pytest.mark.parametrize(
    "stdout",
    ["", "\n \n", "Traceback", '{"app": {}, "versions": {}}\nbye', "[1]", "null", '{"app": {}}'],
)
def test_no_answer(stdout: str) -> None:
    assert parse(stdout) is None


def test_a_refusal_says_what_where_and_what_to_do() -> None:
    error = {"kind": "import", "message": "KeyError: 'X'", "traceback": ["  line", "KeyError: 'X'"]}
    assert refusal("chat:app", error).splitlines() == [
        "app_module 'chat:app': importing it fails: KeyError: 'X'.",
        "  line",
        "KeyError: 'X'",
        "Remedy: run it where the app works, with the same requirements and environment: "
        "python -c 'import ...'.",
    ]
    assert refusal("a:b", {"kind": "module", "message": "m"}).count("\n") == 1


def test_each_kind_of_the_inspector_has_headline_and_remedy() -> None:
    kinds = {"module", "callable", "import", "factory", "not_socketio", "stray_run"}
    kinds |= {"queue_client", "queue_scheme"}
    assert set(HEADLINES) == set(REMEDIES) == kinds


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("gevent_uwsgi", "exists only inside of uWSGI: set app_server to 'uwsgi'"),
        ("threading", "needs simple-websocket, without which there is no WebSocket: add it to"),
        ("eventlet", "needs eventlet: add it to the requirements"),
        ("gevent", "needs gevent: add it to the requirements"),
        (None, "finds neither gevent, eventlet nor simple-websocket: add one of them"),
        ("asyncio", "is none that python-engineio knows"),
    ],
)
def test_an_async_mode_that_can_not_be_used(mode: str | None, why: str) -> None:
    told = refusal("chat:app", {"kind": "async_mode", "message": "m", "async_mode": mode})
    start = f"app_module 'chat:app': its async_mode={mode!r} can't be used here, because it {why}"
    assert told.startswith(start)
    assert "SocketIO(async_mode=os.environ.get('SOCKETIO_ASYNC_MODE'))" in told


@pytest.mark.parametrize(
    "app",
    [
        {},
        # Only a queue's client must be patched, and threads need no patching.
        {"patched": False},
        {"has_queue": True},
        {"async_mode": "threading", "has_queue": True, "patched": None, "worker": "gthread"},
    ],
)
def test_an_app_that_fits_its_server(app: dict[str, Any]) -> None:
    fits = APP | app
    assert findings(fits, {"gevent": "26.9.0"}, fits["async_mode"], "gunicorn") == []


@pytest.mark.parametrize(
    ("app", "versions", "told"),
    [
        ({"async_mode": "threading"}, {}, "the app's async_mode is 'threading' but gunicorn runs"),
        ({"path": "a/; } server {"}, {}, "the app's Socket.IO path is 'a/; } server {'"),
        ({"websocket": False}, {}, "the app's Socket.IO server refuses WebSocket"),
        (
            {"websocket_driver": False},
            {},
            "the app's Socket.IO server offers no WebSocket, because",
        ),
        (
            QUEUE | {"missing_queue_client": "redis"},
            {},
            "the app's message queue needs the package redis,",
        ),
        (
            QUEUE | {"patched": False},
            {},
            "the app has a message queue, and under 'gevent' its client needs monkey",
        ),
        (
            {"worker_error": "No module named 'packaging'"},
            {"gunicorn": "20.1.0"},
            "gunicorn 20.1.0 can't load its worker 'gevent' (No module named 'packaging'): add "
            "packaging to the requirements.",
        ),
        (
            {"worker": "eventlet", "worker_error": "not found"},
            {"gunicorn": "27.0.1", "eventlet": "0.41"},
            "gunicorn 27.0.1 can't load its worker 'eventlet' (not found): gunicorn 26 removed it;",
        ),
        (
            {"worker": "geventwebsocket.x.Y", "worker_error": "No module named 'geventwebsocket'"},
            {"packaging": "26"},
            "gunicorn can't load its worker 'geventwebsocket.x.Y' (No module",
        ),
        ({}, {"gevent-websocket": "0.10.1"}, "gevent-websocket is installed"),
    ],
)
def test_one_contradiction_one_sentence(
    app: dict[str, Any], versions: dict[str, str], told: str
) -> None:
    (found,) = findings(APP | app, versions, "gevent", "gunicorn")
    assert found.startswith(told)
    assert ": " in found


def test_all_contradictions_are_told_at_once() -> None:
    app = {**APP, "async_mode": "eventlet", "websocket": False}
    assert len(findings(app, {"gevent-websocket": "0.10.1"}, "gevent", "gunicorn")) == 3


def test_gevent_websocket_matters_only_to_gunicorns_gevent_worker() -> None:
    versions = {"gevent-websocket": "0.10.1"}
    assert findings({**APP, "worker": None}, versions, "gevent", "embedded") == []
    for worker in ("gthread", "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"):
        assert findings({**APP, "worker": worker}, versions, "gevent", "gunicorn") == []


@pytest.mark.parametrize(
    ("app", "server", "told"),
    [
        ({"cors_allowed_origins": "*"}, "gunicorn", "the app's cors_allowed_origins is '*'"),
        ({"async_mode": "eventlet"}, "gunicorn", "eventlet 0.41 is deprecated"),
        ({"async_mode": "eventlet", "worker": None}, "embedded", "eventlet 0.41 is deprecated"),
        ({"worker": "geventwebsocket.x.Y"}, "gunicorn", "gevent-websocket is deprecated"),
        ({"async_mode": "threading", "worker": None}, "embedded", "Werkzeug's server is made for"),
    ],
)
def test_a_warning_for_what_should_not_stay(app: dict[str, Any], server: str, told: str) -> None:
    (found,) = warnings(APP | app, {"eventlet": "0.41"}, server)
    assert found.startswith(told)


@pytest.mark.parametrize("origins", [None, [], ["https://a.example"], "https://a.example"])
def test_no_warning_for_a_sound_app(origins: object) -> None:
    assert warnings(APP | {"cors_allowed_origins": origins}, {}, "gunicorn") == []
    threads = {"async_mode": "threading", "worker": "gthread"}
    assert warnings(APP | threads, {}, "gunicorn") == []


UWSGI = APP | {"async_mode": "gevent_uwsgi", "worker": None, "uwsgi_has_ssl": True}


def test_uwsgi_runs_its_own_mode() -> None:
    assert findings(UWSGI, {}, "gevent_uwsgi", "uwsgi") == []


@pytest.mark.parametrize(
    ("mode", "effect"),
    [
        ("eventlet", "You need to use the eventlet server."),
        ("gevent", "Cannot obtain socket from WSGI environment."),
        ("threading", "Cannot obtain socket from WSGI environment."),
    ],
)
def test_other_modes_under_uwsgi_are_refused_with_their_effect(mode: str, effect: str) -> None:
    (sentence,) = findings(UWSGI | {"async_mode": mode}, {}, "gevent_uwsgi", "uwsgi")
    assert f"(every WebSocket would end with '{effect}')" in sentence
    assert "async_mode='gevent_uwsgi'" in sentence


def test_uwsgi_without_ssl_is_refused() -> None:
    (sentence,) = findings(UWSGI | {"uwsgi_has_ssl": False}, {}, "gevent_uwsgi", "uwsgi")
    assert "without SSL" in sentence
    assert "set uwsgi_source to 'distribution' or 'pypi'" in sentence


def test_several_instances_need_a_queue() -> None:
    (sentence,) = findings(APP, {}, "gevent", "gunicorn", 4)
    assert sentence.startswith(
        "4 instances are to serve it, but the app has no message queue, without which a broadcast "
    )
    assert findings(APP | QUEUE, {}, "gevent", "gunicorn", 4) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"has_queue": False}, "message_queue is set, but the app has no message queue: write "),
        (
            {"channel": "flask-socketio"},
            "the app's channel is 'flask-socketio', but message_queue_",
        ),
        (
            {"queue_is_given": False},
            "the app uses the message queue redis://10.0.0.20:6380/0, which is not the one that ",
        ),
        (
            {"queue_error": "ConnectionError: refused"},
            "the message queue at redis://10.0.0.20:6380/0 can't be used from node2: "
            "ConnectionError: refused. ",
        ),
        (
            {"queue_scheme": "redis+sentinel", "manager": "KombuManager"},
            "the app hands redis+sentinel:// to Kombu, as SocketIO(message_queue=...) does;",
        ),
        (
            {"queue_scheme": "memory"},
            "2 instances are to serve it, but its message queue memory:// reaches nothing but",
        ),
    ],
)
def test_a_queue_that_does_not_serve_is_refused(changes: dict[str, Any], sentence: str) -> None:
    (found,) = findings(APP | QUEUE | changes, {}, "gevent", "gunicorn", 2, "chat", node="node2")
    assert found.startswith(sentence)


def test_a_client_that_is_missing_and_not_patched_is_said_at_once() -> None:
    app = APP | QUEUE | {"missing_queue_client": "redis", "patched": False}
    missing, unpatched = findings(app, {}, "gevent", "gunicorn")
    assert missing.startswith("the app's message queue needs the package redis, which is not ")
    assert unpatched.startswith("the app has a message queue, and under 'gevent' its client needs ")


def test_sentinel_through_python_socketio_is_fine() -> None:
    sentinel = QUEUE | {"queue_scheme": "redis+sentinel"}
    assert findings(APP | sentinel, {}, "gevent", "gunicorn", 2, "chat") == []


def test_polling_without_stickiness_is_refused() -> None:
    (found,) = findings(APP, {}, "gevent", "gunicorn", websocket_only=True)
    assert found.startswith("nginx_sticky is 'none', which is for clients that use nothing but")
    only = APP | {"polling": False}
    assert findings(only, {}, "gevent", "gunicorn", websocket_only=True) == []
