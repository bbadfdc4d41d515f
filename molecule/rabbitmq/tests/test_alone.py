"""The role by itself: one server, several apps, what is refused, and its removal."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from refusals import Run, inside, read
from stack import playbook

HOST = "node1"
testinfra_hosts = [HOST]
PLAYBOOK = "molecule/rabbitmq/alone.yml"
FILES = Path(__file__).parents[1] / "files"
SECRET = "never-to-be-seen-4711"
SETTINGS = [
    "/etc/rabbitmq/conf.d/50-flask-socketio.conf",
    "/etc/rabbitmq/rabbitmq-env.conf",
    "/etc/systemd/system/epmd.socket.d/flask-socketio.conf",
    "/etc/systemd/system/rabbitmq-server.service.d/flask-socketio.conf",
]


def alone(*arguments: str, **variables: Any) -> Run:
    done = playbook(PLAYBOOK, *arguments, **variables)
    return read(done.returncode, done.stdout)


def ctl(*arguments: str) -> Any:
    command = f"rabbitmqctl --silent --formatter json {' '.join(arguments)}"
    return json.loads(inside(HOST, command))


def pid() -> str:
    return inside(HOST, "systemctl show -p MainPID --value rabbitmq-server").strip()


def apps() -> tuple[set[str], set[str], str]:
    """Users, virtual hosts and kept passwords."""
    return (
        {one["user"] for one in ctl("list_users")},
        {one["name"] for one in ctl("list_vhosts")} - {"/"},
        inside(HOST, "cd /etc/rabbitmq; stat -c '%n %a %U' flask-socketio-*"),
    )


def test_it_listens_on_loopback_only() -> None:
    ports = "sport = :4369 or sport = :5672 or sport = :25672"
    listening = inside(HOST, f"ss -Hltn '{ports}' | awk '{{print $4}}'").split()
    assert sorted(listening) == ["127.0.0.1:25672", "127.0.0.1:4369", "127.0.0.1:5672"]


@pytest.mark.parametrize(
    ("message", "variables"),
    [
        (
            "rabbitmq_name is 'Chat': lower-case letters, digits and hyphens, beginning with a "
            "letter, at most 31, such as 'chat'.",
            {"rabbitmq_name": "Chat"},
        ),
        (
            "rabbitmq_name is 'guest': RabbitMQ has a user of that name, which is removed; choose "
            "another.",
            {"rabbitmq_name": "guest"},
        ),
        (
            "rabbitmq_channel is 'amq.fanout': letters, digits and ._:-, not beginning with "
            "'amq.', such as 'chat'.",
            {"rabbitmq_channel": "amq.fanout"},
        ),
        (
            "rabbitmq_hosts is ['a', 'b']: one host, or three for a cluster that goes on without "
            "any one of them; of two none may go on alone, and more than three hold nothing more.",
            {
                "rabbitmq_hosts": [
                    {"name": "a", "address": "127.0.0.1"},
                    {"name": "b", "address": "10.0.0.5"},
                ]
            },
        ),
        (
            "rabbitmq_address is '10.9.9.9': this host's own among 127.0.0.1.",
            {"rabbitmq_address": "10.9.9.9"},
        ),
        (
            "rabbitmq_port is 4369: a TCP port from 1 to 65535, but not 4369 or 25672, where the "
            "nodes find each other.",
            {"rabbitmq_port": 4369},
        ),
        (
            "rabbitmq_password: at least 12 printable ASCII characters without spaces; or leave it "
            "empty and one is made.",
            {"rabbitmq_password": "s3cr3t"},
        ),
        (
            "rabbitmq_port is 80: nginx listens there already; stop it or choose another port.",
            {"rabbitmq_port": 80},
        ),
    ],
)
def test_refused_before_anything_changes(message: str, variables: dict[str, Any]) -> None:
    run = alone(**variables)
    assert run.errors == [(HOST, message)], run.output
    assert run.changed == {HOST: 0}
    assert "s3cr3t" not in run.output


def test_a_strangers_rabbitmq_is_refused() -> None:
    inside(HOST, f"mv {SETTINGS[0]} {SETTINGS[0]}.kept")
    try:
        run = alone()
    finally:
        inside(HOST, f"mv {SETTINGS[0]}.kept {SETTINGS[0]}")
    assert run.errors == [
        (
            HOST,
            "The host's RabbitMQ is '/var/lib/rabbitmq/mnesia': it was not made by this role, "
            "which would remove its guest and rename its node; use it with message_queue "
            "'amqp://user:password@host/vhost', or purge rabbitmq-server.",
        )
    ], run.output
    assert run.changed == {HOST: 0}


def test_another_app_is_added_without_a_restart_and_its_password_not_shown() -> None:
    before = pid()
    script = (FILES / "watch.py").read_text(encoding="utf-8")
    inside(HOST, f"rm -f /run/seen; cat >/run/watch.py <<'END'\n{script}\nEND\n")
    watcher = ["docker", "exec", f"fs-rabbitmq-{HOST}", "python3", "/run/watch.py", "/run/seen"]
    with subprocess.Popen(watcher, stdout=subprocess.PIPE, text=True) as watching:
        try:
            run = alone("-vvv", rabbitmq_name="second", rabbitmq_password=SECRET)
        finally:
            inside(HOST, "touch /run/seen")
        seen, _ = watching.communicate(timeout=20)
    assert run.returncode == 0, run.output
    assert pid() == before
    # The import itself was seen, as the password would have been on its command line.
    assert "import_definitions" in seen
    assert SECRET not in seen
    assert SECRET not in run.output
    assert SECRET not in inside(HOST, "journalctl --no-pager; cat /var/log/rabbitmq/*.log")
    assert inside(HOST, "cat /etc/rabbitmq/flask-socketio-second.password") == SECRET
    assert apps() == (
        {"alone", "second"},
        {"alone", "second"},
        "flask-socketio-alone.password 600 root\nflask-socketio-second.password 600 root\n",
    )


def test_a_changed_password_is_taken_and_the_same_one_changes_nothing() -> None:
    assert alone(rabbitmq_name="second", rabbitmq_password=SECRET).changed == {HOST: 0}
    assert alone(rabbitmq_name="second", rabbitmq_password="x" * 12).changed == {HOST: 4}
    authenticated = inside(HOST, "printf xxxxxxxxxxxx | rabbitmqctl authenticate_user second")
    assert "Success" in authenticated
    with pytest.raises(subprocess.CalledProcessError):
        inside(HOST, f"printf {SECRET} | rabbitmqctl authenticate_user second")


def test_one_app_is_removed_and_the_other_stays() -> None:
    before = pid()
    remove = {"rabbitmq_name": "second", "entry_points": ["remove"]}
    run = alone(**remove)
    assert run.returncode == 0, run.output
    assert apps() == ({"alone"}, {"alone"}, "flask-socketio-alone.password 600 root\n")
    assert pid() == before
    assert alone(**remove).changed == {HOST: 0}


def test_with_the_last_app_the_server_goes() -> None:
    run = alone(entry_points=["remove"])
    assert run.returncode == 0, run.output
    assert (
        inside(HOST, f"ls -d {' '.join(SETTINGS)} /var/lib/rabbitmq/mnesia 2>/dev/null; true") == ""
    )
    states = inside(HOST, "systemctl is-active rabbitmq-server epmd.socket epmd.service; true")
    assert states.split() == ["inactive"] * 3
    states = inside(HOST, "systemctl is-enabled rabbitmq-server epmd.socket; true")
    assert states.split() == ["disabled"] * 2
    again = alone("--check")
    assert again.returncode == 0, again.output
    assert inside(HOST, f"ls {SETTINGS[0]} 2>/dev/null; true") == ""
    back = alone()
    assert back.returncode == 0, back.output
    assert inside(HOST, "systemctl is-active rabbitmq-server").strip() == "active"
