"""Two nodes behind a balancer, and Redis: with one instance each, and with four."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from deploys import (
    CLIENTS,
    DEPLOY,
    FILES,
    ROLLBACK,
    counting,
    deployed,
    generations,
    load,
    run,
    state,
    who,
)
from refusals import inside
from traffic import Traffic

NODES = ("node1", "node2")
REDIS = "redis-server@flask-socketio.service"
HOOKS = "/var/lib/flask-socketio/whoami/hooks"
NAMES = ("after_build", "before_switch", "after_switch")


@pytest.fixture
def url(address) -> str:
    return f"http://{address('lb1')}"


@pytest.fixture
def traffic(url) -> Iterator[Traffic]:
    with load(url) as traffic:
        yield traffic


def versions() -> list[str]:
    return [who(node)["version"] for node in NODES]


def current(node: str) -> str:
    return inside(node, "basename $(readlink /opt/whoami/current)").strip()


def pids(node: str) -> dict[str, str]:
    """The main process of each instance that runs, by the instance's unit."""
    shown = inside(node, "systemctl show 'whoami-*@*' --property Id,MainPID,ActiveState")
    units = [dict(line.split("=", 1) for line in one.splitlines()) for one in shown.split("\n\n")]
    return {unit["Id"]: unit["MainPID"] for unit in units if unit["ActiveState"] == "active"}


def test_a_deploy_over_two_nodes_with_hooks_and_a_migration(traffic, source):
    hooks = {name: [{"command": f"python hook.py {name}"}] for name in NAMES}
    hooks["before_build"] = [{"tasks": str(FILES / "hook.yml")}]
    with counting(traffic, "two nodes: new code", *NODES) as noticed:
        deployed(
            DEPLOY,
            app_source=str(source("2")),
            app_version="2",
            app_hooks=hooks,
            app_migration="python hook.py migration",
        )
    noticed.assert_nothing_lost()
    assert traffic.versions() == {"2": CLIENTS}
    assert versions() == ["2", "2"]
    assert [len(generations(node)) for node in NODES] == [1, 1]
    ran = [inside(node, f"cat {HOOKS}").splitlines() for node in NODES]
    around = ["before_switch 2", "after_switch 2"]
    assert ran == [
        ["before_build", "after_build 2", "migration 2", *around],
        ["before_build", "after_build 2", *around],
    ]


def test_a_rollback(traffic):
    before = versions()
    names = ("before_rollback", "after_rollback")
    hooks = {name: [{"command": f"python hook.py {name}"}] for name in names}
    with counting(traffic, "rollback", *NODES) as noticed:
        deployed(ROLLBACK, app_hooks=hooks)
    noticed.assert_nothing_lost()
    ran = [inside(node, f"cat {HOOKS}").splitlines()[-2:] for node in NODES]
    assert ran == [["before_rollback 1", "after_rollback 1"]] * 2
    assert versions() == ["1", "1"] != before
    assert traffic.versions() == {"1": CLIENTS}


def test_a_failure_on_the_second_node_brings_the_first_back(traffic, source):
    before, was = versions(), [generations(node) for node in NODES]
    (release,) = {current(node) for node in NODES}
    broken = """

if socket.gethostname() == "node2":

    @socketio.on("connect")
    def crash() -> None:
        os._exit(3)
"""
    with counting(traffic, "failure on the second node", *NODES) as noticed:
        failed = run(DEPLOY, app_source=str(source("broken", broken)))
    assert failed.returncode != 0, failed.output
    assert any("node2" in host and "failed." in text for host, text in failed.errors), failed.output
    noticed.assert_nothing_lost()
    # The first node did switch, or this shows nothing.
    assert {drop.instance.partition("/")[0] for drop in noticed.drops} >= {"node1"}
    assert versions() == before
    assert traffic.versions() == {before[0]: CLIENTS}
    assert [generations(node) for node in NODES] == was
    assert {current(node) for node in NODES} == {release}


def test_a_deploy_without_its_queue_is_refused(traffic, source):
    before = [state(node) for node in NODES]
    with counting(traffic, "queue down", *NODES) as noticed:
        inside("lb1", f"systemctl stop {REDIS}")
        try:
            refused = run(DEPLOY, app_source=str(source("queueless")))
        finally:
            inside("lb1", f"systemctl start {REDIS}")
    assert refused.returncode != 0, refused.output
    assert any("the message queue at redis://" in text for _, text in refused.errors), (
        refused.output
    )
    noticed.assert_nothing_noticed()
    assert [state(node) for node in NODES] == before


def same() -> dict[str, str]:
    """What makes a run deploy the version that runs, from the same source."""
    (release,) = {current(node) for node in NODES}
    return {"app_release": release}


def test_scaling_up_disturbs_nobody(traffic):
    kept = [pids(node) for node in NODES]
    assert [len(node) for node in kept] == [1, 1]
    with counting(traffic, "1 to 4 instances", *NODES) as noticed:
        deployed(DEPLOY, app_instances=4, **same())
    noticed.assert_nothing_noticed()
    grown = [pids(node) for node in NODES]
    assert [len(node) for node in grown] == [4, 4]
    assert all(before.items() <= after.items() for before, after in zip(kept, grown, strict=True))


def test_scaling_down_disturbs_only_clients_of_what_is_removed(traffic):
    kept = [{unit: pid for unit, pid in pids(node).items() if "@1." in unit} for node in NODES]
    assert [len(node) for node in kept] == [1, 1]
    removed = {f"{node}/{number}" for node in NODES for number in (2, 3, 4)}
    theirs = sum(count for name, count in traffic.instances().items() if name in removed)
    assert theirs > 0
    with counting(traffic, "4 to 1 instances", *NODES) as noticed:
        deployed(DEPLOY, app_instances=1, **same())
    noticed.assert_nothing_lost()
    # A client of the first node may come to one on the second that is removed next.
    assert {drop.instance for drop in noticed.drops} <= removed
    assert len({drop.client for drop in noticed.drops}) == theirs
    assert [pids(node) for node in NODES] == kept
