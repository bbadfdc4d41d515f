# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dictionary as the text of a systemd EnvironmentFile."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: environment_file
short_description: Write a dictionary as a systemd EnvironmentFile
version_added: 0.1.0
description:
  - Quotes every value as systemd.exec(5), section EnvironmentFile=, reads it, so that quotes,
    dollar signs, backslashes, spaces and newlines arrive in the process as they were given.
  - Booleans become C(true) and C(false), numbers their decimal form. Names are sorted.
options:
  _input:
    description: Names and values.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Write the environment of a process
  ansible.builtin.copy:
    content: "{{ {'SECRET_KEY': secret_key} | realtime.flask_socketio.environment_file }}"
    dest: /etc/example.environment
    mode: "0640"
"""

RETURN = r"""
_value:
  description: The file's text, one assignment each line; empty for an empty dictionary.
  type: str
"""


def environment_file(environment: Mapping[str, Any]) -> str:
    """Return the assignments, sorted by name.

    Raises AnsibleFilterError on a name that no process can have, a value that is a list or a
    dictionary, and a NUL byte; the message never holds a value.
    """
    lines = []
    for name, value in sorted(environment.items(), key=lambda item: str(item[0])):
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(name)) is None:
            raise AnsibleFilterError(
                f"{name!r} is no name for an environment variable: use letters, digits and "
                "underscores, not beginning with a digit"
            )
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, (str, int, float)):
            text = str(value)
        else:
            raise AnsibleFilterError(
                f"the environment variable {name} must be a string, a number or a boolean: "
                "write a list or a dictionary as JSON with to_json"
            )
        if "\0" in text:
            raise AnsibleFilterError(f"the environment variable {name} holds a NUL byte")
        quoted = re.sub(r'(["\\`$])', r"\\\1", text)
        lines.append(f'{name}="{quoted}"\n')
    return "".join(lines)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"environment_file": environment_file}
