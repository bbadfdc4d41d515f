"""The table of limits says what was measured, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import limits
import pytest

FOUND: dict[str, Any] = {
    "versions": {"gunicorn": "1.0"},
    "memory": {
        "connections": 250,
        "before": 51200,
        "after": 76200,
        "threads_before": 2,
        "threads_after": 252,
    },
    "full": {
        "limit": 300,
        "asked": 330,
        "held": 300,
        "echoed": 300,
        "refused": {limits.WAITS: 30},
        "page": "no answer within 10 s",
        "next": 0.12,
    },
    "stop": {
        "connections": 20,
        "seconds": 5.22,
        "result": "success",
        "ends": {"how": {"no close frame (1006)": 20}, "first": 5.08, "last": 5.08},
        "refused": {"from": 0.87, "to": 5.2, "share": 1.0},
        "last_page": 0.85,
    },
    "reload": {
        "connections": 20,
        "watched": 7.07,
        "main_process": "same",
        "result": "success",
        "ends": {"how": {"no close frame (1006)": 20}, "first": 6.81, "last": 7.05},
        "kept": 0,
        "beside": [20, 20],
        "refused": None,
        "last_page": 0.78,
        "first_page": 0.86,
        "handshake": 1.0,
    },
}
RESULTS = {
    "conditions": {"system": "Debian", "cores": "2"},
    "rows": {"gunicorn-gthread": FOUND},
}


def changed(**parts: dict[str, Any]) -> dict[str, Any]:
    """What was found, with some of it changed."""
    found = copy.deepcopy(FOUND)
    for part, values in parts.items():
        found[part].update(values)
    return found


def test_the_document_has_the_table_of_the_results() -> None:
    document = limits.DOCUMENT.read_text(encoding="utf-8")
    assert limits.documented(document, limits.render(limits.load())) == document


def test_every_row_was_measured() -> None:
    assert list(limits.load()["rows"]) == [row.name for row in limits.ROWS]


def test_the_table_as_a_whole() -> None:
    (row,) = (row for row in limits.ROWS if row.name == "gunicorn-gthread")
    assert limits.render(RESULTS) == (
        f"""\
| server | limit (default) | at the limit | idle connection | stop | SIGHUP |
|---|---|---|---|---|---|
| {row.title} | `gunicorn_threads` ({limits.default(row)}) \
| 300 held, 30 wait, pages wait, next: 0.1 s \
| 100 kB and 1 thread, above 50 MB \
| **5.2 s**, sockets 1006 at 5.1 s, last page 0.8 s, listener closed from 0.9 to 5.2 s \
| serves anew at 0.9 s, last page 0.8 s, sockets 1006 at 6.8 to 7.0 s, listener open |

A container with Debian on 2 cores; gunicorn 1.0."""
    )


@pytest.mark.parametrize(
    ("values", "cell"),
    [
        ({"refused": {}, "page": "status 200"}, "300 held, page: status 200"),
        (
            {"held": 310, "echoed": 300, "refused": {"status 503": 20}},
            "310 held, 300 of them answered, 20: status 503, pages wait",
        ),
    ],
)
def test_what_the_limit_did(values: dict[str, Any], cell: str) -> None:
    full = changed(full=values)["full"]
    assert limits.full_cell({key: value for key, value in full.items() if key != "next"}) == cell


def test_one_who_waits_in_vain_is_told() -> None:
    cell = limits.full_cell(changed(full={"next": None})["full"])
    assert cell.endswith(", next: never")


def test_a_stop_that_systemd_calls_a_failure_is_told() -> None:
    found = changed(stop={"result": "timeout", "refused": None})
    assert limits.stop_cell(found["stop"]).endswith("listener open, systemd: timeout")


def test_a_reload_that_changes_nothing_is_told() -> None:
    ends = {"how": {}, "first": None, "last": None}
    values = {"first_page": None, "last_page": 89.9, "watched": 90.0, "kept": 20, "ends": ends}
    assert limits.reload_cell(changed(reload=values)["reload"]) == (
        "no new process within 90 s, last page 89.9 s, 20 of 20 sockets kept, listener open"
    )


def test_a_process_that_dies_of_the_signal_is_told() -> None:
    cell = limits.reload_cell(changed(reload={"main_process": "another"})["reload"])
    assert cell.startswith("dies, serves anew at ")


def test_connections_that_end_differently_are_counted() -> None:
    ends = {"how": {"close frame 1001": 19, "no close frame (1006)": 1}, "first": 0.1, "last": 0.3}
    assert limits.ends_text(ends) == "sockets 19: close frame 1001, 1: 1006 at 0.1 to 0.3 s"


def test_a_close_frame_without_a_code_is_not_one_of_code_0() -> None:
    ends = {"how": {"close frame 0": 20}, "first": 0.1, "last": 0.1}
    assert limits.ends_text(ends) == "sockets 1005 at 0.1 s"


def test_a_server_without_a_limit_has_none() -> None:
    (row,) = (row for row in limits.ROWS if not row.bounded)
    assert limits.limit_cell(row).startswith("none; ")


def test_only_what_is_between_the_markers_changes() -> None:
    text = f"before\n{limits.BEGIN}\nold\n{limits.END}\nafter\n"
    new = f"before\n{limits.BEGIN}\nnew\n{limits.END}\nafter\n"
    assert limits.documented(text, "new") == new


@pytest.mark.parametrize("text", ["", limits.BEGIN, limits.END, f"{limits.END}{limits.BEGIN}"])
def test_a_document_without_the_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not both"):
        limits.documented(text, "table")


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert limits.main(["gunicorn-sync"]) == 1
    assert "no such row: gunicorn-sync" in capsys.readouterr().err
