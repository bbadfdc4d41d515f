# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The heartbeat for systemd goes on while the event loop does, and no longer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

WATCHDOG = Path(__file__).resolve().parents[3] / "roles/_instances/files/watchdog.py"
PATCH = "from gevent import monkey; monkey.patch_all();"
RUN = "import runpy, sys, time; runpy.run_path(sys.argv[1]);"
# Long enough for several beats; then the loop gets no turn any more.
HANG = "time.sleep(0.5); [None for _ in iter(int, 1)]"

Start = Callable[[str], None]


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        # Five times what lies between two beats.
        listener.settimeout(0.5)
        yield listener


@pytest.fixture
def start(systemd: socket.socket) -> Iterator[Start]:
    processes = []

    def run(program: str) -> None:
        environment = {"NOTIFY_SOCKET": systemd.getsockname(), "SOCKETIO_WATCHDOG": "0.4"}
        command = [sys.executable, "-c", program, str(WATCHDOG)]
        processes.append(subprocess.Popen(command, env=os.environ | environment))
        # Python's start takes its time.
        systemd.settimeout(20)
        assert systemd.recv(64) == b"WATCHDOG_USEC=400000"
        systemd.settimeout(0.5)

    yield run
    for process in processes:
        process.kill()
        process.wait()


def beats(systemd: socket.socket, count: int) -> list[bytes]:
    return [systemd.recv(64) for _ in range(count)]


@pytest.mark.parametrize("patch", ["", PATCH])
def test_it_goes_on(start: Start, systemd: socket.socket, patch: str) -> None:
    start(f"{patch}{RUN}time.sleep(60)")
    assert beats(systemd, 12) == [b"WATCHDOG=1"] * 12


def test_it_stops_when_the_loop_hangs(start: Start, systemd: socket.socket) -> None:
    start(f"{PATCH}{RUN}{HANG}")
    with pytest.raises(TimeoutError):
        beats(systemd, 12)
