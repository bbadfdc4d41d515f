"""One instance on one node, without a queue: what replaces it, by each of the three servers."""

from __future__ import annotations

from typing import Any

import pytest
from deploys import (
    CLIENTS,
    DEPLOY,
    ROLLBACK,
    counting,
    deployed,
    generations,
    processes,
    who,
)
from refusals import inside

DRAIN = 8
# Ten clients go in a second when there is time for it.
LONG_DRAIN = CLIENTS / 10


WORKER = {"app_processes": [{"name": "worker", "command": "python worker.py"}]}


# Each row replaces what the one before it left.
ROWS = [
    ("gunicorn: new code", "g2", LONG_DRAIN, {"app_drain_seconds": 30} | WORKER),
    ("gunicorn: other environment", "g2", DRAIN, {"app_environment": {"PING_INTERVAL": "20"}}),
    ("gunicorn to uwsgi", "u1", DRAIN, {"app_server": "uwsgi"} | WORKER),
    ("uwsgi: new code", "u2", DRAIN, {"app_server": "uwsgi"} | WORKER),
    ("uwsgi to embedded", "u2", DRAIN, {"app_server": "embedded"}),
    ("embedded: new code", "e2", DRAIN, {"app_server": "embedded"}),
]
MODES = {"uwsgi": "gevent_uwsgi"}


@pytest.mark.parametrize(
    ("case", "version", "drain", "variables"), ROWS, ids=[row[0] for row in ROWS]
)
def test_a_replacement(
    solo, solo_traffic, source, case: str, version: str, drain: float, variables: dict[str, Any]
):
    before = generations("solo")
    with counting(solo_traffic, case, "solo") as noticed:
        deployed(
            DEPLOY,
            solo.inventory,
            app_source=str(source(version)),
            app_version=version,
            **variables,
        )
    noticed.assert_nothing_lost()
    noticed.assert_spread(drain)
    assert solo_traffic.versions() == {version: CLIENTS}
    after = generations("solo")
    assert len(after) == 1
    assert before.isdisjoint(after)
    # A process of the same release, and none where there is to be none.
    assert processes("solo") == (after if "app_processes" in variables else set())
    if "app_processes" in variables:
        assert inside("solo", "cat /var/lib/flask-socketio/whoami/worker") == version
    told = who("solo")
    # The embedded server's is its port.
    del told["instance"]
    assert told == {
        "node": "solo",
        "version": version,
        "ping_interval": int(variables.get("app_environment", {}).get("PING_INTERVAL", "25")),
        "async_mode": MODES.get(variables.get("app_server", "gunicorn"), "gevent"),
    }


def test_a_rollback_to_a_release_by_its_name(solo, solo_traffic):
    release = inside("solo", "basename $(readlink /opt/whoami/previous)").strip()
    with counting(solo_traffic, "rollback to a named release", "solo") as noticed:
        deployed(ROLLBACK, solo.inventory, app_release=release, app_server="embedded")
    noticed.assert_nothing_lost()
    assert inside("solo", "basename $(readlink /opt/whoami/current)").strip() == release
    assert solo_traffic.versions() == {"u2": CLIENTS}
