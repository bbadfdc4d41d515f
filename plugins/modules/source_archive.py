#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory's content as a checksum and as an archive."""

from __future__ import annotations

DOCUMENTATION = r"""
module: source_archive
short_description: Fingerprint a directory or an archive, and pack it
version_added: 0.1.0
description:
  - Computes a checksum over names, contents, links and execute bits of the files below a
    directory, so that the same source has the same checksum on every machine and in every
    checkout.
  - With O(dest) it also packs these files, as a gzip-compressed tar archive whose bytes depend on
    nothing else and that only its owner can read. An O(src) that is a file is taken as a finished
    archive.
  - Runs on the controller (C(delegate_to=localhost)).
options:
  src:
    description: A directory, or an archive file whose bytes are the checksum's input.
    type: path
    required: true
  dest:
    description: Where to write the archive. Without it only the checksum is computed.
    type: path
  exclude:
    description: Shell patterns; a file or directory whose name matches one is left out.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Computes the checksum and writes nothing.
    support: full
author:
  - The realtime.flask_socketio contributors (@realtime)
"""

EXAMPLES = r"""
- name: Pack the application
  realtime.flask_socketio.source_archive:
    src: ~/src/chat
    dest: ~/.cache/chat.tar.gz
    exclude: [.git, __pycache__]
  delegate_to: localhost
"""

RETURN = r"""
checksum:
  description: SHA-256, 64 hexadecimal digits.
  type: str
  returned: success
path:
  description: The archive to unpack, O(src) itself when that is an archive.
  type: str
  returned: when O(dest) is given
"""

import gzip
import os
import tarfile
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.realtime.flask_socketio.plugins.module_utils.source import (
    checksum,
    entries,
)


def pack(root: Path, dest: Path, exclude: list[str]) -> None:
    """Write the tree as a tar archive without times, owners and user names; raises OSError."""
    with (
        dest.open("wb") as raw,
        # No name: gzip would write the file's own.
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in entries(root, exclude):
            info = archive.gettarinfo(path, path.relative_to(root).as_posix())
            info.mtime = info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
            if info.issym() or info.isdir():
                archive.addfile(info)
                continue
            # A second name of one file is packed as a file of its own.
            info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
            with path.open("rb") as content:
                archive.addfile(info, content)


def replace(src: Path, dest: Path, exclude: list[str]) -> bool:
    """Pack src into dest, readable by its owner only, and tell whether dest is another now."""
    dest.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=dest.parent, prefix=f"{dest.name}.")
    os.close(descriptor)
    fresh = Path(name)
    try:
        pack(src, fresh, exclude)
        if dest.is_file() and dest.read_bytes() == fresh.read_bytes():
            return False
        fresh.replace(dest)
        return True
    finally:
        fresh.unlink(missing_ok=True)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path", "required": True},
            "dest": {"type": "path"},
            "exclude": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    src = Path(module.params["src"])
    exclude = module.params["exclude"]
    result = {"changed": False}
    try:
        if not src.exists():
            module.fail_json(msg=f"{src} does not exist on the controller")
        result["checksum"] = checksum(src, exclude)
        if module.params["dest"]:
            dest = Path(module.params["dest"])
            result["path"] = str(src if src.is_file() else dest)
            if src.is_dir() and not module.check_mode:
                result["changed"] = replace(src, dest, exclude)
    except OSError as error:
        module.fail_json(msg=f"{src} can't be read or packed: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
