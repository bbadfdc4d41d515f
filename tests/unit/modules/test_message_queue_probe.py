# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The probe against servers that share a queue in this process, or do not."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import socketio
import socketio.async_pubsub_manager
from aiohttp import web
from ansible_collections.realtime.flask_socketio.plugins.modules import message_queue_probe

URL = "redis://queue.example/0"
# Of a message that never comes; the clients have as long to connect, on a busy machine too.
SECONDS = 4.0


class Bus:
    """A queue, to which a server may subscribe more than once."""

    def __init__(self) -> None:
        self.subscribers: list[asyncio.Queue[Any]] = []
        self.probe: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.loop = asyncio.get_running_loop()

    def publish(self, message: dict[str, Any]) -> None:
        self.probe.put(message)
        for subscriber in self.subscribers:
            self.loop.call_soon_threadsafe(subscriber.put_nowait, message)


class Manager(socketio.async_pubsub_manager.AsyncPubSubManager):
    def __init__(self, bus: Bus, subscriptions: int, mute: bool) -> None:
        super().__init__()
        self.bus = bus
        self.mute = mute
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        bus.subscribers += [self.queue] * subscriptions

    async def _publish(self, data: dict[str, Any]) -> None:
        assert data["method"] == "callback", "the app emits nothing"
        if not self.mute:
            self.bus.publish(data)

    async def _listen(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            yield await self.queue.get()


class Emitter(socketio.PubSubManager):
    def __init__(self, bus: Bus) -> None:
        super().__init__()
        self.bus = bus

    def _publish(self, data: dict[str, Any]) -> None:
        self.bus.publish(data)

    def _listen(self) -> Iterator[dict[str, Any]]:
        while True:
            yield self.bus.probe.get()


class Broken(Emitter):
    def __init__(self, bus: Bus, logger: Any) -> None:
        super().__init__(bus)
        self.logger = logger

    def _publish(self, _data: dict[str, Any]) -> None:
        # As python-socketio's RedisManager does.
        extra = {"redis_exception": "invalid username-password pair"}
        self.logger.error("Cannot publish to redis... giving up", extra=extra)


async def serve(
    bus: Bus, subscriptions: int, refuses: bool, mute: bool
) -> tuple[web.AppRunner, str]:
    manager = Manager(bus, subscriptions, mute)
    server = socketio.AsyncServer(async_mode="aiohttp", client_manager=manager)
    if refuses:
        server.on("connect", lambda _sid, _environ: False)
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, "{}:{}".format(*runner.addresses[0])


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    def run(
        *subscriptions: int, refuses: bool = False, broken: bool = False, mute: int | None = None
    ) -> dict[str, Any]:
        async def inside() -> dict[str, Any]:
            bus = Bus()
            monkeypatch.setattr(
                message_queue_probe,
                "make_manager",
                lambda _queue, _channel, logger: Broken(bus, logger) if broken else Emitter(bus),
            )
            servers = [
                await serve(bus, number, refuses, at == mute)
                for at, number in enumerate(subscriptions)
            ]
            params = {
                "queue": URL,
                "channel": "chat",
                "targets": [address for _, address in servers],
                "path": "socket.io",
                "host": None,
                "namespace": "/",
                "timeout": SECONDS,
            }
            try:
                return await message_queue_probe.run(params)
            finally:
                await asyncio.gather(*(end(runner) for runner, _ in servers))

        return asyncio.run(inside())

    return run


def end(runner: web.AppRunner) -> Awaitable[None]:
    return runner.cleanup()


def test_a_message_reaches_every_target(probe: Callable[..., dict[str, Any]]) -> None:
    result = probe(1, 1, 1)
    assert "failed" not in result
    assert result["msg"].startswith("a message through the queue reached a client on each of 3 ")
    assert [target["messages"] for target in result["targets"]] == [1, 1, 1]
    assert [target["acknowledgements"] for target in result["targets"]] == [1, 1, 1]
    assert result["emitted"] == 1


def test_a_target_that_hears_nothing_fails(probe: Callable[..., dict[str, Any]]) -> None:
    result = probe(1, 0)
    deaf = result["targets"][1]["target"]
    assert result["failed"] is True
    assert f"without any: {deaf}; without the last: {deaf}. Remedy: " in result["msg"]


def test_a_target_that_hears_twice_fails(probe: Callable[..., dict[str, Any]]) -> None:
    result = probe(1, 2)
    assert result["failed"] is True
    assert result["msg"].startswith(f"A message reached {result['targets'][1]['target']} more than")


def test_a_target_whose_acknowledgement_is_lost_fails(
    probe: Callable[..., dict[str, Any]],
) -> None:
    result = probe(1, 1, mute=1)
    silent = result["targets"][1]["target"]
    assert result["failed"] is True
    lost = f"but the acknowledgements of {silent} do not come back in {SECONDS:g} s. "
    assert lost in result["msg"]


def test_a_queue_that_refuses_fails(probe: Callable[..., dict[str, Any]]) -> None:
    result = probe(1, broken=True)
    assert result["failed"] is True
    assert "Cannot publish to redis... giving up invalid username-password pair." in result["msg"]


def test_an_app_that_refuses_anonymous_clients(probe: Callable[..., dict[str, Any]]) -> None:
    result = probe(1, refuses=True)
    assert "failed" not in result
    assert result["msg"].startswith("not shown that messages pass between instances: the app refus")


@pytest.mark.parametrize("url", ["kafka://h:9092", "zmq+tcp://h:5555+5556"])
def test_queues_that_nothing_here_speaks_to(url: str) -> None:
    params = {"queue": url, "channel": "chat", "targets": ["127.0.0.1:1"], "path": "socket.io"}
    params |= {"host": None, "namespace": "/", "timeout": 1.0}
    result = asyncio.run(message_queue_probe.run(params))
    assert result["skipped_because"].startswith("nothing here emits to a queue of ")
