"""Real clients through nginx; and that these checks notice what they are for."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator

import aiohttp
import pytest
import socketio.exceptions
from conftest import javascript_client, name_of, python_client, verify_playbook

SITE = "/etc/nginx/conf.d/flask-socketio-whoami.conf"
PORTS = {"whoami": 80, "documented": 8080}


@pytest.fixture
def url(host, published):
    def find(app: str) -> str:
        return f"http://{published(name_of(host), PORTS[app])}"

    return find


@pytest.fixture
def site_without_upgrade(host) -> Iterator[None]:
    """The proxy of the articles that forget the Upgrade header."""
    kept = f"{SITE}.kept"
    host.check_output("cp %s %s", SITE, kept)
    host.check_output("sed -i '/proxy_set_header \\(Upgrade\\|Connection\\)/d' %s", SITE)
    host.check_output("systemctl restart nginx")
    yield
    host.check_output("mv %s %s && systemctl restart nginx", kept, SITE)


@pytest.fixture
def stopped_app(host) -> Iterator[None]:
    host.check_output("systemctl stop whoami.target")
    yield
    host.check_output("systemctl start whoami.target")


@pytest.mark.parametrize("app", PORTS)
def test_python_client_is_upgraded(url, app):
    assert python_client(url(app)) == {"transport": "websocket", "answer": "hello"}


@pytest.mark.parametrize("app", PORTS)
def test_javascript_client_is_upgraded(url, app):
    code, said = javascript_client(url(app))
    assert (code, said["transports"], said["ack"]) == (0, ["polling", "websocket"], "hello")


def test_verify_playbook_passes(host):
    code, said = verify_playbook(host)
    assert code == 0, said
    assert "websocket reached at http://localhost:80/socket.io" in said


@pytest.mark.usefixtures("site_without_upgrade")
def test_without_upgrade_headers_everything_notices(host, url):
    assert python_client(url("whoami"))["transport"] == "polling"
    code, said = javascript_client(url("whoami"))
    assert (code, said["transports"]) == (1, ["polling"])
    code, said = verify_playbook(host)
    assert code != 0
    assert re.search(r"failed at step '+upgrade", said), said


@pytest.mark.usefixtures("stopped_app")
def test_with_the_app_stopped_everything_notices(host, url):
    with pytest.raises(socketio.exceptions.ConnectionError):
        python_client(url("whoami"))
    assert javascript_client(url("whoami"))[0] == 1
    code, said = verify_playbook(host)
    assert code != 0
    assert "HTTP 502" in said, said


def test_the_app_sees_what_the_client_asked_for(url):
    """A forged X-Forwarded-Host must not make a foreign origin the app's own."""

    async def status(headers: dict[str, str]) -> int:
        address = f"{url('whoami')}/socket.io/?EIO=4&transport=polling"
        async with aiohttp.ClientSession() as http, http.get(address, headers=headers) as answer:
            return answer.status

    own = url("whoami")
    assert asyncio.run(status({"Origin": own})) == 200
    assert asyncio.run(status({"Origin": "http://evil.example"})) == 400
    forged = {"Origin": "http://evil.example", "X-Forwarded-Host": "evil.example"}
    assert asyncio.run(status(forged)) == 400


def test_after_a_reboot_the_app_is_back(host, published):
    """Last: the container starts anew, with an empty /run."""
    container = host.backend.name
    subprocess.run(["docker", "restart", container], check=True, capture_output=True)
    for unit in ("whoami.target", "nginx"):
        ready = f"until systemctl -q is-active {unit}; do sleep 0.2; done"
        host.check_output("timeout 60 bash -c %s", ready)
    url = f"http://{published(name_of(host), 80)}"
    assert python_client(url) == {"transport": "websocket", "answer": "hello"}
