"""The app's site moves and is removed, and all others stay; last, because of that."""

from __future__ import annotations

import re

import pytest
from conftest import one_host
from stack import name_of, python_client

KEPT = [
    "/etc/apache2/sites-enabled/stranger.conf",
    "/etc/apache2/sites-enabled/00-flask-socketio-twins.conf",
    "/etc/apache2/sites-enabled/flask-socketio-mirror.conf",
    "/etc/apache2/conf-enabled/flask-socketio.conf",
]


def files(host):
    return set(host.check_output("find /etc -xdev ! -type d").splitlines())


def reset(host) -> int:
    code, said = one_host(host, "playbooks/reset.yml")
    assert code == 0, said
    recap = re.search(r" changed=(\d+) .* failed=0 ", said)
    assert recap, said
    return int(recap[1])


def test_the_app_moves_to_nginx_and_back(host, url):
    if name_of(host) != "debian12":
        pytest.skip("one host shows it")
    code, said = one_host(host, "site.yml", app_front_door="nginx", nginx_port=8085)
    assert code == 0, said
    assert "websocket reached at http://localhost:8085/socket.io" in said
    assert not host.file("/etc/apache2/sites-available/flask-socketio-whoami.conf").exists
    code, said = one_host(host, "site.yml")
    assert code == 0, said
    assert not host.file("/etc/nginx/conf.d/flask-socketio-whoami.conf").exists
    assert python_client(url("whoami"))["transport"] == "websocket"


def test_reset_removes_one_app(host, url):
    before = files(host)
    assert python_client(url("whoami"))["transport"] == "websocket"
    assert reset(host) > 0
    gone = before - files(host)
    assert {path for path in gone if path.startswith("/etc/apache2")} == {
        "/etc/apache2/sites-available/flask-socketio-whoami.conf",
        "/etc/apache2/sites-enabled/00-flask-socketio-whoami.conf",
    }
    assert sorted(path for path in gone if "whoami" not in path) == []
    assert files(host) - before <= {"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"}


def test_the_others_serve(host):
    assert all(host.file(path).exists for path in KEPT)
    stranger = "curl -s -H 'Host: stranger.example.test' http://localhost/"
    assert host.check_output(stranger) == "a stranger's site"
    mirror = "curl -s -H 'Host: mirror.example.test' http://localhost:8080/x"
    assert host.check_output(mirror).startswith("GET /x HTTP/1.1")
    assert host.service("apache2").is_running


def test_a_second_reset_changes_nothing(host):
    before = files(host)
    assert reset(host) == 0
    assert files(host) == before
