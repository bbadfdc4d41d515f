"""Each row is deployed where the one before it runs, and leaves nothing of it behind."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import PAYLOADS, TRANSPORTS, echo, probe, site
from stack import name_of

testinfra_hosts = ["debian12", "debian13"]

APPS = {"debian12": "whoami", "debian13": "article"}
HTTP, UWSGI = "proxy_pass http://socketio_", "uwsgi_pass socketio_"


@dataclass(frozen=True)
class Row:
    variables: dict[str, str | bool]
    passes: str
    """How nginx hands requests on."""
    listens: str
    program: str
    sockets: int
    """The number of sockets in the app's directory in /run, one of them for drain.py."""
    hosts: tuple[str, ...] = tuple(APPS)


# The first row is what converge has deployed. Gunicorn can't run the article's app.
ROWS = {
    "unix": Row({}, HTTP, "unix:/run/", "uwsgi-core", 2),
    "tcp, native": Row(
        {"app_bind": "tcp", "uwsgi_websocket": "native"}, HTTP, "127.0.0.1:", "uwsgi-core", 1
    ),
    "uwsgi protocol": Row(
        {"uwsgi_protocol": "uwsgi", "app_debug": True}, UWSGI, "unix:/run/", "uwsgi-core", 3
    ),
    "gunicorn": Row({"app_server": "gunicorn"}, HTTP, "unix:/run/", "gunicorn", 2, ("debian12",)),
    "wheel, uwsgi protocol, tcp": Row(
        {"uwsgi_source": "pypi", "uwsgi_protocol": "uwsgi", "app_bind": "tcp"},
        UWSGI,
        "127.0.0.1:",
        "uwsgi",
        2,
    ),
}


@pytest.fixture(scope="module", params=ROWS)
def deployed(request):
    """Deployed once for all tests of a row."""
    row = ROWS[request.param]
    if row.variables:
        done = site(",".join(row.hosts), **row.variables)
        assert done.returncode == 0, done.stdout
    return row


@pytest.fixture
def row(deployed, host):
    if name_of(host) not in deployed.hosts:
        pytest.skip("this host's app can't be served so")
    return deployed


def test_everything_comes_back(row, url):
    """Side by side, but for the row that breaks off connections, which loses others' packets too.

    The session of b"PNG" ends there in an exception. With five of those in each second 3 of 400
    messages of other clients had no answer.
    """
    native = row.variables.get("uwsgi_websocket") == "native"
    tries = [(transports, payload) for transports in TRANSPORTS for payload in PAYLOADS]
    wanted = {key_of(*one): (one[0][-1], one[1]) for one in tries}
    if native:
        # The limitation that websocket_frames.py mends: uWSGI does not tell text from binary.
        for transports in TRANSPORTS[1:]:
            for payload in PAYLOADS[2:5]:
                wanted[key_of(transports, payload)] = ("websocket", None)
            # b"451-[]", taken for a packet of Engine.IO: a message whose text is 51-[].
            altered = {"name": "x", "data": "51-[]"}
            wanted[key_of(transports, PAYLOADS[5])] = ("websocket", altered)

    def answer(one: tuple[list[str], Any]) -> Any:
        # What is lost is waited for.
        lost = wanted[key_of(*one)][1] is None
        return echo(url, *one, answer_within=1 if lost else 4)

    with ThreadPoolExecutor(1 if native else len(PAYLOADS)) as pool:
        said = dict(zip((key_of(*one) for one in tries), pool.map(answer, tries), strict=True))
    assert said == wanted


def key_of(transports: list[str], payload: Any) -> tuple[str, str]:
    return "-".join(transports), repr(payload)


def test_the_probe_tells_whether_binary_data_gets_lost(row, url):
    passed, said = probe(url, event="echo", event_data="0123", event_binary=True, timeout=2)
    lost = row.variables.get("uwsgi_websocket") == "native"
    assert passed != lost, said
    assert ("leave uwsgi_websocket at" in said) == lost, said


def test_the_journal_has_every_packet_on_request(row, host):
    unit = host.check_output("ls /etc/systemd/system/%s.target.wants", APPS[name_of(host)])
    journal = host.check_output("journalctl --no-pager -o cat -u %s", unit)
    debug = "engineio.server: " in journal and "socketio.server: " in journal
    assert debug == row.variables.get("app_debug", False)


def test_nothing_of_the_row_before_is_left(row, host):
    app = APPS[name_of(host)]
    (unit,) = host.check_output("ls /etc/systemd/system | grep '^%s-'", app).split()
    generation = unit.removeprefix(f"{app}-").removesuffix("@.service")
    found = host.file(f"/etc/flask-socketio/{app}").listdir()
    assert generation in found
    assert sorted(re.sub("^environment-.*", "environment", name) for name in found) == sorted(
        [generation, "app.json", "environment"]
    )

    running = host.check_output("pgrep --list-name --uid %s", app).split()
    assert set(running[1::2]) == {row.program}
    units = host.check_output("systemctl list-units --all --plain --no-legend '%s-*@*'", app)
    assert [line.split()[2] for line in units.splitlines()] == ["active"]

    files = host.run(f"ls /run/{app}").stdout.split()
    assert len(files) == row.sockets
    assert all(name.startswith(generation) for name in files)

    site_file = host.file(f"/etc/nginx/conf.d/flask-socketio-{app}.conf").content_string
    # Socket.IO's path, its sessions while other backends leave, and the rest.
    assert site_file.count(f"{row.passes}{app};") == 4
    assert site_file.count(f"server {row.listens}") == 1
    ports = host.check_output("ss -Hltn | awk '{print $4}' | grep '^127.0.0.1:' || true").split()
    # nginx's state, for an exporter, is one of them.
    assert len(set(ports) - {"127.0.0.1:8113"}) == int(row.listens.startswith("127"))


def test_a_wheel_is_built_once_for_each_kind_of_host(host):
    """Built on wheel12 and debian13, kept on the controller; debian12 never had a compiler."""
    name = name_of(host)
    assert host.package("gcc").is_installed == (name == "debian13")
    builder = host.get_host("docker://fs-uwsgi-wheel12")
    assert builder.package("gcc").is_installed

    cache = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "cache"
    kept = [file.name for file in cache.glob("**/*.whl")]
    assert len(kept) == 2
    (installed,) = host.file("/usr/local/lib/flask-socketio-uwsgi/2.0.31").listdir()
    assert installed in kept
    # The same wheel, byte for byte: another build would differ in its times.
    if name == "debian12":
        sums = [
            one.check_output(f"sha256sum /usr/local/lib/flask-socketio-uwsgi/2.0.31/{installed}")
            for one in (host, builder)
        ]
        assert sums[0] == sums[1]
