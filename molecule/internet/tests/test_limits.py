"""What one address may take, and what happens beyond it."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest
import socketio
from internet import (
    HANDSHAKE,
    WEBSOCKET,
    WEBSOCKET_HANDSHAKE,
    ask,
    connector_to,
    edited,
    name,
)
from refusals import deploy, inside

DOOR = "nginx12"
URL = f"https://{name(DOOR)}"
RATE, BURST = 100, 400
FLOOD = 1000
# The app's max_http_buffer_size.
MESSAGE = 1_000_000
# Of the clients of one address, and of all.
PLACES, ALL = 20, 22


@pytest.fixture
def connector(address):
    return connector_to(address(DOOR))


async def flood(connector, requests: int, at_a_time: int = FLOOD) -> Counter[int]:
    """Begin sessions as fast as it goes."""
    free = asyncio.Semaphore(at_a_time)

    async def one(http: aiohttp.ClientSession) -> int:
        # As polling is what the app takes it for.
        async with free, http.get(f"{URL}/socket.io/?EIO=4") as answer:
            return answer.status

    async with aiohttp.ClientSession(connector=connector()) as http:
        return Counter(await asyncio.gather(*[one(http) for _ in range(requests)]))


def test_a_flood_of_handshakes_is_one_address_own_problem(connector) -> None:
    async def both() -> tuple[Counter[int], float, list[int]]:
        began = time.monotonic()
        flooding = asyncio.create_task(flood(connector, FLOOD))
        others = []
        while not flooding.done():
            others.append((await asyncio.to_thread(ask, f"{URL}{HANDSHAKE}")).status)
        return await flooding, time.monotonic() - began, others

    statuses, seconds, others = asyncio.run(both())
    assert set(statuses) == {200, 429}
    assert BURST <= statuses[200] <= BURST + RATE * (seconds + 1)
    # From another address, meanwhile.
    assert others
    assert set(others) == {200}


def test_a_body_that_the_app_would_not_take_is_refused(door: str) -> None:
    url = f"https://{name(door)}/socket.io/?EIO=4&transport=polling&sid=none"

    def post(size: int) -> int:
        inside("authority", f"head -c {size} /dev/zero | tr '\\0' 4 > /srv/body")
        return ask(url, "--data-binary", "@/srv/body").status

    # Of no session: the app refuses it without reading it all, of which Apache makes 502.
    assert post(1_000_000) in (400, 502)
    assert post(1_000_001) == 413


def test_a_message_that_the_app_would_not_take_is_refused(door: str, address) -> None:
    async def answer_to(size: int) -> aiohttp.WSMessage:
        """What comes after an event of so many characters: its acknowledgement or the end."""
        head, tail = '421["echo","', '"]'
        async with (
            aiohttp.ClientSession(connector=connector_to(address(door))()) as http,
            http.ws_connect(f"https://{name(door)}{WEBSOCKET_HANDSHAKE}") as websocket,
        ):
            await websocket.send_str("40")
            while not (await websocket.receive_str(timeout=5)).startswith("40"):
                pass
            await websocket.send_str(f"{head}{'x' * (size - len(head + tail))}{tail}")
            while True:
                answer = await websocket.receive(timeout=5)
                if answer.type != aiohttp.WSMsgType.TEXT or answer.data.startswith("431["):
                    return answer

    assert asyncio.run(answer_to(MESSAGE)).type == aiohttp.WSMsgType.TEXT
    assert asyncio.run(answer_to(MESSAGE + 1)).data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


def test_messages_are_not_compressed(door: str, address) -> None:
    async def compression() -> int:
        async with (
            aiohttp.ClientSession(connector=connector_to(address(door))()) as http,
            http.ws_connect(f"https://{name(door)}{WEBSOCKET_HANDSHAKE}", compress=15) as websocket,
        ):
            return websocket.compress

    assert asyncio.run(compression()) == 0
    # The app itself would.
    offer = "Sec-WebSocket-Extensions: permessage-deflate"
    answer = inside(
        door,
        "curl --silent --output /dev/null --dump-header - --max-time 2"
        f" --unix-socket /run/whoami/*-1.sock {shlex.join([*WEBSOCKET, '--header', offer])}"
        f" 'http://whoami{WEBSOCKET_HANDSHAKE}' || true",
    )
    assert "permessage-deflate" in answer


def seconds_until_cut(address: str, limit: float) -> float:
    """How long a client may take that never finishes a header."""

    async def wait() -> float:
        reader, writer = await asyncio.open_connection(address, 80)
        writer.write(b"GET / HTTP/1.1\r\nHost: ")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(reader.read(), limit)
        writer.close()
        return time.monotonic() - began

    return asyncio.run(wait())


def test_who_takes_his_time_is_cut_off(address) -> None:
    assert seconds_until_cut(address(DOOR), 30) < 18

    def is_patient() -> bool:
        return "x-patient" in ask(f"http://{name(DOOR)}/").headers

    # The negative control: as nginx is by itself.
    patient = "client_header_timeout 60s; add_header X-Patient yes always"
    with edited(DOOR, f"s/client_header_timeout [0-9]*s/{patient}/", is_patient):
        assert seconds_until_cut(address(DOOR), 20) >= 20


@contextlib.asynccontextmanager
async def held(connector, count: int) -> AsyncIterator[list[socketio.AsyncClient]]:
    clients = []
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector()))
            client = socketio.AsyncClient(reconnection=False, http_session=http)
            await client.connect(URL, transports=["websocket"], wait_timeout=5)
            clients.append(client)
            stack.push_async_callback(client.disconnect)
        yield clients


async def status_of_one_more(connector) -> tuple[int, float]:
    began = time.monotonic()
    async with (
        aiohttp.ClientSession(connector=connector()) as http,
        http.get(f"{URL}{HANDSHAKE}") as answer,
    ):
        return answer.status, time.monotonic() - began


def test_beyond_what_it_holds_it_says_so_at_once(connector) -> None:
    done = deploy(
        f"--limit={DOOR}",
        nginx_connections_per_address=PLACES,
        nginx_max_connections=ALL,
        nginx_handshake_rate=0,
        app_memory_max="300M",
        app_tasks_max="200",
    )
    assert done.returncode == 0, done.output
    shown = inside(DOOR, "systemctl show 'whoami-*@*' --property MemoryMax,TasksMax").split()
    assert sorted(shown) == [f"MemoryMax={300 * 1024 * 1024}", "TasksMax=200"]

    # The negative control of the flood above.
    assert asyncio.run(flood(connector, FLOOD, PLACES // 2)) == {200: FLOOD}

    async def others() -> list[int]:
        """What so many clients at another address are answered, who stay for a while."""
        stay = [*WEBSOCKET, "--max-time", "3"]
        asked = [asyncio.to_thread(ask, f"{URL}{WEBSOCKET_HANDSHAKE}", *stay) for _ in range(3)]
        return sorted(answer.status for answer in await asyncio.gather(*asked))

    async def fill() -> None:
        async with held(connector, PLACES) as clients:
            status, seconds = await status_of_one_more(connector)
            assert (status, seconds < 1) == (503, True)
            # Another address has the places that are left, and no more.
            assert await others() == [101] * (ALL - PLACES) + [503]
            # Those that are held don't notice.
            answers = await asyncio.gather(*[c.call("echo", "here", timeout=5) for c in clients])
            assert answers == ["here"] * PLACES
        assert (await status_of_one_more(connector))[0] == 200

    asyncio.run(fill())
    done = deploy(f"--limit={DOOR}")
    assert done.returncode == 0, done.output
