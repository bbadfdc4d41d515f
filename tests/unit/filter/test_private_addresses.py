# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.realtime.flask_socketio.plugins.filter.private_addresses import (
    private_addresses,
)


def facts(default: str, *addresses: str) -> dict[str, Any]:
    return {
        "ansible_facts": {
            "default_ipv4": {"address": default} if default else {},
            "all_ipv4_addresses": list(addresses),
        }
    }


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({"private_address": "10.0.0.11"}, "10.0.0.11"),
        ({"private_address": "fd00::0011"}, "fd00::11"),
        ({"private_address": "198.51.100.7"}, "198.51.100.7"),
        ({"private_address": "node1"}, ""),
        ({"private_address": ""}, ""),
        (facts("172.18.0.3", "172.18.0.3", "10.8.0.1"), "172.18.0.3"),
        (facts("8.8.4.4", "8.8.4.4", "10.8.0.1"), "10.8.0.1"),
        (facts("8.8.4.4", "8.8.4.4", "10.8.0.1", "10.9.0.1"), ""),
        (facts("8.8.4.4", "8.8.4.4", "127.0.0.1", "169.254.1.1"), ""),
        (facts(""), ""),
        ({}, ""),
    ],
)
def test_the_address(variables: dict[str, Any], address: str) -> None:
    assert private_addresses(["a"], {"a": variables}) == [{"name": "a", "address": address}]


def test_the_hosts_keep_their_order_and_their_ports() -> None:
    hostvars = {
        "a": {"private_address": "10.0.0.1", "nginx_port": 8080},
        "b": {"private_address": "fd00::2"},
        "c": {},
    }
    assert private_addresses(["c", "b", "a"], hostvars, "nginx_port", 80) == [
        {"name": "c", "address": ""},
        {"name": "b", "address": "[fd00::2]:80"},
        {"name": "a", "address": "10.0.0.1:8080"},
    ]
