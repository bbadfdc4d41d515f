"""What the tests of Apache share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from stack import name_of, playbook

PORTS = {"whoami": 80, "twins": 8080}
SITES = "/etc/apache2/sites-available"


@pytest.fixture
def url(host: Any, published: Callable[[str, int], str]) -> Callable[[str], str]:
    return lambda app: f"http://{published(name_of(host), PORTS[app])}"


def one_host(host: Any, name: str, **variables: Any) -> tuple[int, str]:
    """Run a playbook against one host; returns the exit code and what it said, on one line."""
    done = playbook(name, f"--limit={name_of(host)}", **variables)
    return done.returncode, " ".join(done.stdout.split())
