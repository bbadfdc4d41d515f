# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backends that the instances of one generation are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: instance_backends
short_description: The backends of a generation of an app
version_added: 0.1.0
description:
  - Computes what a front door must know of the instances on its host.
  - Without O(port) the instances are numbered from 1 and listen on unix sockets. With O(port) an
    instance's number is the port on which it listens.
  - Ports that the generation has are kept. New ones are the first from O(port) on that no other
    enabled instance has and nobody listens on.
options:
  _input:
    description: The app's name.
    type: str
    required: true
  generation:
    description: The generation, ten hexadecimal digits.
    type: str
    required: true
  count:
    description: The number of instances.
    type: int
    required: true
  port:
    description: The first TCP port; unix sockets when it is none.
    type: int
  enabled:
    description: The systemd units of instances, of all apps, that start with the host.
    type: list
    elements: str
    default: []
  busy:
    description: TCP ports on which somebody listens.
    type: list
    elements: int
    default: []
"""

EXAMPLES = r"""
- name: Show the backends
  ansible.builtin.debug:
    msg: "{{ 'chat' | realtime.flask_socketio.instance_backends('355f533c3d', 2) }}"
"""

RETURN = r"""
_value:
  description: >-
    C(name), the systemd unit without its suffix, and C(address), the path of a socket or
    host:port.
  type: list
  elements: dict
"""


def _ports(
    unit: str, count: int, first: int, enabled: Iterable[str], busy: Iterable[int]
) -> list[int]:
    """Return the ports of the units unit@<port>.service."""
    own, taken = set(), {int(port) for port in busy}
    for name in enabled:
        match = re.fullmatch(r"(.+)@([0-9]+)\.service", name)
        if match:
            (own if match[1] == unit else taken).add(int(match[2]))
    ports = sorted(own)[:count]
    free = (port for port in range(first, 65536) if port not in taken | own)
    for _missing in range(count - len(ports)):
        port = next(free, None)
        if port is None:
            raise AnsibleFilterError(
                f"{unit}: there are not {count} free TCP ports from {first} on: choose a lower "
                "first port"
            )
        ports.append(port)
    return ports


def instance_backends(
    app: str,
    generation: str,
    count: int,
    port: int | None = None,
    enabled: Iterable[str] = (),
    busy: Iterable[int] = (),
) -> list[dict[str, str]]:
    """Return name and address of the instances, in order.

    Raises AnsibleFilterError when there are not enough free ports.
    """
    unit = f"{app}-{generation}"
    if port is None:
        numbers = {n: f"/run/{app}/{generation}-{n}.sock" for n in range(1, count + 1)}
    else:
        numbers = {n: f"127.0.0.1:{n}" for n in _ports(unit, count, port, enabled, busy)}
    return [{"name": f"{unit}@{n}", "address": address} for n, address in numbers.items()]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"instance_backends": instance_backends}
