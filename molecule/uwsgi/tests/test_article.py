"""The article's app: one file websocket.py, its page served from another port."""

from __future__ import annotations

import asyncio
import functools

import aiohttp
import pytest
import testinfra
from conftest import PAYLOADS, TRANSPORTS, echo, site, state
from refusals import deploy_cases
from stack import PROJECT, name_of

testinfra_hosts = ["debian13", "wheel12"]

PAGE = "http://127.0.0.1:5001"


@pytest.mark.parametrize("transports", TRANSPORTS, ids="-".join)
@pytest.mark.parametrize("payload", PAYLOADS, ids=repr)
def test_everything_comes_back_to_a_page_of_another_port(url, transports, payload):
    assert echo(url, transports, payload, origin=PAGE) == (transports[-1], payload)


def test_the_browser_is_told_that_the_page_may_read(url):
    async def allowed() -> tuple[int, str | None]:
        address = f"{url}/socket.io/?EIO=4&transport=polling"
        async with (
            aiohttp.ClientSession() as http,
            http.get(address, headers={"Origin": PAGE}) as answer,
        ):
            return answer.status, answer.headers.get("Access-Control-Allow-Origin")

    assert asyncio.run(allowed()) == (200, PAGE)


def test_a_body_that_the_app_does_not_read_is_no_bad_gateway(url):
    """An unknown session answers at once; uWSGI alone would reset the connection, nginx say 502."""

    async def statuses() -> set[int]:
        address = f"{url}/socket.io/?EIO=4&transport=polling&sid=unknown"
        async with aiohttp.ClientSession() as http:

            async def post(size: int) -> int:
                async with http.post(address, data="4" * size) as answer:
                    return answer.status

            return set(await asyncio.gather(*(post(size) for size in [1, 5000, 100000] * 20)))

    assert asyncio.run(statuses()) == {400}


def test_the_origin_is_warned_about_and_nothing_changes():
    done = site("debian13,wheel12")
    assert done.returncode == 0, done.stdout
    # Once: Ansible does not repeat a warning for the next host.
    assert "cors_allowed_origins is '*'" in done.stdout
    assert done.stdout.count(" changed=0 ") == 2, done.stdout


def test_the_ini_is_as_the_article_has_it(host):
    if name_of(host) != "debian13":
        pytest.skip("the other host has the role's own settings")
    (unit,) = host.check_output("ls /etc/systemd/system | grep '^article-'").split()
    generation = unit.removeprefix("article-").removesuffix("@.service")
    release = host.file("/opt/article/current").linked_to
    ini = host.file(f"/etc/flask-socketio/article/{generation}/uwsgi.ini").content_string
    assert ini.splitlines() == [
        "; Ansible managed",
        "[uwsgi]",
        "strict = true",
        "plugins = python3,gevent_python3",
        f"chdir = {release}/src",
        "module = websocket:app",
        f"virtualenv = {release}/venv",
        "gevent = 1000",
        "import = %dwebsocket_frames.py",
        "import = %dpath_prefix.py",
        "import = %ddrain.py",
        "master = true",
        "processes = 1",
        "threads = 1",
        "gevent-early-monkey-patch = true",
        "lazy-apps = true",
        "need-app = true",
        "die-on-term = true",
        "vacuum = true",
        "chmod-socket = 666",
        "listen = 1024",
        "buffer-size = 8192",
        "post-buffering = 8192",
        "websocket-max-size = 977",
        "disable-logging = true",
        "log-reopen = true",
    ]


def test_one_process_below_the_master(host):
    unit = host.check_output("systemctl list-units --plain --no-legend 'article-*' | cut -d' ' -f1")
    master = host.check_output("systemctl show -p MainPID --value %s", unit)
    assert len(host.check_output("pgrep --parent %s", master).splitlines()) == 1
    assert host.check_output("systemctl show -p Type --value %s", unit) == "notify"
    line = host.check_output("systemd-analyze security --no-pager %s", unit).splitlines()[-1]
    assert float(line.split(": ")[1].split()[0]) <= 2.0


APP = {
    "app_name": "article",
    "app_source": str(PROJECT / "tests" / "fixtures" / "article"),
    "app_module": "websocket:app",
}
# What one task refuses, and what is built first, share a run, each as a host of its own.
REFUSED = {
    "built": {
        "async_mode": (
            {
                "app_source": str(PROJECT / "tests" / "fixtures" / "threading_mode"),
                "app_module": "app:app",
            },
            [
                "'threading' but uwsgi runs 'gevent_uwsgi'",
                "Cannot obtain socket from WSGI environment",
            ],
        ),
        "eventlet": (
            {
                "app_source": str(PROJECT / "examples" / "whoami"),
                "app_module": "app:app",
                "app_requirements": ["flask-socketio", "eventlet"],
                "app_environment": {"SOCKETIO_ASYNC_MODE": "eventlet"},
            },
            ["'eventlet' but uwsgi runs 'gevent_uwsgi'", "You need to use the eventlet server."],
        ),
        "pyuwsgi": (
            {
                "uwsgi_source": "requirements",
                "app_requirements": ["flask-socketio", "pyuwsgi"],
            },
            ["built without SSL", "set uwsgi_source to 'distribution' or 'pypi'"],
        ),
    },
    "settings": {
        "app_async_mode": ({"app_async_mode": "gevent"}, ["app_async_mode must be 'gevent_uwsgi'"]),
        "processes": ({"uwsgi_options": {"processes": 4}}, ["set app_instances"]),
        "import": ({"uwsgi_options": {"import": "tasks"}}, ["the role imports there"]),
        "wheel": ({"uwsgi_wheel": "/etc/hostname"}, ["a wheel of uwsgi_version 2.0.31"]),
        "http": (
            {"uwsgi_options": {"http": ":5000"}},
            ["set app_bind, app_port and uwsgi_protocol"],
        ),
    },
}


@pytest.fixture(scope="module")
def refuse_all(tmp_path_factory):
    """Deploy all cases of a stage; return the run, and the host's state before and after it."""
    host = testinfra.get_host("docker://fs-uwsgi-debian13")

    @functools.cache
    def run(stage):
        before = state(host, "article")
        cases = [APP | variables for variables, _ in REFUSED[stage].values()]
        done = deploy_cases(tmp_path_factory.mktemp("cases"), "debian13", cases)
        return done, before, state(host, "article")

    return run


@pytest.mark.parametrize(
    ("stage", "name"), [(stage, name) for stage, cases in REFUSED.items() for name in cases]
)
def test_refused_and_nothing_touched(host, url, refuse_all, stage, name):
    if name_of(host) != "debian13":
        pytest.skip("one host shows it")
    run, before, after = refuse_all(stage)
    case = f"case{list(REFUSED[stage]).index(name)}"
    _, words = REFUSED[stage][name]
    said = " ".join(run.told(case)[-1].split())
    assert run.returncode != 0
    assert run.failed[case] == 1
    assert [word for word in words if word not in said] == [], said
    assert after == before
    assert echo(url, ["websocket"], "still here") == ("websocket", "still here")
