#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of an application's releases is the current one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_current
short_description: Make a release the current one, and remove those that nobody needs
version_added: 0.1.0
description:
  - Points C(<root>/current) to the release and C(<root>/previous) to the one that was current
    before. C(previous) changes only when C(current) does.
  - Removes releases beyond O(keep), the oldest first, and what a build that was cut short left.
    The current and the previous release are never removed.
options:
  root:
    description: The directory that holds C(releases).
    type: path
    required: true
  release:
    description: The release's name.
    type: str
    required: true
  keep:
    description: How many releases are kept, the current and the previous one included.
    type: int
    default: 3
  environment_file:
    description: >-
      The file with the release's environment. Others beside it whose names begin with
      C(environment-) are removed.
    type: path
    required: true
attributes:
  check_mode:
    description: Says what it would remove.
    support: full
author:
  - The realtime.flask_socketio contributors (@realtime)
"""

EXAMPLES = r"""
- name: Make the release the current one
  realtime.flask_socketio.app_current:
    root: /opt/chat
    release: 0123456789ab
    environment_file: /etc/flask-socketio/chat/environment-98e102906e
"""

RETURN = r"""
previous:
  description: The release that was current before; empty without one.
  type: str
  returned: success
removed:
  description: What was removed.
  type: list
  elements: str
  returned: success
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.realtime.flask_socketio.plugins.module_utils.releases import activate


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "keep": {"type": "int", "default": 3},
            "environment_file": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    p = module.params
    environment = Path(p["environment_file"])
    try:
        if not module.check_mode and not (Path(p["root"]) / "releases" / p["release"]).is_dir():
            module.fail_json(msg=f"{p['root']}/releases holds no release {p['release']!r}")
        result = activate(Path(p["root"]), p["release"], p["keep"], write=not module.check_mode)
        others = sorted(environment.parent.glob("environment-*"))
        for path in others:
            if path == environment:
                continue
            result["changed"] = True
            result["removed"].append(str(path))
            if not module.check_mode:
                path.unlink()
    except OSError as error:
        module.fail_json(msg=f"{p['root']}: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
