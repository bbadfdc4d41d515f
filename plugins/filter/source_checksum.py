# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checksum of a source on the controller, without a task on it for each host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: source_checksum
short_description: Fingerprint a directory or an archive on the controller
version_added: 0.1.0
description:
  - Computes a checksum over names, contents, links and execute bits of the files below a
    directory, so that the same source has the same checksum on every machine and in every
    checkout. Of an archive it is that of its bytes. It is the one that
    M(realtime.flask_socketio.source_archive) returns.
  - Raises an error when the path does not exist or can't be read.
positional: exclude
options:
  _input:
    description: The path of a directory or of an archive.
    type: path
    required: true
  exclude:
    description: Shell patterns; a file or directory whose name matches one is left out.
    type: list
    elements: str
    default: []
author:
  - The realtime.flask_socketio contributors (@realtime)
"""

EXAMPLES = r"""
- name: Keep the checksum, which is computed anew at each use of the filter
  ansible.builtin.set_fact:
    checksum: "{{ '/home/user/chat' | realtime.flask_socketio.source_checksum(['.git']) }}"
"""

RETURN = r"""
_value:
  description: SHA-256, 64 hexadecimal digits.
  type: str
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.realtime.flask_socketio.plugins.module_utils.source import checksum


def source_checksum(path: str, exclude: Sequence[str] = ()) -> str:
    """Return the SHA-256 of the source."""
    try:
        return checksum(Path(path), list(exclude))
    except OSError as error:
        raise AnsibleFilterError(f"{path} can't be read: {error.strerror}") from error


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"source_checksum": source_checksum}
