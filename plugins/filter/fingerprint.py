# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A short name for a value that may hold secrets."""

from __future__ import annotations

import hashlib
import json
from typing import Any

DOCUMENTATION = r"""
name: fingerprint
short_description: Name a value that may hold secrets by its content
version_added: 0.1.0
description:
  - Equal values give equal names, different values different ones.
  - The name stands in file names and unit files, where others can read it. scrypt (RFC 7914)
    makes guessing a secret from it costly, and 40 bits make a guess uncertain.
options:
  _input:
    description: Any value that can be written as JSON.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Name a file by what it holds
  ansible.builtin.debug:
    msg: "environment-{{ {'SECRET_KEY': 'x'} | realtime.flask_socketio.fingerprint }}"
"""

RETURN = r"""
_value:
  description: Ten hexadecimal digits.
  type: str
"""


def fingerprint(value: Any) -> str:
    """Return ten hexadecimal digits; raises TypeError when the value can't be JSON."""
    text = json.dumps(value, sort_keys=True).encode()
    # 4 MiB and about 10 ms a call: templates evaluate it several times in a run.
    return hashlib.scrypt(text, salt=b"realtime.flask_socketio", n=4096, r=8, p=1, dklen=5).hex()


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"fingerprint": fingerprint}
