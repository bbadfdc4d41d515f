"""Whole files, owners and modes, and what systemd made of the units."""

from __future__ import annotations

from pathlib import Path

import pytest

EXPECTED = Path(__file__).parent / "expected"
SECRET = "a $HOME 'single' \"double\" back\\slash `tick` %i #hash ${brace}\nsecond line; "


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("whoami@.service", "/etc/systemd/system/whoami-{generation}@.service"),
        ("whoami.target", "/etc/systemd/system/whoami.target"),
        ("gunicorn.conf.py", "/etc/flask-socketio/whoami/{generation}/gunicorn.conf.py"),
        ("whoami.nginx.conf", "/etc/nginx/conf.d/flask-socketio-whoami.conf"),
        ("nginx.conf", "/etc/nginx/nginx.conf"),
    ],
)
def test_rendered_file_is_exactly(host, deployed, name, path):
    found = deployed("whoami")
    expected = (EXPECTED / name).read_text()
    for key in ("generation", "release", "environment"):
        expected = expected.replace(f"{{{key}}}", getattr(found, key))
    assert host.file(path.replace("{generation}", found.generation)).content_string == expected


@pytest.mark.parametrize("app", ["whoami", "documented"])
def test_owners_and_modes(host, deployed, app):
    found = deployed(app)
    seen = host.check_output(
        "stat -c '%%n %%U:%%G %%a' /opt/%s /opt/%s/releases /opt/%s/releases/%s/src"
        " /etc/flask-socketio /etc/flask-socketio/%s /etc/flask-socketio/%s/%s"
        " /run/%s %s /var/lib/flask-socketio/%s",
        *[app, app, app, found.release, app, app, found.environment, app, found.socket, app],
    )
    assert seen.splitlines() == [
        f"/opt/{app} root:root 755",
        f"/opt/{app}/releases root:root 755",
        f"/opt/{app}/releases/{found.release}/src root:root 755",
        "/etc/flask-socketio root:root 755",
        f"/etc/flask-socketio/{app} root:{app} 750",
        f"/etc/flask-socketio/{app}/{found.environment} root:{app} 640",
        f"/run/{app} {app}:www-data 750",
        f"{found.socket} {app}:{app} 666",
        f"/var/lib/flask-socketio/{app} {app}:{app} 750",
    ]


def test_units_run_and_start_with_the_host(host, deployed):
    for app in ("whoami", "documented"):
        unit = host.service(deployed(app).unit)
        assert (unit.is_running, unit.is_enabled) == (True, True)
        target = host.service(f"{app}.target")
        assert (target.is_running, target.is_enabled) == (True, True)
    nginx = host.service("nginx")
    assert (nginx.is_running, nginx.is_enabled) == (True, True)
    assert host.check_output("systemctl is-system-running") == "running"


def test_systemd_took_the_properties(host, deployed):
    names = "User,NRestarts,LimitNOFILE,NoNewPrivileges,ProtectSystem,PrivateTmp,TimeoutStopUSec"
    seen = host.check_output("systemctl show -p %s %s", names, deployed("whoami").unit)
    assert sorted(seen.splitlines()) == [
        "LimitNOFILE=11024",
        "NRestarts=0",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "ProtectSystem=strict",
        "TimeoutStopUSec=10s",
        "User=whoami",
    ]


def test_one_worker_holds_the_file_limit(host, deployed):
    pid = host.check_output("systemctl show -p MainPID --value %s", deployed("whoami").unit)
    workers = host.check_output("pgrep --parent %s", pid).splitlines()
    assert len(workers) == 1
    assert "11024" in host.check_output("grep 'open files' /proc/%s/limits", workers[0])


def test_nginx_holds_its_capacity(host):
    """4000 WebSockets, two connections each: the limit that the worker really has."""
    for pid in host.check_output("pgrep --full 'nginx: worker process$'").splitlines():
        assert host.check_output("grep 'open files' /proc/%s/limits", pid).split()[3] == "8320"
    assert "setrlimit" not in host.file("/var/log/nginx/error.log").content_string


def test_the_secret_arrives_and_is_not_told(host, deployed):
    found = deployed("whoami")
    pid = host.check_output("systemctl show -p MainPID --value %s", found.unit)
    environ = host.file(f"/proc/{pid}/environ").content_string.split("\0")
    assert f"SECRET_KEY={SECRET}" in environ
    for command in (
        f"systemctl show {found.unit}",
        "ps axww -o args",
        "journalctl --no-pager",
        f"cat /opt/whoami/releases/{found.release}/release.json",
    ):
        assert "back\\slash" not in host.check_output(command), command


def test_only_the_front_door_listens(host):
    seen = host.check_output(
        "ss -Hltn | awk '{print $4}' | grep -v '^127\\.0\\.0\\.11:\\|:22$' | sort"
    )
    # One of them is nginx's state, for an exporter on this host.
    assert sorted(seen.split()) == sorted(
        ["0.0.0.0:80", "0.0.0.0:8080", "127.0.0.1:8113", "[::]:80", "[::]:8080"]
    )


def test_the_default_site_is_gone(host):
    assert not host.file("/etc/nginx/sites-enabled/default").exists
    assert "Welcome to nginx" not in host.check_output("curl -s http://localhost/")


def test_instances_are_exposed_little(host, deployed):
    line = host.check_output("systemd-analyze security --no-pager %s", deployed("whoami").unit)
    assert float(line.splitlines()[-1].split(": ")[1].split()[0]) <= 2.0


def test_the_environment_of_a_foreign_user_can_not_read_the_secret(host, deployed):
    found = deployed("whoami")
    path = f"/etc/flask-socketio/whoami/{found.environment}"
    assert host.run("runuser -u documented -- cat %s", path).rc != 0
    assert host.run("runuser -u documented -- ls /run/whoami").rc != 0
