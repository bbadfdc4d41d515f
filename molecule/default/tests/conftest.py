"""What the files of a deployed app are called on a host."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


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
