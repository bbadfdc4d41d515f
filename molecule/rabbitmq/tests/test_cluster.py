"""Three nodes of RabbitMQ and an app that outlives the one in use."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
import socketio
from hardening import exposure, exposure_without
from refusals import inside
from traffic import Traffic, keep_figures

QUEUES = ["mq1", "mq2", "mq3"]
APP = "node1"
testinfra_hosts = QUEUES
FILES = Path(__file__).parents[1] / "files"
STAY_DOWN = "/run/systemd/system/rabbitmq-server.service.d/stay-down.conf"
# Until RabbitMQ, which starts beside three others on two cores, is in the cluster again.
START_LIMIT = 60


@pytest.fixture
def url(published: Callable[[str, int], str]) -> str:
    return f"http://{published(APP, 80)}"


@pytest.fixture
def names(address: Callable[[str], str]) -> dict[str, str]:
    """The hosts of the queue by address."""
    return {address(name): name for name in QUEUES}


def login() -> dict[str, Any]:
    """The app's login at the first node, from what the app is given."""
    environment = inside(APP, "cat /etc/flask-socketio/whoami/environment-*")
    found = re.search(
        r'SOCKETIO_MESSAGE_QUEUE="amqp://(?P<user>\w+):(?P<password>\w+)@(?P<host>[\d.]+):'
        r"(?P<port>\d+)/(?P<vhost>\w+);",
        environment,
    )
    assert found
    return found.groupdict()


def ctl(name: str, *arguments: str) -> Any:
    command = f"rabbitmqctl --silent --formatter json {' '.join(arguments)}"
    return json.loads(inside(name, command))


def connections() -> list[str]:
    """Addresses of the nodes that the app's processes are connected to."""
    return inside(
        APP, "ss --no-header -tn state established dport = :5672 | awk '{print $4}' | cut -d: -f1"
    ).split()


def running(name: str) -> set[str]:
    return set(ctl(name, "cluster_status")["running_nodes"])


@pytest.fixture
def stay_down() -> Iterator[Callable[[str], None]]:
    """Kill a node's process so that systemd does not start it again; at the end all are back."""
    down: list[str] = []

    def kill(name: str) -> None:
        down.append(name)
        inside(
            name,
            f"mkdir -p {Path(STAY_DOWN).parent}; printf '[Service]\\nRestart=no\\n' >{STAY_DOWN}; "
            "systemctl daemon-reload; systemctl kill --signal=KILL rabbitmq-server",
        )

    yield kill
    for name in down:
        start(name)


def test_the_queue_may_do_less_than_as_it_came():
    run = partial(inside, QUEUES[0])
    drop_in = "/etc/systemd/system/rabbitmq-server.service.d/flask-socketio.conf"
    ours = exposure(run, "rabbitmq-server")
    assert ours < 4 < 9 < exposure_without(run, "rabbitmq-server", drop_in)


def start(name: str) -> None:
    inside(
        name,
        f"rm -f {STAY_DOWN}; systemctl daemon-reload; systemctl start rabbitmq-server; "
        f"timeout {START_LIMIT} rabbitmqctl --silent await_online_nodes 2",
    )


def test_it_listens_on_its_own_address_only(host: Any, names: dict[str, str]) -> None:
    name = host.check_output("hostname")
    own = next(address for address, queue in names.items() if queue == name)
    listening = host.check_output("ss -Hltn | awk '{print $4}'").split()
    assert sorted(set(listening) - {"0.0.0.0:22", "[::]:22"} - docker_dns(listening)) == sorted(
        ["127.0.0.1:4369", f"{own}:4369", f"{own}:5672", f"{own}:25672"]
    )


def docker_dns(listening: list[str]) -> set[str]:
    return {one for one in listening if one.startswith("127.0.0.11:")}


def test_every_node_knows_all(host: Any, names: dict[str, str]) -> None:
    assert running(host.check_output("hostname")) == {f"rabbit@{address}" for address in names}


def test_the_cookie_is_the_same_and_rabbitmqs_own() -> None:
    script = "cd /var/lib/rabbitmq; stat -c '%a %U:%G %s' .erlang.cookie; sha256sum .erlang.cookie"
    (seen,) = {inside(name, script) for name in QUEUES}
    assert re.match(r"400 rabbitmq:rabbitmq [2-9]\d\n", seen)


def test_only_the_app_has_a_user_and_no_plugin_is_on() -> None:
    assert [(one["user"], one["tags"]) for one in ctl("mq1", "list_users")] == [("whoami", [])]
    (may,) = ctl("mq2", "list_permissions", "--vhost", "whoami")
    own = "^(whoami|python-socketio\\..+)$"
    assert may == {"user": "whoami", "configure": own, "write": own, "read": own}
    enabled = inside("mq1", "rabbitmq-plugins list --silent --minimal --enabled")
    assert enabled.strip() == ""


def test_the_password_is_kept_on_the_first_only() -> None:
    script = "stat -c '%a %U:%G' /etc/rabbitmq/flask-socketio-* 2>/dev/null; true"
    assert [inside(name, script).split("\n") for name in QUEUES] == [
        ["600 root:root", ""],
        [""],
        [""],
    ]


def test_the_login_may_do_what_python_socketio_does_and_nothing_else() -> None:
    script = (FILES / "attempts.py").read_text(encoding="utf-8")
    given = json.dumps(login() | {"channel": "whoami"})
    ran = inside(
        APP,
        f"cat >/run/attempts.py <<'END'\n{script}\nEND\n"
        f"/opt/whoami/current/venv/bin/python /run/attempts.py <<'END'\n{given}\nEND\n",
    )
    assert json.loads(ran) == {
        "broadcast": "allowed",
        "another exchange": "403 AccessRefused",
        "another queue": "403 AccessRefused",
        "publish elsewhere": "403 AccessRefused",
        "listen elsewhere": "403 AccessRefused",
        "another virtual host": "530 NotAllowed",
        "another password": "403 AccessRefused",
        "guest": "403 AccessRefused",
    }


def test_the_password_is_nowhere_to_be_seen() -> None:
    password = login()["password"]
    assert len(password) == 40
    script = (
        "journalctl --no-pager; cat /var/log/rabbitmq/*.log; ps axww; "
        "systemctl show rabbitmq-server 'whoami*'; true"
    )
    for name in [*QUEUES, APP]:
        seen = inside(name, script)
        assert "rabbitmq" in seen
        assert password not in seen


class Pair:
    """One client on each of the two instances."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.heard: dict[str, asyncio.Queue[str]] = {}
        self._clients: list[socketio.AsyncClient] = []

    async def __aenter__(self) -> Self:
        while len(self.heard) < 2:
            client = socketio.AsyncClient(reconnection=False)
            known: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            heard: asyncio.Queue[str] = asyncio.Queue()
            client.on("whoami", known.set_result)
            client.on("said", lambda data, heard=heard: heard.put_nowait(data["text"]))
            await client.connect(self.url, transports=["websocket"], wait_timeout=5)
            self._clients.append(client)
            self.heard.setdefault((await known)["instance"], heard)
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            await client.disconnect()

    async def say(self, text: str) -> list[str]:
        """Say it to one instance; returns the instances whose clients hear it within 5 s."""
        await self._clients[0].emit("say", text)
        told = []
        for instance, heard in sorted(self.heard.items()):
            with contextlib.suppress(TimeoutError):
                assert await asyncio.wait_for(heard.get(), 5) == text
                told.append(instance)
        return told


def test_a_message_reaches_the_clients_of_both_instances(url: str) -> None:
    async def say() -> list[str]:
        async with Pair(url) as pair:
            return await pair.say("hello")

    assert asyncio.run(asyncio.wait_for(say(), 30)) == ["1", "2"]


def test_a_lost_node_is_left_for_another(
    url: str, names: dict[str, str], stay_down: Callable[[str], None]
) -> None:
    used = names[Counter(connections()).most_common(1)[0][0]]
    with Traffic([url], clients=6, newcomers=2) as traffic:
        killed = traffic.mark("killed")
        stay_down(used)
        resumed = traffic.until_whole(killed, limit=5)
        assert {names[address] for address in connections()}.isdisjoint({used})
    figures = traffic.figures(killed)
    keep_figures("RabbitMQ node in use killed", figures | {"resumed_after": round(resumed, 2)})
    # A queue moves, but no client does.
    assert figures["connections"]["dropped"] == 0
    assert figures["handshakes"]["failed"] == 0
    assert figures["messages"]["duplicated"] == 0


def test_one_of_three_does_not_go_on_alone(url: str, stay_down: Callable[[str], None]) -> None:
    """Negative control too: what crosses between the instances crosses in RabbitMQ."""

    async def say() -> list[str]:
        async with Pair(url) as pair:
            for name in QUEUES[:2]:
                stay_down(name)
            inside(
                "mq3",
                "timeout 30 sh -c 'while ss -Hltn sport = :5672 | grep -q .; do sleep 0.2; done'",
            )
            return await pair.say("who hears me")

    # Its own clients only, one of the two.
    assert len(asyncio.run(asyncio.wait_for(say(), 60))) == 1
    for name in QUEUES[:2]:
        start(name)
    assert running("mq3") == running("mq1")
    with Traffic([url], clients=4, newcomers=0) as traffic:
        traffic.until_whole(traffic.mark("back"), limit=45)
