# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.realtime.flask_socketio.plugins.filter.instance_backends import (
    instance_backends,
)


def test_one_backend_for_each_instance_in_order() -> None:
    assert instance_backends("chat", "355f533c3d", 2) == [
        {"name": "chat-355f533c3d@1", "address": "/run/chat/355f533c3d-1.sock"},
        {"name": "chat-355f533c3d@2", "address": "/run/chat/355f533c3d-2.sock"},
    ]


def test_no_instances_no_backends() -> None:
    assert instance_backends("chat", "355f533c3d", 0) == []


def test_apps_and_generations_share_nothing() -> None:
    names = [
        text
        for app, generation in [("a", "0" * 10), ("a", "1" * 10), ("a-b", "0" * 10)]
        for backend in instance_backends(app, generation, 2)
        for text in backend.values()
    ]
    assert len(names) == len(set(names)) == 12


def test_a_socket_of_the_longest_name_fits_into_a_socket_address() -> None:
    (backend,) = instance_backends("a" * 31, "0" * 10, 1)
    assert len(backend["address"].encode()) < 108


def ports(count: int, *enabled: str, first: int = 5000, busy: tuple[int, ...] = ()) -> list[str]:
    found = instance_backends("chat", "355f533c3d", count, first, enabled, busy)
    assert [b["address"] for b in found] == [f"127.0.0.1:{b['name'].split('@')[1]}" for b in found]
    assert {b["name"].split("@")[0] for b in found} <= {"chat-355f533c3d"}
    return [b["name"].split("@")[1] for b in found]


def test_a_first_generation_takes_the_first_ports() -> None:
    assert ports(0) == []
    assert ports(2) == ["5000", "5001"]
    assert ports(2, "chat-355f533c3d@.service", "chat.target") == ["5000", "5001"]


def test_a_generation_keeps_its_ports() -> None:
    own = ("chat-355f533c3d@5003.service", "chat-355f533c3d@5002.service")
    assert ports(2, *own) == ["5002", "5003"]
    # They listen: that is what keeps them, not what drives them away.
    assert ports(2, *own, busy=(5002, 5003)) == ["5002", "5003"]
    assert ports(1, *own) == ["5002"]
    assert ports(3, *own) == ["5002", "5003", "5000"]


@pytest.mark.parametrize("other", ["chat-0000000000", "other-355f533c3d", "chat-b-355f533c3d"])
def test_a_new_generation_takes_ports_that_nobody_has(other: str) -> None:
    enabled = (f"{other}@5000.service", f"{other}@5002.service")
    assert ports(3, *enabled, busy=(5003,)) == ["5001", "5004", "5005"]


def test_numbers_of_unix_sockets_are_no_ports_in_use() -> None:
    assert ports(1, "chat-0000000000@1.service") == ["5000"]


def test_scaling_down_finds_ports_beside_a_larger_generation() -> None:
    assert ports(1, *(f"chat-0000000000@{n}.service" for n in range(5000, 5004))) == ["5004"]


def test_there_are_no_ports_above_the_last() -> None:
    assert ports(1, first=65535) == ["65535"]
    with pytest.raises(AnsibleFilterError, match="not 2 free TCP ports from 65535 on"):
        ports(2, first=65535)
