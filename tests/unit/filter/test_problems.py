# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.realtime.flask_socketio.plugins.filter.problems import problems


def check(**keys: Any) -> dict[str, Any]:
    return {"name": "app_name", "instead": "lower-case letters", **keys}


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("chat", "[a-z]+"),
        ("", "[a-z]*"),
        (80, "[0-9]+"),
        (["chat", "news"], "[a-z]+"),
        ([], "[a-z]+"),
    ],
)
def test_a_value_of_the_right_form_is_no_problem(value: object, match: str) -> None:
    assert problems([check(value=value, match=match)]) == []


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Chat", "'Chat'"),
        ("chat; reboot", "'chat; reboot'"),
        ("chat\n", r"'chat\n'"),
        ("\nchat", r"'\nchat'"),
        ("", "''"),
        (["chat", "$(id)"], "['chat', '$(id)']"),
    ],
)
def test_the_whole_value_must_match(value: object, shown: str) -> None:
    assert problems([check(value=value, match="[a-z]+")]) == [
        f"app_name is {shown}: lower-case letters."
    ]


def test_ok_decides_and_the_value_is_shown_only_when_given() -> None:
    assert problems([check(ok=True), check(ok=True, value="x")]) == []
    assert problems([check(ok=False)]) == ["app_name: lower-case letters."]
    assert problems([check(ok=False, value="x")]) == ["app_name is 'x': lower-case letters."]


def test_one_sentence_for_a_setting_that_fails_several_checks() -> None:
    checks = [check(ok=True), check(ok=False, value="x"), check(ok=False, instead="a short name")]
    assert problems(checks) == ["app_name is 'x': lower-case letters."]


def test_a_setting_that_follows_a_wrong_one_is_not_told() -> None:
    checks = [check(ok=False), check(name="app_user", follows="app_name", ok=False)]
    assert problems(checks) == ["app_name: lower-case letters."]
    assert problems(checks[1:]) == ["app_user: lower-case letters."]


def test_every_problem_is_told_in_order() -> None:
    checks = [
        {"name": "a", "ok": False, "instead": "one"},
        {"name": "b", "ok": True, "instead": "two"},
        {"name": "c", "value": "?", "match": "x", "instead": "three"},
    ]
    assert problems(checks) == ["a: one.", "c is '?': three."]


@pytest.mark.parametrize(
    "unusable",
    [
        {"name": "a", "instead": "b"},
        {"name": "a", "value": "x", "instead": "b"},
        {"name": "a", "value": "x", "match": "("},
        {"name": "a", "ok": False},
        check(value="x", match=None),
        # What -e app_allow_untested_os=false gives, which Python takes for true.
        check(ok="false"),
        check(ok=None),
    ],
)
def test_a_check_that_cannot_be_made_is_an_error_and_not_a_pass(unusable: dict[str, Any]) -> None:
    with pytest.raises(AnsibleFilterError, match="a check is not usable"):
        problems([unusable])
