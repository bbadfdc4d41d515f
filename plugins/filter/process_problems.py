# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the processes beside an application's instances."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

DOCUMENTATION = r"""
name: process_problems
short_description: Say what is wrong with the processes beside an application's instances
version_added: 0.1.0
description:
  - Looks at the names, which become those of systemd units, and at the form of the commands, which
    become C(ExecStart).
options:
  _input:
    description: A list of dictionaries, each with C(name) and C(command).
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ [{'name': 'Emitter'}] | realtime.flask_socketio.process_problems }}"
"""

RETURN = r"""
_value:
  description: One text for each problem, with the place and what to write instead.
  type: list
  elements: str
"""

FORM = "{name: emitter, command: python emitter.py}"
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}(?<!-)")
# What else systemd gives a meaning to at the beginning, such as a plus for root, is no program.
COMMAND = re.compile(r"(/[A-Za-z0-9._/@+-]+|[A-Za-z0-9][A-Za-z0-9._+-]*)( [^\x00-\x1f]*)?(?<!\\)")


def _problems(processes: Any) -> Iterator[str]:
    if not isinstance(processes, list):
        yield f"write a list of items such as {FORM}"
        return
    seen = set()
    for number, item in enumerate(processes):
        place = f"item {number}"
        if not isinstance(item, dict) or sorted(item) != ["command", "name"]:
            yield f"{place} must have name and command and nothing else, such as {FORM}"
            continue
        name, command = item["name"], item["command"]
        if not isinstance(name, str) or NAME.fullmatch(name) is None:
            yield (
                f"{place}: the name {name!r} must be lower-case letters, digits and hyphens, at "
                "most 31, such as 'emitter'"
            )
        elif name in seen:
            yield f"{place}: the name {name!r} is another one's; give each its own"
        if not isinstance(command, str) or COMMAND.fullmatch(command) is None:
            yield (
                f"{place}: the command must be a program of the virtualenv, or an absolute path, "
                "with its arguments in one line, such as 'python emitter.py'"
            )
        seen.add(str(name))


def process_problems(processes: Any) -> list[str]:
    """Return a text for each problem; raises nothing, whatever it is given."""
    return list(_problems(processes))


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"process_problems": process_problems}
