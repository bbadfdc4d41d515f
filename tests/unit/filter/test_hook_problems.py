# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.realtime.flask_socketio.plugins.filter.hook_problems import (
    EVENTS,
    hook_problems,
)

FORM = "{command: flask db check} or {tasks: hooks/check.yml}"
EITHER = "must have either command or tasks and nothing else; write " + FORM


@pytest.mark.parametrize(
    "hooks",
    [
        {},
        {event: [] for event in EVENTS},
        {
            "before_switch": [
                {"command": "flask db check"},
                {"command": "a\nb"},
                {"tasks": "~/t.yml"},
            ]
        },
        {"before_build": [{"tasks": "t.yml"}]},
    ],
)
def test_good_hooks(hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.yml").write_text("[]\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert hook_problems(hooks) == []


@pytest.mark.parametrize(
    ("hooks", "problem"),
    [
        ([], f"write a dictionary of {', '.join(EVENTS)}, each with a list such as [{FORM}]"),
        (
            {"before_deploy": []},
            "there is no 'before_deploy'; write before_build, after_build, before_switch, "
            "after_switch, before_rollback or after_rollback",
        ),
        (
            {"after_switch": {"command": "true"}},
            f"after_switch is no list; write one of items such as {FORM}",
        ),
        ({"after_switch": "true"}, f"after_switch is no list; write one of items such as {FORM}"),
        ({"after_switch": ["true"]}, f"after_switch[0] {EITHER}"),
        ({"after_switch": [{}]}, f"after_switch[0] {EITHER}"),
        ({"after_switch": [{"comand": "true"}]}, f"after_switch[0] {EITHER}"),
        ({"after_switch": [{"command": "true", "tasks": "x"}]}, f"after_switch[0] {EITHER}"),
        (
            {"after_switch": [{"command": "true"}, {"command": ["true"]}]},
            f"after_switch[1].command must be a text; write {FORM}",
        ),
        (
            {"after_switch": [{"command": " "}]},
            f"after_switch[0].command must be a text; write {FORM}",
        ),
        (
            {"after_switch": [{"command": "a\0b"}]},
            f"after_switch[0].command must be a text; write {FORM}",
        ),
        (
            {"before_build": [{"command": "make"}]},
            "before_build[0] is a command, which runs in the release, and before the build there "
            "is none; write {tasks: <file>}, or make it an after_build",
        ),
        (
            {"after_build": [{"tasks": "/nowhere/t.yml"}]},
            "after_build[0].tasks '/nowhere/t.yml' is no file on the controller; write a path that "
            "is, absolute or from the directory where ansible-playbook is started",
        ),
    ],
)
def test_a_problem_names_the_place_and_what_to_write(hooks: Any, problem: str) -> None:
    assert hook_problems(hooks) == [problem]


def test_every_problem_is_told() -> None:
    assert len(hook_problems({"x": [], "after_build": [{}, {"tasks": ""}]})) == 3
