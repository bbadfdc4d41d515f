#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock that one run of Ansible holds, and that says who it is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_lock
short_description: Let one run at a time change an application
version_added: 0.1.0
description:
  - The lock is a symbolic link to a text that says who holds it, since when and for what. Making
    it is atomic; C(readlink) shows it; a restart of the host removes it where O(path) is in
    C(/run).
  - While another run holds it the module fails with that text and what to do.
  - Never reports a change, because a run gives back what it takes.
options:
  path:
    description: The link.
    type: path
    required: true
  state:
    description: Whether to take the lock or to give it back.
    type: str
    choices: [present, absent]
    default: present
  who:
    description: Who runs this.
    type: str
    default: somebody
  what:
    description: What the run does.
    type: str
    default: something
  held:
    description: >-
      What this run got as RV(held) when it took the lock. A lock that says something else is left
      alone with O(state=absent).
    type: str
    default: ""
  force:
    description: Take the lock from whoever holds it.
    type: bool
    default: false
attributes:
  check_mode:
    description: Neither takes nor looks for the lock.
    support: full
author:
  - The realtime.flask_socketio contributors (@realtime)
"""

EXAMPLES = r"""
- name: Let no other run change the app
  realtime.flask_socketio.app_lock:
    path: /run/chat.lock
    who: alice@laptop
    what: deploys version v2
  register: lock

- name: Give it back
  realtime.flask_socketio.app_lock:
    path: /run/chat.lock
    state: absent
    held: "{{ lock.held }}"
"""

RETURN = r"""
held:
  description: The text of the lock that this run holds; empty when it holds none.
  type: str
  returned: success
"""

import os
import platform
import secrets
from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


class Taken(Exception):
    """Another run holds the lock; the argument is what it says."""


def describe(who: str, what: str) -> str:
    """Return a text that no other run writes."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    # A link holds 4095 bytes.
    return " ".join(f"{who[:200]}, {now}, {what[:500]}, run {secrets.token_hex(4)}".split())


def holder(path: Path) -> str:
    """Return what the lock says, empty when nobody holds it; raises OSError for what is no link."""
    try:
        return os.readlink(path)  # noqa: PTH115 (a Path would tidy the text)
    except FileNotFoundError:
        return ""


def take(path: Path, text: str, held: str = "", force: bool = False) -> tuple[str, str]:
    """Take the lock; return its text, and what the one said from whom it was taken.

    Raises Taken, and OSError.
    """
    try:
        path.symlink_to(text)
        return text, ""
    except FileExistsError:
        found = holder(path)
    if found == held != "":
        return held, ""
    if not force:
        raise Taken(found)
    # Not removed first: then a third one could get it in between.
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    fresh.symlink_to(text)
    fresh.replace(path)
    return text, found


def give_back(path: Path, held: str) -> None:
    """Remove the lock when it says what it said; raises OSError."""
    if held and holder(path) == held:
        path.unlink(missing_ok=True)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "who": {"type": "str", "default": "somebody"},
            "what": {"type": "str", "default": "something"},
            "held": {"type": "str", "default": ""},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    p = module.params
    path = Path(p["path"])
    if module.check_mode:
        module.exit_json(changed=False, held="")
    try:
        if p["state"] == "absent":
            give_back(path, p["held"])
            module.exit_json(changed=False, held="")
        held, taken_from = take(path, describe(p["who"], p["what"]), p["held"], p["force"])
    except Taken as taken:
        module.fail_json(
            msg=f"The lock {path} on {platform.node()} is held by another run: {taken}. Wait until "
            "that one has ended. If it was killed and nothing of it runs any more, add "
            "-e app_break_lock=true to this one."
        )
    except OSError as error:
        module.fail_json(msg=f"the lock {path} can't be used: {error}")
    if taken_from:
        module.warn(f"The lock {path} was taken from: {taken_from}")
    module.exit_json(changed=False, held=held)


if __name__ == "__main__":
    main()
