"""The demo's port: stable over runs, never one that is taken."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import demo
import pytest


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_running_demo_keeps_its_port(taken: int) -> None:
    assert demo.choose_port(None, taken) == taken
    assert demo.choose_port(str(taken), taken) == taken


def test_the_next_free_port_is_taken(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "FIRST_PORT", taken)
    monkeypatch.setattr(demo, "LAST_PORT", taken + 50)
    assert taken < demo.choose_port(None, None) < taken + 50


@pytest.mark.parametrize("wanted", ["web", "0", "70000", "-1"])
def test_a_port_that_is_none_is_refused(wanted: str) -> None:
    with pytest.raises(ValueError, match="is not a port"):
        demo.choose_port(wanted, None)


def test_a_taken_port_is_refused_when_asked_for(taken: int) -> None:
    with pytest.raises(ValueError, match="is taken"):
        demo.choose_port(str(taken), None)
