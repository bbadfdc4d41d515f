"""Each row of the table of servers, deployed over the one before it on the same hosts."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import socketio
from refusals import deploy, inside
from scenario_hosts import platforms

EVENTLET = "[WARNING]: eventlet "
GEVENT_WEBSOCKET = "[WARNING]: gevent-websocket is deprecated"
WERKZEUG = "[WARNING]: Werkzeug's server is made for development"
# What speaks for this collection in the output; Ansible warns of other things too.
OWN_WARNING = re.compile(r"^\[WARNING\]: (?:eventlet|gevent-websocket|Werkzeug|the app).*", re.M)


@dataclass(frozen=True)
class Row:
    name: str
    program: str
    """A regular expression for the command line of the instance's process."""
    async_mode: str
    variables: dict[str, Any]
    tcp: tuple[str, ...] = ()
    """Where it listens on a port; it has a unix socket elsewhere."""
    warning: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    """What stands in gunicorn.conf.py."""


BOTH = ("debian12", "debian13")
# gunicorn's rows take a socket on one host and a port on the other, and the next row the reverse.
ROWS = [
    Row(
        "gunicorn-gevent",
        "gunicorn",
        "gevent",
        {"app_server": "gunicorn", "app_debug": True},
        tcp=("debian13",),
        settings={"worker_class": '"gevent"'},
    ),
    Row(
        "gunicorn-threading",
        "gunicorn",
        "threading",
        {"app_server": "gunicorn", "app_async_mode": "threading", "gunicorn_threads": 40},
        tcp=("debian12",),
        settings={"worker_class": '"gthread"', "threads": "40"},
    ),
    Row(
        "gunicorn-geventwebsocket",
        "gunicorn",
        "gevent",
        {"app_server": "gunicorn", "gunicorn_worker": "geventwebsocket"},
        tcp=("debian13",),
        warning=GEVENT_WEBSOCKET,
        settings={"worker_class": '"geventwebsocket.gunicorn.workers.GeventWebSocketWorker"'},
    ),
    Row(
        "gunicorn-eventlet",
        "gunicorn",
        "eventlet",
        {"app_server": "gunicorn", "app_async_mode": "eventlet"},
        tcp=("debian12",),
        warning=EVENTLET,
        settings={"worker_class": '"eventlet"'},
    ),
    Row(
        "embedded-eventlet",
        r"run\.py --async-mode=eventlet",
        "eventlet",
        {"app_server": "embedded", "app_async_mode": "eventlet", "app_debug": True},
        tcp=BOTH,
        warning=EVENTLET,
    ),
    Row(
        "embedded-threading",
        r"run\.py --async-mode=threading",
        "threading",
        {
            "app_server": "embedded",
            "app_async_mode": "threading",
            "embedded_allow_development_server": True,
        },
        tcp=BOTH,
        warning=WERKZEUG,
    ),
    Row("embedded-gevent", r"run\.py --async-mode=gevent", "gevent", {}, tcp=BOTH),
]
# By host, because extra variables are the same for all.
BIND = "{{{{ 'tcp' if inventory_hostname in {hosts} else 'auto' }}}}"


async def _session(url: str) -> dict[str, Any]:
    """What a client of python-socketio does by default: polling, then the upgrade."""
    client = socketio.AsyncClient(reconnection=False)
    await client.connect(url, wait_timeout=5)
    try:
        answer = await client.call("echo", "hello", timeout=5)
        return {"transport": client.transport(), "answer": answer}
    finally:
        await client.disconnect()


def units(name: str) -> list[str]:
    """The instances that systemd knows on a host, by unit file, by target and in memory."""
    listed = inside(
        name,
        """
        ls /etc/systemd/system/whoami.target.wants
        systemctl list-units --all --plain --no-legend 'whoami-*' | awk '{print $1}'
        """,
    )
    return listed.split()


def left_behind(name: str, unit: str, port: str | None) -> list[str]:
    """What is on a host of the app besides one unit."""
    template = re.sub(r"@.*", "@.service", unit)
    generation = re.sub(r"whoami-(.*)@.*", r"\1", unit)
    found = inside(
        name,
        """
        ls /etc/systemd/system | grep '^whoami'
        ls /etc/flask-socketio/whoami | sed 's/^environment-.*/environment/'
        find /run/whoami -mindepth 0 2>/dev/null
        ss -Hltn | awk '{print $4}' | grep -v '^127\\.0\\.0\\.11:'
        ps -o unit= -u whoami | sort -u
        """,
    )
    expected = ["whoami.target", "whoami.target.wants", template, generation, "environment"]
    expected += ["0.0.0.0:80", "[::]:80", unit]
    if port:
        expected.append(f"127.0.0.1:{port}")
    else:
        expected += ["/run/whoami", f"/run/whoami/{generation}-1.sock"]
    return sorted(set(found.split()) ^ set(expected))


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_row_serves_and_nothing_of_the_former_is_left(
    row: Row, published: Callable[[str, int], str]
) -> None:
    run = deploy(app_bind=BIND.format(hosts=list(row.tcp)), **row.variables)
    assert run.returncode == 0, run.output
    assert run.output.count("websocket reached at http://localhost:80/socket.io") == len(BOTH)
    told = {line.partition(": ")[2] for line in OWN_WARNING.findall(run.output)}
    assert len(told) == bool(row.warning), run.output
    assert row.warning in run.output
    for name in platforms():
        (unit,) = set(units(name))
        instance = re.sub(r".*@(.*)\.service", r"\1", unit)
        assert instance.startswith("50") if name in row.tcp else instance == "1"
        assert left_behind(name, unit, instance if name in row.tcp else None) == []
        command = inside(name, f"ps -o args= -p $(systemctl show -p MainPID --value {unit})")
        assert re.search(row.program, command), command
        config = inside(name, "cat /etc/flask-socketio/whoami/*/*.conf.py 2>/dev/null || true")
        seen = dict(re.findall(r"^(worker_class|threads) = (.*)$", config, re.M))
        assert seen == row.settings

        url = f"http://{published(name, 80)}"
        assert asyncio.run(asyncio.wait_for(_session(url), 20)) == {
            "transport": "websocket",
            "answer": "hello",
        }
        said = json.loads(inside(name, "curl --silent --fail http://localhost/whoami"))
        assert (said["async_mode"], said["instance"]) == (row.async_mode, instance)

        journal = inside(name, f"journalctl --no-pager -o cat -u {unit}")
        debug = "engineio.server: " in journal and "socketio.server: " in journal
        assert debug == row.variables.get("app_debug", False), journal
        # Each stop was asked for and clean: no timeout, no kill, no status but 0.
        assert "Failed with result" not in inside(name, "journalctl --no-pager -o cat -u 'whoami*'")


def test_a_second_run_of_a_row_changes_nothing() -> None:
    """Molecule's own check is of the embedded server; here gunicorn, its two addresses."""
    bind = BIND.format(hosts=["debian13"])
    again = deploy("--check", app_bind=bind)
    assert again.returncode == 0, again.output
    assert set(again.changed.values()) == {0}, again.output
