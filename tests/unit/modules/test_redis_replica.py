# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who the primary is, from what Sentinels and the server say, and what follows from it."""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.realtime.flask_socketio.plugins.modules.redis_replica import (
    complete,
    find_primary,
)

COLLECTIONS = Path(__file__).resolve().parents[3] / ".ansible" / "collections"
SCRIPT = """
import sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = 'legacy'
from ansible_collections.realtime.flask_socketio.plugins.modules import redis_replica
redis_replica.main()
"""
HERE, FIRST, OTHER = "10.0.0.6:6380", "10.0.0.5:6380", "10.0.0.7:6380"
FRESH = ["master", 0, []]
WITH_REPLICAS = ["master", 9, [["10.0.0.5", "6380", "9"]]]
FOLLOWING = ["slave", "10.0.0.7", 6380, "connected", 9]


def answer(primary: str, epoch: int = 0, **other: str) -> dict[str, str]:
    ip, _, port = primary.rpartition(":")
    known = {"flags": "master", "num-slaves": "2", "num-other-sentinels": "2"}
    return {"ip": ip, "port": port, "config-epoch": str(epoch)} | known | other


@pytest.mark.parametrize(
    ("answers", "role", "primary"),
    [
        # The first time nobody knows anything.
        ([{}, {}, {}], FRESH, FIRST),
        ([{}, {}, {}], [], FIRST),
        # The latest failover counts: a Sentinel that was away tells the one before.
        ([answer(FIRST, 1), answer(OTHER, 3), answer(HERE, 2)], FRESH, OTHER),
        ([{}, answer(HERE), {}], FRESH, HERE),
        # All Sentinels are gone, the servers are not.
        ([{}, {}, {}], FOLLOWING, OTHER),
        ([{}, {}, {}], WITH_REPLICAS, HERE),
    ],
)
def test_the_primary(answers, role, primary):
    assert find_primary(answers, role, HERE, FIRST) == primary


def test_what_a_failover_needs():
    assert complete(answer(FIRST), 3)
    for lacking in (
        {"flags": "master,s_down"},
        {"num-slaves": "1"},
        {"num-other-sentinels": "1"},
    ):
        assert not complete(answer(FIRST, **lacking), 3)
    assert not complete({}, 3)


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2].decode())
            if words == ["ROLE"]:
                self.wfile.write(reply(server.role))
            else:
                if words[0] == "REPLICAOF":
                    server.told.append(words)
                    server.role = ["slave", words[1], int(words[2]), server.link, 0]
                self.wfile.write(b"+OK\r\n")


def reply(value: Any) -> bytes:
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, str):
        return b"$%d\r\n%s\r\n" % (len(value), value.encode())
    return b"*%d\r\n%s" % (len(value), b"".join(map(reply, value)))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True
        told: list[list[str]]
        role: list[Any]
        link: str

    with Server(str(tmp_path / "admin.sock"), Handler) as running:
        running.told, running.role, running.link = [], FRESH, "connected"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def run(tmp_path: Path, check: bool = False, **options: Any) -> tuple[int, dict[str, Any]]:
    arguments = {
        "socket": str(tmp_path / "admin.sock"),
        "login_user": "_admin",
        "login_password": "secret-of-the-administrator",
        "address": HERE,
        "initial": FIRST,
        # Nobody answers there.
        "sentinels": [str(tmp_path / "no-sentinel")],
        "service": "chat",
        "timeout": 1,
        "_ansible_check_mode": check,
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        check=False,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments | options}),
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(COLLECTIONS), "PATH": "/usr/bin:/bin"},
    )
    return done.returncode, json.loads(done.stdout)


def test_a_server_follows_once(tmp_path, server):
    for changed in (True, False):
        code, result = run(tmp_path)
        assert (code, result["changed"], result["primary"]) == (0, changed, FIRST)
    assert server.told == [["REPLICAOF", "10.0.0.5", "6380"]]


def test_the_primary_follows_nobody(tmp_path, server):
    code, result = run(tmp_path, initial=HERE)
    assert (code, result["changed"], server.told) == (0, False, [])


def test_what_follows_another_is_left_alone(tmp_path, server):
    server.role = FOLLOWING
    code, result = run(tmp_path)
    assert (code, result["changed"], result["primary"], server.told) == (0, False, OTHER, [])


def test_check_mode_changes_nothing(tmp_path, server):
    code, result = run(tmp_path, check=True)
    assert (code, result["changed"], server.told) == (0, True, [])


def test_check_mode_needs_no_server(tmp_path):
    code, result = run(tmp_path, check=True)
    assert (code, result["changed"], result["primary"]) == (0, True, FIRST)


def test_without_a_server_it_fails(tmp_path):
    code, result = run(tmp_path)
    assert code == 1
    assert result["msg"].startswith(f"{tmp_path}/admin.sock: ")


def test_a_primary_that_can_not_be_reached_is_named(tmp_path, server):
    server.link = "connecting"
    code, result = run(tmp_path)
    assert code == 1
    assert result["msg"] == (
        f"{HERE} can't follow the primary {FIRST} after 1 s: is Redis running there and its port "
        "reachable? Run this for all of the Sentinels' hosts, without --limit."
    )


@pytest.mark.usefixtures("server")
def test_sentinels_that_never_know_each_other_are_named(tmp_path):
    code, result = run(tmp_path, initial=HERE, watched=True)
    assert code == 1
    assert result["msg"] == (
        f"after 1 s not all of the Sentinels ['{tmp_path}/no-sentinel'] know each other and all "
        "replicas: are their ports reachable from each other?"
    )
