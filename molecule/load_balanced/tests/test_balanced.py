"""Two nodes behind one balancer: who goes where, what passes between, what a change does."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio
import socketio.exceptions
import yaml
from refusals import deploy, inside
from stack import javascript_client, playbook, python_client

BALANCER, NODES, QUEUE = "lb1", ("node1", "node2"), "queue1"
INSTANCES = {(node, number) for node in NODES for number in ("1", "2")}
SITE = "/etc/nginx/conf.d/flask-socketio-whoami.conf"
LOG = "/var/log/nginx/flask-socketio-whoami.log"
SEVERAL = range(3)
# Of 200 that a hash spreads evenly more than 120 are at one node every now and then.
BROWSERS = 600


@pytest.fixture
def url(published) -> str:
    return f"http://{published(BALANCER, 80)}"


def master(host: str) -> str:
    return inside(host, "systemctl show -p MainPID --value nginx")


def where(said: dict[str, Any]) -> tuple[str, str]:
    return said["node"], said["instance"]


async def _browse(url: str) -> tuple[str, str]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.get(url) as page:
            assert len(page.headers.getall("Set-Cookie")) == 1
        seen = set()
        for _ in range(3):
            async with http.get(f"{url}/whoami") as answer:
                assert "Set-Cookie" not in answer.headers
                seen.add(where(await answer.json()))
    (instance,) = seen
    return instance


def test_browsers_of_one_address_are_spread_and_stay(url):
    async def browse() -> list[tuple[str, str]]:
        gate = asyncio.Semaphore(20)

        async def one() -> tuple[str, str]:
            async with gate:
                return await _browse(url)

        return await asyncio.gather(*(one() for _ in range(BROWSERS)))

    seen = asyncio.run(browse())
    assert set(seen) == INSTANCES
    nodes = Counter(node for node, _ in seen)
    assert max(nodes.values()) <= 0.6 * BROWSERS, nodes


def test_clients_without_cookies_never_lose_their_session(url):
    for _ in range(3):
        assert python_client(url, ["polling"], payloads=SEVERAL)["answers"] == list(SEVERAL)
        code, said = javascript_client(url)
        assert (code, said["transports"]) == (0, ["polling", "websocket"])


def test_clients_of_websocket_only_are_spread(url):
    def client(_number: int) -> tuple[str, str]:
        return where(python_client(url, ["websocket"])["whoami"])

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(client, range(40))) == INSTANCES


def test_without_stickiness_the_probe_fails():
    inside(BALANCER, f"cp {SITE} {SITE}.kept; sed -i '/hash .*consistent/d' {SITE}")
    inside(BALANCER, "systemctl restart nginx")
    try:
        run = playbook("playbooks/verify.yml")
    finally:
        inside(BALANCER, f"mv {SITE}.kept {SITE}; systemctl restart nginx")
    assert run.returncode != 0
    assert "Invalid session" in run.stdout


def test_a_message_reaches_the_clients_of_every_instance(url):
    async def say() -> list[tuple[tuple[str, str], str]]:
        clients: list[socketio.AsyncClient] = []
        heard_by: dict[tuple[str, str], asyncio.Future[str]] = {}
        while set(heard_by) != INSTANCES:
            client = socketio.AsyncClient(reconnection=False)
            clients.append(client)
            known: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            client.on("whoami", known.set_result)
            client.on("said", lambda data, heard=heard: heard.set_result(data["text"]))
            await client.connect(url, transports=["websocket"], wait_timeout=5)
            heard_by.setdefault(where(await known), heard)
        assert await clients[0].call("say", "hello", timeout=5)
        told = [(name, await heard) for name, heard in sorted(heard_by.items())]
        for client in clients:
            await client.disconnect()
        return told

    told = asyncio.run(asyncio.wait_for(say(), 30))
    assert told == [(name, "hello") for name in sorted(INSTANCES)]


def test_nodes_listen_on_their_private_address_only(address):
    for node in NODES:
        listening = inside(node, "ss -Hltn 'sport = :80' | awk '{print $4}'").split()
        assert listening == [f"{address(node)}:80"]


def test_a_node_sees_the_client_and_believes_only_the_balancer(url, address):
    async def get() -> int:
        forged = {"X-Forwarded-For": "203.0.113.9"}
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{url}/whoami", headers=forged) as answer,
        ):
            return answer.status

    assert asyncio.run(get()) == 200
    # A neighbour may come in, but what it forges is worth nothing.
    inside("node2", "curl -fsS -H 'X-Forwarded-For: 203.0.113.9' http://node1/whoami")
    for node in NODES:
        logged = [json.loads(line) for line in inside(node, f"cat {LOG}").splitlines()]
        clients = {line["client"] for line in logged if line["path"] == "/whoami"}
        assert "203.0.113.9" not in clients
        assert address(BALANCER) not in clients


def test_a_trusted_proxy_is_believed_and_nobody_else():
    forwarded = "-H 'X-Forwarded-For: {}' -H 'X-Forwarded-Proto: https' http://{}/whoami"
    inside(BALANCER, "curl -fsS " + forwarded.format("203.0.113.21", "127.0.0.1"))
    inside("node1", "curl -fsS " + forwarded.format("203.0.113.22", BALANCER))
    logs = "\n".join(inside(node, f"cat {LOG}") for node in NODES)
    assert "203.0.113.21" in logs
    assert "203.0.113.22" not in logs


def test_nobody_else_reaches_a_node():
    asked = "curl --silent --output /dev/null --max-time 2 --write-out '%{http_code}' http://"
    for node in NODES:
        assert inside(BALANCER, f"{asked}{node}/whoami") == "200"
        assert inside(QUEUE, f"{asked}{node}/whoami || true") == "000"
        # It is the firewall that stands between.
        inside(node, "systemctl stop flask-socketio-firewall-whoami")
        assert inside(QUEUE, f"{asked}{node}/whoami") == "200"
        inside(node, "systemctl start flask-socketio-firewall-whoami")
        assert inside(QUEUE, f"{asked}{node}/whoami || true") == "000"


def test_a_forged_host_does_not_pass_the_origin_check(url):
    forged = {"Origin": "http://evil.example", "X-Forwarded-Host": "evil.example"}
    with pytest.raises(socketio.exceptions.ConnectionError):
        python_client(url, ["websocket"], forged)


def test_the_password_is_in_no_process_list_and_no_journal(host):
    password = inside(NODES[0], "cat /etc/flask-socketio/whoami/environment-*")
    password = password.split("SOCKETIO_MESSAGE_QUEUE=")[1].split("@")[0].rpartition(":")[2]
    assert len(password) >= 24
    seen = host.check_output("ps axww; journalctl --no-pager; systemctl show 'whoami-*' 'redis*'")
    assert password not in seen


@pytest.fixture
def without_node2() -> Iterator[Path]:
    # Beside the other, where the group variables are.
    whole = Path(os.environ["MOLECULE_INVENTORY_FILE"])
    inventory = yaml.safe_load(whole.read_text("utf-8"))
    del inventory["app_servers"]["hosts"]["node2"]
    path = whole.with_name("without_node2.yml")
    path.write_text(yaml.safe_dump(inventory), "utf-8")
    yield path
    path.unlink()


def backends() -> int:
    return int(inside(BALANCER, f"grep -c '^    server [0-9]' {SITE}"))


def test_a_node_is_one_line_and_a_run_that_closes_no_websocket(url, without_node2):
    async def hold() -> None:
        """Hold clients on the first node while the second goes and comes back."""
        clients: list[socketio.AsyncClient] = []
        ended: list[Any] = []
        while len(clients) < 5:
            client = socketio.AsyncClient(reconnection=False)
            known: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            client.on("whoami", known.set_result)
            await client.connect(url, transports=["websocket"], wait_timeout=5)
            if (await known)["node"] == "node1":
                client.on("disconnect", ended.append)
                clients.append(client)
            else:
                await client.disconnect()
        fewer = await asyncio.to_thread(playbook, "playbooks/site.yml", inventory=without_node2)
        assert fewer.returncode == 0, fewer.stdout
        assert backends() == 1
        again = await asyncio.to_thread(playbook, "playbooks/site.yml")
        assert again.returncode == 0, again.stdout
        assert backends() == 2
        assert [await client.call("echo", 1, timeout=5) for client in clients] == [1] * 5
        assert ended == []
        for client in clients:
            await client.disconnect()

    before = master(BALANCER)
    asyncio.run(asyncio.wait_for(hold(), 280))
    assert master(BALANCER) == before
    workers = inside(BALANCER, "pgrep -P $(systemctl show -p MainPID --value nginx)")
    run = deploy()
    assert run.returncode == 0, run.output
    assert set(run.changed.values()) == {0}, run.output
    # Not even a reload, which makes new workers.
    assert inside(BALANCER, "pgrep -P $(systemctl show -p MainPID --value nginx)") == workers


def test_the_sites_are_exactly(address):
    addresses = {name: address(name) for name in (BALANCER, *NODES)}
    for host, name in ((BALANCER, "balancer"), ("node1", "node"), ("node2", "node")):
        expected = (Path(__file__).parent / "expected" / f"{name}.conf").read_text("utf-8")
        found = inside(host, "ls /etc/flask-socketio/whoami 2>/dev/null || true").split()
        generation = next((name for name in found if re.fullmatch("[0-9a-f]{10}", name)), "")
        for key, value in (
            addresses | {"address": addresses[host], "generation": generation}
        ).items():
            expected = expected.replace(f"{{{key}}}", value)
        assert inside(host, f"cat {SITE}") == expected
