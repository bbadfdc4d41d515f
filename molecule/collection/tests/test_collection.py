"""Everything came from the tarball, and the checkout deploys on its own machine."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
import socketio

INSTALLED = Path(os.environ["ANSIBLE_COLLECTIONS_PATH"], "ansible_collections")


def transport(url: str) -> str:
    async def reach() -> str:
        client = socketio.AsyncClient(reconnection=False)
        await client.connect(url, wait_timeout=5)
        try:
            return str(client.transport())
        finally:
            await client.disconnect()

    return asyncio.run(asyncio.wait_for(reach(), 20))


def test_the_installed_collection_is_a_copy_without_what_only_developers_need():
    root = INSTALLED / "realtime/flask_socketio"
    assert not root.is_symlink()
    names = {path.name for path in root.iterdir()}
    assert names >= {"README.md", "LICENSE", "playbooks", "plugins", "roles", "site.yml"}
    assert not names & {"molecule", "tests", "tools", "Makefile", "build", ".venv", ".git", ".ci"}


@pytest.mark.parametrize("port", [80, 8081])
def test_apps_deployed_over_ssh_reach_websocket(published, port):
    assert transport(f"http://{published('remote', port)}") == "websocket"


@pytest.fixture(scope="module")
def machine():
    """The other host, with ansible-core as its owner would install it."""
    import testinfra

    host = testinfra.get_host("docker://fs-collection-machine")
    host.check_output("python3 -m venv /opt/ansible")
    host.check_output("/opt/ansible/bin/pip install --quiet 'ansible-core>=2.19,<2.20'")
    return host


def site(machine) -> str:
    return machine.check_output(
        "cd /srv/checkout && ANSIBLE_HOME=/tmp/ansible PATH=/opt/ansible/bin:$PATH"
        " ansible-playbook site.yml"
    )


def test_the_checkout_deploys_on_its_own_machine_as_shipped(machine, published):
    first = site(machine)
    assert "websocket reached" in first
    assert transport(f"http://{published('machine', 80)}") == "websocket"
    again = site(machine)
    assert re.search(r"localhost\s+: ok=\d+\s+changed=0\s+unreachable=0\s+failed=0", again)
