"""Clients that talk while something breaks, and the count of what they said, heard and missed.

    with Traffic([f"http://{published('lb1', 80)}"], clients=12) as traffic:
        killed = traffic.mark("killed")
        inside("node1", "systemctl kill --signal=KILL 'whoami-*@1.service'")
        traffic.until_whole(killed, limit=15)
    keep_figures("instance killed", traffic.figures(killed))

Each client connects, says a message with an id of its own every so often (the event `say` of the
example app, which it acknowledges and broadcasts as `said`), and connects again when it is cut off.
Beside them newcomers connect and leave. All run in a thread, so that a test may meanwhile do what
it likes. Times are in seconds since the beginning, those of figures since the fault.

With `repeats` nobody listens (the event `note`, which the app only acknowledges), and so hundreds
of clients cost little: each says once more, by its id, what had no answer when it was cut off.

    with Traffic([url], clients=200, newcomers=10, speech=0.5, repeats=True) as traffic:
        began = traffic.mark("deploy")
        playbook("playbooks/deploy.yml", ...)
        counts = traffic.counts(began, traffic.settle())
    keep_case("deploy", counts | {"duplicates": traffic.duplicates(ids that the app has handled)})
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import math
import os
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import socketio
import socketio.exceptions

PATIENCE = 5.0
"""Seconds after which a handshake without an answer has failed."""
TICK = 0.1
"""Seconds by which the clients count their patience."""
STALL = 0.5
"""Seconds in which the clients did not run at all, to be told beside what failed."""
FLIGHT = 1.0
"""Seconds that a message may be on its way before it counts as late."""
BEGINNING = 30.0
"""Seconds in which all clients must have connected at first."""
ARRIVALS = 50
"""Clients that come in a second at the beginning."""
BACKOFF = (1.0, 5.0)
"""As socket.io-client: seconds before the first attempt to connect again, doubled up to so many."""

PROJECT = Path(__file__).resolve().parents[3]

Kind = Literal["browser", "polling", "websocket"]
"""browser: with the page's cookie, polling, then the upgrade. polling: the same without upgrade.
websocket: nothing else, and no cookie."""
TRANSPORTS: dict[Kind, list[str]] = {
    "browser": ["polling", "websocket"],
    "polling": ["polling"],
    "websocket": ["websocket"],
}
PARTS = ("handshakes", "messages", "connections")


class Failed(Exception):
    """A handshake that failed: its step (open, upgrade or connect), and how."""


@dataclass
class Handshake:
    kind: Kind
    at: float
    seconds: float | None = None
    """None as long as it has no answer."""
    failure: str = ""
    instance: str = ""


@dataclass
class Message:
    at: float
    speaker: str
    instance: str
    due: dict[str, str]
    """The clients that were connected when it was said, and the instance of each."""
    acknowledged: float | None = None
    repeated: int = 0
    heard: dict[str, list[float]] = field(default_factory=dict)

    @property
    def missing(self) -> set[str]:
        """The clients that did not hear it."""
        return self.due.keys() - self.heard.keys()

    @property
    def whole(self) -> bool:
        return self.acknowledged is not None and not self.missing


@dataclass
class Drop:
    """A connection that its client did not close."""

    client: str
    instance: str
    at: float
    back: float | None = None
    dismissed: bool = False
    """The server said that it ends: the libraries' clients don't come back then by themselves."""


def by_itself() -> aiohttp.TCPConnector:
    """A connection for each request: a browser sends again what a kept one was closed under."""
    return aiohttp.TCPConnector(force_close=True)


@contextlib.asynccontextmanager
async def patience(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError after so many seconds in which the clients ran.

    By the clock, a machine that stands still would look like a server that does not answer.
    """
    async with asyncio.timeout(None) as limit:

        async def wear_out() -> None:
            for _ in range(round(seconds / TICK)):
                await asyncio.sleep(TICK)
            limit.reschedule(0)

        wearing_out = asyncio.create_task(wear_out())
        try:
            yield
        finally:
            wearing_out.cancel()


class Connection:
    """One connection of one client, from its handshake on."""

    def __init__(
        self,
        kind: Kind,
        cookie: str,
        path: str,
        patience: float,
        connector: Callable[[], aiohttp.TCPConnector],
    ) -> None:
        self.kind = kind
        self._connector = connector
        self.instance = ""
        self.version = ""
        self.ended = asyncio.Event()
        self.dismissed = False
        self._cookie = cookie
        self._path = path
        self._patience = patience
        self._http: aiohttp.ClientSession | None = None
        # Its own limits come after ours, because it does not say which of them was reached.
        self.client = socketio.AsyncClient(
            reconnection=False, request_timeout=2 * patience, handle_sigint=False
        )
        self.client.on("whoami", self._introduced)
        self.client.on("disconnect", self._disconnected)

    async def open(self, url: str) -> None:
        """Connect, all steps within the patience, or raise Failed with the step that failed."""
        # On the session, because the client sends headers of its own with the first request only.
        headers = {"Cookie": self._cookie} if self.kind != "websocket" else {}
        self._http = aiohttp.ClientSession(headers=headers, connector=self._connector())
        self.client.eio.http = self._http
        self.client.eio.external_http = True
        problem = ""
        try:
            async with patience(self._patience):
                await self.client.connect(
                    url,
                    transports=TRANSPORTS[self.kind],
                    socketio_path=self._path,
                    wait_timeout=2 * self._patience,
                )
        except TimeoutError:
            problem = f"{self._step()}: no answer in {self._patience:g} s"
        except (socketio.exceptions.ConnectionError, aiohttp.ClientError, OSError) as error:
            problem = f"{self._step()}: {error}"
        except Exception as error:  # what a half-dead server sends breaks python-engineio's parser
            problem = f"{self._step()}: {type(error).__name__}: {error}"
        else:
            if self.client.transport() != TRANSPORTS[self.kind][-1]:
                problem = "upgrade: refused"
        if problem:
            await self.close()
            raise Failed(problem)
        if writing := self.client.eio.write_loop_task:
            writing.add_done_callback(self._wrote_last)

    def _step(self) -> str:
        # Set by the answer to open, and not forgotten when that session ends.
        transport = self.client.eio.current_transport
        if transport is None:
            return "open"
        return "connect" if transport == TRANSPORTS[self.kind][-1] else "upgrade"

    def _wrote_last(self, task: asyncio.Task[None]) -> None:
        # Over polling it would know only at the next ping that a message could not be sent. That
        # the server ends it, which looks the same at first, it says at once.
        task.get_loop().call_later(0.2, self.ended.set)

    async def close(self) -> None:
        # Its own farewell may wait for ever for a server that is gone; the session ends all.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self.client.disconnect(), 1)
        if self._http:
            await self._http.close()

    async def _introduced(self, data: dict[str, Any]) -> None:
        self.instance = f"{data['node']}/{data['instance'] or data['pid']}"
        self.version = data.get("version", "")

    async def _disconnected(self, reason: str) -> None:
        self.dismissed = reason == self.client.reason.SERVER_DISCONNECT
        self.ended.set()


class Traffic:
    """Clients at the given URLs, in turn, of the given kinds, in turn."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        clients: int = 12,
        newcomers: float = 5,
        speech: float = 2,
        kinds: Sequence[Kind] = ("browser", "websocket"),
        cookie: str = "socketio_whoami",
        path: str = "socket.io",
        patience: float = PATIENCE,
        repeats: bool = False,
        event: str = "",
        connector: Callable[[], aiohttp.TCPConnector] = by_itself,
    ) -> None:
        """newcomers and speech are rates: handshakes a second, and messages of each client.

        The event must be acknowledged; it is "note" of clients who repeat, else "say".
        """
        self.urls = list(urls)
        self.kinds = list(kinds)
        self.handshakes: list[Handshake] = []
        self.messages: dict[str, Message] = {}
        self.drops: list[Drop] = []
        self.marks: dict[str, float] = {}
        self.stalls: list[tuple[float, float]] = []
        """When the clients did not run, and for how long."""
        self._count = clients
        self._newcomers = newcomers
        self._speech = speech
        self._cookie = cookie
        self._path = path
        self._patience = patience
        self._repeats = repeats
        self._event = event or ("note" if repeats else "say")
        self._connector = connector
        self._connected: dict[str, Connection] = {}
        self._run = secrets.token_hex(3)
        self._began = time.monotonic()
        self._ended: float | None = None
        self._cpu = 0.0
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._quiet = asyncio.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._wait(lambda: len(self._connected) == self._count, BEGINNING)
        except AssertionError:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._quiet.set)
        # What is on its way may arrive.
        with contextlib.suppress(AssertionError):
            # What was not repeated by then may not arrive any more.
            self._wait(
                lambda: not self._pending(0 if self._repeats else self.now() - FLIGHT),
                self._patience,
            )
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._ended = time.monotonic()
        if self._error:
            raise self._error

    def now(self) -> float:
        """The seconds since the beginning, at most those to the end."""
        return (self._ended or time.monotonic()) - self._began

    def cpu(self) -> float:
        """The CPU-seconds that the clients took."""
        if self._ended is not None or self._thread.ident is None:
            return self._cpu
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))

    def mark(self, name: str) -> float:
        """Keep the time of what happens now under a name; returns it."""
        self.marks[name] = self.now()
        return self.marks[name]

    def instances(self) -> Counter[str]:
        """How many of the clients each instance has now, such as {"node1/1": 3}."""
        return Counter(connection.instance for connection in list(self._connected.values()))

    def versions(self) -> Counter[str]:
        """How many of the clients are with each version of the app now."""
        return Counter(connection.version for connection in list(self._connected.values()))

    def instances_seen(self) -> set[str]:
        """The instances that any client ever reached."""
        return {handshake.instance for handshake in list(self.handshakes)} - {""}

    def wrong(self, since: float, until: float = math.inf) -> dict[str, float]:
        """The last time of each part at which something was wrong between two times, if it was.

        A handshake that failed counts from its start, a message that was not acknowledged or not
        heard by all from the time it was said, a connection that was cut off until it was back.
        """
        times: dict[str, list[float]] = {part: [] for part in PARTS}
        times["handshakes"] = [h.at for h in list(self.handshakes) if h.failure]
        times["messages"] = [m.at for m in list(self.messages.values()) if not m.whole]
        times["connections"] = [
            min(until, self.now() if d.back is None else d.back)
            for d in list(self.drops)
            if d.at <= until
        ]
        inside = {part: [t for t in times[part] if since <= t <= until] for part in PARTS}
        return {part: max(found) for part, found in inside.items() if found}

    def until_whole(
        self,
        since: float,
        limit: float,
        *,
        calm: float = 2.0,
        of: Sequence[str] = PARTS,
    ) -> float:
        """Wait until nothing has been wrong for calm seconds; returns how long it was wrong.

        Raises AssertionError when that takes longer than limit seconds (the calm not counted).
        """
        last = since

        def whole() -> bool:
            nonlocal last
            # What is younger may still be on its way.
            until = self.now() - FLIGHT
            if "handshakes" in of and any(
                h.seconds is None and h.at < until for h in list(self.handshakes)
            ):
                return False
            wrong = self.wrong(since, until)
            last = max([since, *(wrong[part] for part in of if part in wrong)])
            return until - last >= calm

        self._wait(whole, limit + calm + FLIGHT)
        assert last - since <= limit, self._report(since)
        return last - since

    def settle(self) -> float:
        """Let all clients come back, and what they began until then end; returns when they were.

        Raises nothing when some don't: that is in the counts up to then.
        """
        with contextlib.suppress(AssertionError):
            # As long as the last of their attempts may take.
            self._wait(
                lambda: len(self._connected) == self._count, 1.5 * BACKOFF[1] + self._patience
            )
        now = self.now()
        with contextlib.suppress(AssertionError):
            self._wait(lambda: not self._pending(0, now), self._patience)
        return now

    def counts(self, since: float = 0.0, until: float = math.inf) -> dict[str, float]:
        """What a deploy may not have more of than none, in few figures."""
        figures = self.figures(since, until)
        messages, handshakes = figures["messages"], figures["handshakes"]
        return {
            "handshakes": handshakes["tried"],
            "failed": handshakes["failed"],
            "acks": messages["acknowledged"],
            "lost_acks": messages["sent"] - messages["acknowledged"],
            "seconds": figures["seconds"],
        }

    def duplicates(
        self, handled: Iterable[str], since: float = 0.0, until: float = math.inf
    ) -> int:
        """How many messages the app handled once more, given the id of each that it handled."""
        times = Counter(handled)
        said = {
            said: message
            # A list of the items would be made one by one, while others come.
            for said, message in self.messages.copy().items()
            if since <= message.at <= until
        }
        # Or the app keeps no such list, and there seem to be none.
        unknown = [
            said for said, m in said.items() if m.acknowledged is not None and not times[said]
        ]
        assert not unknown, f"acknowledged but not handled: {unknown[:5]}, of {len(unknown)}"
        return sum(max(0, times[said] - 1) for said in said)

    def figures(self, since: float = 0.0, until: float = math.inf) -> dict[str, Any]:
        """What was counted between two times; times in it are since the first."""
        messages = [m for m in list(self.messages.values()) if since <= m.at <= until]
        handshakes = [h for h in list(self.handshakes) if since <= h.at <= until]
        drops = [d for d in list(self.drops) if since <= d.at <= until]
        ended = min(until, self.now())
        answers = [m.acknowledged - m.at for m in messages if m.acknowledged is not None]
        took = [h.seconds for h in handshakes if h.seconds is not None and not h.failure]
        seconds: dict[int, Counter[str]] = {}
        for handshake in handshakes:
            second = seconds.setdefault(int(handshake.at - since), Counter(tried=0, failed=0))
            second["tried"] += 1
            second["failed"] += bool(handshake.failure)
        return {
            "seconds": round(ended - since, 2),
            "marks": {
                name: round(at - since, 2)
                for name, at in self.marks.items()
                if since <= at <= until
            },
            "wrong_until": {
                part: round(last - since, 2) for part, last in self.wrong(since, until).items()
            },
            "messages": {
                "sent": len(messages),
                "acknowledged": len(answers),
                "due": sum(len(m.due) for m in messages),
                "received": sum(len(m.due.keys() & m.heard.keys()) for m in messages),
                "repeated": sum(m.repeated for m in messages),
                "duplicated": sum(len(times) - 1 for m in messages for times in m.heard.values()),
                "slowest_answer": round(max(answers, default=0.0), 2),
            },
            "connections": {
                "dropped": len(drops),
                "back": sum(d.back is not None for d in drops),
                "dismissed": sum(d.dismissed for d in drops),
                "longest_absence": round(
                    max((d.back - d.at for d in drops if d.back is not None), default=0.0), 2
                ),
            },
            "handshakes": {
                "tried": len(handshakes),
                "failed": sum(bool(h.failure) for h in handshakes),
                "slowest": round(max(took, default=0.0), 2),
                "failures": dict(Counter(f"{h.kind} {h.failure}" for h in handshakes if h.failure)),
                # Seconds without a failure are told by the sums.
                "failed_by_second": {
                    str(second): f"{count['failed']} of {count['tried']}"
                    for second, count in sorted(seconds.items())
                    if count["failed"]
                },
            },
        }

    def failures(self, since: float, until: float = math.inf) -> list[str]:
        """Each handshake that failed, and what says whether it was alone with that.

        That is the slowest of those that did not fail and were under way at the same time, and for
        how long none of the clients ran.
        """
        tried = [h for h in list(self.handshakes) if since <= h.at <= until]
        told = []
        for failed in [h for h in tried if h.failure]:
            ended = failed.at + (failed.seconds or 0.0)
            beside = [
                h.seconds
                for h in tried
                if h.seconds is not None
                and not h.failure
                and h.at < ended
                and h.at + h.seconds > failed.at
            ]
            stalled = sum(
                stall for at, stall in self.stalls if at <= ended and failed.at <= at + TICK + stall
            )
            told.append(
                f"{failed.kind} {failed.failure}, at {failed.at - since:.1f} s,"
                f" the slowest beside it took {max(beside, default=0.0):.1f} s,"
                f" the clients stood still for {stalled:.1f} s"
            )
        return told

    def _report(self, since: float) -> str:
        return json.dumps(self.figures(since), indent=2)

    def _pending(self, since: float, until: float = math.inf) -> bool:
        """Whether a handshake, or a message that was said between two times, has no end yet."""
        return any(
            not m.whole and since <= m.at <= until for m in list(self.messages.values())
        ) or any(h.seconds is None and h.at <= until for h in list(self.handshakes))

    def _wait(self, condition: Callable[[], bool], limit: float) -> None:
        """From the caller's thread."""
        end = time.monotonic() + limit
        while not condition():
            if self._error:
                raise self._error
            assert time.monotonic() < end, f"not in {limit:g} s: {self._report(0)}"
            time.sleep(0.05)

    # From here on in the thread.

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._all())
        except BaseException as error:
            self._error = error
        finally:
            self._loop.close()
            self._cpu = time.thread_time()

    async def _all(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._live(n)) for n in range(self._count)]
                running.append(tasks.create_task(self._receive_newcomers(tasks)))
                running.append(tasks.create_task(self._watch()))
                await self._stop.wait()
                for task in running:
                    task.cancel()
        finally:
            # Those of python-engineio may still write into sessions that are closed.
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            before = self.now()
            await asyncio.sleep(TICK)
            if (stall := self.now() - before - TICK) > STALL:
                self.stalls.append((before, stall))

    async def _handshake(self, number: int, connection: Connection) -> None:
        handshake = Handshake(connection.kind, self.now())
        self.handshakes.append(handshake)
        try:
            await connection.open(self.urls[number % len(self.urls)])
        except Failed as failure:
            handshake.failure = str(failure)
            raise
        except asyncio.CancelledError:
            # The end came first: it tells nothing.
            self.handshakes.remove(handshake)
            raise
        else:
            handshake.instance = connection.instance
        finally:
            handshake.seconds = self.now() - handshake.at

    def _connection(self, number: int, cookie: str) -> Connection:
        # Other kinds at the next URL, so that each URL gets all of them.
        kind = self.kinds[(number // len(self.urls)) % len(self.kinds)]
        return Connection(
            kind, f"{self._cookie}={cookie}", self._path, self._patience, self._connector
        )

    async def _live(self, number: int) -> None:
        """Be one client: a cookie for life, and one connection after another."""
        name = f"client{number}"
        cookie = secrets.token_hex(16)
        drop: Drop | None = None
        delay = BACKOFF[0]
        unanswered: dict[str, Message] = {}
        await asyncio.sleep(number / ARRIVALS)
        while not (drop and drop.dismissed):
            connection = self._connection(number, cookie)
            connection.client.on("said", self._listener(name))
            try:
                await self._handshake(number, connection)
                delay = BACKOFF[0]
                self._connected[name] = connection
                if drop:
                    drop.back = self.now()
                async with self._speaking(number, name, connection, unanswered):
                    await connection.ended.wait()
                drop = Drop(name, connection.instance, self.now(), dismissed=connection.dismissed)
                self.drops.append(drop)
            except Failed:
                pass
            finally:
                self._connected.pop(name, None)
                await connection.close()
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311
            delay = min(2 * delay, BACKOFF[1])

    @contextlib.asynccontextmanager
    async def _speaking(
        self, number: int, name: str, connection: Connection, unanswered: dict[str, Message]
    ) -> AsyncIterator[None]:
        task = asyncio.create_task(self._speak(number, name, connection, unanswered))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _speak(
        self, number: int, name: str, connection: Connection, unanswered: dict[str, Message]
    ) -> None:
        if not self._speech:
            return
        with contextlib.suppress(socketio.exceptions.BadNamespaceError):
            for said, message in list(unanswered.items()) if self._repeats else []:
                message.repeated += 1
                await self._say(connection, said, message, unanswered)
            # Spread evenly, not all at once.
            await asyncio.sleep(number / self._count / self._speech)
            while not self._quiet.is_set():
                said = f"{self._run}-{name}-{len(self.messages)}"
                message = Message(self.now(), name, connection.instance, dict(self._audience()))
                self.messages[said] = message
                await self._say(connection, said, message, unanswered)
                await asyncio.sleep(1 / self._speech)

    async def _say(
        self,
        connection: Connection,
        said: str,
        message: Message,
        unanswered: dict[str, Message],
    ) -> None:
        def answered(*_: object) -> None:
            message.acknowledged = self.now()
            unanswered.pop(said, None)

        unanswered[said] = message
        await connection.client.emit(self._event, said, callback=answered)

    def _audience(self) -> Iterator[tuple[str, str]]:
        if not self._repeats:
            yield from ((who, other.instance) for who, other in self._connected.items())

    def _listener(self, name: str) -> Callable[[dict[str, Any]], None]:
        def heard(data: dict[str, Any]) -> None:
            message = self.messages.get(data["text"])
            # Others may use the app too.
            if message:
                message.heard.setdefault(name, []).append(self.now())

        return heard

    async def _receive_newcomers(self, tasks: asyncio.TaskGroup) -> None:
        number = 0
        coming: set[asyncio.Task[None]] = set()
        try:
            while self._newcomers and not self._quiet.is_set():
                task = tasks.create_task(self._come_and_go(number))
                coming.add(task)
                task.add_done_callback(coming.discard)
                number += 1
                await asyncio.sleep(1 / self._newcomers)
            await self._stop.wait()
        finally:
            for task in coming:
                task.cancel()

    async def _come_and_go(self, number: int) -> None:
        connection = self._connection(number, secrets.token_hex(16))
        try:
            with contextlib.suppress(Failed):
                await self._handshake(number, connection)
        finally:
            await connection.close()


def keep_figures(
    name: str,
    figures: dict[str, Any],
    scenario: str | None = None,
    file: Path = PROJECT / "build" / "faults.json",
) -> None:
    """Keep figures under the scenario and a name; scenarios may do so at the same time."""
    scenario = scenario or os.environ["MOLECULE_SCENARIO_NAME"]
    with _kept(file, {}) as known:
        known.setdefault(scenario, {})[name] = figures


def keep_case(
    case: str, figures: dict[str, float], file: Path = PROJECT / "build" / "deploys.json"
) -> None:
    """Keep the figures of a case in a list, in place of those that it had."""
    with _kept(file, []) as known:
        known[:] = [one for one in known if one["case"] != case] + [{"case": case} | figures]


@contextlib.contextmanager
def _kept(file: Path, empty: Any) -> Iterator[Any]:
    """What a file holds, to be changed by one at a time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+", encoding="utf-8") as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        kept.seek(0)
        known = json.loads(kept.read() or json.dumps(empty))
        yield known
        kept.truncate(0)
        kept.write(json.dumps(known, indent=2, sort_keys=True) + "\n")
