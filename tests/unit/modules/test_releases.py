# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.realtime.flask_socketio.plugins.module_utils import releases

COLLECTIONS = Path(__file__).resolve().parents[3] / ".ansible" / "collections"
SCRIPT = """
import sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = 'legacy'
from ansible_collections.realtime.flask_socketio.plugins.modules import {0}
{0}.main()
"""
A, B, C, D = (digit * 12 for digit in "abcd")
SETTINGS = {"app_server": "gunicorn", "app_source_directory": ""}


def run(module: str, check: bool = False, **options: Any) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(module)],
        check=False,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options | {"_ansible_check_mode": check}}),
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(COLLECTIONS), "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def make(root: Path, name: str, hour: int, **told: Any) -> Path:
    """A release as the role makes it, sealed at that hour."""
    path = root / "releases" / name
    (path / "src").mkdir(parents=True)
    (path / "src" / "app.py").write_text("app = 1\n", encoding="utf-8")
    seal = {
        "app": "chat",
        "version": f"v{hour}",
        "built": f"2026-11-21T{hour:02}:00:00Z",
        "settings": SETTINGS,
    }
    (path / "release.json").write_text(json.dumps(seal | told), encoding="utf-8")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """B is the current release and A the one before; C is older, and D was cut short."""
    root = tmp_path / "chat"
    for name, hour in ((C, 1), (A, 2), (B, 3)):
        make(root, name, hour)
    (make(root, D, 4) / "release.json").unlink()
    releases.activate(root, A, 9, write=True)
    (root / "releases" / D).mkdir()
    releases.activate(root, B, 9, write=True)
    (root / "releases" / D).mkdir()
    return root


def state(root: Path) -> dict[str, Any]:
    return {
        "releases": "".join(sorted(path.name[0] for path in (root / "releases").iterdir())),
        "current": releases.linked(root, "current")[:1],
        "previous": releases.linked(root, "previous")[:1],
    }


def test_what_is_listed(root: Path) -> None:
    code, result = run("app_releases", root=str(root))
    assert (code, result["changed"], result["release"]) == (0, False, "")
    seen = [
        (told["name"], told["version"], told["built"], told["current"], told["previous"])
        for told in result["releases"]
    ]
    assert seen == [
        (B, "v3", "2026-11-21T03:00:00Z", True, False),
        (A, "v2", "2026-11-21T02:00:00Z", False, True),
        (C, "v1", "2026-11-21T01:00:00Z", False, False),
    ]


def test_only_releases_are_listed(root: Path) -> None:
    make(root, "notes", 5)
    (root / "releases" / ("e" * 12)).write_text("", encoding="utf-8")
    (make(root, "f" * 12, 5) / "release.json").write_text("{", encoding="utf-8")
    (make(root, "1" * 12, 5) / "release.json").write_text("[]", encoding="utf-8")
    assert [release.name for release in releases.listed(root)] == [B, A, C]


def test_a_host_without_releases(tmp_path: Path) -> None:
    assert run("app_releases", root=str(tmp_path))[1]["releases"] == []
    code, result = run("app_releases", root=str(tmp_path), choose="previous")
    assert code == 1
    assert result["msg"] == (
        "app_release is 'previous': no release was the current one before the one that is; there "
        "is none on this host; deploy one without app_release."
    )


def test_a_seal_of_the_first_version_has_its_files_time(root: Path) -> None:
    seal = root / "releases" / C / "release.json"
    seal.write_text('{"app": "chat", "version": "v0"}', encoding="utf-8")
    os.utime(seal, (1, 1))
    found = next(release for release in releases.listed(root) if release.name == C)
    assert (found.built, found.settings) == ("1970-01-01T00:00:01Z", {})
    assert releases.choose([found], C, SETTINGS) == found


@pytest.mark.parametrize(("wanted", "name"), [("previous", A), (A, A), (B, B), (C, C)])
def test_the_choice(root: Path, wanted: str, name: str) -> None:
    code, result = run("app_releases", root=str(root), choose=wanted, settings=SETTINGS)
    assert (code, result["release"]) == (0, name)


@pytest.mark.parametrize("wanted", [D, "e" * 12])
def test_one_that_is_not_there_or_not_sealed_is_refused_with_those_that_are(
    root: Path, wanted: str
) -> None:
    make(root, "0" * 12, 0, commit="5" * 40)
    code, result = run("app_releases", root=str(root), choose=wanted)
    assert code == 1
    assert result["msg"] == (
        f"app_release is '{wanted}': there is no such release, or its building was cut short; "
        "write the name of one of these:\n"
        f"{B}: version v3, built 2026-11-21T03:00:00Z, current\n"
        f"{A}: version v2, built 2026-11-21T02:00:00Z, previous\n"
        f"{C}: version v1, built 2026-11-21T01:00:00Z\n"
        "000000000000: version v0 (555555555555), built 2026-11-21T00:00:00Z"
    )


def test_there_is_nothing_before_the_first_release(tmp_path: Path) -> None:
    make(tmp_path, A, 1)
    releases.activate(tmp_path, A, 3, write=True)
    with pytest.raises(releases.Refusal, match="no release was the current one before"):
        releases.choose(releases.listed(tmp_path), "previous", SETTINGS)


def test_one_that_was_built_for_another_server_is_refused(root: Path) -> None:
    settings = SETTINGS | {"app_server": "uwsgi"}
    code, result = run("app_releases", root=str(root), choose="previous", settings=settings)
    assert code == 1
    assert result["msg"].splitlines()[0] == (
        f"app_release is 'previous': {A} was built with app_server 'gunicorn', and app_server is "
        "'uwsgi'; set it to 'gunicorn' again, or choose another of these:"
    )


def test_the_links_are_those_that_others_know(root: Path) -> None:
    assert (root / "current").readlink() == root / "releases" / B
    assert (root / "previous").readlink() == root / "releases" / A
    assert sorted(path.name for path in root.iterdir()) == ["current", "previous", "releases"]


@pytest.mark.parametrize(
    ("steps", "keep", "releases_left", "current", "previous"),
    [
        # The same one again changes nothing but what is surplus.
        ("b", 3, "abc", "b", "a"),
        ("b", 2, "ab", "b", "a"),
        # Back, and forth again.
        ("a", 3, "abc", "a", "b"),
        ("ab", 3, "abc", "b", "a"),
        # To an old one: both of those named stay, whatever their age.
        ("c", 2, "bc", "c", "b"),
        ("c", 3, "abc", "c", "b"),
        ("cb", 2, "bc", "b", "c"),
    ],
)
def test_who_is_current_and_who_stays(
    root: Path, steps: str, keep: int, releases_left: str, current: str, previous: str
) -> None:
    for step in steps:
        releases.activate(root, step * 12, keep, write=True)
    assert state(root) == {"releases": releases_left, "current": current, "previous": previous}


def test_a_second_run_changes_nothing(root: Path) -> None:
    options = {"root": str(root), "release": B, "environment_file": str(root / "environment-1")}
    code, first = run("app_current", **options)
    assert (code, first["changed"], first["previous"]) == (0, True, A)
    assert first["removed"] == [str(root / "releases" / D)]
    code, second = run("app_current", **options)
    assert (code, second["changed"], second["removed"]) == (0, False, [])


def test_check_mode_says_what_it_would_remove(root: Path) -> None:
    before = state(root)
    options = {"root": str(root), "release": C, "keep": 2}
    options["environment_file"] = str(root / "environment-1")
    (root / "environment-0").write_text("", encoding="utf-8")
    code, result = run("app_current", check=True, **options)
    assert (code, result["changed"], result["previous"]) == (0, True, B)
    assert result["removed"] == [
        str(root / "releases" / A),
        str(root / "releases" / D),
        str(root / "environment-0"),
    ]
    assert state(root) == before
    assert (root / "environment-0").exists()


def test_only_the_environment_of_the_release_is_left(root: Path) -> None:
    config = root / "config"
    config.mkdir()
    for name in ("environment-1", "environment-2", "app.json"):
        (config / name).write_text("", encoding="utf-8")
    code, result = run(
        "app_current", root=str(root), release=B, environment_file=str(config / "environment-2")
    )
    assert (code, result["changed"]) == (0, True)
    assert sorted(path.name for path in config.iterdir()) == ["app.json", "environment-2"]


def test_a_release_that_is_not_there_does_not_become_the_current_one(root: Path) -> None:
    before = state(root)
    code, result = run(
        "app_current", root=str(root), release="e" * 12, environment_file=str(root / "environment")
    )
    assert (code, result["msg"]) == (1, f"{root}/releases holds no release '{'e' * 12}'")
    assert state(root) == before


def test_what_a_killed_run_left_behind_is_mended(root: Path) -> None:
    """Killed between the two links, and with a link half made."""
    releases.link(root, "previous", B)
    (root / ".current").symlink_to("/nowhere")
    with pytest.raises(releases.Refusal, match="no release was the current one before"):
        releases.choose(releases.listed(root), "previous", SETTINGS)
    releases.activate(root, C, 3, write=True)
    assert state(root) == {"releases": "abc", "current": "c", "previous": "b"}
    assert not (root / ".current").is_symlink()


def test_removing_that_is_cut_short_leaves_no_release(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path) -> None:
        raise OSError("cut short")

    monkeypatch.setattr(releases.shutil, "rmtree", fail)
    with pytest.raises(OSError, match="cut short"):
        releases.remove(root / "releases" / C)
    assert [release.name for release in releases.listed(root)] == [B, A]


def test_a_link_to_elsewhere_names_no_release(root: Path, tmp_path: Path) -> None:
    (root / "current").unlink()
    (root / "current").symlink_to(tmp_path)
    assert releases.linked(root, "current") == ""
    assert [release.current for release in releases.listed(root)] == [False] * 3


def test_virtualenvs_go_with_the_last_release_that_has_them(root: Path) -> None:
    for name, venv in ((A, "shared"), (B, "shared"), (C, "old")):
        (root / "venvs" / venv).mkdir(parents=True, exist_ok=True)
        (root / "venvs" / venv / "release.json").touch()
        (root / "releases" / name / "venv").symlink_to(root / "venvs" / venv)
    (root / "venvs" / "cut-short").mkdir()
    told = releases.activate(root, B, keep=2, write=False)
    done = releases.activate(root, B, keep=2, write=True)
    assert told["removed"] == done["removed"]
    assert [Path(path).name for path in done["removed"]] == [C, D, "cut-short", "old"]
    assert [path.name for path in (root / "venvs").iterdir()] == ["shared"]
    assert releases.activate(root, B, keep=2, write=True)["removed"] == []
