# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backends that the instances of one generation are."""

from __future__ import annotations

from typing import Any

DOCUMENTATION = r"""
name: instance_backends
short_description: The backends of a generation of an app
version_added: 0.1.0
description:
  - Computes what a front door must know of the instances on its host.
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
"""

EXAMPLES = r"""
- name: Show the backends
  ansible.builtin.debug:
    msg: "{{ 'chat' | realtime.flask_socketio.instance_backends('355f533c3d', 2) }}"
"""

RETURN = r"""
_value:
  description: C(name), the systemd unit without its suffix, and C(address), the path of a socket.
  type: list
  elements: dict
"""


def instance_backends(app: str, generation: str, count: int) -> list[dict[str, str]]:
    """Return name and address of the instances 1 to count."""
    return [
        {
            "name": f"{app}-{generation}@{number}",
            "address": f"/run/{app}/{generation}-{number}.sock",
        }
        for number in range(1, count + 1)
    ]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"instance_backends": instance_backends}
