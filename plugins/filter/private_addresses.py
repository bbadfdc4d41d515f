# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses by which hosts of a topology reach each other."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

DOCUMENTATION = r"""
name: private_addresses
short_description: The addresses by which hosts of a topology reach each other
version_added: 0.1.0
description:
  - A host's variable C(private_address) when it is set.
  - >-
    Otherwise what its facts say, the address of its default route when that is a private one, or
    else its only private address.
  - IPv4 only where it comes from facts; C(private_address) may be IPv6.
options:
  _input:
    description: The inventory's names of the hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: Ansible's C(hostvars).
    type: dict
    required: true
  port_variable:
    description: >-
      A host's variable that holds a port; with it the address is host:port, with brackets around
      IPv6.
    type: str
  port:
    description: The port of hosts that do not set O(port_variable).
    type: int
"""

EXAMPLES = r"""
- name: Show where the nodes reach each other
  ansible.builtin.debug:
    msg: "{{ groups['app_servers'] | realtime.flask_socketio.private_addresses(hostvars) }}"
"""

RETURN = r"""
_value:
  description: >-
    C(name) and C(address) of each host, in order. The address is empty when there is none or it
    can't be told which.
  type: list
  elements: dict
"""


def _is_private(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return found.is_private and not found.is_loopback and not found.is_link_local


def _address(variables: Mapping[str, Any]) -> str:
    given = variables.get("private_address")
    if given is not None:
        try:
            return str(ipaddress.ip_address(str(given)))
        except ValueError:
            return ""
    facts = variables.get("ansible_facts") or {}
    default = str((facts.get("default_ipv4") or {}).get("address", ""))
    if _is_private(default):
        return default
    found = [a for a in facts.get("all_ipv4_addresses") or [] if _is_private(a)]
    return found[0] if len(found) == 1 else ""


def private_addresses(
    hosts: Iterable[str],
    hostvars: Mapping[str, Mapping[str, Any]],
    port_variable: str | None = None,
    port: int | None = None,
) -> list[dict[str, str]]:
    """Return name and address of each host, the address empty when it can't be told."""
    found = []
    for host in hosts:
        address = _address(hostvars[host])
        if address and port_variable:
            number = hostvars[host].get(port_variable, port)
            address = f"[{address}]:{number}" if ":" in address else f"{address}:{number}"
        found.append({"name": host, "address": address})
    return found


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"private_addresses": private_addresses}
