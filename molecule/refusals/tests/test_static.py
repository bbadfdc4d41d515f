"""What is refused before anything changes: one message, no change, and what runs runs on.

Cases that the same task refuses share a run, each as a host of its own that is the same container:
every one of them must get its own message, and only that.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from refusals import Run, deploy, deploy_cases, difference, inside, read, snapshot

testinfra_hosts = ["node1"]

NAME = (
    "lower-case letters, digits and hyphens, beginning with a letter, at most 31, such as 'chat'."
)
SOURCE = (
    "a directory on the controller, a git URL, or an archive (.tar.gz, .zip; a file or an https "
    "URL)."
)
MODULE = "module:callable or module:factory(), such as 'app:app' or 'chat:create_app()'."
NAMES = "a list of host names, such as ['chat.example.org'], or ['_'] for every name."
ADDRESS = (
    "an IP address of this host, such as '10.0.0.5', or '127.0.0.1' where Prometheus runs on it."
)
PATHS = "absolute paths of letters, digits and ._/@+-."
ROOT = (
    "an absolute path of letters, digits, dots, hyphens and underscores, below a directory, such "
    "as '/opt/chat'."
)
TAKEN = (
    "this user exists and was not made for this app; choose another app_user, or set "
    "app_manage_user to false to run the app as it."
)
RELEASE = (
    "a release's name, twelve hexadecimal digits, or 'previous'; or leave it out to deploy "
    "app_source."
)
REQUIREMENTS = "a file inside of app_source, such as 'requirements.txt', or a list of requirements."
SERVES_AGAIN = (
    "curl --silent --fail --retry 30 --retry-delay 1 --retry-all-errors http://127.0.0.1/whoami"
)
SPEC = "Validation of arguments failed:\n"


@dataclass(frozen=True)
class Case:
    message: str
    variables: dict[str, Any]


def case(message: str, **variables: Any) -> Case:
    return Case(message, variables)


def told(name: str, value: object, remedy: str, **more: Any) -> Case:
    """A case whose message names the variable, the value and the remedy."""
    return case(f"{name} is {value!r}: {remedy}", **{name: value}, **more)


CASES: dict[str, list[Case]] = {
    "types and choices": [
        case(
            SPEC + "value of app_server must be one of: gunicorn, uwsgi, embedded, got: waitress",
            app_server="waitress",
        ),
        case(
            SPEC
            + "value of app_async_mode must be one of: gevent, threading, eventlet, gevent_uwsgi, "
            "got: turbo",
            app_async_mode="turbo",
        ),
    ],
    "the app's settings": [
        told("app_source", "", SOURCE),
        told(
            "app_source",
            "/srv/nowhere",
            "it does not exist on the controller; write a path that does, or a git URL.",
        ),
        told("app_source", "https://example.org/a.git; reboot", SOURCE),
        told(
            "app_source_directory",
            "backend",
            "app_source has no such directory; write a path inside of it, such as 'backend'.",
        ),
        told(
            "app_source_directory",
            "../../etc",
            "a relative path inside of app_source, such as 'backend'.",
        ),
        told("app_name", "", NAME),
        told("app_name", "Chat", NAME),
        told("app_name", "a chat", NAME),
        told("app_name", "a;rm -rf", NAME),
        told("app_name", "a" * 32, NAME),
        told("app_name", "chat\n", NAME),
        told("app_module", "app", MODULE),
        told("app_module", "app:app;id", MODULE),
        told("app_module", "app:app\nExecStartPre=/bin/false", MODULE),
        told("app_module", "app:create_app('x')", MODULE),
        told("app_requirements", "requirements.txt\n--pre", REQUIREMENTS),
        told(
            "app_requirements",
            ["flask-socketio", "redis\n--pre"],
            "a list with one requirement each, such as ['flask-socketio', 'redis>=5'].",
        ),
        told("app_pip_extra_args", "--pre\n--user", "arguments of pip install in one line."),
        case(
            "app_index_url: the URL of a package index, such as 'https://pypi.org/simple'.",
            app_index_url="https://user:s3cr3t@example.org/ --pre",
        ),
        told("app_version", "$(reboot)", "a branch, a tag or a commit."),
        told("app_version", "--upload-pack=id", "a branch, a tag or a commit."),
        told("app_release", "../../etc", RELEASE),
        told("app_release", "Previous", RELEASE),
        told(
            "app_keep_releases",
            1,
            "the number of releases to keep, at least 2, the current one and the one to go back "
            "to.",
        ),
        case(
            "app_hooks: there is no 'before_deploy'; write before_build, after_build, "
            "before_switch, after_switch, before_rollback or after_rollback.",
            app_hooks={"before_deploy": [{"command": "true"}]},
        ),
        case(
            "app_hooks: before_switch[1].tasks '/srv/nowhere.yml' is no file on the controller; "
            "write a path that is, absolute or from the directory where ansible-playbook is "
            "started.",
            app_hooks={"before_switch": [{"command": "true"}, {"tasks": "/srv/nowhere.yml"}]},
        ),
        case(
            "app_processes: item 0: the command must be a program of the virtualenv, or an "
            "absolute path, with its arguments in one line, such as 'python emitter.py'.",
            app_processes=[{"name": "emitter", "command": "+emitter"}],
        ),
        told("app_command_timeout", 0, "seconds, at least 1."),
        told("app_drain_seconds", -1, "whole seconds, from 0 to 9999."),
        told("app_root", "/opt/chat $(id)", ROOT),
        told("app_root", "/opt/../etc", ROOT),
        told("app_user", "www data", "a system user's name."),
        told("app_writable_paths", ["/srv/a b"], PATHS),
        told("app_writable_paths", ["/srv/%i"], PATHS),
        told(
            "app_system_packages",
            ["libpq5; reboot"],
            "names of the distribution's packages, such as 'libpq5'.",
        ),
        case(
            "app_environment is ['A B']: names of letters, digits and underscores, not beginning "
            "with a digit.",
            app_environment={"A B": "s3cr3t"},
        ),
        case(
            "app_environment is ['A']: values that are strings, numbers or booleans; write a list "
            "or a dictionary as JSON with to_json.",
            app_environment={"A": ["s3cr3t"]},
        ),
        told(
            "app_socketio_path",
            "socket.io { deny all; }",
            "a URL path without slashes at its ends, such as 'socket.io'.",
        ),
        told(
            "app_path_prefix",
            "/chat/",
            "a URL path without a slash at its end, such as '/chat', or empty.",
        ),
        told(
            "app_cors_allowed_origins",
            ["https://example.org$"],
            "a list of origins, each scheme and host, such as 'https://www.example.org'.",
        ),
        case(
            "app_static is ['static']: each url is a path without a slash at its end, such as "
            "'/static'.",
            app_static=[{"url": "static", "directory": "static"}],
        ),
        case(
            "app_static is ['/socket.io']: no url may be Socket.IO's own path.",
            app_static=[{"url": "/socket.io", "directory": "static"}],
        ),
        case(
            "app_static is ['../../etc']: each directory is a relative path inside of the app's "
            "code, such as 'static'.",
            app_static=[{"url": "/static", "directory": "../../etc"}],
        ),
    ],
    "the app and its host": [
        told("app_user", "www-data", TAKEN),
        told("app_user", "root", TAKEN),
    ],
    "gunicorn's settings": [
        told(
            "gunicorn_proxy_group",
            "root; id",
            "the group of the web server's workers, such as 'www-data'.",
        ),
    ],
    "nginx's settings": [
        told("nginx_server_name", ["a; } server {"], NAMES),
        told("nginx_server_name", ["a.example", "b\n#"], NAMES),
        told(
            "nginx_server_name",
            "chat.example.org",
            NAMES.replace("a list of host names", "a list with at least one host name"),
        ),
        told("nginx_port", 0, "a TCP port from 1 to 65535."),
        told("nginx_port", 65536, "a TCP port from 1 to 65535."),
        told(
            "nginx_status_port",
            70000,
            "a TCP port from 1 to 65535 that is none of nginx's others, or 0 for none.",
        ),
        told(
            "nginx_client_max_body_size", "10m; deny all", "a size in nginx's form, such as '10m'."
        ),
    ],
    "the exporters' settings": [
        told("exporters_listen_address", "eth0", ADDRESS, exporters=True),
        told("exporters_node_port", 1000, "a TCP port from 1024 to 65535.", exporters=True),
    ],
    "the exporters and the host": [
        told(
            "exporters_node_port",
            8081,
            "python3 listens there already; stop it or choose another port.",
            exporters=True,
        ),
    ],
    "nginx and its host": [
        told("nginx_port", 8081, "python3 listens there already; stop it or choose another port."),
        told(
            "nginx_port",
            8082,
            "another program listens there already; stop it or choose another port.",
        ),
        case(
            "nginx_server_name is ['_']: /etc/nginx/conf.d/flask-socketio-whoami.conf serves that "
            "name on port 80; give each app its own name or port.",
            app_name="other",
        ),
    ],
}


def assert_refused(run: Run, message: str) -> None:
    assert run.refused, run.output
    assert [text for _, text in run.errors] == [message], run.output
    assert not any(run.changed.values()), run.output


@pytest.fixture(scope="module")
def refuse_all(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Run, list[str]]]:
    """Deploy all cases of a stage; return the run and what it changed on the container."""

    @functools.cache
    def run(stage: str) -> tuple[Run, list[str]]:
        directory = tmp_path_factory.mktemp("cases")
        before = snapshot("node1")
        done = deploy_cases(directory, "node1", [bad.variables for bad in CASES[stage]])
        return done, difference(before, snapshot("node1"))

    return run


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        pytest.param(stage, n, id=f"{stage}-{'-'.join(map(repr, bad.variables.values()))[:50]}")
        for stage, cases in CASES.items()
        for n, bad in enumerate(cases)
    ],
)
def test_refused_before_anything_changes(
    refuse_all: Callable[[str], tuple[Run, list[str]]], stage: str, number: int
) -> None:
    run, changes = refuse_all(stage)
    assert run.told(f"case{number}") == [CASES[stage][number].message], run.output
    assert run.failed[f"case{number}"] == 1
    assert not any(run.changed.values())
    assert run.returncode != 0
    assert "s3cr3t" not in run.output
    assert changes == []


@pytest.fixture
def untouched() -> Generator[None]:
    before = snapshot("node1")
    yield
    assert difference(before, snapshot("node1")) == []


@pytest.mark.usefixtures("untouched")
def test_an_nginx_that_is_too_old() -> None:
    stub = "/usr/local/sbin/nginx"
    inside(
        "node1",
        f"printf '#!/bin/sh\\necho nginx version: nginx/1.14.2 >&2\\n' >{stub}; chmod +x {stub}",
    )
    try:
        run = deploy()
    finally:
        # The directory's listing, which is compared, is then as it was.
        inside("node1", f"rm {stub}")
    assert_refused(
        run,
        "The host's nginx is '1.14.2': install nginx 1.18 or later, or remove this one so that the "
        "distribution's is installed.",
    )


@pytest.fixture
def joined(tmp_path: Path) -> Callable[[str], str]:
    """An inventory that lets a host join app_servers."""

    def inventory(name: str) -> str:
        path = tmp_path / "joined.yml"
        path.write_text(yaml.safe_dump({"app_servers": {"hosts": {name: {}}}}), encoding="utf-8")
        return f"--inventory={path}"

    return inventory


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "bare",
            "The host's service manager is 'sleep': the app runs as systemd units; use a host (or "
            "container) whose PID 1 is systemd.",
        ),
        (
            "old",
            "The operating system is 'Debian 11': use one of Debian 12, Debian 13, or set "
            "app_allow_untested_os to true to try.",
        ),
    ],
)
def test_one_unsuitable_host_spares_all(
    joined: Callable[[str], str], name: str, message: str
) -> None:
    before = snapshot(name)
    run = deploy(joined(name))
    assert_refused(run, message)
    assert [host for host, _ in run.errors] == [name]
    assert set(run.changed) == {"node1", name}
    assert difference(before, snapshot(name)) == []


def test_good_input_is_not_refused() -> None:
    """Negative control, and proof that no refusal left anything behind.

    Numbers and booleans as `-e name=value` gives them, which are strings.
    """
    run = deploy(
        "--extra-vars=nginx_port=80 nginx_max_connections=8000 nginx_read_timeout=60",
        "--extra-vars=gunicorn_connections=10000 gunicorn_graceful_timeout=5 app_keep_releases=3",
        "--extra-vars=app_ask_timeout=60 app_manage_user=true app_allow_untested_os=false",
        "--extra-vars=nginx_ipv6=true nginx_shutdown_timeout=600",
    )
    assert run.returncode == 0, run.output
    assert not run.refused
    assert run.errors == []
    assert run.changed == {"node1": 0}
    with pytest.raises(AssertionError):
        assert_refused(run, "")


def test_two_errors_are_not_one() -> None:
    """Negative control: the reading of the output counts errors."""
    fatal = "fatal: [node1]: FAILED! => \n    changed: false\n    msg: bad\n"
    recap = "node1 : ok=1 changed=0 unreachable=0 failed=1 skipped=0 rescued=0 ignored=0\n"
    assert_refused(read(2, f"{fatal}\n{recap}"), "bad")
    with pytest.raises(AssertionError):
        assert_refused(read(2, f"{fatal}\n{fatal}\n{recap}"), "bad")


@pytest.mark.parametrize(
    ("change", "undo", "seen"),
    [
        ("touch /opt/whoami/stray", "rm /opt/whoami/stray", r"new: /opt/whoami/stray "),
        (
            "touch /etc/nginx/conf.d/flask-socketio-whoami.conf",
            "true",
            r"new: /etc/nginx/conf.d/flask-socketio-whoami.conf ",
        ),
        (
            "systemctl kill --signal=KILL --kill-whom=main 'whoami-*.service'",
            SERVES_AGAIN,
            r"new: MainPID=",
        ),
    ],
)
def test_a_change_of_the_host_is_seen(change: str, undo: str, seen: str) -> None:
    """Negative control of the comparison, last because it changes the host."""
    before = snapshot("node1")
    inside("node1", change)
    assert any(re.match(seen, line) for line in difference(before, snapshot("node1")))
    inside("node1", undo)
