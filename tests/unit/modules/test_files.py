# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COLLECTIONS = Path(__file__).resolve().parents[3] / ".ansible" / "collections"
SCRIPT = """
import sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = 'legacy'
from ansible_collections.realtime.flask_socketio.plugins.modules import files
files.main()
"""
ME = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}


def run(*files: dict[str, Any], check: bool = False) -> dict[str, Any]:
    options = {"files": [ME | {"path": str(item.pop("path"))} | item for item in map(dict, files)]}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        check=False,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options | {"_ansible_check_mode": check}}),
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(COLLECTIONS), "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o7777)


@pytest.fixture
def several(tmp_path: Path) -> list[dict[str, Any]]:
    (tmp_path / "surplus").mkdir()
    (tmp_path / "surplus" / "file").touch()
    return [
        {"path": tmp_path / "etc", "state": "directory", "mode": "0750"},
        {"path": tmp_path / "etc" / "secret", "content": "naïve=1\n", "mode": "0640"},
        {"path": tmp_path / "unit", "content": "[Unit]\n"},
        {"path": tmp_path / "surplus", "state": "absent"},
    ]


def test_all_are_written_once(tmp_path: Path, several: list[dict[str, Any]]) -> None:
    first = run(*several)
    assert first["changed"] is True
    assert first["paths"] == [str(item["path"]) for item in several]
    assert (tmp_path / "etc" / "secret").read_text("utf-8") == "naïve=1\n"
    assert [mode(item["path"]) for item in several[:3]] == ["0o750", "0o640", "0o644"]
    assert not (tmp_path / "surplus").exists()

    assert first["made"] == first["paths"][:3]

    second = run(*several)
    assert second == {"changed": False, "paths": [], "made": [], "backups": {}, "diff": []} | {
        "invocation": second["invocation"]
    }


def test_check_mode_says_the_same_and_writes_nothing(
    tmp_path: Path, several: list[dict[str, Any]]
) -> None:
    told = run(*several, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["surplus"]
    assert told["paths"] == run(*several)["paths"]
    assert told["diff"][1]["after"] == "naïve=1\n"


def test_a_mode_that_was_changed_is_mended(several: list[dict[str, Any]]) -> None:
    run(*several)
    several[1]["path"].chmod(0o644)
    told, done = run(*several, check=True), run(*several)
    assert told["paths"] == done["paths"] == [str(several[1]["path"])]
    assert mode(several[1]["path"]) == "0o640"


def test_directories_above_one_are_made_alike(tmp_path: Path) -> None:
    assert run({"path": tmp_path / "a" / "b", "state": "directory"})["changed"]
    assert [mode(tmp_path / name) for name in ("a", "a/b")] == ["0o755", "0o755"]
    (tmp_path / "a").chmod(0o700)
    assert not run({"path": tmp_path / "a" / "b", "state": "directory"})["changed"]
    assert mode(tmp_path / "a") == "0o700"


def test_in_check_mode_the_owner_may_be_still_to_be_made(several: list[dict[str, Any]]) -> None:
    run(*several)
    nobody_yet = several[1] | {"group": "no-such-group"}
    assert run(nobody_yet, check=True)["paths"] == [str(several[1]["path"])]
    assert "no-such-group" in run(nobody_yet)["msg"]


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("same\n", "utf-8")
    (tmp_path / "file").symlink_to("other")
    assert run({"path": tmp_path / "file", "content": "new\n"})["changed"]
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "other").read_text("utf-8") == "same\n"


def test_a_link_leads_to_what_need_not_be_there_yet(tmp_path: Path) -> None:
    link = {"path": tmp_path / "venv", "state": "link", "src": "/srv/venvs/1"}
    assert run(link, check=True)["paths"] == [str(tmp_path / "venv")]
    assert run(link)["changed"]
    assert (tmp_path / "venv").readlink() == Path("/srv/venvs/1")
    assert not run(link)["changed"]
    assert run(link | {"src": "/srv/venvs/2"})["changed"]
    assert (tmp_path / "venv").readlink() == Path("/srv/venvs/2")
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]


def test_what_others_write_keeps_its_text(tmp_path: Path) -> None:
    log = {"path": tmp_path / "log", "state": "exists", "mode": "0640"}
    assert run(log, check=True)["paths"] == [str(tmp_path / "log")]
    assert not (tmp_path / "log").exists()
    assert run(log)["made"] == [str(tmp_path / "log")]
    (tmp_path / "log").write_text("a line\n", "utf-8")
    assert not run(log)["changed"]
    (tmp_path / "log").chmod(0o644)
    assert run(log)["changed"]
    assert mode(tmp_path / "log") == "0o640"
    assert (tmp_path / "log").read_text("utf-8") == "a line\n"


def test_a_former_text_is_kept_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "site.conf"
    assert run({"path": path, "content": "a\n", "backup": True})["backups"] == {}
    result = run({"path": path, "content": "b\n", "backup": True})
    assert Path(result["backups"][str(path)]).read_text("utf-8") == "a\n"
    shown = [(item["before"], item["after"]) for item in result["diff"]]
    assert shown == [("a\n", "b\n")]


def test_a_file_that_its_command_refuses_takes_no_place(tmp_path: Path) -> None:
    first, second = tmp_path / "a.conf", tmp_path / "b.conf"
    second.write_text("good\n", "utf-8")
    refuse = "sh -c 'case %s in *.conf) printf \"no %%s\" good >&2; exit 1; esac'"
    result = run(
        {"path": first, "content": "1\n"},
        {"path": second, "content": "bad\n", "validate": refuse},
        {"path": tmp_path / "c.conf", "content": "3\n"},
    )
    assert result["msg"] == f"{second}: failed to validate: no good"
    assert first.read_text("utf-8") == "1\n"
    assert second.read_text("utf-8") == "good\n"
    assert not (tmp_path / "c.conf").exists()
    # It is asked about what changes only.
    assert not run({"path": second, "content": "good\n", "validate": refuse})["changed"]


def test_a_path_without_a_directory_is_named(tmp_path: Path) -> None:
    result = run({"path": tmp_path / "no" / "file", "content": "x"})
    assert result["msg"] == f"{tmp_path}/no/file: No such file or directory"
