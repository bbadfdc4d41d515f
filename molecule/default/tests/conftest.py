"""What the tests of a deployed host share: its names, a real client, and the verify playbook."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import socketio

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])


@dataclass(frozen=True)
class Deployed:
    """What the app's files are called on a host."""

    app: str
    release: str
    generation: str
    environment: str

    @property
    def unit(self) -> str:
        return f"{self.app}-{self.generation}@1.service"

    @property
    def socket(self) -> str:
        return f"/run/{self.app}/{self.generation}-1.sock"


def name_of(host: Any) -> str:
    """The inventory's name of testinfra's host."""
    return str(host.check_output("hostname"))


@pytest.fixture
def deployed(host: Any) -> Callable[[str], Deployed]:
    """`deployed("whoami")`: found on the host, exactly one of each."""

    def find(app: str) -> Deployed:
        release = Path(host.file(f"/opt/{app}/current").linked_to).name
        names = host.file(f"/etc/flask-socketio/{app}").listdir()
        (environment,) = [name for name in names if name.startswith("environment-")]
        (generation,) = [name for name in names if re.fullmatch("[0-9a-f]{10}", name)]
        return Deployed(app, release, generation, environment)

    return find


async def _session(url: str) -> dict[str, Any]:
    client = socketio.AsyncClient(reconnection=False)
    await client.connect(url, wait_timeout=5)
    try:
        answer = await client.call("echo", "hello", timeout=5)
        return {"transport": client.transport(), "answer": answer}
    finally:
        await client.disconnect()


def python_client(url: str) -> dict[str, Any]:
    """Connect as python-socketio does by default: polling, then the upgrade."""
    return asyncio.run(asyncio.wait_for(_session(url), 20))


def javascript_client(url: str) -> tuple[int, dict[str, Any]]:
    """Connect with socket.io-client; returns the exit code and what it printed."""
    done = subprocess.run(
        [
            "node",
            PROJECT / "molecule/resources/js/client.js",
            url,
            "--event",
            "echo",
            "--data",
            "hello",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, json.loads(done.stdout)


def verify_playbook(host: Any) -> tuple[int, str]:
    """Run playbooks/verify.yml against one host; returns the exit code and what it said."""
    done = subprocess.run(
        [
            "ansible-playbook",
            f"--inventory={os.environ['MOLECULE_INVENTORY_FILE']}",
            f"--limit={name_of(host)}",
            PROJECT / "playbooks/verify.yml",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"},
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())
