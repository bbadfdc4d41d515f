# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import itertools
import re

import pytest
from ansible_collections.realtime.flask_socketio.plugins.filter.fingerprint import fingerprint

DIFFERENT = [{}, {"A": "1"}, {"A": 1}, {"A": "1", "B": "2"}, {"AB": "1"}, [], "", None, {"A": "é"}]


def test_ten_hexadecimal_digits_that_do_not_change_between_versions() -> None:
    assert re.fullmatch("[0-9a-f]{10}", fingerprint({"SECRET_KEY": "x"}))
    # Another name for the same environment would restart every app on an update.
    assert fingerprint({"SECRET_KEY": "x"}) == "98e102906e"


def test_the_order_of_names_does_not_matter() -> None:
    assert fingerprint({"A": "1", "B": "2"}) == fingerprint({"B": "2", "A": "1"})


def test_different_values_have_different_names() -> None:
    names = [fingerprint(value) for value in DIFFERENT]
    assert all(one != other for one, other in itertools.combinations(names, 2))


def test_what_is_no_json_is_an_error() -> None:
    with pytest.raises(TypeError):
        fingerprint({"A": object()})
