# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.realtime.flask_socketio.plugins.filter.process_problems import (
    process_problems,
)

FORM = "{name: emitter, command: python emitter.py}"
BOTH = f"item 0 must have name and command and nothing else, such as {FORM}"
NAME = "must be lower-case letters, digits and hyphens, at most 31, such as 'emitter'"
COMMAND = (
    "item 0: the command must be a program of the virtualenv, or an absolute path, with its "
    "arguments in one line, such as 'python emitter.py'"
)


@pytest.mark.parametrize(
    "command",
    [
        "emitter",
        "python emitter.py",
        "celery -A chat.tasks worker --hostname=w@%h",
        "python3.11 -c 'print(\"x\")'",
        "/usr/bin/env python x",
    ],
)
def test_good_processes(command: str) -> None:
    assert process_problems([{"name": "emitter", "command": command}]) == []
    assert process_problems([]) == []


@pytest.mark.parametrize(
    "command",
    [
        "",
        " emitter",
        "+emitter",
        "-emitter",
        "@emitter",
        "!emitter",
        "bin/emitter",
        "../x",
        "a\nb",
        "a b\nUser=root",
        "emitter \\",
        "a\0",
        'a"b',
        None,
        ["emitter"],
    ],
)
def test_what_would_be_another_unit(command: Any) -> None:
    assert process_problems([{"name": "emitter", "command": command}]) == [COMMAND]


@pytest.mark.parametrize("name", ["", "Emitter", "1st", "a b", "a@1", "a/b", "a-", "x" * 32, 1])
def test_what_is_no_name(name: Any) -> None:
    assert process_problems([{"name": name, "command": "x"}]) == [
        f"item 0: the name {name!r} {NAME}"
    ]


@pytest.mark.parametrize(
    "item", ["emitter", {}, {"name": "x"}, {"name": "x", "command": "y", "user": "root"}, None]
)
def test_what_is_no_process(item: Any) -> None:
    assert process_problems([item]) == [BOTH]


@pytest.mark.parametrize("processes", ["emitter", {"emitter": "python emitter.py"}, None])
def test_what_is_no_list(processes: Any) -> None:
    assert process_problems(processes) == [f"write a list of items such as {FORM}"]


def test_two_of_one_name() -> None:
    two = [{"name": "x", "command": "a"}, {"name": "x", "command": "b"}]
    assert process_problems(two) == ["item 1: the name 'x' is another one's; give each its own"]
