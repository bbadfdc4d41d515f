# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The traffic counts what a real server did: all that went well, and each thing that did not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import traffic
from traffic import TICK, Handshake, Traffic, keep_case, keep_figures, patience

SERVERS = Path(__file__).parent / "servers"
# Shorter than in earnest, so that the tests are.
PATIENCE = 1.5

Server = Callable[..., "contextlib.AbstractContextManager[subprocess.Popen[bytes]]"]


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    return number


@pytest.fixture
def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def server(port: int, url: str) -> Server:
    """Starts the app on the port, always the same, and waits until it answers."""

    @contextlib.contextmanager
    def started(**environment: str) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "gunicorn", "--chdir", str(SERVERS), "-k", "gevent"]
        command += ["--log-level", "critical", "--no-control-socket", "--graceful-timeout", "1"]
        process = subprocess.Popen(
            [*command, "-w", "1", "--bind", f"127.0.0.1:{port}", "app:app"],
            env=os.environ | environment,
            start_new_session=True,
        )
        try:
            open_url = f"{url}/socket.io/?EIO=4&transport=polling"
            for _ in range(200):
                with contextlib.suppress(OSError), urllib.request.urlopen(open_url):  # noqa: S310
                    break
                time.sleep(0.1)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    return started


def talk(url: str, seconds: float = 1.5, **options: Any) -> Traffic:
    with Traffic([url], **{"clients": 4, "patience": PATIENCE} | options) as clients:
        time.sleep(seconds)
    return clients


def test_all_is_counted_when_all_goes_well(server: Server, url: str) -> None:
    with server():
        clients = talk(url)
    figures = clients.figures()
    messages, handshakes = figures["messages"], figures["handshakes"]
    assert messages["sent"] >= 8
    assert messages["sent"] == messages["acknowledged"]
    # The first may be said before the last client has come; none is due to fewer than one.
    assert messages["due"] == messages["received"] > 2 * messages["sent"]
    assert messages["duplicated"] == 0
    assert handshakes["tried"] >= 4 + 5
    assert (handshakes["failed"], handshakes["failures"]) == (0, {})
    assert figures["connections"] == {
        "dropped": 0,
        "back": 0,
        "dismissed": 0,
        "longest_absence": 0.0,
    }
    assert figures["wrong_until"] == {}
    assert {handshake.kind for handshake in clients.handshakes} == {"browser", "websocket"}


def test_what_is_lost_and_what_comes_twice_is_counted(server: Server, url: str) -> None:
    with server(BAD="1"):
        clients = talk(url, kinds=["websocket"], speech=1)
    first = clients.figures()
    assert first["messages"]["sent"] - first["messages"]["acknowledged"] == 1
    assert first["messages"]["duplicated"] == 1
    unheard = [message for message in clients.messages.values() if message.missing]
    assert [message.missing for message in unheard] == [set(unheard[0].due)]
    assert first["messages"]["due"] - first["messages"]["received"] == len(unheard[0].due)
    assert first["wrong_until"]["messages"] > 0
    assert "handshakes" not in first["wrong_until"]


def test_a_browser_keeps_its_cookie_and_a_websocket_has_none(server: Server, url: str) -> None:
    with server(COOKIES="1"):
        browsers = talk(url, newcomers=0, kinds=["browser"], clients=3)
        sockets = talk(url, newcomers=0, kinds=["websocket"], clients=3)
    cookies = {handshake.instance for handshake in browsers.handshakes}
    assert len(cookies) == 3
    assert {handshake.instance for handshake in sockets.handshakes} == {"here/none"}


def test_a_server_that_dies_is_seen_until_it_is_back(server: Server, url: str) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(server())
        with Traffic([url], clients=4, patience=PATIENCE) as clients:
            assert clients.instances() == {"here/1": 4}
            died = clients.mark("died")
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
            # Long enough for newcomers of both kinds.
            time.sleep(1)
            stack.enter_context(server())
            recovered = clients.until_whole(died, limit=12, calm=1)
    figures = clients.figures(died)
    assert figures["connections"]["dropped"] == figures["connections"]["back"] == 4
    assert figures["handshakes"]["failed"] > 0
    assert any("open: Cannot connect" in text for text in figures["handshakes"]["failures"])
    assert next(iter(figures["handshakes"]["failed_by_second"])) == "0"
    assert recovered == pytest.approx(max(figures["wrong_until"].values()), abs=0.01)
    assert figures["marks"] == {"died": 0.0}


def test_a_server_that_hangs_fails_handshakes_by_their_time(server: Server, url: str) -> None:
    with server() as process, Traffic([url], clients=2, patience=PATIENCE) as clients:
        hung = clients.mark("hung")
        os.killpg(process.pid, signal.SIGSTOP)
        with pytest.raises(AssertionError, match=r"no answer in 1\.5 s"):
            clients.until_whole(hung, limit=2, calm=0.5)
        os.killpg(process.pid, signal.SIGCONT)
        clients.until_whole(hung, limit=10, calm=0.5)
    figures = clients.figures(hung)
    # A polling client gets no answer to open, one of WebSocket no upgrade to it.
    assert set(figures["handshakes"]["failures"]) <= {
        f"{kind} {step}: no answer in 1.5 s"
        for kind in ("browser", "websocket")
        for step in ("open", "upgrade", "connect")
    }
    assert figures["connections"]["dropped"] == 0
    assert figures["messages"]["slowest_answer"] > 1.5


@pytest.mark.parametrize(
    ("variable", "failures"),
    [
        ("REFUSES", {"browser connect", "websocket connect"}),
        ("NO_UPGRADE", {"browser upgrade"}),
    ],
)
def test_each_step_can_fail(server: Server, url: str, variable: str, failures: set[str]) -> None:
    with server(**{variable: "1"}):
        clients = talk(url, clients=0, newcomers=5)
    found = clients.figures()["handshakes"]["failures"]
    assert {text.split(":")[0] for text in found} == failures


@pytest.fixture
def handled(tmp_path: Path) -> Path:
    """Where the app writes the ids that it handles."""
    path = tmp_path / "handled"
    path.touch()
    return path


def repeating(url: str, **options: Any) -> Traffic:
    return Traffic([url], **{"clients": 6, "patience": PATIENCE, "repeats": True} | options)


def test_clients_that_repeat_lose_nothing_when_all_goes_well(
    server: Server, url: str, handled: Path
) -> None:
    kinds = ["browser", "polling", "websocket"]
    with server(HANDLED=str(handled)):
        with repeating(url, kinds=kinds) as clients:
            began = clients.mark("began")
            time.sleep(1.5)
            until = clients.settle()
            # What comes later is not in the counts.
            time.sleep(0.6)
        counts = clients.counts(began, until)
    assert counts["acks"] >= 12
    assert counts["handshakes"] >= 5
    assert (counts["failed"], counts["lost_acks"]) == (0, 0)
    assert counts["seconds"] == pytest.approx(until - began, abs=0.01)
    assert counts["acks"] < clients.counts()["acks"]
    assert clients.duplicates(handled.read_text().split()) == 0
    assert clients.figures()["messages"]["repeated"] == 0
    assert {handshake.kind for handshake in clients.handshakes} == set(kinds)


@pytest.mark.parametrize("kind", ["browser", "polling", "websocket"])
def test_what_had_no_answer_is_said_again_and_counted_as_handled_twice(
    server: Server, url: str, handled: Path, kind: str
) -> None:
    """The first server dies while all of its clients wait for an answer."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(server(HANDLED=str(handled), SLOW="60", VERSION="1"))
        clients = repeating(url, kinds=[kind], speech=0.25, newcomers=0)
        with clients:
            while len(handled.read_text().split()) < 6:
                time.sleep(0.05)
            assert clients.versions() == {"1": 6}
            died = clients.mark("died")
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
            assert clients.counts(0, died)["lost_acks"] >= 6
            stack.enter_context(server(HANDLED=str(handled), VERSION="2"))
            clients.settle()
            assert clients.versions() == {"2": 6}
    counts, figures = clients.counts(), clients.figures()
    assert counts["lost_acks"] == 0
    twice = clients.duplicates(handled.read_text().split())
    assert twice == figures["messages"]["repeated"] >= 6
    assert figures["connections"]["dropped"] == figures["connections"]["back"] == 6


def test_without_repeating_they_are_lost(server: Server, url: str, handled: Path) -> None:
    """Negative control: the same, but nobody says anything again."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(server(HANDLED=str(handled), SLOW="60"))
        with repeating(url, speech=0.25, newcomers=0) as clients:
            while len(handled.read_text().split()) < 6:
                time.sleep(0.05)
            clients._repeats = False
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
            stack.enter_context(server(HANDLED=str(handled)))
            clients.settle()
    assert clients.counts()["lost_acks"] >= 6


def test_what_is_never_acknowledged_is_lost(server: Server, url: str, handled: Path) -> None:
    with server(HANDLED=str(handled), BAD="1"), repeating(url) as clients:
        time.sleep(1.5)
        until = clients.settle()
        counts = clients.counts(0, until)
    assert counts["lost_acks"] == 1
    assert clients.counts()["lost_acks"] == 1


def test_a_message_that_can_not_be_sent_over_polling_is_soon_said_again(
    server: Server, url: str, handled: Path
) -> None:
    """Before the next ping, which python-engineio would wait for."""
    with server(HANDLED=str(handled), REFUSED_POST="8"):
        with repeating(url, clients=3, kinds=["polling"], newcomers=0) as clients:
            while not clients.drops:
                time.sleep(0.05)
            clients.settle()
        figures = clients.figures()
    assert (figures["connections"]["dropped"], figures["connections"]["back"]) == (1, 1)
    assert figures["connections"]["longest_absence"] < 5
    assert figures["messages"]["repeated"] == 1
    assert clients.counts()["lost_acks"] == 0
    assert clients.duplicates(handled.read_text().split()) == 0


@pytest.mark.parametrize("how", ["socketio", "engineio"])
def test_a_client_that_the_server_dismisses_does_not_come_back(
    server: Server, url: str, handled: Path, how: str
) -> None:
    with server(HANDLED=str(handled), DISMISSES=how, SLOW="0.2"):
        with repeating(url, speech=0.3, newcomers=0) as clients:
            time.sleep(3)
        connections = clients.figures()["connections"]
    assert (connections["dropped"], connections["back"]) == (1, 0)
    assert connections["dismissed"] == 1
    assert clients.counts()["lost_acks"] == 1


def test_a_list_of_the_handled_that_lacks_some_is_an_error(server: Server, url: str) -> None:
    with server(), repeating(url, newcomers=0) as clients:
        time.sleep(1)
    with pytest.raises(AssertionError, match="acknowledged but not handled"):
        clients.duplicates([])
    # Others, and what is not asked for, count nowhere.
    assert clients.duplicates([*clients.messages, "x", "x"]) == 0
    assert clients.duplicates(list(clients.messages) * 3, 0, 0) == 0


def test_two_hundred_clients_leave_the_machine_to_the_servers(server: Server, url: str) -> None:
    load = {"clients": 200, "newcomers": 10, "speech": 0.5, "repeats": True}
    with server(), Traffic([url], kinds=["browser", "polling", "websocket"], **load) as clients:
        before, began = clients.cpu(), clients.mark("began")
        time.sleep(4)
        cost = (clients.cpu() - before) / (clients.now() - began)
        counts = clients.counts(began, clients.settle())
    assert (counts["failed"], counts["lost_acks"]) == (0, 0)
    assert counts["acks"] > 300
    # Of one core.
    assert cost < 0.5


def test_clients_that_never_connect_are_an_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "BEGINNING", 1.0)
    with pytest.raises(AssertionError, match="Cannot connect"), Traffic([url], clients=1):
        pytest.fail("nobody listens there")


def test_figures_of_scenarios_are_kept_beside_each_other(tmp_path: Path) -> None:
    file = tmp_path / "build" / "faults.json"
    keep_figures("old", {"sent": 0}, "faults", file)
    keep_figures("old", {"sent": 1}, "faults", file)
    with ThreadPoolExecutor(8) as pool:
        for number in range(40):
            pool.submit(keep_figures, f"n{number:02}", {"sent": number}, "other", file)
    assert json.loads(file.read_text(encoding="utf-8")) == {
        "faults": {"old": {"sent": 1}},
        "other": {f"n{number:02}": {"sent": number} for number in range(40)},
    }


def test_the_figures_of_a_case_take_the_place_of_its_former(tmp_path: Path) -> None:
    file = tmp_path / "build" / "deploys.json"
    for case, failed in (("control", 1), ("deploy", 2), ("control", 3)):
        keep_case(case, {"failed": failed}, file)
    assert json.loads(file.read_text(encoding="utf-8")) == [
        {"case": "deploy", "failed": 2},
        {"case": "control", "failed": 3},
    ]
    with ThreadPoolExecutor(8) as pool:
        for number in range(40):
            pool.submit(keep_case, f"n{number}", {}, file)
    assert len(json.loads(file.read_text(encoding="utf-8"))) == 42


def test_patience_ends() -> None:
    async def wait() -> None:
        async with patience(3 * TICK):
            await asyncio.sleep(30 * TICK)

    with pytest.raises(TimeoutError):
        asyncio.run(wait())


def test_a_machine_that_stands_still_wears_out_no_patience() -> None:
    async def stand_still_and_wait() -> str:
        async with patience(3 * TICK):
            time.sleep(10 * TICK)
            await asyncio.sleep(TICK)
        return "answered"

    assert asyncio.run(stand_still_and_wait()) == "answered"


def test_a_failure_is_told_with_what_was_beside_it() -> None:
    traffic = Traffic(["http://127.0.0.1:1"])
    traffic.handshakes = [
        Handshake("browser", 1.0, 0.2),
        Handshake("browser", 4.95, 6.1, "upgrade: no answer in 5 s"),
        Handshake("polling", 10.0, 1.5),
        Handshake("polling", 20.0, 3.0),
    ]
    # The first began in the same tick.
    traffic.stalls = [(4.9, 1.0), (0.5, 2.0), (15.0, 1.0)]
    assert traffic.failures(0.5) == [
        "browser upgrade: no answer in 5 s, at 4.5 s, the slowest beside it took 1.5 s,"
        " the clients stood still for 1.0 s"
    ]
