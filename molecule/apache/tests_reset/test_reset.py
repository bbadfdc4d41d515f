"""The app's site moves and is removed, and all others stay; last, because of that."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import testinfra
from conftest import one_host
from scenario_hosts import container, platforms
from stack import name_of, playbook, python_client

KEPT = [
    "/etc/apache2/sites-enabled/stranger.conf",
    "/etc/apache2/sites-enabled/00-flask-socketio-twins.conf",
    "/etc/apache2/sites-enabled/flask-socketio-mirror.conf",
    "/etc/apache2/conf-enabled/flask-socketio.conf",
]


def files(host):
    return set(host.check_output("find /etc -xdev ! -type d").splitlines())


def reset() -> dict[str, int]:
    """The number of changes of each host."""
    done = playbook("playbooks/reset.yml")
    assert done.returncode == 0, done.stdout
    recap = re.findall(r"^(\S+) .* changed=(\d+) .* failed=0 ", done.stdout, re.M)
    return {name: int(changed) for name, changed in recap if name in platforms()}


def on_each(do: Callable[[Any], Any]) -> dict[str, Any]:
    hosts = {name: testinfra.get_host(f"docker://{container(name)}") for name in platforms()}
    return {name: do(host) for name, host in hosts.items()}


@pytest.fixture(scope="module")
def removed(published):
    """The files of each host before and after a run, and the number of its changes."""
    for name in platforms():
        assert python_client(f"http://{published(name, 80)}")["transport"] == "websocket"
    before, changes = on_each(files), reset()
    return before, on_each(files), changes


def test_the_app_moves_to_nginx_and_back(published):
    """On one host, and before all tests that go over the hosts."""
    host = testinfra.get_host(f"docker://{container('debian12')}")
    code, said = one_host(host, "site.yml", app_front_door="nginx", nginx_port=8085)
    assert code == 0, said
    assert "websocket reached at http://localhost:8085/socket.io" in said
    assert not host.file("/etc/apache2/sites-available/flask-socketio-whoami.conf").exists
    code, said = one_host(host, "site.yml")
    assert code == 0, said
    assert not host.file("/etc/nginx/conf.d/flask-socketio-whoami.conf").exists
    assert python_client(f"http://{published('debian12', 80)}")["transport"] == "websocket"


def test_reset_removes_one_app(host, removed):
    before, after, changes = (of_all[name_of(host)] for of_all in removed)
    assert changes > 0
    gone = before - after
    assert {path for path in gone if path.startswith("/etc/apache2")} == {
        "/etc/apache2/sites-available/flask-socketio-whoami.conf",
        "/etc/apache2/sites-enabled/00-flask-socketio-whoami.conf",
    }
    assert sorted(path for path in gone if "whoami" not in path) == []
    assert after - before <= {"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"}


def test_the_others_serve(host):
    assert all(host.file(path).exists for path in KEPT)
    stranger = "curl -s -H 'Host: stranger.example.test' http://localhost/"
    assert host.check_output(stranger) == "a stranger's site"
    mirror = "curl -s -H 'Host: mirror.example.test' http://localhost:8080/x"
    assert host.check_output(mirror).startswith("GET /x HTTP/1.1")
    assert host.service("apache2").is_running


def test_a_second_reset_changes_nothing(removed):
    _, after, _ = removed
    assert reset() == dict.fromkeys(platforms(), 0)
    assert on_each(files) == after
