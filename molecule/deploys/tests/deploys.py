"""What the tests of deploys share: the load, what it noticed, the runs and the hosts' state."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from refusals import Run, inside, read
from stack import PROJECT, playbook
from traffic import Drop, Traffic, keep_case

CLIENTS = 200
NEWCOMERS = 10
# Of each client; some of them are under way whenever connections end.
SPEECH = 0.2
# A controller is another machine, which takes no time from those that serve.
NICENESS = 10
FILES = PROJECT / "molecule/deploys/files"
SITE = "/etc/nginx/conf.d/flask-socketio-whoami.conf"
HANDLED = "/var/lib/flask-socketio/whoami/handled"
LOCK = "/run/flask-socketio-whoami.lock"
DEPLOY, ROLLBACK = "playbooks/deploy.yml", "playbooks/rollback.yml"

# What a refused run must leave: what runs, what is served, what is current, and no lock.
STATE = rf"""
systemctl list-units --all --plain --no-legend 'whoami-*@*' | awk '{{print $1, $3, $4}}'
systemctl show 'whoami-*@*' --property MainPID,NRestarts
ls /etc/flask-socketio/whoami /etc/systemd/system
readlink /opt/whoami/current /opt/whoami/previous
ls /opt/whoami/releases /opt/whoami/venvs
sha256sum {SITE}
ls {LOCK} 2>&1
true
"""


def load(url: str, clients: int = CLIENTS) -> Traffic:
    return Traffic(
        [url],
        clients=clients,
        newcomers=NEWCOMERS,
        speech=SPEECH,
        kinds=["browser", "polling", "websocket"],
        repeats=True,
    )


@dataclass
class Noticed:
    """What the clients noticed of a case."""

    counts: dict[str, float] = field(default_factory=dict)
    drops: list[Drop] = field(default_factory=list, repr=False)
    failures: list[str] = field(default_factory=list)

    def assert_nothing_lost(self) -> None:
        # That there was something to lose, at the rates of the load.
        assert self.counts["handshakes"] > NEWCOMERS / 2 * self.counts["seconds"], self
        assert self.counts["acks"] > CLIENTS * SPEECH / 2 * self.counts["seconds"], self
        assert (self.counts["failed"], self.counts["lost_acks"]) == (0, 0), self
        assert [drop for drop in self.drops if drop.back is None] == [], self

    def assert_nothing_noticed(self) -> None:
        self.assert_nothing_lost()
        assert self.drops == []

    def assert_spread(self, seconds: float) -> None:
        """Every client was closed once, and never many at a time."""
        times: dict[str, list[float]] = {f"client{number}": [] for number in range(CLIENTS)}
        for drop in self.drops:
            times[drop.client].append(round(drop.at, 1))
        assert {client: at for client, at in times.items() if len(at) != 1} == {}
        at_a_time = Counter(int(drop.at) for drop in self.drops)
        assert max(at_a_time.values()) <= 3 * CLIENTS / seconds, at_a_time


@contextlib.contextmanager
def counting(traffic: Traffic, case: str, *nodes: str) -> Iterator[Noticed]:
    """Keep what the clients notice of what is done meanwhile, until all of them are back."""
    noticed = Noticed()
    began = traffic.mark(case)
    try:
        yield noticed
    finally:
        until = traffic.settle()
        handled = [note for node in nodes for note in inside(node, f"cat {HANDLED}").split()]
        noticed.counts = traffic.counts(began, until)
        noticed.counts["duplicates"] = traffic.duplicates(handled, began, until)
        noticed.drops = [drop for drop in traffic.drops if began <= drop.at <= until]
        noticed.failures = traffic.failures(began, until)
        keep_case(case, noticed.counts)


def make_source(
    directory: Path, version: str, more: str = "", requirements: Sequence[str] = ()
) -> Path:
    """Copy the app with another version and more code, and other requirements if there are any."""
    source = directory / version
    shutil.copytree(FILES / "app", source)
    (source / "version.py").write_text(f'VERSION = "{version}"\n', encoding="utf-8")
    with (source / "app.py").open("a", encoding="utf-8") as app:
        app.write(more)
    if requirements:
        (source / "requirements.txt").write_text("\n".join(requirements), encoding="utf-8")
    return source


def solo_inventory() -> Path:
    """Of the hosts that molecule knows, the one that serves alone."""
    whole = Path(os.environ["MOLECULE_INVENTORY_FILE"])
    inventory = yaml.safe_load(whole.read_text("utf-8"))
    inventory["app_servers"]["hosts"] = {"solo": {}}
    for group in ("load_balancers", "message_queue"):
        del inventory[group]
    # Beside the other, where the group variables are.
    path = whole.with_name("solo.yml")
    path.write_text(yaml.safe_dump(inventory), "utf-8")
    return path


def run(name: str, inventory: Path | None = None, **variables: Any) -> Run:
    done = playbook(name, inventory=inventory, niceness=NICENESS, **variables)
    return read(done.returncode, done.stdout)


def deployed(name: str, inventory: Path | None = None, **variables: Any) -> Run:
    """Run a playbook that must succeed."""
    done = run(name, inventory, **variables)
    assert done.returncode == 0, done.output
    return done


def state(node: str) -> list[str]:
    return inside(node, STATE).splitlines()


def generations(node: str) -> set[str]:
    """The generations that have an instance which serves."""
    units = inside(node, "systemctl list-units --plain --no-legend --state=active 'whoami-*@*'")
    return set(re.findall(r"whoami-([0-9a-f]{10})@", units))


def processes(node: str) -> set[str]:
    """The generations of which the process beside the instances runs."""
    units = inside(node, "systemctl list-units --plain --no-legend --state=active 'whoami-*'")
    return set(re.findall(r"whoami-([0-9a-f]{10})-worker[.]service", units))


def who(node: str) -> dict[str, Any]:
    """What the app tells through the node's own front door."""
    address = inside(node, "hostname --all-ip-addresses").split()[0]
    told: dict[str, Any] = json.loads(inside(node, f"curl -fsS http://{address}/whoami"))
    return told


def wait_until(condition: Callable[[], bool], limit: float) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"not in {limit:g} s"
        time.sleep(0.1)
