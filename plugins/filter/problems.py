# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One sentence for every setting that is not of the form it must have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: problems
short_description: Say what is wrong with a list of settings
version_added: 0.1.0
description:
  - Takes checks and returns one sentence for each setting that fails one, the first it fails.
  - A sentence names the setting, the value seen and what to write instead.
options:
  _input:
    description:
      - The checks. Each has C(name) and C(instead), and either C(value) with C(match) (a regular
        expression that the whole value, or each element of a list, must match) or C(ok) (a
        boolean that must be true). C(value) may be given with C(ok) to be shown.
      - C(follows) names a setting that this one is made from by default; when that one fails, this
        one is not checked.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse a name that is no name
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ [{'name': 'app_name', 'value': app_name, 'match': '[a-z]+',
                    'instead': 'lower-case letters'}] | realtime.flask_socketio.problems }}"
"""

RETURN = r"""
_value:
  description: A sentence for each setting that fails a check; empty when all pass.
  type: list
  elements: str
"""


def _holds(check: Mapping[str, Any]) -> bool:
    if "ok" in check:
        # -e gives strings, and every string but the empty one would count as true.
        if not isinstance(check["ok"], bool):
            raise TypeError(f"ok of {check['name']} is {check['ok']!r}, not true or false")
        return check["ok"]
    value = check["value"]
    values = value if isinstance(value, (list, tuple)) else [value]
    return all(re.fullmatch(check["match"], str(item)) is not None for item in values)


def problems(checks: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each setting that fails a check, the first it fails.

    Raises AnsibleFilterError when a check lacks a key, its expression is not valid or its ok is not
    a boolean.
    """
    found: dict[str, str] = {}
    for check in checks:
        try:
            if check["name"] in found or check.get("follows") in found or _holds(check):
                continue
            seen = f" is {check['value']!r}" if "value" in check else ""
            found[check["name"]] = f"{check['name']}{seen}: {check['instead']}."
        except (KeyError, TypeError, re.error) as error:
            raise AnsibleFilterError(f"problems: a check is not usable: {error!r}") from error
    return list(found.values())


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"problems": problems}
