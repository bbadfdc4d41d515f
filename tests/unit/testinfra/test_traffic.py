# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The traffic counts what a real server did: all that went well, and each thing that did not."""

from __future__ import annotations

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
from traffic import Traffic, keep_figures

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
    assert figures["connections"] == {"dropped": 0, "back": 0, "longest_absence": 0.0}
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
