"""Each row of the table of servers, deployed over the one before it on the same hosts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from refusals import deploy, inside
from scenario_hosts import platforms
from stack import python_client

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
    unix: bool = True
    """Whether it can listen on a unix socket."""
    warning: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    """What stands in gunicorn.conf.py."""


BOTH = frozenset({"debian12", "debian13"})
# The server of people who choose none comes last.
ROWS = [
    Row("embedded-gevent", r"run\.py --async-mode=gevent", "gevent", {}, unix=False),
    Row(
        "embedded-eventlet",
        r"run\.py --async-mode=eventlet",
        "eventlet",
        {"app_server": "embedded", "app_async_mode": "eventlet", "app_debug": True},
        unix=False,
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
        warning=WERKZEUG,
    ),
    Row(
        "gunicorn-eventlet",
        "gunicorn",
        "eventlet",
        {"app_server": "gunicorn", "app_async_mode": "eventlet"},
        warning=EVENTLET,
        settings={"worker_class": '"eventlet"'},
    ),
    Row(
        "gunicorn-geventwebsocket",
        "gunicorn",
        "gevent",
        {"app_server": "gunicorn", "gunicorn_worker": "geventwebsocket"},
        warning=GEVENT_WEBSOCKET,
        settings={"worker_class": '"geventwebsocket.gunicorn.workers.GeventWebSocketWorker"'},
    ),
    Row(
        "gunicorn-threading",
        "gunicorn",
        "threading",
        {"app_server": "gunicorn", "app_async_mode": "threading", "gunicorn_threads": 40},
        settings={"worker_class": '"gthread"', "threads": "40"},
    ),
    Row(
        "gunicorn-gevent",
        "gunicorn",
        "gevent",
        {"app_server": "gunicorn", "app_debug": True},
        settings={"worker_class": '"gevent"'},
    ),
]
# A row that can use unix sockets takes one on one host and a port on the other, and the next row
# the reverse, so that each address is replaced by the other.
ON_A_PORT = [
    (frozenset({"debian12"}), frozenset({"debian13"}))[number % 2] if row.unix else BOTH
    for number, row in enumerate(ROWS)
]
# By host, because extra variables are the same for all.
BIND = "{{{{ 'tcp' if inventory_hostname in {hosts} else 'auto' }}}}"


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
        ss -Hltn | awk '{print $4}' | grep -v '^127\\.0\\.0\\.11:\\|:22$'
        ps -o unit= -u whoami | sort -u
        """,
    )
    expected = ["whoami.target", "whoami.target.wants", template]
    expected += [generation, "environment", "app.json"]
    # nginx, and its state for an exporter.
    expected += ["0.0.0.0:80", "[::]:80", "127.0.0.1:8113", unit]
    expected += ["/run/whoami", f"/run/whoami/{generation}-{port or 1}.drain"]
    expected.append(f"127.0.0.1:{port}" if port else f"/run/whoami/{generation}-1.sock")
    return sorted(set(found.split()) ^ set(expected))


@pytest.mark.parametrize(
    ("row", "tcp"), zip(ROWS, ON_A_PORT, strict=True), ids=[row.name for row in ROWS]
)
def test_row_serves_and_nothing_of_the_former_is_left(
    row: Row, tcp: frozenset[str], published: Callable[[str, int], str]
) -> None:
    """`tcp`: the hosts where it listens on a port."""
    run = deploy(app_bind=BIND.format(hosts=sorted(tcp)), **row.variables)
    assert run.returncode == 0, run.output
    assert any(run.changed.values()) == (row is not ROWS[0]), "the first is what converge deployed"
    assert run.output.count("websocket reached at http://localhost:80/socket.io") == len(BOTH)
    told = {line.partition(": ")[2] for line in OWN_WARNING.findall(run.output)}
    assert len(told) == bool(row.warning), run.output
    assert row.warning in run.output
    for name in platforms():
        (unit,) = set(units(name))
        instance = re.sub(r".*@(.*)\.service", r"\1", unit)
        assert instance.startswith("50") if name in tcp else instance == "1"
        assert left_behind(name, unit, instance if name in tcp else None) == []
        command = inside(name, f"ps -o args= -p $(systemctl show -p MainPID --value {unit})")
        assert re.search(row.program, command), command
        config = inside(name, "cat /etc/flask-socketio/whoami/*/*.conf.py 2>/dev/null || true")
        seen = dict(re.findall(r"^(worker_class|threads) = (.*)$", config, re.M))
        assert seen == row.settings

        seen = python_client(f"http://{published(name, 80)}")
        assert (seen["transport"], seen["answers"]) == ("websocket", ["hello"])
        said = seen["whoami"]
        assert (said["async_mode"], said["instance"]) == (row.async_mode, instance)

        journal = inside(name, f"journalctl --no-pager -o cat -u {unit}")
        debug = "engineio.server: " in journal and "socketio.server: " in journal
        assert debug == row.variables.get("app_debug", False), journal
        # Each stop was asked for and clean: no timeout, no kill, no status but 0.
        assert "Failed with result" not in inside(name, "journalctl --no-pager -o cat -u 'whoami*'")
