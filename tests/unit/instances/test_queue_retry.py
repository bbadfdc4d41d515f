# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python-socketio's attempts to reach a queue that is away, as they are and with the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[3] / "roles/_instances/files/queue_retry.py"
# Its own loop, on a port where nobody listens, until the fourth attempt; nobody waits for it.
PROGRAM = """
import runpy, sys, time

from socketio import redis_manager

slept = []
time.sleep = lambda seconds: slept.append(seconds)


class Gone:
    def pubsub(self, **_):
        return self

    def subscribe(self, _):
        if len(slept) == 4:
            raise SystemExit(print(slept))
        raise OSError


class Redis:
    from_url = staticmethod(lambda *_, **__: Gone())


redis_manager.redis = type("redis", (), {"Redis": Redis})
redis_manager.RedisError = OSError
for file in sys.argv[1:]:
    runpy.run_path(file)
manager = redis_manager.RedisManager("redis://127.0.0.1:1", logger=False)
list(manager._redis_listen_with_retries())
"""


@pytest.mark.parametrize(("files", "waits"), [([], [1, 2, 4, 8]), ([str(FILE)], [1, 1, 1, 1])])
def test_how_long_it_waits(files: list[str], waits: list[int]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *files], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(waits)
