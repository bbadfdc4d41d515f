"""Deploying with other settings, and what came back over which transport."""

from __future__ import annotations

import contextlib
import io
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.realtime.flask_socketio.plugins.modules import socketio_probe
from stack import name_of, playbook, python_client

# Text, and binary data that begins below 0x30, as a digit, as a letter, and as no UTF-8 at all.
PAYLOADS = ("text", b"\x00\x01", b"0123", b"PNG", b"\x89PNG", {"name": "x", "data": b"451-[]"})
TRANSPORTS = (["polling"], ["websocket"], ["polling", "websocket"])


def site(limit: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run site.yml for some hosts with further variables."""
    return playbook("site.yml", f"--limit={limit}", **variables)


def echo(
    url: str,
    transports: list[str],
    payload: Any,
    origin: str | None = None,
    answer_within: float = 4,
) -> Any:
    """The transport and what came back; none when nothing did."""
    headers = {"Origin": origin} if origin else None
    seen = python_client(url, transports, headers, [payload], answer_within=answer_within)
    return seen["transport"], seen["answers"][0]


def probe(url: str, **options: Any) -> tuple[bool, str]:
    """Whether the module socketio_probe passes on the controller, and its output."""
    output = io.StringIO()
    with (
        patch_module_args({"url": url} | options),
        contextlib.redirect_stdout(output),
        pytest.raises(SystemExit) as end,
    ):
        socketio_probe.main()
    return end.value.code == 0, output.getvalue()


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
