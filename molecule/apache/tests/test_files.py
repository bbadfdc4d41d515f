"""Whole files, owners and modes, and what Apache and systemd made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SITES

EXPECTED = Path(__file__).parent / "expected"
SHARED = "/etc/apache2/conf-available/flask-socketio.conf"
SERVICE = "/etc/systemd/system/apache2.service.d/flask-socketio.conf"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("whoami.conf", f"{SITES}/flask-socketio-whoami.conf"),
        ("twins.conf", f"{SITES}/flask-socketio-twins.conf"),
        ("shared.conf", SHARED),
        ("service.conf", SERVICE),
    ],
)
def test_rendered_file_is_exactly(host, name, path):
    (generation,) = {socket.split("-")[0] for socket in host.file("/run/whoami").listdir()}
    expected = (EXPECTED / name).read_text().replace("{generation}", generation)
    assert host.file(path).content_string == expected


def test_owners_and_modes(host):
    paths = [f"{SITES}/flask-socketio-whoami.conf", SHARED, SERVICE]
    seen = host.check_output("stat -c '%%U:%%G %%a' %s %s %s", *paths)
    assert seen.splitlines() == ["root:root 644"] * 3


def test_what_is_enabled(host):
    """The apps of every name first, a stranger's site beside them, the default site gone."""
    assert sorted(host.file("/etc/apache2/sites-enabled").listdir()) == [
        "00-flask-socketio-twins.conf",
        "00-flask-socketio-whoami.conf",
        "flask-socketio-mirror.conf",
        "stranger.conf",
    ]
    assert host.file("/etc/apache2/sites-available/000-default.conf").exists


def test_no_file_of_the_package_is_changed(host):
    assert host.run("dpkg --verify apache2").stdout == ""


def test_apache_runs_and_starts_with_the_host(host):
    apache = host.service("apache2")
    assert (apache.is_running, apache.is_enabled) == (True, True)
    assert host.check_output("systemctl show -p TasksMax --value apache2") == "infinity"


def test_only_the_front_door_listens_to_others(host):
    seen = host.check_output("ss -Hltn | awk '{print $4}' | grep -v '^127\\.' | sort").split()
    assert {address.rsplit(":", 1)[1] for address in seen} == {"22", "80", "8080"}
