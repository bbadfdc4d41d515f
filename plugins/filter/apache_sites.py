# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of Apache's sites serves which name."""

from __future__ import annotations

import re
from typing import Any

DOCUMENTATION = r"""
name: apache_sites
short_description: The names that an Apache serves on a port
version_added: 0.1.0
description:
  - Reads what C(apache2ctl -t -D DUMP_VHOSTS) prints.
  - The only site on a port is printed without its aliases. Give Apache a second one by C(-c) to see
    them; sites that stand in no file are left out.
options:
  _input:
    description: The text.
    type: str
    required: true
  port:
    description: The TCP port.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Show who serves what
  ansible.builtin.debug:
    msg: "{{ vhosts.stdout | realtime.flask_socketio.apache_sites(80) }}"
"""

RETURN = r"""
_value:
  description: C(name), in lower case, and C(site), the file's name without its directory.
  type: list
  elements: dict
"""

_ADDRESS = re.compile(r"(?P<address>\S+):(?P<port>\d+|\*)\s+(?P<rest>.+)")
_SITE = re.compile(r"(?:port \S+ namevhost )?(?P<name>\S+) \((?P<path>/.*):\d+\)")
_ALIAS = re.compile(r"(?:wild )?alias (?P<name>\S+)")


def apache_sites(dump: str, port: int) -> list[dict[str, str]]:
    """Return name and site for each name served on the port, in Apache's order."""
    found: list[dict[str, str]] = []
    wanted, site = False, ""
    for line in dump.splitlines():
        text = line.strip()
        if line[:1].strip():
            address = _ADDRESS.fullmatch(text)
            wanted = address is not None and address["port"] in (str(port), "*")
            text = address["rest"] if address else ""
            site = ""
        if not wanted:
            continue
        if match := _SITE.fullmatch(text):
            site = match["path"].rsplit("/", 1)[1]
        elif not (match := _ALIAS.fullmatch(text)):
            site = ""
            continue
        if site:
            found.append({"name": match["name"].lower(), "site": site})
    return found


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"apache_sites": apache_sites}
