"""Three Redis servers and their Sentinels, and what the app hears when the primary is lost."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from ansible_collections.realtime.flask_socketio.plugins.module_utils.redis_protocol import (
    RedisConnection,
    RedisRefused,
)
from hardening import exposure, exposure_without
from scenario_hosts import container
from stack import PROJECT, playbook
from traffic import Traffic, keep_figures

QUEUES = ["queue1", "queue2", "queue3"]
SERVER = "redis-server@flask-socketio"
SENTINEL = "redis-sentinel@flask-socketio"
ADMIN_SOCKET = "/run/redis-flask-socketio/admin.sock"
DOWN_AFTER = 5


def inside(name: str, script: str, check: bool = True) -> str:
    done = subprocess.run(
        ["docker", "exec", "--interactive", container(name), "sh", "-s"],
        check=check,
        capture_output=True,
        text=True,
        input=script,
    )
    return done.stdout.strip()


def eventually(what: Callable[[], Any], limit: float) -> Any:
    """What it returned when that was true at last."""
    end = time.monotonic() + limit
    while not (found := what()):
        assert time.monotonic() < end, f"not in {limit:g} s"
        time.sleep(0.2)
    return found


def bus_secret() -> str:
    return inside("queue1", "cat /etc/flask-socketio/_redis/_bus")


def role(name: str) -> list[str]:
    """What the server says of itself: master, or slave, its primary and whether it has it."""
    admin = hashlib.sha256(f"{bus_secret()}:admin".encode()).hexdigest()
    said = inside(
        name, f"printf 'AUTH _admin {admin}\\nROLE\\n' | redis-cli -s {ADMIN_SOCKET}", check=False
    ).split()
    return said[1:2] if said[1:2] == ["master"] else said[1:5]


@pytest.fixture(scope="module")
def ask(address) -> Callable[..., Any]:
    """`ask("queue1", 26380, "PING")`, as somebody who knows no password."""

    def call(name: str, port: int, *words: str, user: str = "", password: str = "") -> Any:
        with RedisConnection(f"{address(name)}:{port}", user, password) as connection:
            return connection.call(*words)

    return call


@pytest.fixture(scope="module")
def primary(address, ask) -> Callable[[], str]:
    """The name of the host that all Sentinels call the primary; empty while they disagree."""
    names = {address(name): name for name in QUEUES}

    def agreed() -> str:
        said = set()
        for name in QUEUES:
            ip, _ = ask(name, 26380, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "flask-socketio")
            said.add(names[ip])
        return said.pop() if len(said) == 1 else ""

    return agreed


@pytest.fixture
def url(published) -> str:
    return f"http://{published('queue3', 80)}"


@pytest.mark.parametrize("unit", [SERVER, SENTINEL])
def test_the_queue_may_do_no_more_than_as_it_came(unit):
    run = partial(inside, QUEUES[0])
    drop_in = f"/etc/systemd/system/{unit}.service.d/flask-socketio.conf"
    assert exposure(run, unit) <= exposure_without(run, unit, drop_in) < 2


@pytest.fixture
def lost(primary) -> Iterator[str]:
    """The primary, which systemd would start again at once, stays down until the test's end."""
    name = primary()
    directory = f"/run/systemd/system/{SERVER}.service.d"
    inside(
        name,
        f"mkdir -p {directory}; printf '[Service]\\nRestart=no\\n' >{directory}/down.conf; "
        "systemctl daemon-reload",
    )
    yield name
    inside(name, f"rm -r {directory}; systemctl daemon-reload; systemctl start {SERVER}")


def test_first_host_is_primary_and_others_follow(address, primary):
    assert primary() == "queue1"
    assert role("queue1") == ["master"]
    for name in ("queue2", "queue3"):
        assert role(name) == ["slave", address("queue1"), "6380", "connected"]


def test_a_failover_can_succeed(ask):
    for name in QUEUES:
        said = ask(name, 26380, "SENTINEL", "MASTER", "flask-socketio")
        known = dict(zip(said[::2], said[1::2], strict=True))
        wanted = ("flags", "num-slaves", "num-other-sentinels", "quorum")
        assert [known[word] for word in wanted] == ["master", "2", "2", "2"]
        assert int(known["down-after-milliseconds"]) == DOWN_AFTER * 1000


def test_the_distributions_own_services_are_left_out():
    for name in QUEUES:
        for unit in ("redis-server", "redis-sentinel"):
            state = inside(name, f"systemctl is-active {unit}; systemctl is-enabled {unit}", False)
            assert state.split() == ["inactive", "disabled"]
        assert inside(name, "dpkg --verify redis-server redis-sentinel redis-tools") == ""


@pytest.mark.parametrize(
    "words",
    [
        ["SENTINEL", "FAILOVER", "flask-socketio"],
        ["SENTINEL", "SET", "flask-socketio", "quorum", "1"],
        ["SENTINEL", "REMOVE", "flask-socketio"],
        ["SENTINEL", "CONFIG", "GET", "*"],
        ["SUBSCRIBE", "+switch-master"],
        ["ACL", "LIST"],
        ["SHUTDOWN"],
    ],
)
def test_who_has_no_password_may_only_ask_where_the_primary_is(ask, words):
    with pytest.raises(RedisRefused, match=r"^NOPERM "):
        ask("queue2", 26380, *words)


def test_the_sentinels_password_opens_no_more_than_it_needs(ask):
    password = hashlib.sha256(f"{bus_secret()}:sentinel".encode()).hexdigest()
    login = {"user": "_sentinel", "password": password}
    assert ask("queue2", 26380, "PING", **login) == "PONG"
    for port, words in (
        (26380, ["SENTINEL", "SET", "flask-socketio", "quorum", "1"]),
        (6380, ["ACL", "LIST"]),
        (6380, ["PUBLISH", "whoami", "x"]),
    ):
        with pytest.raises(RedisRefused, match=r"^NOPERM "):
            ask("queue2", port, *words, **login)


def test_nobody_was_refused_what_the_servers_need():
    admin = hashlib.sha256(f"{bus_secret()}:admin".encode()).hexdigest()
    for name in QUEUES:
        # A Sentinel's rewriting of the configuration fails at the file, not at its rights.
        log = inside(name, f"journalctl --unit={SERVER} --unit={SENTINEL} --output=cat")
        assert "NOPERM" not in log
        assert "WRONGPASS" not in log
        assert admin not in log


@pytest.fixture
def secrets() -> list[str]:
    password, bus = inside("queue1", "cd /etc/flask-socketio/_redis; cat whoami _bus").split()
    users = ("admin", "replica", "sentinel")
    derived = [hashlib.sha256(f"{bus}:{user}".encode()).hexdigest() for user in users]
    return [password, bus, *derived]


def test_secrets_are_nowhere_to_be_seen(secrets):
    for name in QUEUES:
        seen = inside(
            name,
            "ps -eww -o args=; systemctl show 'redis-*' 'whoami-*'; journalctl --output=cat",
        )
        assert "redis-server" in seen
        assert [secret for secret in secrets if secret in seen] == []
        modes = inside(
            name,
            "stat -c '%n %a %U:%G' /etc/redis/*flask-socketio*; "
            "find /etc/flask-socketio/_redis -type f -printf '%p %m %u:%g\\n' || true",
        ).splitlines()
        assert [line.split(" ", 1)[1] for line in modes[:3]] == [
            "640 root:redis",
            "640 root:redis",
            "640 redis:redis",
        ]
        assert [line.split(" ", 1)[1] for line in modes[3:]] == (
            ["600 root:root", "600 root:root"] if name == "queue1" else []
        )


def crossed(traffic: Traffic, since: float) -> float:
    """When a message that was said since then first reached a client of the other instance."""
    times = [
        heard[0] - since
        for message in list(traffic.messages.values())
        if message.at >= since
        for who, heard in message.heard.items()
        if message.due.get(who, message.instance) != message.instance
    ]
    return min(times, default=0.0)


def test_delivery_resumes_when_the_primary_is_lost(url, lost, primary):
    # So many that both instances have some.
    with Traffic([url], clients=16, newcomers=1, kinds=["websocket"]) as traffic:
        eventually(lambda: len(traffic.instances()) == 2, 20)
        eventually(lambda: crossed(traffic, 0), 5)
        inside(lost, f"systemctl kill --signal=KILL {SERVER}")
        # What was on its way is not counted.
        killed = traffic.mark("killed")
        resumed = eventually(lambda: crossed(traffic, killed), DOWN_AFTER + 15)
        whole = traffic.mark("resumed") + 1
        # What is said from then on arrives everywhere.
        eventually(lambda: traffic.now() > whole + 3, 10)
    figures = traffic.figures(killed) | {"delivery_resumed": round(resumed, 2)}
    keep_figures("primary lost", figures)
    assert "messages" not in traffic.wrong(whole)
    assert inside(lost, f"systemctl is-active {SERVER}", False) == "failed"
    assert primary() not in ("", lost)
    assert DOWN_AFTER - 1 < resumed <= DOWN_AFTER + 5


def test_the_former_primary_comes_back_as_a_replica(address, primary):
    now = primary()
    assert now != "queue1"
    back = ["slave", address(now), "6380", "connected"]
    began = time.monotonic()
    eventually(lambda: role("queue1") == back, 30)
    keep_figures("former primary back", {"replica_after": round(time.monotonic() - began, 2)})
    assert inside("queue1", f"systemctl is-active {SERVER}") == "active"


@pytest.fixture
def deploy(address) -> Callable[..., str]:
    """Run the role on the three hosts as site.yml does; returns what it said."""

    def run(*arguments: str, entry: str = "main", **variables: Any) -> str:
        done = playbook(
            str(PROJECT / "molecule/sentinel/tests/role.yml"),
            *arguments,
            role_hosts="message_queue",
            role_entry=entry,
            redis_name="whoami",
            redis_hosts=[{"name": name, "address": address(name)} for name in QUEUES],
            redis_address="{{ redis_hosts | selectattr('name', 'equalto', inventory_hostname)"
            " | map(attribute='address') | first }}",
            **variables,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


def test_a_run_after_a_failover_changes_nothing(deploy, primary):
    now = primary()
    kept = [inside(name, "cat /etc/redis/sentinel-flask-socketio.conf") for name in QUEUES]
    assert deploy().count(" changed=0 ") == len(QUEUES)
    assert primary() == now != "queue1"
    assert [inside(name, "cat /etc/redis/sentinel-flask-socketio.conf") for name in QUEUES] == kept


def test_another_setting_reaches_the_sentinels_and_moves_nothing(ask, deploy, primary):
    now = primary()
    deploy(redis_sentinel_down_after=4)
    for name in QUEUES:
        said = ask(name, 26380, "SENTINEL", "MASTER", "flask-socketio")
        assert said[said.index("down-after-milliseconds") + 1] == "4000"
    assert primary() == now


def test_all_servers_restarted_by_a_run_find_their_places(deploy, primary, secrets):
    """Another configuration restarts them all; one that comes back begins as a primary."""
    now = primary()
    told = deploy("-vvv", "--diff", redis_sentinel_down_after=3, redis_pubsub_buffer=32)
    assert " changed=0 " not in told
    assert [secret for secret in secrets if secret in told] == []
    assert primary() == now
    assert [role(name)[0] for name in QUEUES] == [
        "master" if name == now else "slave" for name in QUEUES
    ]


def test_with_the_last_app_servers_and_sentinels_go(deploy):
    deploy(entry="remove")
    assert deploy(entry="remove").count(" changed=0 ") == len(QUEUES)
    for name in QUEUES:
        for unit in (SERVER, SENTINEL):
            state = inside(name, f"systemctl is-active {unit}; systemctl is-enabled {unit}", False)
            assert state.split() == ["inactive", "disabled"]
        assert inside(name, "ls /etc/redis").split() == ["redis.conf", "sentinel.conf"]
        assert inside(name, "ls -A /etc/flask-socketio | grep _redis", False) == ""
