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
)

APP: dict[str, Any] = {"async_mode": "gevent", "path": "socket.io", "websocket": True}


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
    kinds = {"module", "callable", "import", "factory", "not_socketio"}
    assert set(HEADLINES) == set(REMEDIES) == kinds


def test_an_app_that_fits_its_server() -> None:
    assert findings(APP, {"gevent": "26.9.0"}, "gevent", "gunicorn") == []


@pytest.mark.parametrize(
    ("app", "versions", "told"),
    [
        ({"async_mode": "threading"}, {}, "the app's async_mode is 'threading' but gunicorn runs"),
        ({"path": "a/; } server {"}, {}, "the app's Socket.IO path is 'a/; } server {'"),
        ({"websocket": False}, {}, "the app's Socket.IO server refuses WebSocket"),
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
    app = {"async_mode": "eventlet", "path": "socket.io", "websocket": False}
    assert len(findings(app, {"gevent-websocket": "0.10.1"}, "gevent", "gunicorn")) == 3


def test_gevent_websocket_matters_only_to_gunicorns_gevent_worker() -> None:
    versions = {"gevent-websocket": "0.10.1"}
    assert findings(APP, versions, "gevent", "embedded") == []
    assert findings({**APP, "async_mode": "threading"}, versions, "threading", "gunicorn") == []
