"""What the test runner and the demo share: the checkout, the environment of commands, output."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def environment() -> dict[str, str]:
    """The caller's environment, with our virtualenv first and the checkout's own caches."""
    env = dict(os.environ)
    env["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["ANSIBLE_HOME"] = str(ROOT / ".ansible")
    env["MOLECULE_GLOB"] = "molecule/*/molecule.yml"
    # Nothing of another project's may change what runs.
    for name in ("ANSIBLE_CONFIG", "ANSIBLE_INVENTORY", "PYTHONPATH", "VIRTUAL_ENV"):
        env.pop(name, None)
    return env


def engine_environment(env: dict[str, str]) -> dict[str, str]:
    """Tell Docker's API clients, which know no contexts, where the command line's engine is."""
    if "DOCKER_HOST" in env:
        return env
    shown = subprocess.run(
        ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"],
        check=False,
        capture_output=True,
        text=True,
        env=env,
    )
    address = shown.stdout.strip()
    if shown.returncode == 0 and address and address != "unix:///var/run/docker.sock":
        return env | {"DOCKER_HOST": address}
    return env


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, numbers to the right."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if cell.replace(".", "", 1).isdigit() else cell.ljust(width)
            for cell, width in zip(cells, widths, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])


def say(message: str) -> None:
    print(message, flush=True)


def fail(message: str) -> int:
    print(message, file=sys.stderr, flush=True)
    return 1
