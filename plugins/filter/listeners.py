# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on which port."""

from __future__ import annotations

import re
from typing import Any

DOCUMENTATION = r"""
name: listeners
short_description: The programs that listen on TCP ports
version_added: 0.1.0
description:
  - Reads what C(ss -Hltnp) prints, or C(ss -Hltnp --cgroup), which tells the systemd unit of a
    program that is not named.
options:
  _input:
    description: The text.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show who listens
  ansible.builtin.debug:
    msg: "{{ ss.stdout | realtime.flask_socketio.listeners }}"
"""

RETURN = r"""
_value:
  description: C(port) and C(program), each pair once.
  type: list
  elements: dict
"""

_LINE = re.compile(r"\S+\s+\d+\s+\d+\s+\S+:(?P<port>\d+)\s+\S+(?P<users>.*)")
_PROGRAM = re.compile(r'\("([^"]+)",pid=')
_UNIT = re.compile(r"cgroup:\S*/([^/\s]+\.service)\s*$")


def listeners(ss: str) -> list[dict[str, Any]]:
    """Return port and program of each listener, "another program" where ss names none."""
    found: list[dict[str, Any]] = []
    for line in ss.splitlines():
        if match := _LINE.fullmatch(line.strip()):
            users = match["users"]
            programs = _PROGRAM.findall(users) or _UNIT.findall(users) or ["another program"]
            for program in programs:
                listener = {"port": int(match["port"]), "program": program}
                if listener not in found:
                    found.append(listener)
    return found


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"listeners": listeners}
