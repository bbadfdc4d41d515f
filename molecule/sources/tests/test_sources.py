"""Each app serves what its source held, built as its settings said."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import yaml
from scenario_hosts import container

testinfra_hosts = ["node1"]

EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
# What the server's role adds to every app's requirements.
SERVER = yaml.safe_load((PROJECT / "roles/gunicorn/vars/main.yml").read_text(encoding="utf-8"))[
    "__gunicorn_rows"
]["gevent"]["requirements"]
# Of an OpenSSH key; all keys of a kind begin alike.
KEY_LINE = 3
# Everything that a task could have written, on disk and in the tmpfs.
PLACES = "/etc /home /opt /root /run /srv /tmp /usr/local /var"
# Name to version and requirements; {app} is the release's working directory.
RELEASES = {
    "packed": ("HEAD", ["flask-socketio==5.7.0"]),
    "fetched-by-git": ("v1.0", ["{app}"]),
    "fetched": ("HEAD", ["-r {app}/requirements.txt"]),
}


def current(host, app):
    return host.file(f"/opt/{app}/current").linked_to


def find_text(host, text):
    """The files of the host that hold a text."""
    found = host.run("grep --recursive --files-with-matches --fixed-strings -e %s " + PLACES, text)
    return found.stdout.splitlines()


@pytest.mark.parametrize("app", RELEASES)
def test_websocket_reaches_the_app_by_its_name(whoami, expected, app):
    assert whoami(app) == expected[app]


@pytest.mark.parametrize("app", RELEASES)
def test_the_release_says_what_it_was_made_of(host, app):
    release = current(host, app)
    told = json.loads(host.file(f"{release}/release.json").content_string)
    version, requirements = RELEASES[app]
    directory = f"{release}/src/backend" if app == "fetched-by-git" else f"{release}/src"
    assert len(told.pop("source")) == 64
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told.pop("built"))
    if app == "fetched-by-git":
        assert re.fullmatch("[0-9a-f]{40}", told.pop("commit"))
    assert told == {
        "app": app,
        "version": version,
        "settings": {
            "app_server": "gunicorn",
            "app_source_directory": "backend" if app == "fetched-by-git" else "",
        },
        "requirements": [line.format(app=directory) for line in requirements] + SERVER,
    }
    lines = host.file(f"{release}/requirements.txt").content_string.split("\n")
    assert [line for line in lines if line] == told["requirements"]


@pytest.mark.parametrize("app", RELEASES)
def test_the_source_belongs_to_root_and_everybody_can_read_it(host, app):
    source = f"{current(host, app)}/src"
    assert host.check_output("find %s ! -user root -o ! -group root", source) == ""
    assert host.check_output("find %s ! -type l ! -perm -a+r -o -perm /go+w", source) == ""


def test_pyproject_is_installed_with_what_it_asks_for(host):
    python = f"{current(host, 'fetched-by-git')}/venv/bin/python"
    show = "import importlib.metadata as m; print(m.version('by-git'), m.requires('by-git'))"
    assert host.check_output("%s -c %s", python, show) == "1.0 ['flask-socketio<6,>=5.5']"


def test_the_private_key_stays_on_the_controller(host):
    key = (EPHEMERAL / "deploy_key").read_text(encoding="ascii").splitlines()
    assert find_text(host, key[KEY_LINE]) == []


def test_a_private_key_on_the_host_would_be_found(host):
    """Negative control for the search: a line of the host's own key is seen."""
    path = "/etc/ssh/ssh_host_ed25519_key"
    assert find_text(host, host.file(path).content_string.splitlines()[KEY_LINE]) == [path]


def test_the_git_servers_key_is_known_to_the_test_only(address):
    server = address("gitserver")
    assert server in (EPHEMERAL / "known_hosts").read_text(encoding="ascii")
    own = Path.home() / ".ssh" / "known_hosts"
    assert not own.exists() or server not in own.read_text(encoding="utf-8")


def test_the_wheelhouse_is_asked_and_no_index(host):
    """The server logs what it was asked for, among it the archive: the log is no empty one."""
    server = host.get_host(f"docker://{container('gitserver')}")
    log = server.check_output("journalctl --unit archives --output cat --no-pager")
    assert '"GET /fetched.zip HTTP/1.1" 200' in log
    assert re.findall("GET /simple/(?!control-package).*", log) == []
    wheels = sorted(path.name for path in (EPHEMERAL / "wheels").iterdir())
    assert sorted(host.file("/opt/packed/wheelhouse").listdir()) == wheels


def test_an_index_that_is_asked_is_seen(host):
    """Negative control: the same pip, the same index, without the wheelhouse."""
    pip = f"{current(host, 'packed')}/venv/bin/pip"
    asked = host.run(
        "%s download --isolated --no-deps --index-url=http://gitserver:8000/simple/ "
        "--trusted-host=gitserver --dest=/tmp/none control-package",
        pip,
    )
    assert asked.rc != 0
    server = host.get_host(f"docker://{container('gitserver')}")
    log = server.check_output("journalctl --unit archives --output cat --no-pager")
    assert '"GET /simple/control-package/ HTTP/1.1" 404' in log


def test_app_python_decides_which_python_makes_the_virtualenv(host):
    homes = {}
    for app in RELEASES:
        lines = host.file(f"{current(host, app)}/venv/pyvenv.cfg").content_string.splitlines()
        homes[app] = dict(line.split(" = ", 1) for line in lines)["home"]
    others = dict.fromkeys(set(RELEASES) - {"fetched"}, "/usr/bin")
    assert homes == {"fetched": "/usr/local/bin", **others}
