#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories that belong together, in one task."""

from __future__ import annotations

DOCUMENTATION = r"""
module: files
short_description: Write files and directories that belong together
version_added: 0.1.0
description:
  - Does for several files what M(ansible.builtin.copy) does for one. Each task of that module costs
    two round trips and half a CPU-second, and a generation of instances has up to eight files.
  - Goes through O(files) in their order and ends at the first that fails.
options:
  files:
    description: What is to be there, and what is not.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: >-
          The path on the host. The directories above one that is made are made alike; that of a
          file must exist, or stand earlier in the list.
        type: path
        required: true
      state:
        description: >-
          What it is. V(exists) is a file that others write to, such as a log: it is made when it is
          missing, and its text is left alone.
        type: str
        choices: [file, exists, directory, link, absent]
        default: file
      src:
        description: What a symbolic link points to.
        type: path
      content:
        description: The text of a file.
        type: str
        default: ""
      owner:
        description: The owner's name.
        type: str
        default: root
      group:
        description: The group's name.
        type: str
        default: root
      mode:
        description: The permissions, octal. Without it V(0644), and V(0755) for a directory.
        type: str
      validate:
        description: >-
          A command that must succeed before a changed file takes its place; C(%s) in it is the path
          of the new one, which has the same suffix, and C(%%) a percent sign. Not run in check
          mode.
        type: str
        default: ""
      backup:
        description: Whether a file that changes is kept beside the new one.
        type: bool
        default: false
attributes:
  check_mode:
    description: Says what it would change.
    support: full
  diff_mode:
    description: Shows the text of files that change.
    support: full
author:
  - The realtime.flask_socketio contributors (@realtime)
"""

EXAMPLES = r"""
- name: Write a unit and its configuration
  realtime.flask_socketio.files:
    files:
      - path: /etc/chat
        state: directory
      - path: /etc/chat/gunicorn.conf.py
        content: "workers = 1\n"
      - path: /etc/systemd/system/chat.service
        content: "{{ lookup('ansible.builtin.template', 'chat.service') }}"
        validate: systemd-analyze verify --man=false %s
"""

RETURN = r"""
paths:
  description: What changed, in the order of O(files).
  type: list
  elements: str
  returned: success
made:
  description: Those of them that were not there before.
  type: list
  elements: str
  returned: success
backups:
  description: The copy of each file that was kept, by the file's path.
  type: dict
  returned: success
"""

import grp
import os
import pwd
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

SUBOPTIONS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "state": {
        "type": "str",
        "choices": ["file", "exists", "directory", "link", "absent"],
        "default": "file",
    },
    "src": {"type": "path"},
    "content": {"type": "str", "default": ""},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str"},
    "validate": {"type": "str", "default": ""},
    "backup": {"type": "bool", "default": False},
}


def validated(module: AnsibleModule, item: dict[str, Any]) -> str:
    """Write the new text beside the module, and return its path when the command accepts it."""
    # The suffix tells some commands what it is.
    path = Path(tempfile.mkdtemp(dir=module.tmpdir)) / f".source{Path(item['path']).suffix}"
    path.touch(mode=0o600)
    path.write_text(item["content"], encoding="utf-8")
    if item["validate"]:
        code, out, err = module.run_command(item["validate"] % path)
        if code != 0:
            module.fail_json(msg=f"{item['path']}: failed to validate: {(err or out).strip()}")
    return str(path)


def known(item: dict[str, Any]) -> bool:
    """Tell whether the host has the owner and the group."""
    try:
        pwd.getpwnam(item["owner"])
        grp.getgrnam(item["group"])
    except KeyError:
        return False
    return True


def write(module: AnsibleModule, item: dict[str, Any]) -> tuple[bool, str, dict[str, str]]:
    """Make a path what it is to be: whether it changed, its backup and what to show of it."""
    path = Path(item["path"])
    is_link = path.is_symlink()
    backup, diff = "", {}
    if item["state"] == "absent":
        if not (is_link or path.exists()):
            return False, backup, diff
        if not module.check_mode:
            if path.is_dir() and not is_link:
                shutil.rmtree(path)
            else:
                path.unlink()
        return True, backup, {"before": f"{path}\n", "after": ""}

    if item["state"] == "link":
        if is_link and str(path.readlink()) == item["src"]:
            return False, backup, diff
        if not module.check_mode:
            # In one step, as a link that is replaced must always lead somewhere.
            fresh = path.with_name(f".{path.name}.fresh")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(item["src"])
            fresh.replace(path)
        return True, backup, {"before": "", "after": f"{path} -> {item['src']}\n"}

    changed, of_it = False, [path]
    if item["state"] == "directory":
        if not path.is_dir():
            changed, diff = True, {"before": "", "after": f"{path}\n"}
            of_it += [parent for parent in path.parents if not parent.exists()]
            for missing in [] if module.check_mode else reversed(of_it):
                missing.mkdir(mode=0o700)
    elif not (item["state"] == "exists" and path.is_file()):
        former = path.read_bytes() if path.is_file() and not is_link else None
        if former != item["content"].encode():
            changed = True
            before = (former or b"").decode(errors="replace")
            header = {"before_header": str(path), "after_header": str(path)}
            diff = header | {"before": before, "after": item["content"]}
            if not module.check_mode:
                path.parent.stat()
                source = validated(module, item)
                if item["backup"] and former is not None:
                    backup = module.backup_local(str(path))
                module.atomic_move(source, str(path))
    # In check mode they may be still to be made.
    if module.check_mode and not (changed or known(item)):
        return True, backup, diff
    if not (module.check_mode and changed):
        mode = item["mode"] or ("0755" if item["state"] == "directory" else "0644")
        for one in of_it:
            wanted = {"owner": item["owner"], "group": item["group"], "mode": mode}
            wanted = module.load_file_common_arguments(wanted, path=str(one))
            changed = module.set_fs_attributes_if_different(wanted, changed)
    return changed, backup, diff


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": SUBOPTIONS,
            },
        },
        supports_check_mode=True,
    )
    paths, made, backups, diffs = [], [], {}, []
    for item in module.params["files"]:
        is_new = item["state"] != "absent" and not os.path.lexists(item["path"])
        try:
            changed, backup, diff = write(module, item)
        except OSError as error:
            module.fail_json(msg=f"{item['path']}: {error.strerror}")
        if is_new:
            made.append(item["path"])
        if changed:
            paths.append(item["path"])
            diffs.append(diff or {"prepared": f"{item['path']}: owner, group or mode"})
        if backup:
            backups[item["path"]] = backup
    module.exit_json(changed=bool(paths), paths=paths, made=made, backups=backups, diff=diffs)


if __name__ == "__main__":
    main()
