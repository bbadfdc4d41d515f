# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Against a server that speaks Redis's protocol and remembers what it was told."""

from __future__ import annotations

import json
import socketserver
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.realtime.flask_socketio.plugins.module_utils.redis_protocol import (
    RedisConnection,
    RedisRefused,
)

PASSWORD = "secret-of-the-administrator"
SCRIPT = """
import sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = 'legacy'
from ansible_collections.realtime.flask_socketio.plugins.modules import redis_users
redis_users.main()
"""
COLLECTIONS = Path(__file__).resolve().parents[3] / ".ansible" / "collections"


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2].decode())
            if words[0] == "AUTH":
                right = words[2] == PASSWORD
                self.wfile.write(b"+OK\r\n" if right else b"-WRONGPASS invalid\r\n")
            elif words == ["LIST"]:
                self.wfile.write(b"*4\r\n$1\r\na\r\n$-1\r\n:7\r\n*0\r\n")
            elif words == ["LEAVE"]:
                return
            elif "+nonsense" in words:
                self.wfile.write(b"-ERR Error in ACL SETUSER modifier '+nonsense'\r\n")
            else:
                server.told.append(words)
                self.wfile.write(b"+OK\r\n")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True
        told: list[list[str]]

    with Server(str(tmp_path / "admin.sock"), Handler) as running:
        running.told = []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def run(tmp_path: Path, check: bool = False, **options: Any) -> tuple[int, dict[str, Any]]:
    arguments = {
        "path": str(tmp_path / "users.acl"),
        "mode": "0640",
        "socket": str(tmp_path / "admin.sock"),
        "login_user": "_admin",
        "login_password": PASSWORD,
        **options,
        "_ansible_check_mode": check,
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        check=False,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(COLLECTIONS), "PATH": "/usr/bin:/bin"},
    )
    return done.returncode, json.loads(done.stdout)


def outcome(result: dict[str, Any]) -> tuple[bool, bool, list[str], bool]:
    return result["changed"], result["existed"], result["users"], result["applied"]


def test_without_a_server_the_file_is_written(tmp_path):
    acl = tmp_path / "users.acl"
    code, result = run(tmp_path, users={"default": "off", "chat": "on #aa &chat"})
    assert (code, *outcome(result)) == (0, True, False, ["default", "chat"], False)
    assert acl.read_text(encoding="utf-8") == "user default off\nuser chat on #aa &chat\n"
    assert stat.S_IMODE(acl.stat().st_mode) == 0o640


def test_a_second_run_changes_nothing(tmp_path, server):
    for changed in (True, False):
        code, result = run(tmp_path, users={"chat": "on #aa &chat"})
        assert (code, result["changed"], result["applied"]) == (0, changed, True)
    assert server.told == [["ACL", "SETUSER", "chat", "reset", "on", "#aa", "&chat"]]


def test_the_server_is_told_of_what_differs_only(tmp_path, server):
    acl = tmp_path / "users.acl"
    acl.write_text("user default off\nuser chat on #aa &chat\nuser shop on #bb &shop\n")
    code, result = run(
        tmp_path, users={"default": "off", "shop": "on #cc &shop"}, absent=["chat", "nobody"]
    )
    assert (code, *outcome(result)) == (0, True, True, ["default", "shop"], True)
    assert acl.read_text(encoding="utf-8") == "user default off\nuser shop on #cc &shop\n"
    assert server.told == [
        ["ACL", "SETUSER", "shop", "reset", "on", "#cc", "&shop"],
        ["ACL", "DELUSER", "chat"],
    ]


def test_check_mode_writes_and_tells_nothing(tmp_path, server):
    code, result = run(tmp_path, check=True, users={"chat": "on #aa &chat"})
    assert (code, result["changed"]) == (0, True)
    assert not (tmp_path / "users.acl").exists()
    assert server.told == []


def test_what_the_server_refuses_is_not_written(tmp_path, server):
    acl = tmp_path / "users.acl"
    acl.write_text("user default off\n")
    code, result = run(tmp_path, users={"chat": "on +nonsense"})
    assert (code, server.told) == (1, [])
    assert result["msg"] == (
        f"Redis refuses the users, so {acl} stays as it was: "
        "ERR Error in ACL SETUSER modifier '+nonsense'"
    )
    assert acl.read_text(encoding="utf-8") == "user default off\n"


@pytest.mark.usefixtures("server")
def test_a_server_that_knows_another_password_must_be_restarted(tmp_path):
    code, result = run(tmp_path, users={"chat": "on #aa &chat"}, login_password="another-password")
    assert (code, result["changed"], result["applied"]) == (0, True, False)
    assert "another-password" not in json.dumps(result)


def test_no_file_is_made_for_somebody_who_is_absent(tmp_path):
    code, result = run(tmp_path, absent=["chat"])
    assert (code, *outcome(result)) == (0, False, False, [], True)
    assert not (tmp_path / "users.acl").exists()


def test_a_mode_that_somebody_changed_is_mended(tmp_path):
    run(tmp_path, users={"chat": "on"})
    (tmp_path / "users.acl").chmod(0o666)
    assert run(tmp_path, users={"chat": "on"})[1]["changed"]
    assert stat.S_IMODE((tmp_path / "users.acl").stat().st_mode) == 0o640


def test_replies_of_every_kind(server):
    with RedisConnection(server.server_address, "_admin", PASSWORD) as connection:
        assert connection.call("LIST") == ["a", None, 7, []]
        assert connection.call("PING") == "OK"
        with pytest.raises(ConnectionError):
            connection.call("LEAVE")
    with pytest.raises(RedisRefused, match=r"WRONGPASS invalid"):
        RedisConnection(server.server_address, "_admin", "wrong")
