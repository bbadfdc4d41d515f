"""What those who run it see, and how little the services may do."""

from __future__ import annotations

import json
from functools import partial

import pytest
from hardening import exposure, exposure_without
from internet import HANDSHAKE, ask, connector_to, front_door, name
from refusals import inside
from stack import python_client
from traffic import Traffic

DOORS = ("nginx12", "nginx13")
LOG = "/var/log/nginx/flask-socketio-whoami.log"
# As molecule.yml has it.
SECRET = "never-to-be-seen-4711"
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


def test_the_app_may_do_little(door: str) -> None:
    (unit,) = inside(door, UNIT).split()
    assert exposure(partial(inside, door), unit) <= 2.0


def test_nginx_may_do_less_than_as_it_came(nginx: str) -> None:
    drop_in = "/etc/systemd/system/nginx.service.d/flask-socketio.conf"
    ours = exposure(partial(inside, nginx), "nginx")
    as_it_came = exposure_without(partial(inside, nginx), "nginx", drop_in)
    assert ours < 5 < 9 < as_it_came


def test_who_runs_the_app_alone_knows_its_secrets(door: str) -> None:
    (unit,) = inside(door, UNIT).split()
    file = inside(door, f"systemctl show --property=EnvironmentFiles --value {unit}").split()[0]
    assert SECRET in inside(door, f"cat {file}")
    assert inside(door, f"stat -c '%a %U %G' {file}").split() in (
        ["640", "root", "whoami"],
        ["600", "root", "root"],
    )
    process = f"/proc/$(systemctl show --property=MainPID --value {unit})"
    assert SECRET in inside(door, f"cat {process}/environ")
    # A negative control of what follows.
    assert SECRET in inside(door, f"env SECRET={SECRET} sh -c 'cat /proc/$$/environ'")
    others = f"""
    runuser -u nobody -- cat {file} {process}/environ 2>&1
    runuser -u www-data -- cat {file} {process}/environ 2>&1
    systemctl show '*' --all; systemctl cat '{unit}'
    ps -eo args
    journalctl --no-pager
    cat /var/log/nginx/* /var/log/apache2/* 2>/dev/null
    true
    """
    assert SECRET not in inside(door, others)


def test_rotation_cuts_nobody_off(door: str, address) -> None:
    url, connector = f"https://{name(door)}", connector_to(address(door))
    log = {"nginx": LOG, "apache": "/var/log/apache2/access.log"}[front_door(door)]
    logrotate = {"nginx": "nginx", "apache": "apache2"}[front_door(door)]
    with Traffic(
        [url], clients=20, newcomers=5, speech=1, repeats=True, event="echo", connector=connector
    ) as traffic:
        rotated = traffic.mark("rotated")
        inside(door, f"logrotate --force /etc/logrotate.d/{logrotate}")
        # Lines go to the new file.
        python_client(url, connector=connector)
        counts = traffic.counts(rotated, traffic.settle())
    assert (counts["failed"], counts["lost_acks"]) == (0, 0)
    assert [drop for drop in traffic.drops if drop.at >= rotated] == []
    assert inside(door, f"wc -l <{log}") != "0\n"
    assert inside(door, f"stat -c '%a %U %G' {log}.1 {log}").split() == 2 * [
        "640",
        {"nginx": "www-data", "apache": "root"}[front_door(door)],
        "adm",
    ]
