# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of an application on its host, and the links that name two of them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SEAL = "release.json"
CURRENT, PREVIOUS = "current", "previous"
NAME = re.compile("[0-9a-f]{12}")
TIME = "%Y-%m-%dT%H:%M:%SZ"


class Refusal(Exception):
    """The release that is asked for can't be had; the argument says why and what to write."""


@dataclass(frozen=True)
class Release:
    """What a sealed release says of itself."""

    name: str
    version: str
    commit: str
    built: str
    settings: Mapping[str, str]
    current: bool
    previous: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        commit = f" ({self.commit[:12]})" if self.commit else ""
        place = ", current" if self.current else ", previous" if self.previous else ""
        return f"{self.name}: version {self.version}{commit}, built {self.built}{place}"


def linked(root: Path, link: str) -> str:
    """Return the name of the release to which a link below root points, empty without one."""
    try:
        target = root / (root / link).readlink()
    except OSError:
        return ""
    # The link of one who keeps something else there is not ours to read.
    return target.name if target.parent == root / "releases" and target.is_dir() else ""


def directories(root: Path) -> list[Path]:
    """Return the directories of releases, sealed or not; raises OSError."""
    releases = root / "releases"
    if not releases.is_dir():
        return []
    return [path for path in releases.iterdir() if NAME.fullmatch(path.name)]


def listed(root: Path) -> list[Release]:
    """Return the sealed releases, the newest first; raises OSError."""
    current, previous = linked(root, CURRENT), linked(root, PREVIOUS)
    found = []
    for path in directories(root):
        seal = path / SEAL
        try:
            told = json.loads(seal.read_text(encoding="utf-8"))
            # Seals of the collection's first version do not say when.
            made = datetime.fromtimestamp(seal.stat().st_mtime, tz=UTC).strftime(TIME)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            continue
        if not isinstance(told, dict):
            continue
        found.append(
            Release(
                name=path.name,
                version=str(told.get("version", "")),
                commit=str(told.get("commit", "")),
                built=str(told.get("built", made)),
                settings=told.get("settings", {}),
                current=path.name == current,
                previous=path.name == previous != current,
            )
        )
    return sorted(found, key=lambda release: (release.built, release.name), reverse=True)


def choose(releases: Iterable[Release], wanted: str, settings: Mapping[str, str]) -> Release:
    """Return the release of that name, or the one before the current one for `previous`.

    Raises Refusal when it is not there, or was built for other settings than those given.
    """
    known = list(releases)
    listing = "\n".join(str(release) for release in known)
    for release in known:
        if release.name == wanted or (wanted == PREVIOUS and release.previous):
            break
    else:
        why = (
            "no release was the current one before the one that is"
            if wanted == PREVIOUS
            else "there is no such release, or its building was cut short"
        )
        remedy = (
            f"write the name of one of these:\n{listing}"
            if known
            else "there is none on this host; deploy one without app_release."
        )
        raise Refusal(f"app_release is {wanted!r}: {why}; {remedy}")
    for name, value in release.settings.items():
        if name in settings and settings[name] != value:
            raise Refusal(
                f"app_release is {wanted!r}: {release.name} was built with {name} {value!r}, and "
                f"{name} is {settings[name]!r}; set it to {value!r} again, or choose another of "
                f"these:\n{listing}"
            )
    return release


def link(root: Path, name: str, release: str) -> None:
    """Point a link below root to a release at once, whatever it was before; raises OSError."""
    fresh = root / f".{name}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(root / "releases" / release)
    fresh.replace(root / name)


def points_to(root: Path, name: str, release: str) -> bool:
    """Tell whether a link below root points to a release, as link() writes it."""
    path = root / name
    return path.is_symlink() and path.readlink() == root / "releases" / release


def surplus(root: Path, current: str, previous: str, keep: int) -> list[Path]:
    """Return the directories to remove: what is not sealed, and all but the newest `keep`.

    The current and the previous release stay and count.
    """
    stay = {current, previous} - {""}
    others = [release.name for release in listed(root) if release.name not in stay]
    stay.update(others[: max(0, keep - len(stay))])
    return sorted(path for path in directories(root) if path.name not in stay)


def unused_venvs(root: Path, leaving: Iterable[Path]) -> list[Path]:
    """Return the virtualenvs to which no release but those leaving is linked; raises OSError."""
    venvs = root / "venvs"
    if not venvs.is_dir():
        return []
    links = [path / "venv" for path in directories(root) if path not in leaving]
    used = {venv.readlink().name for venv in links if venv.is_symlink()}
    return sorted(path for path in venvs.iterdir() if path.name not in used)


def remove(path: Path) -> None:
    """Remove a release or a virtualenv, its seal first: what is cut short is none."""
    (path / SEAL).unlink(missing_ok=True)
    shutil.rmtree(path)


def activate(root: Path, release: str, keep: int, write: bool) -> dict[str, Any]:
    """Make a release the current one, remember the one before, remove those not kept.

    Returns changed, previous and removed; changes nothing unless `write`. Raises OSError.
    """
    before = linked(root, CURRENT)
    previous = linked(root, PREVIOUS)
    if before and before != release:
        previous = before
    elif previous == release:
        previous = ""
    changed = False
    # First, so that what was current is not forgotten when this is cut short.
    if previous and not points_to(root, PREVIOUS, previous):
        changed = True
        if write:
            link(root, PREVIOUS, previous)
    elif not previous and os.path.lexists(root / PREVIOUS):
        changed = True
        if write:
            (root / PREVIOUS).unlink()
    if not points_to(root, CURRENT, release):
        changed = True
        if write:
            link(root, CURRENT, release)
    old = surplus(root, release, previous, keep)
    venvs = unused_venvs(root, old)
    if write:
        for path in old + venvs:
            remove(path)
    return {
        "changed": changed or bool(old + venvs),
        "previous": previous,
        "removed": [str(path) for path in old + venvs],
    }
