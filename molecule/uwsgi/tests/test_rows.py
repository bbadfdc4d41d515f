"""Each row is deployed where the one before it runs, and leaves nothing of it behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import PAYLOADS, TRANSPORTS, echo, site

testinfra_hosts = ["debian12"]

HTTP, UWSGI = "proxy_pass http://socketio_whoami", "uwsgi_pass socketio_whoami"
# Settings, how nginx passes on, where the instance listens, the program, and its sockets in /run.
ROWS = {
    "unix": ({}, HTTP, "/run/whoami/", "uwsgi-core", 1),
    "tcp, native": (
        {"app_bind": "tcp", "uwsgi_websocket": "native"},
        HTTP,
        "127.0.0.1:",
        "uwsgi-core",
        0,
    ),
    "uwsgi protocol": ({"uwsgi_protocol": "uwsgi"}, UWSGI, "/run/whoami/", "uwsgi-core", 2),
    "gunicorn": ({"app_server": "gunicorn"}, HTTP, "/run/whoami/", "gunicorn", 1),
    "wheel, uwsgi protocol, tcp": (
        {"uwsgi_source": "pypi", "uwsgi_protocol": "uwsgi", "app_bind": "tcp"},
        UWSGI,
        "127.0.0.1:",
        "uwsgi",
        1,
    ),
    "unix again": ({}, HTTP, "/run/whoami/", "uwsgi-core", 1),
}


@pytest.fixture(scope="module", params=ROWS)
def row(request):
    """Deployed once for all tests of a row; the first is what converge left."""
    variables, *expected = ROWS[request.param]
    done = site("debian12", **variables)
    assert done.returncode == 0, done.stdout
    return request.param, *expected


def test_everything_comes_back(row, url):
    name = row[0]
    said = {
        (transports[-1], repr(payload)): echo(url, transports, payload)
        for transports in TRANSPORTS
        for payload in PAYLOADS
    }
    wanted = {
        (transports[-1], repr(payload)): (transports[-1], payload)
        for transports in TRANSPORTS
        for payload in PAYLOADS
    }
    if "native" in name:
        # The limitation that websocket_frames.py mends: uWSGI does not tell text from binary.
        for payload in PAYLOADS[2:]:
            wanted["websocket", repr(payload)] = ("websocket", None)
    assert said == wanted


def test_nothing_of_the_row_before_is_left(row, host):
    _, passed, listens, program, sockets = row
    (unit,) = host.check_output("ls /etc/systemd/system | grep '^whoami-'").split()
    generation = unit.removeprefix("whoami-").removesuffix("@.service")
    found = host.file("/etc/flask-socketio/whoami").listdir()
    assert [name for name in found if not name.startswith("environment-")] == [generation]
    assert len(found) == 2

    running = host.check_output("pgrep --list-name --uid whoami").split()
    assert set(running[1::2]) == {program}
    units = host.check_output("systemctl list-units --all --plain --no-legend 'whoami-*@*'")
    assert [line.split()[2] for line in units.splitlines()] == ["active"]

    files = host.run("ls /run/whoami").stdout.split()
    assert len(files) == sockets
    assert all(name.startswith(generation) for name in files)

    site_file = host.file("/etc/nginx/conf.d/flask-socketio-whoami.conf").content_string
    assert site_file.count(passed) == 2
    assert site_file.count(f"server unix:{listens}" if "/" in listens else f"server {listens}") == 1
    ports = host.check_output("ss -Hltn | awk '{print $4}' | grep -c '^127.0.0.1:' || true")
    assert int(ports) == int("127" in listens)


def test_the_wheel_came_without_a_compiler(host):
    """Built on wheel12, kept on the controller, installed on debian12."""
    assert not host.package("gcc").is_installed
    builder = host.get_host(host.backend.get_connection_string().replace("debian12", "wheel12"))
    assert builder.package("gcc").is_installed
    kept = list(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]).glob("cache/**/*.whl"))
    assert len(kept) == 1
    assert host.file("/usr/local/lib/flask-socketio-uwsgi/2.0.31").listdir() == [kept[0].name]
