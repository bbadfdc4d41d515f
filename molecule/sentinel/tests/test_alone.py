"""The role alone, on a host that has somebody else's Redis: one server, its users, TLS, removal."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible_collections.realtime.flask_socketio.plugins.module_utils.redis_protocol import (
    RedisConnection,
    RedisRefused,
)
from scenario_hosts import container
from stack import PROJECT, playbook

UNIT = "redis-server@flask-socketio"
PLAYBOOK = str(PROJECT / "molecule/sentinel/tests/role.yml")
RECAP = re.compile(r"^alone\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=(\d)", re.MULTILINE)
FATAL = re.compile(r"^fatal: \[alone\]: FAILED! =>\s*\n((?:(?:    .*)?\n)+)", re.MULTILINE)
STRANGER = (
    "systemctl show redis-server --property=MainPID,ActiveState,UnitFileState; "
    "redis-cli -p 6379 ping; stat -c '%i %Z %a %U' /etc/redis/redis.conf"
)


def inside(script: str, check: bool = True) -> str:
    done = subprocess.run(
        ["docker", "exec", "--interactive", container("alone"), "sh", "-s"],
        check=check,
        capture_output=True,
        text=True,
        input=script,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def run(address) -> Callable[..., Any]:
    def entry(name: str, *arguments: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        settings = {
            "role_hosts": "alone",
            "role_entry": name,
            "redis_name": "chat",
            "redis_sentinel": False,
            "redis_hosts": [{"name": "alone", "address": address("alone")}],
            "redis_address": address("alone"),
        }
        return playbook(PLAYBOOK, *arguments, **settings | variables)

    return entry


@pytest.fixture(scope="module")
def changed(run) -> Callable[..., int]:
    """The number of changes of a run that must succeed."""

    def changes(name: str, *arguments: str, **variables: Any) -> int:
        done = run(name, *arguments, **variables)
        match = RECAP.search(done.stdout)
        assert done.returncode == 0, done.stdout
        assert match, done.stdout
        return int(match[1])

    return changes


@pytest.fixture(scope="module")
def stranger() -> str:
    return inside(STRANGER)


@pytest.fixture(scope="module", autouse=True)
def deployed(stranger, changed) -> None:
    assert "ActiveState=active" in stranger
    # On a host without it: nothing is there that could be asked or started.
    assert changed("main", "--check") > 0
    assert inside("ls /etc/redis /etc/flask-socketio 2>&1 | grep -c flask-socketio || true") == "1"
    assert changed("main") > 0


def password(name: str) -> str:
    return inside(f"cat /etc/flask-socketio/_redis/{name}")


@pytest.fixture
def login(address) -> Callable[[str], RedisConnection]:
    def connect(name: str) -> RedisConnection:
        return RedisConnection(f"{address('alone')}:6380", name, password(name))

    return connect


def pid() -> str:
    return inside(f"systemctl show --property=MainPID --value {UNIT}")


def message(done: subprocess.CompletedProcess[str]) -> str:
    return yaml.safe_load(FATAL.findall(done.stdout)[-1])["msg"]


def test_a_second_run_changes_nothing(changed):
    assert changed("main") == 0
    assert changed("main", "--check") == 0


def test_the_stranger_runs_on(stranger):
    assert inside(STRANGER) == stranger


def test_it_listens_on_its_address_only(address):
    listening = inside(f"ss -Hltn --cgroup | grep '{UNIT}' | awk '{{print $4}}'")
    assert listening == f"{address('alone')}:6380"


def test_the_units_hardening_is_the_distributions():
    done = inside(
        f"systemctl show {UNIT} --property=User,ProtectSystem,NoNewPrivileges,NoExecPaths,"
        "MemoryDenyWriteExecute,CapabilityBoundingSet,FragmentPath,ReadOnlyPaths"
    )
    assert dict(line.split("=", 1) for line in done.splitlines()) == {
        "User": "redis",
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "MemoryDenyWriteExecute": "yes",
        "CapabilityBoundingSet": "",
        "NoExecPaths": "/",
        "FragmentPath": "/lib/systemd/system/redis-server@.service",
        "ReadOnlyPaths": "/etc/redis",
    }


def test_the_app_uses_its_channel(login):
    with login("chat") as listener, login("chat") as speaker:
        assert listener.call("SUBSCRIBE", "chat") == ["subscribe", "chat", 1]
        assert speaker.call("PUBLISH", "chat", "hello") == 1
        assert listener.call("PING") == ["message", "chat", "hello"]


@pytest.mark.parametrize(
    "words",
    [
        ["PUBLISH", "shop", "x"],
        ["SUBSCRIBE", "shop"],
        ["PSUBSCRIBE", "*"],
        ["PUBSUB", "CHANNELS"],
        ["SET", "key", "value"],
        ["GET", "key"],
        ["KEYS", "*"],
        ["CONFIG", "GET", "*"],
        ["ACL", "LIST"],
        ["CLIENT", "LIST"],
        ["INFO"],
        ["EVAL", "return 1", "0"],
        ["SHUTDOWN"],
        ["REPLICAOF", "10.0.0.1", "6379"],
    ],
)
def test_the_app_may_do_nothing_else(login, words):
    with login("chat") as connection, pytest.raises(RedisRefused, match=r"^NOPERM "):
        connection.call(*words)


def test_nobody_comes_in_without_a_password(address):
    place = f"{address('alone')}:6380"
    with RedisConnection(place) as nobody:
        for words in (["PING"], ["PUBLISH", "chat", "x"]):
            with pytest.raises(RedisRefused, match=r"^NOAUTH "):
                nobody.call(*words)
    for name in ("default", "chat", "_admin"):
        with pytest.raises(RedisRefused, match=r"^WRONGPASS "):
            RedisConnection(place, name, "wrong")


def test_redis_keeps_nothing():
    assert "save" not in inside("ls /var/lib/redis")
    config = inside("cat /etc/redis/redis-flask-socketio.conf").splitlines()
    assert {'save ""', "appendonly no"} <= set(config)
    assert "client-output-buffer-limit pubsub 64mb 16384kb 60" in config


def test_the_password_is_nowhere_to_be_seen(run):
    secrets = [password("chat"), password("_bus")]
    # Even when everything is told.
    told = run("recall", "-vvv", "--diff").stdout + run("main", "-vvv", "--diff").stdout
    seen = inside(
        f"ps -eww -o args=; systemctl show {UNIT}; systemctl cat {UNIT}; journalctl --output=cat; "
        "cat /etc/redis/*flask-socketio*; stat -c '%a %U:%G' /etc/flask-socketio/_redis/*"
    )
    assert "redis-server" in seen
    assert [secret for secret in secrets if secret in seen + told] == []
    assert seen.splitlines()[-2:] == ["600 root:root", "600 root:root"]


def test_the_url_is_what_the_app_needs(changed, address):
    changed("recall")
    url = inside("cat /run/redis-url")
    assert url == f"redis://chat:{password('chat')}@{address('alone')}:6380/0"


def test_another_app_comes_and_goes_without_a_restart(changed, login):
    before = pid()
    with login("chat") as listener:
        listener.call("SUBSCRIBE", "chat")
        assert changed("main", redis_name="shop") > 0
        with login("shop") as shop:
            assert shop.call("PUBLISH", "shop", "x") == 0
            with pytest.raises(RedisRefused, match=r"^NOPERM "):
                shop.call("PUBLISH", "chat", "x")
            assert changed("remove", redis_name="shop") > 0
            with pytest.raises((OSError, RedisRefused)):
                shop.call("PUBLISH", "shop", "x")
        assert changed("remove", redis_name="shop") == 0
        with login("chat") as speaker:
            assert speaker.call("PUBLISH", "chat", "still there") == 1
    assert pid() == before
    assert "shop" not in inside("cat /etc/redis/flask-socketio.acl; ls /etc/flask-socketio/_redis")


def test_a_password_of_ones_own(changed, address):
    own = "my-own.password_1234"
    before = pid()
    assert changed("main", redis_password=own) > 0
    with RedisConnection(f"{address('alone')}:6380", "chat", own) as connection:
        assert connection.call("PING") == "PONG"
    assert changed("main") > 0
    assert pid() == before


def test_a_user_that_redis_forgot_its_administrator_of(changed, login):
    """The kept secret is lost: Redis must be restarted to learn of the new one."""
    before = pid()
    inside("rm /etc/flask-socketio/_redis/_bus")
    assert changed("main") > 0
    assert pid() != before
    with login("chat") as connection:
        assert connection.call("PING") == "PONG"
    assert changed("main") == 0


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {
                "redis_name": "Chat!",
                "redis_password": "short",
                "redis_hosts": [{"name": "a", "address": "10.0.0.1"}] * 2,
                "redis_tls": True,
                "redis_tls_key_file": "/etc/ssl/no.key",
            },
            [
                "redis_name is 'Chat!': the app's name, lower-case letters, digits and hyphens, "
                "such as 'chat'.",
                "redis_hosts is ['a', 'a']: one host, because a second one would be a message "
                "queue of its own; or three with redis_sentinel set to true.",
                "redis_password: at least 16 letters, digits and ._~-, which stand in a URL as "
                "they are; or leave it out, and one is made and kept.",
                "redis_tls_certificate_file is '': the absolute path of the certificate on the "
                "host that runs Redis.",
            ],
        ),
        (
            {"redis_sentinel": True, "redis_sentinel_port": 6380, "redis_tls": True}
            | dict.fromkeys(("redis_tls_certificate_file", "redis_tls_key_file"), "/etc/passwd"),
            [
                "redis_hosts is ['alone']: three hosts; two Sentinels cannot outvote a third one "
                "that is lost, and more than three are no safer here.",
                "redis_tls is True: false with redis_sentinel, because a URL that begins with "
                "redis+sentinel:// can't tell python-socketio of TLS; use one host with TLS, or "
                "three in a network that is trusted.",
                "redis_sentinel_port is 6380: another port than redis_port.",
            ],
        ),
        (
            {
                "redis_port": 6379,
                "redis_tls": True,
                "redis_tls_certificate_file": "/etc/ssl/certs/ca-certificates.crt",
                "redis_tls_key_file": "/etc/ssl/no.key",
            },
            [
                "redis_port is 6379: redis-server.service listens there already; stop it or choose "
                "another port.",
                "redis_tls_key_file is '/etc/ssl/no.key': this host has no such file; put the "
                "certificate's key there first, readable for the group redis.",
            ],
        ),
    ],
)
def test_bad_input_gets_one_message_each(run, variables, expected):
    done = run("preflight", **variables)
    assert done.returncode != 0
    assert message(done).splitlines() == expected


def test_a_key_that_redis_can_not_read_is_refused_before_anything_changes(run):
    before = pid(), inside("cat /etc/redis/redis-flask-socketio.conf")
    inside("install -m 600 /dev/null /etc/ssl/private.pem")
    files = ("redis_tls_certificate_file", "redis_tls_key_file")
    done = run("main", redis_tls=True, **dict.fromkeys(files, "/etc/ssl/private.pem"))
    assert done.returncode != 0
    assert message(done) == (
        "Redis can't read its certificate or its key: head: cannot open '/etc/ssl/private.pem' for "
        "reading: Permission denied"
    )
    assert (pid(), inside("cat /etc/redis/redis-flask-socketio.conf")) == before


def test_tls(changed, address):
    place = address("alone")
    inside(
        "mkdir -p /etc/ssl/redis; cd /etc/ssl/redis; "
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN=alone -addext 'subjectAltName=IP:{place}' -keyout key.pem -out cert.pem 2>&1; "
        "chgrp redis key.pem; chmod 640 key.pem"
    )
    tls = {
        "redis_tls": True,
        "redis_tls_certificate_file": "/etc/ssl/redis/cert.pem",
        "redis_tls_key_file": "/etc/ssl/redis/key.pem",
        "redis_tls_ca_file": "/etc/ssl/redis/cert.pem",
    }
    assert changed("main", **tls) > 0
    changed("recall", **tls)
    url = inside("cat /run/redis-url")
    assert url == (
        f"rediss://chat:{password('chat')}@{place}:6380/0?ssl_ca_certs=/etc/ssl/redis/cert.pem"
    )
    ask = f"REDISCLI_AUTH={password('chat')} redis-cli -h {place} -p 6380 --user chat"
    assert inside(f"{ask} --tls --cacert /etc/ssl/redis/cert.pem PING 2>&1") == "PONG"
    assert "PONG" not in inside(f"{ask} PING 2>&1", check=False)


def test_with_the_last_app_the_server_goes(changed, stranger):
    assert changed("remove") > 0
    assert changed("remove") == 0
    assert inside(f"systemctl is-active {UNIT}; systemctl is-enabled {UNIT}", False).split() == [
        "inactive",
        "disabled",
    ]
    left = inside("find / -xdev -name '*flask-socketio*' -not -path '/proc/*' -not -type d | sort")
    assert left == ""
    assert inside("ls -A /etc/flask-socketio") == ""
    assert inside(STRANGER) == stranger
