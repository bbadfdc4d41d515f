"""Real clients through nginx; and that these checks notice what they are for."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import socketio.exceptions
from stack import javascript_client, name_of, playbook, python_client

VERIFY = "playbooks/verify.yml"
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
    seen = python_client(url(app))
    assert (seen["transport"], seen["answers"]) == ("websocket", ["hello"])


@pytest.mark.parametrize("app", PORTS)
def test_javascript_client_is_upgraded(url, app):
    code, said = javascript_client(url(app))
    assert (code, said["transports"], said["ack"]) == (0, ["polling", "websocket"], "hello")


def test_verify_playbook_passes(host):
    done = playbook(VERIFY, f"--limit={name_of(host)}")
    assert done.returncode == 0, done.stdout
    assert "websocket reached at http://localhost:80/socket.io" in done.stdout


@pytest.mark.usefixtures("site_without_upgrade")
def test_without_upgrade_headers_everything_notices(host, url):
    assert python_client(url("whoami"))["transport"] == "polling"
    code, said = javascript_client(url("whoami"))
    assert (code, said["transports"]) == (1, ["polling"])
    done = playbook(VERIFY, f"--limit={name_of(host)}")
    assert done.returncode != 0
    assert re.search(r"failed at step '+upgrade", done.stdout), done.stdout


@pytest.mark.usefixtures("stopped_app")
def test_with_the_app_stopped_everything_notices(host, url):
    with pytest.raises(socketio.exceptions.ConnectionError):
        python_client(url("whoami"))
    assert javascript_client(url("whoami"))[0] == 1
    done = playbook(VERIFY, f"--limit={name_of(host)}")
    assert done.returncode != 0
    assert "HTTP 502" in done.stdout


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
    # The engine publishes the ports anew.
    _, port = published(name_of(host), 22).split(":")
    kept = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "ssh_config"
    entry = rf"(Host {name_of(host)}\n.*\n +Port )\d+"
    text, found = re.subn(entry, rf"\g<1>{port}", kept.read_text(encoding="utf-8"))
    assert found == 1
    kept.write_text(text, encoding="utf-8")
    for unit in ("whoami.target", "nginx"):
        ready = f"until systemctl -q is-active {unit}; do sleep 0.2; done"
        host.check_output("timeout 60 bash -c %s", ready)
    url = f"http://{published(name_of(host), 80)}"
    seen = python_client(url)
    assert (seen["transport"], seen["answers"]) == ("websocket", ["hello"])
