"""What goes wrong on one node is noticed by nobody but the one who deploys."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass, field
from typing import Any

import pytest
from deploys import (
    CLIENTS,
    DEPLOY,
    LOCK,
    NICENESS,
    SITE,
    counting,
    deployed,
    generations,
    run,
    state,
    wait_until,
    who,
)
from refusals import inside
from stack import started

FILLER = "/opt/whoami/filler"
FOREIGN = "/etc/nginx/conf.d/foreign.conf"
PROBE = r"(?:Start the target and every instance|Probe every instance on its own socket): failed\."


@dataclass(frozen=True)
class Bad:
    case: str
    message: str
    """A regular expression for a part of the message."""
    more: str = ""
    """Of the app's code."""
    requirements: tuple[str, ...] = ()
    before: str = "true"
    after: str = "true"
    variables: dict[str, Any] = field(default_factory=dict)


CASES = [
    Bad(
        "import error",
        r"importing it fails: ModuleNotFoundError: No module named 'nowhere'",
        more="import nowhere\n",
    ),
    Bad(
        "crash loop after the start",
        PROBE,
        more='\n\n@socketio.on("connect")\ndef crash() -> None:\n    os._exit(3)\n',
    ),
    Bad(
        "upgrade refused",
        PROBE,
        more="""

answer = app.wsgi_app


def without_upgrade(environ, start):
    if "HTTP_UPGRADE" in environ:
        start("400 Bad Request", [])
        return []
    return answer(environ, start)


app.wsgi_app = without_upgrade
""",
        variables={"app_processes": [{"name": "worker", "command": "python worker.py"}]},
    ),
    Bad(
        "pip install failed",
        "No matching distribution found for flask-socketio==0.0.404",
        requirements=("flask-socketio==0.0.404",),
    ),
    Bad(
        "migration failed",
        "no such column",
        variables={"app_migration": "python -c \"raise SystemExit('no such column')\""},
    ),
    Bad(
        "disk full",
        "No space left on device",
        before=f"dd if=/dev/zero of={FILLER} bs=1M 2>/dev/null || true",
        after=f"rm {FILLER}",
    ),
    Bad(
        "nginx configuration invalid",
        r'unknown directive "nonsense" in /etc/nginx/conf\.d/foreign\.conf:1',
        before=f"echo 'nonsense;' >{FOREIGN}",
        after=f"rm {FOREIGN}",
    ),
]


@pytest.mark.parametrize("bad", CASES, ids=[bad.case for bad in CASES])
def test_a_failure_is_noticed_by_nobody(solo, solo_traffic, source, bad: Bad):
    version = bad.case.partition(" ")[0]
    variables = {"app_source": str(source(version, bad.more, bad.requirements))} | bad.variables
    before = state("solo")
    with counting(solo_traffic, bad.case, "solo") as noticed:
        inside("solo", bad.before)
        try:
            failed = run(DEPLOY, solo.inventory, **variables)
        finally:
            inside("solo", bad.after)
    assert failed.returncode != 0, failed.output
    assert any(re.search(bad.message, text) for _, text in failed.errors), failed.output
    noticed.assert_nothing_noticed()
    assert state("solo") == before, failed.output


def test_a_hook_after_the_switch_fails(solo, solo_traffic, source):
    """The clients have moved by then, and move back."""
    before, was = who("solo"), generations("solo")
    hooks = {"after_switch": [{"command": "echo no mail server; exit 1"}]}
    with counting(solo_traffic, "hook after the switch", "solo") as noticed:
        failed = run(DEPLOY, solo.inventory, app_source=str(source("hook")), app_hooks=hooks)
    assert failed.returncode != 0, failed.output
    assert any("app_hooks.after_switch" in text for _, text in failed.errors), failed.output
    assert any("no mail server" in text for _, text in failed.errors), failed.output
    noticed.assert_nothing_lost()
    assert {drop.client for drop in noticed.drops} == {f"client{n}" for n in range(CLIENTS)}
    assert who("solo") == before
    assert generations("solo") == was
    assert solo_traffic.versions() == {before["version"]: CLIENTS}
    assert inside("solo", f"ls {LOCK} 2>/dev/null || true") == ""


def test_what_hangs_can_be_replaced(solo, solo_traffic, source):
    """It neither lets its clients go nor ends when it is told to; it has failed them already."""
    inside("solo", "systemctl kill --signal=STOP 'whoami-*@*'")
    deployed(DEPLOY, solo.inventory, app_source=str(source("awake")))
    solo_traffic.settle()
    assert solo_traffic.versions() == {"awake": CLIENTS}
    assert len(generations("solo")) == 1


def site() -> str:
    return inside("solo", f"cat {SITE}")


def test_ansible_is_killed_and_run_again(solo, solo_traffic, source):
    """Killed when both instances run and nginx is told of the new one."""
    variables = {"app_source": str(source("killed"))}
    before, was = site(), generations("solo")
    with counting(solo_traffic, "ansible killed", "solo") as noticed:
        run_to_kill = started(DEPLOY, inventory=solo.inventory, niceness=NICENESS, **variables)
        wait_until(lambda: site() != before or run_to_kill.poll() is not None, 90)
        os.killpg(run_to_kill.pid, signal.SIGKILL)
        assert run_to_kill.wait() == -signal.SIGKILL
    noticed.assert_nothing_lost()
    assert len(generations("solo")) == 2

    with counting(solo_traffic, "stale lock", "solo") as noticed:
        refused = run(DEPLOY, solo.inventory, **variables)
    assert refused.refused, refused.output
    assert re.search(r" is held by another run: .*-e app_break_lock=true", refused.message, re.S)
    noticed.assert_nothing_lost()

    with counting(solo_traffic, "run again after a kill", "solo") as noticed:
        deployed(DEPLOY, solo.inventory, app_break_lock=True, **variables)
    noticed.assert_nothing_lost()
    assert solo_traffic.versions() == {"killed": CLIENTS}
    assert len(generations("solo")) == 1
    assert generations("solo").isdisjoint(was)
    assert inside("solo", f"ls {LOCK} 2>/dev/null || true") == ""


def test_the_second_of_two_deploys_is_refused(solo, solo_traffic, source):
    with counting(solo_traffic, "two deploys at once", "solo") as noticed:
        first = started(
            DEPLOY, inventory=solo.inventory, niceness=NICENESS, app_source=str(source("first"))
        )
        wait_until(lambda: inside("solo", f"ls {LOCK} 2>/dev/null || true") != "", 60)
        second = run(DEPLOY, solo.inventory, app_source=str(source("second")))
        assert first.poll() is None, "the first had ended before the second was refused"
        assert first.wait(timeout=120) == 0
    assert second.refused, second.output
    assert " is held by another run: " in second.message
    noticed.assert_nothing_lost()
    assert solo_traffic.versions() == {"first": CLIENTS}
    assert len(generations("solo")) == 1
