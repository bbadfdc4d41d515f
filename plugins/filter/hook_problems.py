# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the hooks of a deploy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCUMENTATION = r"""
name: hook_problems
short_description: Say what is wrong with the hooks of a deploy
version_added: 0.1.0
description:
  - Looks at the form of the hooks, and whether their task files exist on the controller.
options:
  _input:
    description: >-
      A dictionary of events, each with a list of hooks; a hook has either C(command) or C(tasks).
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ {'before_switch': ['flask db check']} | realtime.flask_socketio.hook_problems }}"
"""

RETURN = r"""
_value:
  description: One text for each problem, with the place and what to write instead.
  type: list
  elements: str
"""

EVENTS = (
    "before_build",
    "after_build",
    "before_switch",
    "after_switch",
    "before_rollback",
    "after_rollback",
)
FORM = "{command: flask db check} or {tasks: hooks/check.yml}"


def _problems(hooks: Any) -> Iterator[str]:
    if not isinstance(hooks, dict):
        yield f"write a dictionary of {', '.join(EVENTS)}, each with a list such as [{FORM}]"
        return
    for event, items in hooks.items():
        if event not in EVENTS:
            yield f"there is no {event!r}; write {', '.join(EVENTS[:-1])} or {EVENTS[-1]}"
        elif not isinstance(items, list):
            yield f"{event} is no list; write one of items such as {FORM}"
        else:
            for number, item in enumerate(items):
                yield from _item_problems(f"{event}[{number}]", event, item)


def _item_problems(place: str, event: str, item: Any) -> Iterator[str]:
    names = list(item) if isinstance(item, dict) else []
    if names not in (["command"], ["tasks"]):
        yield f"{place} must have either command or tasks and nothing else; write {FORM}"
        return
    text = item[names[0]]
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        yield f"{place}.{names[0]} must be a text; write {FORM}"
    elif names == ["command"] and event == "before_build":
        yield (
            f"{place} is a command, which runs in the release, and before the build there is none; "
            "write {tasks: <file>}, or make it an after_build"
        )
    elif names == ["tasks"] and not Path(text).expanduser().is_file():
        yield (
            f"{place}.tasks {text!r} is no file on the controller; write a path that is, absolute "
            "or from the directory where ansible-playbook is started"
        )


def hook_problems(hooks: Any) -> list[str]:
    """Return a text for each problem; raises nothing, whatever it is given."""
    return list(_problems(hooks))


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"hook_problems": hook_problems}
