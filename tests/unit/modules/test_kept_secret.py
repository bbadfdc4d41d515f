# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible_collections.realtime.flask_socketio.plugins.modules import kept_secret

COLLECTIONS = Path(__file__).resolve().parents[3] / ".ansible" / "collections"
SCRIPT = """
import sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = 'legacy'
from ansible_collections.realtime.flask_socketio.plugins.modules import kept_secret
kept_secret.main()
"""


def run(check: bool = False, **options: Any) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        check=False,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options | {"_ansible_check_mode": check}}),
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(COLLECTIONS), "PATH": "/usr/bin:/bin"},
    )
    return done.returncode, json.loads(done.stdout)


def test_a_secret_is_made_once(tmp_path):
    directory = tmp_path / "kept"
    code, first = run(directory=str(directory), names=["bus", "chat"])
    assert (code, first["changed"]) == (0, True)
    assert all(re.fullmatch(r"[A-Za-z0-9]{40}", secret) for secret in first["secrets"].values())
    assert first["secrets"]["bus"] != first["secrets"]["chat"]
    code, second = run(directory=str(directory), names=["chat", "bus"], length=50)
    assert (code, second["changed"], second["secrets"]) == (0, False, first["secrets"])
    assert sorted(path.name for path in directory.iterdir()) == ["bus", "chat"]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "bus").stat().st_mode) == 0o600


def test_everybody_gets_what_the_first_one_made(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: kept_secret.make(tmp_path / "bus", 40), range(50)))
    assert set(got) == {(tmp_path / "bus").read_text(encoding="utf-8").strip()}


def test_check_mode_makes_nothing(tmp_path):
    code, result = run(check=True, directory=str(tmp_path / "kept"), names=["chat"])
    assert (code, result["changed"], result["secrets"]) == (0, True, {"chat": ""})
    assert not (tmp_path / "kept").exists()


def test_reading_makes_nothing(tmp_path):
    code, result = run(directory=str(tmp_path / "kept"), names=["chat"], create=False)
    assert (code, result["changed"], result["secrets"]) == (0, False, {"chat": ""})


def test_a_name_is_no_path(tmp_path):
    code, result = run(directory=str(tmp_path), names=["../chat"])
    assert (code, result["msg"]) == (1, "'../chat' is no file's name")
