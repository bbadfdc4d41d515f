# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""That systemd reads the text back as it was given is shown by the scenario `default`."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.realtime.flask_socketio.plugins.filter.environment_file import (
    environment_file,
)


def test_the_whole_file() -> None:
    given = {
        "WORDS": " two words ",
        "DOLLAR": "$HOME ${HOME} %h",
        "QUOTES": "\"double\" 'single' `back`",
        "BACKSLASH": "a\\b\\",
        "LINES": "one\ntwo\n",
        "EMPTY": "",
        "HASH": "# no comment",
        "ON": True,
        "OFF": False,
        "PORT": 8080,
        "RATIO": 0.5,
    }
    assert environment_file(given) == (
        'BACKSLASH="a\\\\b\\\\"\n'
        'DOLLAR="\\$HOME \\${HOME} %h"\n'
        'EMPTY=""\n'
        'HASH="# no comment"\n'
        'LINES="one\ntwo\n"\n'
        'OFF="false"\n'
        'ON="true"\n'
        'PORT="8080"\n'
        'QUOTES="\\"double\\" \'single\' \\`back\\`"\n'
        'RATIO="0.5"\n'
        'WORDS=" two words "\n'
    )


def test_nothing_gives_an_empty_file() -> None:
    assert environment_file({}) == ""


@pytest.mark.parametrize("name", ["", "1ST", "A-B", "A B", "A=B", "A\n", "A\nB", "ÄNY", 1])
def test_a_name_that_is_none_is_refused(name: object) -> None:
    with pytest.raises(AnsibleFilterError, match="is no name for an environment variable"):
        environment_file({"B": "x", name: "hunter2"})  # type: ignore[dict-item]


@pytest.mark.parametrize("value", [None, ["hunter2"], {"k": "hunter2"}, "hunter2\0", b"hunter2"])
def test_a_value_that_no_process_can_have_is_refused_and_not_shown(value: object) -> None:
    with pytest.raises(AnsibleFilterError, match="the environment variable SECRET") as refused:
        environment_file({"SECRET": value})
    assert "hunter2" not in str(refused.value)
