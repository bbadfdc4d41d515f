"""What the tests of deployed stacks share: playbooks, and clients from outside of the hosts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import socketio
import socketio.exceptions

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])


def name_of(host: Any) -> str:
    """The inventory's name of testinfra's host."""
    return str(host.check_output("hostname"))


def playbook(
    name: str,
    *arguments: str,
    inventory: Path | None = None,
    niceness: int = 0,
    **variables: Any,
) -> subprocess.CompletedProcess[str]:
    """Run one of the project's playbooks with extra variables; its errors are in stdout too."""
    return subprocess.run(
        _command(name, arguments, inventory, niceness, variables),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=PROJECT,
        timeout=300,
        env=_environment(),
    )


def started(
    name: str, inventory: Path | None = None, niceness: int = 0, **variables: Any
) -> subprocess.Popen[bytes]:
    """Start one of the project's playbooks, in a process group of its own; it says nothing."""
    return subprocess.Popen(
        _command(name, (), inventory, niceness, variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=PROJECT,
        env=_environment(),
        start_new_session=True,
    )


def _command(
    name: str,
    arguments: Sequence[str],
    inventory: Path | None,
    niceness: int,
    variables: dict[str, Any],
) -> list[str]:
    return [
        *(["nice", f"--adjustment={niceness}"] if niceness else []),
        "ansible-playbook",
        f"--inventory={inventory or os.environ['MOLECULE_INVENTORY_FILE']}",
        f"--extra-vars={json.dumps(variables)}",
        *arguments,
        name,
    ]


def _environment() -> dict[str, str]:
    # With the configuration that the collection ships, not molecule's.
    return os.environ | {
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
    }


async def _session(
    url: str,
    transports: list[str] | None,
    headers: dict[str, str] | None,
    payloads: Sequence[Any],
    connector: Callable[[], aiohttp.TCPConnector] | None,
    answer_within: float,
) -> dict[str, Any]:
    said: list[dict[str, Any]] = []
    answers = []
    # On the session, because the client sends headers of its own with the first request only.
    async with aiohttp.ClientSession(
        headers=headers, connector=connector() if connector else None
    ) as http:
        client = socketio.AsyncClient(reconnection=False, http_session=http)
        client.on("whoami", said.append)
        await client.connect(url, transports=transports, wait_timeout=5)
        transport = client.transport()
        try:
            for payload in payloads:
                answers.append(await client.call("echo", payload, timeout=answer_within))
        except (socketio.exceptions.TimeoutError, socketio.exceptions.BadNamespaceError):
            answers.append(None)
        finally:
            # Over polling it waits for the next ping when the answer to an event comes before that
            # to the request which carried it (python-engineio 4.15).
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(client.disconnect(), 1)
    return {"transport": transport, "answers": answers, "whoami": said[0] if said else None}


def python_client(
    url: str,
    transports: list[str] | None = None,
    headers: dict[str, str] | None = None,
    payloads: Sequence[Any] = ("hello",),
    connector: Callable[[], aiohttp.TCPConnector] | None = None,
    answer_within: float = 4,
) -> dict[str, Any]:
    """Connect with python-socketio, by default polling and then the upgrade, without cookies.

    Returns the transport, the acknowledgement of each payload, none for the first that was lost,
    and what the example app says of its process.
    """
    return asyncio.run(
        asyncio.wait_for(_session(url, transports, headers, payloads, connector, answer_within), 20)
    )


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
