"""Prometheus as docs/monitoring.md sets it up, and what Grafana's dashboard asks of it."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hardening import exposure, exposure_without
from internet import DOORS, ask
from refusals import inside

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
DASHBOARD = PROJECT / "roles" / "exporters" / "files" / "dashboard.json"
DOCUMENT = PROJECT / "docs" / "monitoring.md"
QUEUE = "authority"
PORTS = {
    QUEUE: {"node": 9100, "redis": 9121},
    "nginx12": {"node": 9100, "nginx": 9113},
    "nginx13": {"node": 9100, "nginx": 9113},
    "apache13": {"node": 9100},
}
EXPORTERS = [(host, exporter) for host, ports in PORTS.items() for exporter in ports]
# Grafana's variables. It takes four times the time between two scrapes for the first.
VALUES = {"$__rate_interval": "4s", "$host": ".+"}
PASSWORD_FILE = "/etc/redis/flask-socketio-exporter.env"
CERTAINLY = 30


def asking(expression: str) -> str:
    """The command that asks Prometheus."""
    command = ["curl", "--silent", "--show-error", "http://127.0.0.1:9090/api/v1/query"]
    return shlex.join([*command, "--data-urlencode", f"query={expression}"])


def query(expression: str) -> list[dict[str, Any]]:
    """What Prometheus answers."""
    said = json.loads(inside(QUEUE, asking(expression)))
    assert said["status"] == "success", said
    return list(said["data"]["result"])


def wait_for(expression: str) -> None:
    """Until Prometheus has an answer to it."""
    waiting = f"until {asking(expression)} 2>&1 | grep -q metric; do sleep 0.2; done"
    inside(QUEUE, f"timeout {CERTAINLY} sh -c {shlex.quote(waiting)}")


@pytest.fixture(scope="module", autouse=True)
def prometheus(address) -> None:
    shown = re.search(r"prometheus.yml: begin -->\n```yaml\n(.*?)```", DOCUMENT.read_text(), re.S)
    assert shown
    settings = yaml.safe_load(shown[1])
    (job,) = settings["scrape_configs"]
    job["static_configs"][0]["targets"] = [
        f"{address(host)}:{PORTS[host][exporter]}" for host, exporter in EXPORTERS
    ]
    settings["global"] = {"scrape_interval": "1s"}
    text = shlex.quote(yaml.safe_dump(settings))
    # What it scraped as it came would count for five minutes more.
    inside(
        QUEUE,
        f"""systemctl stop prometheus
        rm -r /var/lib/prometheus/metrics2
        echo {text} >/etc/prometheus/prometheus.yml
        systemctl start prometheus""",
    )
    wait_for(f"count(up == 1) == {len(EXPORTERS)} and count(up offset 5s) == {len(EXPORTERS)}")


def queries(title: str = "") -> Iterator[tuple[str, str]]:
    """Panel and query, of one row of the dashboard or of all."""
    row = ""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        elif title in ("", row):
            for target in panel["targets"]:
                expression = target["expr"]
                for variable, value in VALUES.items():
                    expression = expression.replace(variable, value)
                yield f"{row}: {panel['title']}", expression


def silent(row: str = "") -> list[str]:
    """The panels that have nothing to show."""
    return [panel for panel, expression in queries(row) if not query(expression)]


def test_the_dashboard_has_something_to_show() -> None:
    assert "$" not in "".join(expression for _, expression in queries()).replace('"$1"', "")
    assert silent() == []


def test_it_shows_nothing_of_what_is_not_exported() -> None:
    """The negative control."""
    inside(QUEUE, "systemctl stop prometheus-redis-exporter")
    try:
        wait_for("count(up == 0) == 1 and absent(rate(redis_net_output_bytes_total[4s]))")
        assert silent() == silent("Redis") == [panel for panel, _ in queries("Redis")]
    finally:
        inside(QUEUE, "systemctl start prometheus-redis-exporter")
    wait_for(f"count(up == 1) == {len(EXPORTERS)}")


def test_it_shows_an_instance_that_is_gone(address) -> None:
    ((_, running),) = [item for item in queries("App") if "Running" in item[0]]
    place = f"host='{address('nginx13')}'"
    (before,) = [it for it in query(running) if it["metric"]["host"] == address("nginx13")]
    assert (before["metric"]["app"], before["value"][1]) == ("whoami", "1")
    unit = inside("nginx13", "systemctl list-units --plain --no-legend 'whoami-*@*'").split()[0]
    inside("nginx13", f"systemctl stop {unit}")
    try:
        wait_for(f"count(node_systemd_unit_state{{{place}, name='{unit}', state='active'}} == 0)")
        (after,) = [it for it in query(running) if it["metric"]["host"] == address("nginx13")]
        assert (after["metric"]["app"], after["value"][1]) == ("whoami", "0")
    finally:
        inside("nginx13", f"systemctl start {unit}")


@pytest.mark.parametrize("host", [door for door in DOORS if "nginx" in PORTS[door]])
def test_nginx_tells_its_state_to_its_own_host_alone(host: str, address) -> None:
    said = inside(host, "curl --silent http://127.0.0.1:8113/stub_status")
    assert said.startswith("Active connections: ")
    # curl's exit code for a connection that is refused.
    assert ask(f"http://{address(host)}:8113/stub_status").exit == 7


def test_nobody_reads_the_password_of_redis_exporter(address) -> None:
    password = inside(QUEUE, f"cat {PASSWORD_FILE}").strip().removeprefix("REDIS_PASSWORD=")
    assert len(password) == 64
    assert inside(QUEUE, f"stat -c '%a %U' {PASSWORD_FILE}") == "600 root\n"
    others = f"""
    runuser -u prometheus -- cat {PASSWORD_FILE} 2>&1
    systemctl show '*' --all; systemctl cat 'prometheus-redis-exporter'
    ps -eo args
    journalctl --no-pager
    true
    """
    assert password not in inside(QUEUE, others)
    # The negative control: the process has it, for its own user and root.
    process = "/proc/$(systemctl show --property=MainPID --value prometheus-redis-exporter)"
    assert password in inside(QUEUE, f"cat {process}/environ")
    # It may ask how Redis is, and take no part.
    login = f"REDISCLI_AUTH={password} redis-cli -h {address(QUEUE)} -p 6380"
    asked = f"{login} --user _exporter --no-auth-warning"
    assert "used_memory:" in inside(QUEUE, f"{asked} info memory")
    for command in (
        "publish whoami x",
        "subscribe whoami",
        "acl list",
        "config get '*'",
        "keys '*'",
    ):
        assert "NOPERM" in inside(QUEUE, f"{asked} {command}")


@pytest.mark.parametrize(("host", "exporter"), EXPORTERS)
def test_an_exporter_may_do_less_than_as_it_came(host: str, exporter: str) -> None:
    unit = f"prometheus-{exporter}-exporter.service"
    drop_in = f"/etc/systemd/system/{unit}.d/flask-socketio.conf"
    ours = exposure(partial(inside, host), unit)
    assert ours < 3 < 9 < exposure_without(partial(inside, host), unit, drop_in)
