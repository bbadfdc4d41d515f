from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from deploys import deployed, load, make_source, solo_inventory
from traffic import Traffic


class Solo(NamedTuple):
    inventory: Path
    url: str


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Path]:
    """`source("2")` is the app in another version."""

    def make(version: str, more: str = "", requirements: tuple[str, ...] = ()) -> Path:
        return make_source(tmp_path, version, more, requirements)

    return make


@pytest.fixture(scope="session")
def solo(address: Callable[[str], str]) -> Iterator[Solo]:
    """The one node, on which the first version runs at first."""
    inventory = solo_inventory()
    deployed("playbooks/site.yml", inventory)
    yield Solo(inventory, f"http://{address('solo')}")
    inventory.unlink()


@pytest.fixture(scope="module")
def solo_traffic(solo: Solo) -> Iterator[Traffic]:
    with load(solo.url) as traffic:
        yield traffic
