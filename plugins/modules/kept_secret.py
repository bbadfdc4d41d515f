#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that are made once and stay on their host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kept_secret
short_description: Make secrets once, keep them on the host, and read them
version_added: 0.2.0
description:
  - Each secret is a file in O(directory) that only root can read.
  - One that exists is never changed. Several hosts may delegate this to the same one at the same
    time; they all get what the first of them made.
  - Use it with C(no_log).
options:
  directory:
    description: Where the files are. It is made, for root only, when there is none.
    type: path
    required: true
  names:
    description: The secrets' names, which are the files' names.
    type: list
    elements: str
    required: true
  create:
    description: Whether to make those that do not exist.
    type: bool
    default: true
  length:
    description: The number of letters and digits in a new one.
    type: int
    default: 40
attributes:
  check_mode:
    description: Makes nothing; a secret that would be made is empty.
    support: full
author:
  - The realtime.flask_socketio contributors (@realtime)
"""

EXAMPLES = r"""
- name: Keep the password on the first of the hosts
  realtime.flask_socketio.kept_secret:
    directory: /etc/example
    names: [password]
  delegate_to: first.example.org
  register: kept
  no_log: true
"""

RETURN = r"""
secrets:
  description: Name and secret of each; the secret is empty when there is none.
  type: dict
  returned: success
"""

import os
import secrets
import string
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

ALPHABET = string.ascii_letters + string.digits


def read(path: Path) -> str:
    """Return the secret, empty when there is none; raises OSError."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def make(path: Path, length: int) -> str:
    """Return the new secret, or that of somebody who was faster; raises OSError."""
    secret = "".join(secrets.choice(ALPHABET) for _ in range(length))
    # Readable by its owner only, from the beginning.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename it fails when there is one.
        os.link(name, path)
    except FileExistsError:
        return read(path)
    finally:
        Path(name).unlink()
    return secret


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "names": {"type": "list", "elements": "str", "required": True, "no_log": False},
            "create": {"type": "bool", "default": True},
            "length": {"type": "int", "default": 40},
        },
        supports_check_mode=True,
    )
    directory = Path(module.params["directory"])
    found: dict[str, str] = {}
    changed = False
    try:
        for name in module.params["names"]:
            if Path(name).name != name:
                module.fail_json(msg=f"{name!r} is no file's name")
            found[name] = read(directory / name)
            if found[name] or not module.params["create"]:
                continue
            changed = True
            if not module.check_mode:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                found[name] = make(directory / name, module.params["length"])
    except OSError as error:
        module.fail_json(msg=f"can't keep a secret in {directory}: {error}")
    module.exit_json(changed=changed, secrets=found)


if __name__ == "__main__":
    main()
