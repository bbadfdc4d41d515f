"""What clients of one instance see when it is full, idle, stopped and reloaded.

    python - JSON < limits_client.py

Runs on the instance's host, as root and with the probe's Python. JSON is an object of the keyword
arguments of measure(). Prints one JSON object. Times are in seconds, memory is in kB (1024 bytes).
Raises when what is measured did not work before it was measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
from engineio import packet as eio
from socketio import packet as sio

READY = 60.0
"""Seconds that the instance has to answer after a start."""
PATIENCE = 10.0
"""Seconds that a client at the limit waits for its handshake, and for a page."""
ANSWER = 5.0
"""Seconds until an echo must be back."""
SETTLED = 30.0
"""Seconds after which memory must be still."""
STOPPED = 60.0
"""Seconds until `systemctl stop` must be back."""
RELOADED = 90.0
"""Seconds that a reload is watched."""
LISTENER = 0.02
"""Seconds between two looks at the listener."""
LOOKS = 400
"""Looks at that pace. Later ones are ten times slower: they stay in a listener's queue."""
PARALLEL = 25
"""Handshakes under way at a time, as long as there is room."""


class Refused(Exception):
    """A client that got no Socket.IO connection, and why."""


class Client:
    """A WebSocket-only client of Socket.IO. Answers pings until the connection ends."""

    opened: ClassVar[set[Client]] = set()
    """Those that nobody has closed yet."""

    def __init__(self, address: str) -> None:
        self.url = f"http://{address}/socket.io/?EIO=4&transport=websocket"
        self.stage = "no TCP connection"
        self.end = ""
        self.ended_at = 0.0
        self._acks: dict[int, asyncio.Future[Any]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None

    async def open(self, patience: float) -> Client:
        """Connect within so many seconds, or say at which stage that ended."""
        self.opened.add(self)
        try:
            async with asyncio.timeout(patience):
                await self._handshake()
        except TimeoutError:
            reason = f"{self.stage} within {patience:.0f} s"
        except aiohttp.WSServerHandshakeError as answer:
            reason = f"status {answer.status}"
        except (aiohttp.ClientError, OSError) as problem:
            reason = f"{self.stage}: {type(problem).__name__}"
        except Refused as refusal:
            reason = str(refusal)
        else:
            return self
        await self.close()
        raise Refused(reason)

    async def _handshake(self) -> None:
        async def connected(*_: object) -> None:
            self.stage = "TCP connection, no answer"

        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(connected)
        self._session = aiohttp.ClientSession(trace_configs=[trace])
        self._socket = await self._session.ws_connect(self.url)
        self.stage = "WebSocket, no Socket.IO connection"
        if (await self._packet()).packet_type != eio.OPEN:
            raise Refused("the first packet is not OPEN")
        await self._send(sio.Packet(sio.CONNECT, data={}))
        answer = None
        # An app's connect handler may emit events, which come before the answer.
        while answer != sio.CONNECT:
            packet = await self._packet()
            if packet.packet_type == eio.MESSAGE:
                answer = sio.Packet(encoded_packet=packet.data).packet_type
                if answer == sio.CONNECT_ERROR:
                    raise Refused("CONNECT_ERROR")
        self._reader = asyncio.create_task(self._read())

    def _connected(self) -> aiohttp.ClientWebSocketResponse:
        if self._socket is None:
            raise RuntimeError("a client was used before it was connected")
        return self._socket

    async def _packet(self) -> Any:
        message = await self._connected().receive()
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            raise Refused(f"{self.stage}: {message.type.name}")
        return eio.Packet(encoded_packet=message.data)

    async def _send(self, packet: Any) -> None:
        await self._connected().send_str(eio.Packet(eio.MESSAGE, data=packet.encode()).encode())

    async def _read(self) -> None:
        farewell = ""
        while True:
            message = await self._connected().receive()
            if message.type is aiohttp.WSMsgType.CLOSE:
                self.end = f"{farewell}close frame {message.data}"
                break
            if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                self.end = f"{farewell}no close frame (1006)"
                break
            packet = eio.Packet(encoded_packet=message.data)
            if packet.packet_type == eio.PING:
                await self._connected().send_str(eio.Packet(eio.PONG, data=packet.data).encode())
            elif packet.packet_type == eio.CLOSE:
                farewell = "Engine.IO CLOSE, "
            elif packet.packet_type == eio.MESSAGE:
                inner = sio.Packet(encoded_packet=packet.data)
                if inner.packet_type == sio.DISCONNECT:
                    farewell = "Socket.IO DISCONNECT, "
                elif inner.packet_type == sio.ACK and inner.id in self._acks:
                    self._acks.pop(inner.id).set_result(inner.data)
        self.ended_at = time.monotonic()

    async def echo(self) -> bool:
        """Whether an event comes back as its acknowledgement."""
        number = len(self._acks) + 1
        self._acks[number] = asyncio.get_running_loop().create_future()
        with contextlib.suppress(TimeoutError, ConnectionError):
            await self._send(sio.Packet(sio.EVENT, data=["echo", "here"], id=number))
            return bool(await asyncio.wait_for(self._acks[number], ANSWER) == ["here"])
        return False

    async def close(self) -> None:
        self.opened.discard(self)
        if self._reader:
            self._reader.cancel()
        if self._socket:
            await self._socket.close()
        if self._session:
            await self._session.close()


async def close_all(clients: Iterable[Client]) -> None:
    await asyncio.gather(*(client.close() for client in clients))


async def open_many(address: str, number: int, parallel: int) -> tuple[list[Client], Counter[str]]:
    """The clients that got a connection, and what the others saw."""
    slots = asyncio.Semaphore(parallel)

    async def one() -> Client | str:
        async with slots:
            try:
                return await Client(address).open(PATIENCE)
            except Refused as refusal:
                return str(refusal)

    outcomes = await asyncio.gather(*(one() for _ in range(number)))
    held = [outcome for outcome in outcomes if isinstance(outcome, Client)]
    return held, Counter(outcome for outcome in outcomes if isinstance(outcome, str))


async def all_held(address: str, number: int) -> list[Client]:
    """Exactly so many clients, each of which gets its echo."""
    held, refused = await open_many(address, number, PARALLEL)
    if refused:
        raise RuntimeError(f"{number} clients were to be held: {dict(refused)}")
    if await answering(held) != number:
        raise RuntimeError(f"not all of {number} clients got their echo")
    return held


async def answering(clients: Iterable[Client]) -> int:
    return sum(await asyncio.gather(*(client.echo() for client in clients)))


async def page(address: str, path: str, patience: float) -> tuple[str, str]:
    """What a GET on a connection of its own sees, and the body."""
    timeout = aiohttp.ClientTimeout(total=patience)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(f"http://{address}{path}") as answer,
        ):
            return f"status {answer.status}", await answer.text()
    except TimeoutError:
        return f"no answer within {patience:.0f} s", ""
    except aiohttp.ClientConnectorError:
        return "refused", ""
    except (aiohttp.ClientError, OSError) as problem:
        return type(problem).__name__, ""


async def serving_pid(address: str, patience: float) -> int | None:
    """The process that answers the app's page /whoami."""
    seen, body = await page(address, "/whoami", patience)
    return int(json.loads(body)["pid"]) if seen == "status 200" else None


async def until(condition: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    """Ask again and again, and give up loudly."""
    ends = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > ends:
            raise RuntimeError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.1)


async def ready(address: str) -> None:
    async def serves() -> bool:
        return await serving_pid(address, 1) is not None

    await until(serves, READY, "the instance answers")


async def systemctl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "systemctl", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), STOPPED)
    if process.returncode:
        raise RuntimeError(f"systemctl {' '.join(arguments)}: status {process.returncode}")
    return output.decode().strip()


async def show(unit: str, name: str) -> str:
    return await systemctl("show", "--value", f"--property={name}", unit)


def processes(unit: str) -> list[Path]:
    """/proc/<pid> of all that run in a unit."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"/{unit}" in (process / "cgroup").read_text():
                found.append(process)
    return found


def memory(unit: str) -> int:
    """Proportional set size of a unit's processes, in kB."""
    texts = [(process / "smaps_rollup").read_text() for process in processes(unit)]
    return sum(
        int(line.split()[1])
        for text in texts
        for line in text.splitlines()
        if line.startswith("Pss:")
    )


def threads(unit: str) -> int:
    return sum(len(list((process / "task").iterdir())) for process in processes(unit))


async def settled(unit: str) -> int:
    """The memory of a unit in kB once it stays the same, within 0.2 %, for two seconds."""
    readings = [memory(unit)]

    async def still() -> bool:
        await asyncio.sleep(1)
        readings.append(memory(unit))
        last = readings[-3:]
        return len(last) == 3 and max(last) - min(last) <= 0.002 * max(last)

    await until(still, SETTLED, f"memory is still: {readings}")
    return readings[-1]


async def fill(unit: str, address: str, limit: int, idle: int) -> dict[str, Any]:
    """Memory of so many idle connections, then 10 % more than the limit allows."""
    # What a first client makes the app import is no connection's. More would leave threads behind.
    await close_all(await all_held(address, 1))
    memory_before, threads_before = await settled(unit), threads(unit)
    held = await all_held(address, idle)
    memory_after, threads_after = await settled(unit), threads(unit)

    asked = limit + limit // 10
    more, refused = await open_many(address, asked - idle, asked)
    held += more
    echoed = await answering(held)
    seen, _ = await page(address, "/", PATIENCE)
    result: dict[str, Any] = {
        "memory": {
            "connections": idle,
            "before": memory_before,
            "after": memory_after,
            "threads_before": threads_before,
            "threads_after": threads_after,
        },
        "full": {
            "limit": limit,
            "asked": asked,
            "held": len(held),
            "echoed": echoed,
            "refused": dict(refused),
            "page": seen,
        },
    }
    if refused:
        result["full"]["next"] = await next_one(address, held)
    await close_all(held)
    return result


async def next_one(address: str, held: list[Client]) -> float | None:
    """Seconds until a client that waits is served after another has left; None if never."""
    waiting = Client(address)
    attempt = asyncio.create_task(waiting.open(2 * PATIENCE))

    async def connected() -> bool:
        return waiting.stage != "no TCP connection"

    await until(connected, PATIENCE, "a client waits at the limit")
    if attempt.done():
        raise RuntimeError("a client was served at the limit, after others were not")
    began = time.monotonic()
    await held.pop().close()
    try:
        held.append(await attempt)
    except Refused:
        return None
    return time.monotonic() - began


class Watch:
    """Looks at the listener and at the page from the moment of a signal on."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.began = time.monotonic()
        self.looks: list[tuple[float, bool]] = []
        """When a TCP connection was tried, and whether it was accepted."""
        self.pages: list[tuple[float, int | None]] = []
        """When a page came or did not, and the process that it was of."""
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Watch:
        self._tasks = [asyncio.create_task(task) for task in (self._listener(), self._page())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _listener(self) -> None:
        host, port = self.address.split(":")
        while True:
            tried = time.monotonic() - self.began
            try:
                async with asyncio.timeout(1):
                    _, writer = await asyncio.open_connection(host, int(port))
                self.looks.append((tried, True))
                writer.close()
            except OSError:
                self.looks.append((tried, False))
            await asyncio.sleep(LISTENER * (1 if len(self.looks) < LOOKS else 10))

    async def _page(self) -> None:
        while True:
            pid = await serving_pid(self.address, 1)
            self.pages.append((time.monotonic() - self.began, pid))
            await asyncio.sleep(LISTENER)

    def refused(self) -> dict[str, float] | None:
        """From when to when the listener was closed, and for which share of the looks between."""
        times = [at for at, accepted in self.looks if not accepted]
        if not times:
            return None
        between = [accepted for at, accepted in self.looks if times[0] <= at <= times[-1]]
        return {
            "from": times[0],
            "to": times[-1],
            "share": between.count(False) / len(between),
        }

    def first_page(self, former: int) -> float | None:
        """When another process than the former one answered first."""
        return next((at for at, pid in self.pages if pid not in (None, former)), None)

    def last_page(self, former: int) -> float | None:
        """When the former process answered last."""
        return next((at for at, pid in reversed(self.pages) if pid == former), None)


def ends(clients: Iterable[Client], began: float) -> dict[str, Any]:
    """How the clients' connections ended, and the first and the last time of that."""
    ended = [client for client in clients if client.end]
    times = [client.ended_at - began for client in ended]
    return {
        "how": dict(Counter(client.end for client in ended)),
        "first": min(times, default=None),
        "last": max(times, default=None),
    }


async def stop(unit: str, address: str, number: int) -> dict[str, Any]:
    """What so many clients and newcomers see while `systemctl stop` runs."""
    held = await all_held(address, number)
    former = await serving_pid(address, ANSWER) or 0
    async with Watch(address) as watch:
        await systemctl("stop", unit)
        took = time.monotonic() - watch.began

        async def ended() -> bool:
            return all(client.end for client in held)

        await until(ended, ANSWER, "all connections of a stopped instance have ended")
    result = {
        "connections": number,
        "seconds": took,
        "result": await show(unit, "Result"),
        "ends": ends(held, watch.began),
        "refused": watch.refused(),
        "last_page": watch.last_page(former),
    }
    await close_all(held)
    await systemctl("start", unit)
    await ready(address)
    return result


async def reload(unit: str, address: str, number: int) -> dict[str, Any]:
    """What so many clients and newcomers see after SIGHUP to the unit's main process."""
    held = await all_held(address, number)
    former = await serving_pid(address, ANSWER) or 0
    main = int(await show(unit, "MainPID"))
    handshake: float | None = None
    beside: tuple[int, int] | None = None
    async with Watch(address) as watch:
        os.kill(main, signal.SIGHUP)
        while time.monotonic() - watch.began < RELOADED:
            if beside is None and watch.first_page(former) is not None:
                with contextlib.suppress(Refused):
                    newcomer = await Client(address).open(PATIENCE)
                    handshake = time.monotonic() - watch.began
                    await newcomer.close()
                kept = [client for client in held if not client.end]
                beside = len(kept), await answering(kept)
            if beside is not None and all(client.end for client in held):
                break
            await asyncio.sleep(LISTENER)
        watched = time.monotonic() - watch.began
    result = {
        "connections": number,
        "watched": watched,
        "main_process": "same" if int(await show(unit, "MainPID")) == main else "another",
        "result": await show(unit, "Result"),
        "ends": ends(held, watch.began),
        "kept": sum(not client.end for client in held),
        "beside": beside,
        "refused": watch.refused(),
        "last_page": watch.last_page(former),
        "first_page": watch.first_page(former),
        "handshake": handshake,
    }
    await close_all(held)
    await systemctl("restart", unit)
    await ready(address)
    return result


def rounded(value: Any) -> Any:
    """Times to a hundredth."""
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return value


async def measure(unit: str, address: str, limit: int, idle: int, held: int) -> dict[str, Any]:
    """All of one instance: idle connections, limit + 10 %, then held ones at stop and reload."""
    try:
        await ready(address)
        result = await fill(unit, address, limit, idle)
        await systemctl("restart", unit)
        await ready(address)
        result["stop"] = await stop(unit, address, held)
        result["reload"] = await reload(unit, address, held)
    finally:
        await close_all(list(Client.opened))
    return {key: rounded(value) for key, value in result.items()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(**json.loads(sys.argv[1])))))
