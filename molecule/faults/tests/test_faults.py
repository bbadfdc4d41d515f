"""What clients meet while a part of the stack is broken: all messages and handshakes are counted.

Each test leaves the stack whole: the next one begins by connecting all of its clients.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from refusals import inside
from scenario_hosts import docker, scenario_name
from traffic import Traffic, keep_figures

BALANCERS = ["lb1", "lb2"]
CLIENTS = 12
INSTANCES = {f"node{n}/{i}" for n in (1, 2) for i in (1, 2)}
QUEUE = "queue1"
REDIS = "redis-server@flask-socketio.service"
# As molecule.yml has it: after so many seconds systemd kills an instance that hangs.
WATCHDOG = 4
# As files/app/app.py has them: after so long a client knows that nobody is there.
PINGS = 4 + 4
# As molecule.yml has it.
SHUTDOWN = 8
# From the end of an instance until it serves again, on a busy machine.
RESTART = 5
# What socket.io-client waits before its first attempt, at most, and the time for that.
RECONNECT = 1.5 + 1


@pytest.fixture(scope="module")
def failover_address() -> str:
    gateway = docker(
        "network",
        "inspect",
        "--format",
        "{{(index .IPAM.Config 0).Gateway}}",
        f"fs-{scenario_name()}",
    )
    return f"{gateway.rpartition('.')[0]}.250"


@pytest.fixture
def url(failover_address: str) -> str:
    return f"http://{failover_address}"


@pytest.fixture
def holder(failover_address: str) -> str:
    (name,) = holders(failover_address)
    return name


def holders(failover_address: str) -> list[str]:
    """The balancers that have the address."""
    command = f"ip -oneline -4 address show to {failover_address}/32"
    return [name for name in BALANCERS if inside(name, command)]


def unit(name: str, number: str) -> str:
    command = f"systemctl list-units --plain --no-legend 'whoami-*@{number}.service'"
    return inside(name, command).split()[0]


def busiest(traffic: Traffic) -> tuple[str, str, int]:
    """Node and number of the instance that has most of the clients, and how many it has."""
    ((instance, count),) = traffic.instances().most_common(1)
    node, _, number = instance.partition("/")
    return node, number, count


@contextlib.contextmanager
def unplugged(name: str) -> Iterator[None]:
    """Take a host's network away: nobody gets an answer, not even a refusal."""
    route = inside(name, "ip route show default").strip()
    inside(name, "ip link set eth0 down")
    try:
        yield
    finally:
        inside(name, f"ip link set eth0 up; ip route replace {route}")


def keep(name: str, traffic: Traffic, since: float, **more: float) -> dict[str, Any]:
    figures = traffic.figures(since) | {key: round(value, 2) for key, value in more.items()}
    keep_figures(name, figures)
    return figures


def none_failed(traffic: Traffic, since: float) -> bool:
    """Whether no handshake failed that began since. One that is under way ends with its process."""
    return traffic.figures(since)["handshakes"]["failed"] == 0


def test_nothing_is_lost_while_nothing_breaks(url):
    """The control of all others."""
    with Traffic([url], clients=CLIENTS) as traffic:
        began = traffic.mark("began")
        # Long enough that newcomers find each, or a fault of one of them would show nothing.
        while traffic.now() < began + 3 or traffic.instances_seen() != INSTANCES:
            assert traffic.now() < began + 15, traffic.instances_seen()
            time.sleep(0.1)
    figures = keep("nothing", traffic, began)
    assert figures["wrong_until"] == {}
    assert figures["messages"]["received"] == figures["messages"]["due"] > 0


def test_an_instance_is_killed(url):
    with Traffic([url], clients=CLIENTS) as traffic:
        node, number, count = busiest(traffic)
        killed = traffic.mark("killed")
        inside(node, f"systemctl kill --signal=KILL {unit(node, number)}")
        since = traffic.now()
        traffic.until_whole(killed, limit=RECONNECT + 1)
    figures = keep("an instance killed", traffic, killed)
    assert none_failed(traffic, since), figures
    # Those of the others notice nothing.
    assert figures["connections"]["dropped"] == count


def test_all_instances_of_a_node_are_killed(url):
    """The node's nginx then has nobody to ask, and must ask them again as soon as they are back."""
    with Traffic([url], clients=CLIENTS) as traffic:
        node, _, _ = busiest(traffic)
        killed = traffic.mark("killed")
        inside(node, "systemctl kill --signal=KILL 'whoami-*@*.service'")
        since = traffic.now()
        traffic.until_whole(killed, limit=RESTART + RECONNECT + 2)
    figures = keep("all instances of a node killed", traffic, killed)
    # A client of WebSocket only gets no second chance from the balancer.
    failures = traffic.figures(since)["handshakes"]["failures"]
    assert {failure.split()[0] for failure in failures} <= {"websocket"}, figures


def test_an_instance_hangs(url):
    with Traffic([url], clients=CLIENTS) as traffic:
        node, number, count = busiest(traffic)
        hung = traffic.mark("hung")
        # Its main process too, which would otherwise notice.
        inside(node, f"systemctl kill --signal=STOP {unit(node, number)}")
        since = traffic.now()
        traffic.until_whole(hung, limit=WATCHDOG + RECONNECT + 1)
    figures = keep("an instance hung", traffic, hung)
    assert none_failed(traffic, since), figures
    assert figures["connections"]["dropped"] == count
    assert figures["wrong_until"]["messages"] <= 5
    # It did hang: nginx waited for an answer to a handshake, and asked another instance.
    assert figures["handshakes"]["slowest"] > 2


def test_a_node_is_cut_off(url):
    with Traffic([url], clients=CLIENTS) as traffic:
        node, _, _ = busiest(traffic)
        with unplugged(node):
            cut = traffic.mark("cut off")
            left = traffic.until_whole(cut, limit=5, of=["handshakes"])
            traffic.until_whole(cut, limit=PINGS + RECONNECT + 5)
            assert {drop.instance.partition("/")[0] for drop in traffic.drops} == {node}
        traffic.until_whole(traffic.mark("back"), limit=5)
    keep("a node cut off", traffic, cut, handshakes_failed_until=left)


@pytest.mark.parametrize("down", [0, 4])
def test_redis_is_restarted(url, down):
    with Traffic([url], clients=CLIENTS) as traffic:
        began = traffic.mark("stopped")
        inside(QUEUE, f"systemctl stop {REDIS}; sleep {down}; systemctl start {REDIS}")
        back = traffic.mark("back")
        whole = traffic.until_whole(began, limit=back - began + 10)
    figures = keep(f"Redis restarted after {down} s", traffic, began, resumed_after=whole)
    # What is local is not touched.
    assert figures["connections"]["dropped"] == 0
    assert figures["handshakes"]["failed"] == 0
    assert figures["messages"]["acknowledged"] == figures["messages"]["sent"]
    # It was away, or this shows nothing.
    assert figures["messages"]["received"] < figures["messages"]["due"]
    assert whole <= back - began + 2, figures


def leaving(name: str) -> int:
    """The workers of a balancer's nginx that have been told to go."""
    return int(inside(name, "pgrep --count --full 'nginx: worker process is shutting' || true"))


def test_a_balancer_is_reloaded(url, holder):
    with Traffic([url], clients=CLIENTS) as traffic:
        reloaded = traffic.mark("reloaded")
        inside(holder, "systemctl reload nginx")
        # nginx tells its workers after systemctl has come back.
        while not (told := leaving(holder)) and traffic.now() < reloaded + 2:
            time.sleep(0.05)
        assert told > 0
        # All the time that they have, and then some.
        while traffic.now() < reloaded + SHUTDOWN + 2:
            time.sleep(0.1)
        gone = leaving(holder)
        traffic.until_whole(reloaded, limit=SHUTDOWN + RECONNECT + 2)
    figures = keep("a balancer reloaded", traffic, reloaded)
    assert gone == 0
    assert figures["handshakes"]["failed"] == 0, figures
    first = min(drop.at - reloaded for drop in traffic.drops)
    assert first == pytest.approx(SHUTDOWN, abs=1.5)


def test_a_balancer_is_restarted(url, address, holder, failover_address):
    """Debian's unit lets nginx close its port and wait for its clients, for five seconds."""
    (other,) = {*BALANCERS} - {holder}
    alone = Traffic([f"http://{address(holder)}"], clients=4)
    with Traffic([url], clients=CLIENTS) as traffic, alone:
        restarted, began = traffic.mark("restarted"), alone.mark("restarted")
        inside(holder, "systemctl restart nginx")
        traffic.until_whole(restarted, limit=5 + RECONNECT)
        alone.until_whole(began, limit=10 + RECONNECT)
    figures = keep("a balancer restarted, with another", traffic, restarted)
    assert figures["connections"]["dropped"] == figures["connections"]["back"] == CLIENTS
    assert holders(failover_address) == [other]
    by_itself = keep("a balancer restarted, without another", alone, began)
    assert figures["handshakes"]["failed"] < by_itself["handshakes"]["failed"]


def test_one_of_two_balancers_is_lost(url, holder, failover_address):
    (other,) = {*BALANCERS} - {holder}
    with Traffic([url], clients=CLIENTS) as traffic:
        with unplugged(holder):
            lost = traffic.mark("lost")
            traffic.until_whole(lost, limit=5 + PINGS + RECONNECT)
            assert other in holders(failover_address)
        # It must not come back with the address: that would close all connections again.
        traffic.until_whole(traffic.mark("back"), limit=0, calm=5)
    keep("one of two balancers lost", traffic, lost)
    assert holders(failover_address) == [other]
