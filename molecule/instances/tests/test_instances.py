"""Four processes of one app behind one nginx: who goes where, and what passes between them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import aiohttp
import pytest
import socketio
import socketio.exceptions
from hardening import exposure, exposure_without
from refusals import deploy, difference, inside, snapshot
from stack import javascript_client, python_client

HOST = "node1"
SITE = "/etc/nginx/conf.d/flask-socketio-whoami.conf"
INSTANCES = {"1", "2", "3", "4"}
# More than one request of a polling session.
SEVERAL = range(3)
# Of 200 that a hash spreads evenly one instance has too many every now and then.
BROWSERS = 600


QUEUE = "redis-server@flask-socketio.service"


@pytest.fixture
def url(published) -> str:
    return f"http://{published(HOST, 80)}"


@pytest.fixture
def not_sticky() -> Iterator[None]:
    inside(HOST, f"cp {SITE} {SITE}.kept; sed -i '/hash .*consistent/d' {SITE}")
    inside(HOST, "systemctl restart nginx")
    yield
    inside(HOST, f"mv {SITE}.kept {SITE}; systemctl restart nginx")


def units() -> list[str]:
    return inside(
        HOST, "systemctl list-units --all --plain --no-legend 'whoami-*@*' | awk '{print $1, $3}'"
    ).splitlines()


def pid(number: int) -> str:
    return inside(HOST, f"systemctl show -p MainPID --value 'whoami-*@{number}.service'").strip()


async def _browse(url: str) -> str:
    """What a browser does first: it gets the page with the cookie, and then asks for more."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.get(url) as page:
            cookie = page.cookies["socketio_whoami"]
            assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/", True, "Lax")
        seen = set()
        for _ in range(3):
            async with http.get(f"{url}/whoami") as answer:
                assert "Set-Cookie" not in answer.headers
                seen.add((await answer.json())["instance"])
    (instance,) = seen
    return instance


def cookie(url: str) -> str:
    async def get() -> str:
        async with aiohttp.ClientSession() as http, http.get(url) as page:
            return page.cookies["socketio_whoami"].OutputString().split(";")[0]

    return asyncio.run(get())


def test_every_instance_runs():
    assert [unit.split("@")[1] for unit in units()] == [
        f"{number}.service active" for number in sorted(INSTANCES)
    ]


def test_browsers_of_one_address_are_spread_and_stay(url):
    async def browse() -> list[str]:
        gate = asyncio.Semaphore(20)

        async def one() -> str:
            async with gate:
                return await _browse(url)

        return await asyncio.gather(*(one() for _ in range(BROWSERS)))

    count = Counter(asyncio.run(browse()))
    assert set(count) == INSTANCES
    # As even as 60/40 over two: no instance has more than half as much again as its share.
    assert max(count.values()) <= 0.375 * BROWSERS, count


def test_a_session_of_a_browser_is_one_process(url):
    for _ in range(8):
        seen = python_client(url, ["polling"], {"Cookie": cookie(url)}, payloads=SEVERAL)
        assert seen["answers"] == list(SEVERAL)


def test_clients_without_cookies_never_lose_their_session(url):
    for _ in range(4):
        assert python_client(url, ["polling"], payloads=SEVERAL)["answers"] == list(SEVERAL)
        code, said = javascript_client(url)
        assert (code, said["transports"]) == (0, ["polling", "websocket"])


def test_clients_of_websocket_only_are_spread(url):
    def client(_number: int) -> str:
        return python_client(url, ["websocket"])["whoami"]["instance"]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(client, range(40))) == INSTANCES


@pytest.mark.usefixtures("not_sticky")
def test_without_stickiness_polling_fails(url):
    def fails(_number: int) -> bool:
        try:
            return python_client(url, ["polling"], payloads=SEVERAL)["answers"] != list(SEVERAL)
        except (socketio.exceptions.SocketIOError, TimeoutError):
            return True

    # Side by side, because each waits for what is lost.
    with ThreadPoolExecutor(4) as pool:
        assert any(list(pool.map(fails, range(4))))


def test_a_message_reaches_the_clients_of_every_instance(url):
    async def say() -> list[tuple[str, str]]:
        clients: list[socketio.AsyncClient] = []
        instances: dict[str, asyncio.Future[str]] = {}
        while set(instances) != INSTANCES:
            client = socketio.AsyncClient(reconnection=False)
            clients.append(client)
            known: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            client.on("whoami", known.set_result)
            client.on("said", lambda data, heard=heard: heard.set_result(data["text"]))
            await client.connect(url, transports=["websocket"], wait_timeout=5)
            instances.setdefault((await known)["instance"], heard)
        assert await clients[0].call("say", "hello", timeout=5)
        told = [(name, await heard) for name, heard in sorted(instances.items())]
        for client in clients:
            await client.disconnect()
        return told

    told = asyncio.run(asyncio.wait_for(say(), 30))
    assert told == [(name, "hello") for name in sorted(INSTANCES)]


def test_two_instances_without_a_queue_are_refused():
    before = snapshot(HOST)
    run = deploy(message_queue="none", app_instances=2)
    assert run.refused, run.output
    assert run.message.startswith(
        "app_module 'app:app': 2 instances are to serve it, but the app has no message queue, "
        "without which a broadcast reaches the clients of one instance only: write "
    )
    assert difference(before, snapshot(HOST)) == []


def test_no_instances_are_refused():
    run = deploy(app_instances=0)
    assert run.message.startswith("app_instances is 0: the number of processes on each host")
    assert run.changed == {HOST: 0}


def test_scaling_leaves_the_others_alone(url):
    kept = pid(1)
    down = deploy(app_instances=1)
    assert down.returncode == 0, down.output
    assert [unit.split("@")[1] for unit in units()] == ["1.service active"]
    # The socket of its clients, and that of drain.py.
    assert inside(HOST, "ls /run/whoami | wc -l").strip() == "2"
    assert python_client(url)["whoami"]["instance"] == "1"
    up = deploy(app_instances=3, nginx_sticky="ip_hash")
    assert up.returncode == 0, up.output
    assert "    ip_hash;\n" in inside(HOST, f"cat {SITE}")
    assert len(units()) == 3
    assert python_client(url, ["polling"], payloads=SEVERAL)["answers"] == list(SEVERAL)
    assert pid(1) == kept


def test_the_queue_may_do_less_than_as_it_came() -> None:
    drop_in = f"/etc/systemd/system/{QUEUE}.d/flask-socketio.conf"
    run = partial(inside, HOST)
    assert exposure(run, QUEUE) < exposure_without(run, QUEUE, drop_in) < 2


def test_the_queue_talks_to_its_own_host_alone() -> None:
    """What the unit says, and what that does to another program."""
    shown = inside(HOST, f"systemctl show --property=IPAddressDeny,IPAddressAllow {QUEUE}")
    listed = dict(line.split("=", 1) for line in shown.splitlines())
    assert {name: set(value.split()) for name, value in listed.items()} == {
        "IPAddressAllow": {"127.0.0.0/8", "::1/128"},
        "IPAddressDeny": {"0.0.0.0/0", "::/0"},
    }
    run = "systemd-run --quiet --pipe --property=IPAddressAllow=localhost"
    ask = "curl --silent --output /dev/null --max-time 2 --write-out '%{http_code} '"

    def answers(more: str) -> list[str]:
        asked = [f"{run} {more} {ask} http://{place}/" for place in ("127.0.0.1", "$(hostname -i)")]
        return inside(HOST, f"{asked[0]}; {asked[1]} || true").split()

    assert answers("--property=IPAddressDeny=any") == ["200", "000"]
    # The negative control.
    assert answers("") == ["200", "200"]
