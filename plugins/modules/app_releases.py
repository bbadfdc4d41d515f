#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of an application that its host holds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_releases
short_description: List an application's releases, and choose one
version_added: 0.1.0
description:
  - Lists the sealed releases below C(<root>/releases), the newest first.
  - With O(choose) it returns the one of that name, and fails with the list when it is not there or
    was built with other settings than O(settings).
options:
  root:
    description: The directory that holds C(releases) and the links C(current) and C(previous).
    type: path
    required: true
  choose:
    description: A release's name, or C(previous) for the one that was current before.
    type: str
    default: ""
  settings:
    description: Settings that must be those with which the release was built.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Lists in check mode too, because listing changes nothing.
    support: full
author:
  - The realtime.flask_socketio contributors (@realtime)
"""

EXAMPLES = r"""
- name: Find the release to go back to
  realtime.flask_socketio.app_releases:
    root: /opt/chat
    choose: previous
  register: found
"""

RETURN = r"""
release:
  description: The name of the release that was chosen; empty without O(choose).
  type: str
  returned: success
releases:
  description: What each release says of itself.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Its name, twelve hexadecimal digits.
      type: str
    version:
      description: The version that was asked for when it was built.
      type: str
    commit:
      description: The commit that this was; empty when the source was no git repository.
      type: str
    built:
      description: When, in UTC.
      type: str
    settings:
      description: The settings with which it was built, as far as they must stay the same.
      type: dict
    current:
      description: Whether it is the current one.
      type: bool
    previous:
      description: Whether it is the one before the current one.
      type: bool
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.realtime.flask_socketio.plugins.module_utils.releases import (
    Refusal,
    choose,
    listed,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "choose": {"type": "str", "default": ""},
            "settings": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    root, wanted = Path(module.params["root"]), module.params["choose"]
    try:
        found = listed(root)
        chosen = choose(found, wanted, module.params["settings"]).name if wanted else ""
    except Refusal as refusal:
        module.fail_json(msg=str(refusal))
    except OSError as error:
        module.fail_json(msg=f"the releases in {root} can't be read: {error}")
    module.exit_json(
        changed=False, release=chosen, releases=[release.as_dict() for release in found]
    )


if __name__ == "__main__":
    main()
