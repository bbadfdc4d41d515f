"""Testinfra over `docker exec` instead of Ansible, and what a failed test needs to be understood.

A test takes testinfra's `host` and runs once for each platform of the scenario. A module that
wants only some of them says so: `testinfra_hosts = ["node1"]`.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import yaml

JOURNAL_LINES = 50
# What Ansible itself leaves in a journal hides what the services said.
ANSIBLE_NOISE = re.compile(r"^\S+ +\d+ \S+ \S+ (?:sudo|ansible-[\w.]+)\[\d+\]: ")


def scenario_name() -> str:
    return os.environ["MOLECULE_SCENARIO_NAME"]


def container(name: str) -> str:
    """The container of a platform."""
    return f"fs-{scenario_name()}-{name}"


def platforms() -> list[str]:
    config = yaml.safe_load(Path(os.environ["MOLECULE_FILE"]).read_text(encoding="utf-8"))
    return [platform["name"] for platform in config["platforms"]]


def journal_tail(journal: str) -> str:
    said = [line for line in journal.splitlines() if not ANSIBLE_NOISE.match(line)]
    return "\n".join(said[-JOURNAL_LINES:])


def docker(*args: str) -> str:
    done = subprocess.run(["docker", *args], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give testinfra's own hook addresses instead of names."""
    if "_testinfra_host" in metafunc.fixturenames:
        names = getattr(metafunc.module, "testinfra_hosts", None) or platforms()
        metafunc.module.testinfra_hosts = [
            name if "://" in name else f"docker://{container(name)}" for name in names
        ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    host: Any = getattr(item, "funcargs", {}).get("host")
    if report.failed and host is not None:
        journal = host.run("journalctl --no-pager --lines 1000").stdout
        report.sections.append((f"journal of {host.backend.name}", journal_tail(journal)))
    return report


@pytest.fixture(scope="session")
def published() -> Callable[[str, int], str]:
    """`published("node1", 80)` is the address on the controller, such as 127.0.0.1:49153."""

    def address(name: str, port: int) -> str:
        return docker("port", container(name), f"{port}/tcp").splitlines()[0]

    return address


@pytest.fixture(scope="session")
def address() -> Callable[[str], str]:
    """`address("node1")` is the host's address in the scenario's network."""

    def ip(name: str) -> str:
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        return docker("inspect", "--format", template, container(name)).split()[0]

    return ip
