"""What those who run it see, and how little the services may do."""

from __future__ import annotations

import json

import pytest
from internet import HANDSHAKE, ask, connector_to, name
from refusals import inside
from stack import python_client

DOORS = ("nginx12", "nginx13")
LOG = "/var/log/nginx/flask-socketio-whoami.log"
UNIT = "systemctl list-units --plain --no-legend 'whoami-*@*' | cut -d ' ' -f 1"


@pytest.fixture(params=DOORS)
def nginx(request) -> str:
    return str(request.param)


def test_each_request_is_a_line_that_tells_its_upgrade_and_no_session(nginx: str, address) -> None:
    before = len(inside(nginx, f"cat {LOG}").splitlines())
    python_client(f"https://{name(nginx)}", connector=connector_to(address(nginx)))
    text = inside(nginx, f"tail -n +{before + 1} {LOG}")
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["path"] for line in lines} == {"/socket.io/"}
    (upgraded,) = [line for line in lines if line["status"] == "101"]
    assert upgraded["upgrade"] == "websocket"
    assert upgraded["upstream"].startswith("unix:/run/whoami/")
    assert upgraded["upstream_status"] == "101"
    assert float(upgraded["response_seconds"]) > 0
    assert "sid=" not in text


def health(door: str) -> int:
    # As a balancer asks that knows nothing but an address.
    return ask(f"https://{name(door)}/healthz", "--header", "Host: 192.0.2.1").status


def test_health_is_that_of_the_app(nginx: str) -> None:
    assert health(nginx) == 200
    (unit,) = inside(nginx, UNIT).split()
    inside(nginx, f"systemctl kill --signal SIGSTOP {unit}")
    try:
        # It accepts connections still.
        assert health(nginx) == 504
    finally:
        inside(nginx, f"systemctl kill --signal SIGCONT {unit}")
    inside(nginx, f"systemctl stop {unit}")
    try:
        assert health(nginx) == 502
    finally:
        inside(nginx, f"systemctl start {unit}")
    assert health(nginx) == 200
    assert ask(f"https://{name(nginx)}{HANDSHAKE}").status == 200


def exposure(door: str, unit: str) -> float:
    said = inside(door, f"systemd-analyze security --no-pager {unit} | tail -1")
    return float(said.split(": ")[1].split()[0])


def test_the_app_may_do_little(door: str) -> None:
    (unit,) = inside(door, UNIT).split()
    assert exposure(door, unit) <= 2.0


def test_nginx_may_do_less_than_as_it_came(nginx: str) -> None:
    ours = exposure(nginx, "nginx")
    drop_in = "/etc/systemd/system/nginx.service.d/flask-socketio.conf"
    inside(nginx, f"mv {drop_in} /srv/ && systemctl daemon-reload")
    try:
        as_it_came = exposure(nginx, "nginx")
    finally:
        inside(nginx, f"mv /srv/flask-socketio.conf {drop_in} && systemctl daemon-reload")
    assert ours < 5 < 9 < as_it_came
