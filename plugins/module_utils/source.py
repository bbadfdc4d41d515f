# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs to the source of an application, and its checksum."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


def entries(root: Path, exclude: list[str]) -> Iterator[Path]:
    """Yield what is below root and not excluded, directories before what they hold, sorted."""
    for path in sorted(root.iterdir(), key=lambda entry: entry.name):
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in exclude):
            continue
        if path.is_symlink() or path.is_file():
            yield path
        elif path.is_dir():
            yield path
            yield from entries(path, exclude)


def executable(path: Path) -> bool:
    """Tell whether the owner may execute the file."""
    return bool(path.stat().st_mode & 0o100)


def checksum(root: Path, exclude: list[str]) -> str:
    """Return the SHA-256 over the tree, or over the bytes of a file; raises OSError."""
    if root.is_file():
        return hashlib.sha256(root.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for path in entries(root, exclude):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            kind, content = "link", os.fsencode(path.readlink())
        elif path.is_dir():
            kind, content = "directory", b""
        else:
            kind, content = "program" if executable(path) else "file", path.read_bytes()
        digest.update(os.fsencode(f"{kind}\0{name}\0{len(content)}\0"))
        digest.update(content)
    return digest.hexdigest()
