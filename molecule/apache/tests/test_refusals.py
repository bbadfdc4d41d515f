"""What Apache's preflight refuses, each with one message; nothing changes."""

from __future__ import annotations

import pytest
from conftest import one_host
from refusals import deploy_cases
from stack import python_client

testinfra_hosts = ["debian12"]
PREFLIGHT = "molecule/apache/tests/preflight.yml"


@pytest.fixture
def prepared(host):
    """`prepared(do, undo)`: commands on the host before and after the test."""
    undone = []

    def prepare(do: str, undo: str) -> None:
        undone.append(undo)
        host.check_output(do)

    yield prepare
    for command in reversed(undone):
        host.check_output(command)


def refused(host, message: str, name: str = PREFLIGHT, **variables) -> None:
    code, said = one_host(host, name, **{"apache_name": "another"} | variables)
    assert code != 0
    assert message in said, said


FREE = [{"apache_server_name": ["free.example.test"]}, {"apache_port": 8099}]
REFUSED = [
    ({"apache_name": "a b"}, "apache_name is 'a b': lower-case letters"),
    ({"apache_server_name": ["a;b"]}, "apache_server_name is ['a;b']: a list of host names"),
    ({"apache_server_name": []}, "a list with at least one host name"),
    ({"apache_port": 0}, "apache_port is 0: a TCP port"),
    # As -e apache_port=70000 gives it.
    ({"apache_port": "70000"}, "apache_port is '70000': a TCP port"),
    ({"apache_protocol": "uwsgi"}, "by HTTP only; set uwsgi_protocol to 'http'"),
    ({"apache_max_connections": 90000}, "a thread each, from 1 to 20000; nginx can hold more"),
    ({"apache_client_max_body_size": "10 MB"}, "a size as nginx has it"),
    ({"apache_read_timeout": 0}, "seconds, at least 1"),
    ({}, "00-flask-socketio-whoami.conf serves that name on port 80"),
    (
        {"apache_server_name": ["WWW.stranger.example.test"]},
        "stranger.conf serves that name on port 80",
    ),
    (
        {"apache_server_name": ["*.mirror.example.test"], "apache_port": 8080},
        "flask-socketio-mirror.conf serves that name on port 8080",
    ),
    ({"apache_port": 5002}, "listens there already; one program is"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """All of these in one run of the preflight, each as a host of its own that is debian12."""
    cases = [{"apache_name": "another"} | case for case in [*FREE, *(one for one, _ in REFUSED)]]
    return deploy_cases(tmp_path_factory.mktemp("cases"), "debian12", cases, name=PREFLIGHT)


@pytest.mark.parametrize("number", range(len(FREE)))
def test_a_free_name_and_port_pass(run, number):
    host = f"case{number}"
    assert (run.told(host), run.failed[host]) == ([], 0)


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=[said for _, said in REFUSED])
def test_settings(run, number):
    host = f"case{len(FREE) + number}"
    (told,) = run.told(host)
    assert REFUSED[number][1] in told
    assert run.returncode != 0
    assert (run.failed[host], run.changed[host]) == (1, 0)


def test_an_apache_that_is_too_old(host, prepared):
    wrapper = "/usr/local/sbin/apache2ctl"
    text = (
        '#!/bin/sh\\n[ "$1" = -V ] && exec echo "Server version: Apache/2.4.38"\\n'
        'exec /usr/sbin/apache2ctl "$@"\\n'
    )
    prepared(f"printf '{text}' > {wrapper} && chmod 755 {wrapper}", f"rm {wrapper}")
    refused(host, "The host's Apache is '2.4.38': it cannot pass WebSockets on", apache_port=8099)


def test_a_process_for_every_connection(host, prepared):
    prepared(
        "a2dismod -q mpm_event && a2enmod -q mpm_prefork",
        "a2dismod -q mpm_prefork && a2enmod -q mpm_event",
    )
    refused(host, "is 'prefork': it would need a process for every WebSocket", apache_port=8099)


def test_a_configuration_that_is_broken_already(host, prepared):
    broken = "/etc/apache2/conf-enabled/broken.conf"
    prepared(f"echo Bogus > {broken}", f"rm {broken}")
    refused(host, "does not accept its own configuration; mend it first", apache_port=8099)


def test_a_default_site_that_somebody_made_their_own(host, prepared):
    enabled = "/etc/apache2/sites-enabled/000-default.conf"
    site = "/etc/apache2/sites-available/000-default.conf"
    prepared(
        f"cp -a {site} {site}.kept && echo '# mine' >> {site} && ln -s {site} {enabled}",
        f"mv {site}.kept {site} && rm {enabled}",
    )
    refused(
        host,
        "000-default.conf, which somebody has changed, serves every name",
        apache_name="whoami",
    )


def test_apache_where_nginx_has_the_port_and_nginx_where_apache_has_it(host, prepared):
    prepared(
        "apt-get install -qq -y --no-install-recommends nginx-light > /dev/null 2>&1; "
        "sed -i 's/ 80 / 8090 /; s/:80 /:8090 /' /etc/nginx/sites-available/default; "
        "systemctl restart nginx",
        "DEBIAN_FRONTEND=noninteractive apt-get purge -qq -y 'nginx*' > /dev/null 2>&1",
    )
    refused(
        host,
        "apache_port is 8090: nginx listens there already; one program is",
        name="site.yml",
        apache_port=8090,
    )
    refused(
        host,
        "nginx_port is 80: apache2 listens there already",
        name="site.yml",
        app_front_door="nginx",
    )


def test_no_such_front_door(host):
    refused(host, "app_front_door is 'caddy': nginx or apache", "site.yml", app_front_door="caddy")


def test_a_site_that_apache_would_not_take_never_goes_live(host, url):
    """The candidate is tested before it is put in place."""
    before = host.check_output("sha256sum /etc/apache2/sites-available/*")
    name = "molecule/apache/tests/rejected.yml"
    refused(host, "failed to validate", name)
    assert host.check_output("sha256sum /etc/apache2/sites-available/*") == before
    assert python_client(url("whoami"))["transport"] == "websocket"
