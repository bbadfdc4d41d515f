"""Deploying with other settings, and a client that says what came back over which transport."""

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
import socketio.exceptions

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
# Text, and binary data that begins below 0x30, as a digit, as a letter, and as no UTF-8 at all.
PAYLOADS = ("text", b"\x00\x01", b"0123", b"PNG", b"\x89PNG", {"name": "x", "data": b"451-[]"})
TRANSPORTS = (["polling"], ["websocket"], ["polling", "websocket"])


def name_of(host: Any) -> str:
    """The inventory's name of testinfra's host."""
    return str(host.check_output("hostname"))


def site(name: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run site.yml for one host with further variables."""
    return subprocess.run(
        [
            "ansible-playbook",
            f"--inventory={os.environ['MOLECULE_INVENTORY_FILE']}",
            f"--limit={name}",
            f"--extra-vars={json.dumps(variables)}",
            PROJECT / "site.yml",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
    )


async def _echo(url: str, transports: list[str], payload: Any, origin: str | None) -> Any:
    client = socketio.AsyncClient(reconnection=False)
    headers = {"Origin": origin} if origin else {}
    await client.connect(url, headers=headers, transports=transports, wait_timeout=5)
    try:
        reached = client.transport()
        return reached, await client.call("echo", payload, timeout=3)
    except (socketio.exceptions.TimeoutError, socketio.exceptions.BadNamespaceError):
        return reached, None
    finally:
        await client.disconnect()


def echo(url: str, transports: list[str], payload: Any, origin: str | None = None) -> Any:
    """The transport and what came back; None when nothing did."""
    return asyncio.run(asyncio.wait_for(_echo(url, transports, payload, origin), 20))


@pytest.fixture
def url(host: Any, published: Callable[[str, int], str]) -> str:
    return f"http://{published(name_of(host), 80)}"


def state(host: Any, app: str) -> dict[str, str]:
    """What a refusal must leave alone: release, processes and files."""
    return {
        "current": host.file(f"/opt/{app}/current").linked_to,
        "releases": host.check_output("ls /opt/%s/releases", app),
        "units": host.check_output("ls /etc/systemd/system | grep '^%s-'", app),
        "files": host.check_output("find /etc/flask-socketio/%s | sort", app),
        "processes": host.check_output("pgrep --uid %s", app),
    }
