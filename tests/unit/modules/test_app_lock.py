# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.realtime.flask_socketio.plugins.modules import app_lock

COLLECTIONS = Path(__file__).resolve().parents[3] / ".ansible" / "collections"
SCRIPT = """
import sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = 'legacy'
from ansible_collections.realtime.flask_socketio.plugins.modules import app_lock
app_lock.main()
"""
ALICE = {"who": "alice@laptop", "what": "deploys version v2"}


def run(check: bool = False, **options: Any) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        check=False,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options | {"_ansible_check_mode": check}}),
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(COLLECTIONS), "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "chat.lock"


def test_the_second_run_is_refused_with_who_when_and_what(lock: Path) -> None:
    code, first = run(path=str(lock), **ALICE)
    assert (code, first["changed"]) == (0, False)
    assert re.fullmatch(
        r"alice@laptop, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, deploys version v2, run [0-9a-f]{8}",
        first["held"],
    )
    code, second = run(path=str(lock), who="bob@desk", what="takes release previous")
    assert code == 1
    assert second["msg"] == (
        f"The lock {lock} on {platform.node()} is held by another run: {first['held']}. Wait until "
        "that one has ended. If it was killed and nothing of it runs any more, add "
        "-e app_break_lock=true to this one."
    )
    assert str(lock.readlink()) == first["held"]


def test_given_back_it_is_free(lock: Path) -> None:
    held = run(path=str(lock), **ALICE)[1]["held"]
    code, result = run(path=str(lock), state="absent", held=held)
    assert (code, result["changed"], result["held"]) == (0, False, "")
    assert not lock.is_symlink()
    assert run(path=str(lock), state="absent", held=held)[0] == 0
    assert run(path=str(lock), **ALICE)[0] == 0


def test_a_run_that_has_it_gets_it_again(lock: Path) -> None:
    held = run(path=str(lock), **ALICE)[1]["held"]
    assert run(path=str(lock), held=held, **ALICE)[1]["held"] == held
    assert run(path=str(lock), held="", **ALICE)[0] == 1


def test_a_stale_one_is_taken_and_its_run_does_not_give_it_back(lock: Path) -> None:
    stale = run(path=str(lock), **ALICE)[1]["held"]
    code, taken = run(path=str(lock), who="bob@desk", force=True)
    assert code == 0
    assert f"The lock {lock} was taken from: {stale}" in json.dumps(taken["warnings"])
    assert str(lock.readlink()) == taken["held"]
    assert run(path=str(lock), state="absent", held=stale)[0] == 0
    assert str(lock.readlink()) == taken["held"]
    assert [path.name for path in lock.parent.iterdir()] == ["chat.lock"]


def test_no_force_is_needed_where_nobody_has_it(lock: Path) -> None:
    code, result = run(path=str(lock), force=True)
    assert (code, "warnings" in result) == (0, False)


def test_of_many_at_once_one_gets_it(lock: Path) -> None:
    def attempt(number: int) -> str:
        try:
            return app_lock.take(lock, f"run {number}")[0]
        except app_lock.Taken:
            return ""

    with ThreadPoolExecutor(8) as pool:
        got = [text for text in pool.map(attempt, range(100)) if text]
    assert got == [str(lock.readlink())]


def test_check_mode_neither_takes_nor_gives_back(lock: Path) -> None:
    assert run(check=True, path=str(lock), **ALICE)[1]["held"] == ""
    assert not lock.is_symlink()
    held = run(path=str(lock), **ALICE)[1]["held"]
    assert run(check=True, path=str(lock), who="bob@desk")[0] == 0
    assert run(check=True, path=str(lock), state="absent", held=held)[0] == 0
    assert str(lock.readlink()) == held


def test_a_file_in_its_place_is_no_lock(lock: Path) -> None:
    lock.write_text("not ours", encoding="utf-8")
    code, result = run(path=str(lock), **ALICE)
    assert code == 1
    assert result["msg"].startswith(f"the lock {lock} can't be used: ")
    assert lock.read_text(encoding="utf-8") == "not ours"


def test_a_long_or_broken_text_is_cut(lock: Path) -> None:
    held = run(path=str(lock), who="a\nb", what="x" * 5000)[1]["held"]
    assert held.startswith("a b, ")
    assert len(held) < 1000
