# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""With a stand-in for systemd-run; molecule/ has the real one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.realtime.flask_socketio.plugins.module_utils.sandbox import systemd_run
from ansible_collections.realtime.flask_socketio.plugins.modules import app_command

COLLECTIONS = Path(__file__).resolve().parents[3] / ".ansible" / "collections"
SCRIPT = """
import sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = 'legacy'
from ansible_collections.realtime.flask_socketio.plugins.modules import app_command
app_command.main()
"""
# Enters the directory, reads the environment and runs what comes after the two hyphens.
STAND_IN = """#!/bin/sh
printf '%s\\n' "$@" > "$(dirname "$0")/arguments"
while [ "$1" != -- ]; do
  case $1 in
    --working-directory=*) cd "${1#*=}" ;;
    --property=EnvironmentFile=*) set -a; . "${1#*=*=}"; set +a ;;
  esac
  shift
done
shift
exec "$@"
"""
Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run("flask db upgrade")`: exit code and result of the module."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemd-run").write_text(STAND_IN, encoding="utf-8")
    (programs / "systemd-run").chmod(0o755)
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "flask").write_text("#!/bin/sh\necho flask: $*\n", encoding="utf-8")
    (tmp_path / "venv" / "flask").chmod(0o755)
    (tmp_path / "src").mkdir()
    environment = tmp_path / "environment"
    environment.write_text('SECRET="s3cr3t pass"\nEMPTY=""\n', encoding="utf-8")

    def run(command: str, check: bool = False, **options: Any) -> tuple[int, dict[str, Any]]:
        arguments = {
            "command": command,
            "name": "app_migration",
            "unit": "chat-command",
            "user": "chat",
            "directory": str(tmp_path / "src"),
            "environment_file": str(environment),
            "path": str(tmp_path / "venv"),
            "_ansible_check_mode": check,
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            check=False,
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments | options}),
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(COLLECTIONS), "PATH": f"{programs}:/usr/bin:/bin"},
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


def test_a_command_of_the_virtualenv_in_the_working_directory(run: Run, tmp_path: Path) -> None:
    code, result = run("flask db upgrade && pwd")
    assert (code, result["changed"]) == (0, True)
    assert result["output"].splitlines() == ["flask: db upgrade", str(tmp_path / "src")]


def test_both_streams_in_their_order(run: Run) -> None:
    assert run("echo a; echo b >&2; echo c")[1]["output"] == "a\nb\nc\n"


def test_the_environment_arrives_and_stands_in_no_argument(run: Run, tmp_path: Path) -> None:
    code, result = run(
        'printf "%s|" "$SECRET" "it\'s" \'$HOME\' "$(echo sub)"; cat /proc/$$/cmdline'
    )
    assert code == 0
    said, _, arguments = result["output"].rpartition("|")
    assert said == "s3cr3t pass|it's|$HOME|sub"
    assert "printf" not in arguments
    given = (tmp_path / "bin" / "arguments").read_text(encoding="utf-8")
    assert "s3cr3t" not in given
    assert "printf" not in given


def test_several_lines_and_no_standard_input(run: Run) -> None:
    text = "if true; then\n  cat\n  echo 'one\n  two'\nfi\necho end"
    assert run(text)[1]["output"] == "one\n  two\nend\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [("FLASK_APP", "chat:create_app()"), ("EMPTY", ""), ("SECRET", "s3cr3t pass")],
)
def test_a_default_gives_way_to_the_environment(run: Run, name: str, value: str) -> None:
    command = f'printf %s "${name}" && env | grep -c ^{name}='
    output = run(command, defaults={name: "chat:create_app()"})[1]["output"]
    assert output == f"{value}1\n"


def test_a_failure_shows_the_last_lines(run: Run) -> None:
    code, result = run("seq 30; echo no such table >&2; exit 3")
    assert code == 1
    lines = result["msg"].splitlines()
    assert lines[0] == (
        "app_migration is 'seq 30; echo no such table >&2; exit 3': exit code 3. Its last words:"
    )
    assert lines[1:] == [*(str(n) for n in range(12, 31)), "no such table"]


def test_a_silent_failure_says_so(run: Run) -> None:
    assert run("false")[1]["msg"] == "app_migration is 'false': exit code 1. It said nothing."


def test_what_the_shell_can_not_read_fails(run: Run) -> None:
    assert run("echo 'open")[0] == 1


def test_one_that_was_killed_for_its_time() -> None:
    told = app_command.failure("app_migration", "sleep 9", "u", 1, "", 5.1, 5)
    assert told == "app_migration is 'sleep 9': did not end within 5 s. It said nothing."


def test_one_that_still_runs() -> None:
    said = (
        "Failed to start transient service unit: Unit chat-command.service was already loaded or "
        "has a fragment file.\n"
    )
    told = app_command.failure("app_migration", "x", "chat-command", 1, said, 0.1, 5)
    assert told == (
        "app_migration is 'x': another command of the app still runs, as chat-command.service. "
        "Wait until it has ended, or stop it: systemctl stop chat-command"
    )
    # What a command itself says is not taken for it.
    assert "exit code 1" in app_command.failure("app_migration", "x", "other", 1, said, 0.1, 5)


def test_check_mode_runs_nothing(run: Run, tmp_path: Path) -> None:
    code, result = run("touch ran", check=True)
    assert (code, result["changed"]) == (0, True)
    assert not (tmp_path / "src" / "ran").exists()


def test_the_sandbox_as_a_whole() -> None:
    line = systemd_run(
        ["/bin/true", "x"],
        user="chat",
        directory="/opt/chat/src",
        environment_file="/etc/chat",
        timeout=60,
        properties=["ReadWritePaths=/srv"],
        unit="chat-command",
    )
    assert line == [
        "systemd-run",
        "--quiet",
        "--wait",
        "--pipe",
        "--collect",
        "--unit=chat-command",
        "--uid=chat",
        "--working-directory=/opt/chat/src",
        "--property=EnvironmentFile=/etc/chat",
        "--property=RuntimeMaxSec=60",
        "--property=ProtectSystem=strict",
        "--property=ProtectHome=true",
        "--property=PrivateTmp=true",
        "--property=NoNewPrivileges=true",
        "--property=ReadWritePaths=/srv",
        "--setenv=PYTHONDONTWRITEBYTECODE=1",
        "--",
        "/bin/true",
        "x",
    ]
