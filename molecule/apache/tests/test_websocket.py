"""Real clients through Apache; and that these checks notice what they are for."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import socketio.exceptions
from conftest import PORTS, SITES, one_host
from scenario_hosts import platforms
from stack import javascript_client, playbook, python_client

FULL = [0, 1, 2]


@pytest.fixture
def changed_site(host) -> Iterator:
    """`changed_site("whoami", "s/a/b/")`: as sed makes it, until the test ends."""
    changed = []

    def change(app: str, script: str) -> None:
        path = f"{SITES}/flask-socketio-{app}.conf"
        host.check_output("cp %s %s.kept && sed -i -E %s %s", path, path, script, path)
        changed.append(path)
        assert host.run("cmp -s %s %s.kept", path, path).rc == 1
        host.check_output("systemctl restart apache2")

    yield change
    for path in changed:
        host.check_output("mv %s.kept %s && systemctl restart apache2", path, path)


@pytest.fixture
def stopped(host) -> Iterator:
    units = []

    def stop(unit: str) -> None:
        units.append(unit)
        host.check_output("systemctl stop %s", unit)

    yield stop
    for unit in units:
        host.check_output("systemctl start %s", unit)


@pytest.mark.parametrize("app", PORTS)
def test_python_client_is_upgraded(url, app):
    seen = python_client(url(app), payloads=FULL)
    assert (seen["transport"], seen["answers"]) == ("websocket", FULL)


@pytest.mark.parametrize("app", PORTS)
def test_javascript_client_is_upgraded(url, app):
    code, said = javascript_client(url(app))
    assert (code, said["transports"], said["ack"]) == (0, ["polling", "websocket"], "hello")


def test_verify_playbook_passes():
    done = playbook("playbooks/verify.yml")
    assert done.returncode == 0, done.stdout
    said = re.findall(r"^ok: \[(\S+)\] => *\n +msg: (.+)$", done.stdout, re.M)
    reached = {name for name, text in said if "reached at http://localhost:80/socket.io" in text}
    assert reached == set(platforms()), done.stdout


def test_without_upgrade_everything_notices(host, url, changed_site):
    changed_site("whoami", "s/ upgrade=websocket//")
    assert python_client(url("whoami"))["transport"] == "polling"
    code, said = javascript_client(url("whoami"))
    assert (code, said["transports"]) == (1, ["polling"])
    code, said = one_host(host, "playbooks/verify.yml")
    assert code != 0
    assert re.search(r"failed at step '+upgrade", said), said


def test_with_the_app_stopped_it_notices_and_comes_back_at_once(host, url):
    host.check_output("systemctl stop whoami.target")
    try:
        with pytest.raises(socketio.exceptions.ConnectionError):
            python_client(url("whoami"))
    finally:
        host.check_output("systemctl start whoami.target")
        waiting = "until test -S /run/whoami/*.sock; do sleep 0.1; done"
        host.check_output("timeout 30 bash -c %s", waiting)
    assert python_client(url("whoami"))["transport"] == "websocket"


def route(url: str) -> str:
    """The cookie that a new browser gets with the page."""

    async def get() -> str:
        async with aiohttp.ClientSession() as http, http.get(url) as page:
            assert page.status == 200
            return page.cookies["socketio_twins"].OutputString()

    return asyncio.run(get()).split(";")[0]


def test_browsers_stay_with_the_instance_of_their_page(url):
    routes = [route(url("twins")) for _ in range(6)]
    polling = functools.partial(python_client, url("twins"), ["polling"], payloads=FULL)
    seen = [polling(headers={"Cookie": one}) for one in routes]
    assert [client["answers"] for client in seen] == [FULL] * 6
    instances = [client["whoami"]["instance"] for client in seen]
    assert set(instances) == {"unix", "tcp"}
    assert len(set(zip(routes, instances, strict=True))) == 2


def test_clients_without_cookies_stay_with_one_instance_by_their_address(url):
    seen = [python_client(url("twins"), ["polling"], payloads=FULL) for _ in range(4)]
    assert [client["answers"] for client in seen] == [FULL] * 4
    assert len({client["whoami"]["instance"] for client in seen}) == 1


def test_clients_of_websocket_only_are_spread(url):
    """At the same time, because the instance with the fewest open connections gets the next one."""

    def client(_number: int) -> dict[str, Any]:
        return python_client(url("twins"), ["websocket"], payloads=range(50))

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(client, range(8)))
    assert {client["whoami"]["instance"] for client in seen} == {"unix", "tcp"}


def test_without_the_sticky_route_polling_fails(url, changed_site):
    changed_site("twins", "s/ stickysession=\\w+//")

    def fails(_number: int) -> bool:
        try:
            return python_client(url("twins"), ["polling"], payloads=FULL)["answers"] != FULL
        except (socketio.exceptions.SocketIOError, TimeoutError):
            return True

    # Side by side, because each waits for what is lost.
    with ThreadPoolExecutor(4) as pool:
        assert any(list(pool.map(fails, range(4))))


def test_the_other_instance_serves_when_one_is_down(url, stopped):
    stopped("twin@unix")
    for _ in range(4):
        assert python_client(url("twins"))["whoami"]["instance"] == "tcp"


async def websockets(url: str, count: int, then=None) -> int:
    """The number that Apache holds at once."""
    address = f"{url}/socket.io/?EIO=4&transport=websocket"
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=0)
    async with AsyncExitStack() as held:
        http = await held.enter_async_context(
            aiohttp.ClientSession(timeout=timeout, connector=connector)
        )
        async with asyncio.timeout(40):
            opened = [
                await held.enter_async_context(http.ws_connect(address)) for _ in range(count)
            ]
            handshakes = [await socket.receive_str() for socket in opened]
        if then:
            await asyncio.to_thread(then)
        for socket in opened:
            await socket.send_str("40")
        async with asyncio.timeout(40):
            answers = [await socket.receive_str() for socket in opened]
        assert all(text.startswith("0{") for text in handshakes)
        return sum(text.startswith("4") for text in answers)


def test_it_holds_more_websockets_than_the_package_can(url):
    """The package's limit is 150."""
    assert asyncio.run(websockets(url("whoami"), 300)) == 300


def test_a_reload_keeps_open_websockets(host, url):
    def reload() -> None:
        host.check_output("systemctl reload apache2")
        assert python_client(url("whoami"))["transport"] == "websocket"

    assert asyncio.run(websockets(url("whoami"), 20, reload)) == 20


def test_a_forged_origin_is_refused(url):
    async def status(headers: dict[str, str]) -> int:
        address = f"{url('whoami')}/socket.io/?EIO=4&transport=polling"
        async with aiohttp.ClientSession() as http, http.get(address, headers=headers) as answer:
            return answer.status

    own, evil = url("whoami"), "http://evil.example"
    assert asyncio.run(status({"Origin": own})) == 200
    assert asyncio.run(status({"Origin": evil})) == 400
    assert asyncio.run(status({"Origin": evil, "X-Forwarded-Host": "evil.example"})) == 400
