"""What the tests of Apache share: clients and playbooks, against one host."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import socketio

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
PORTS = {"whoami": 80, "twins": 8080}
SITES = "/etc/apache2/sites-available"


def name_of(host: Any) -> str:
    """The inventory's name of testinfra's host."""
    return str(host.check_output("hostname"))


@pytest.fixture
def url(host: Any, published: Callable[[str, int], str]) -> Callable[[str], str]:
    return lambda app: f"http://{published(name_of(host), PORTS[app])}"


async def _session(
    url: str, transports: list[str] | None, headers: dict[str, str] | None
) -> dict[str, Any]:
    client = socketio.AsyncClient(reconnection=False)
    seen: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    client.on("whoami", seen.set_result)
    await client.connect(url, headers or {}, transports=transports, wait_timeout=5)
    try:
        # Three calls, each a request of its own when there is no WebSocket.
        answers = [await client.call("echo", number, timeout=5) for number in range(3)]
        return {
            "transport": client.transport(),
            "answers": answers,
            "instance": (await asyncio.wait_for(seen, 5))["instance"],
        }
    finally:
        await client.disconnect()


def python_client(
    url: str, transports: list[str] | None = None, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """Connect with python-socketio, by default polling and then the upgrade, without cookies."""
    return asyncio.run(asyncio.wait_for(_session(url, transports, headers), 20))


def javascript_client(url: str) -> tuple[int, dict[str, Any]]:
    """Connect with socket.io-client; returns the exit code and what it printed."""
    client = PROJECT / "molecule/resources/js/client.js"
    done = subprocess.run(
        ["node", client, url, "--event", "echo", "--data", "hello"],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, json.loads(done.stdout)


def playbook(host: Any, name: str, **variables: Any) -> tuple[int, str]:
    """Run a playbook against one host; returns the exit code and what it said, on one line."""
    done = subprocess.run(
        [
            "ansible-playbook",
            f"--inventory={os.environ['MOLECULE_INVENTORY_FILE']}",
            f"--limit={name_of(host)}",
            f"--extra-vars={json.dumps(variables)}",
            PROJECT / name,
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"},
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())
