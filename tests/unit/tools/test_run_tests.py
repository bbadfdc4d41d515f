"""The test runner must not call a failure a success."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import run_tests
from run_tests import Job, Result, Runner, cause, choose, count_tests, summary, telling, totals

PASSED = "==== 4 passed, 1 warning in 7.47s ====\n"
FAILED = "==== 1 failed, 3 passed, 2 errors, 1 skipped in 5.87s ====\n"
LONG = "==== 4 passed in 75.10s (0:01:15) ====\n"


@pytest.mark.parametrize(
    ("log", "counts"),
    [
        ("", {}),
        ("a line that says 3 passed in 1.0s\n", {}),
        (PASSED, {"passed": 4}),
        (LONG, {"passed": 4}),
        (FAILED, {"failed": 3, "passed": 3, "skipped": 1}),
        (PASSED + FAILED, {"failed": 3, "passed": 7, "skipped": 1}),
    ],
)
def test_counts_are_those_of_pytest(log: str, counts: dict[str, int]) -> None:
    assert count_tests(log) == counts


def test_a_job_that_fails_outside_pytest_counts_as_failed() -> None:
    results = [
        Result("unit", "unit", "passed", 1.0, {"passed": 40}),
        Result("yamllint", "lint", "passed", 1.0),
        Result("default", "molecule", "failed", 1.0),
        Result("other", "molecule", "failed", 1.0, {"passed": 5}),
        Result("third", "molecule", "failed", 1.0, {"passed": 5, "failed": 2}),
    ]
    assert totals(results) == {"passed": 51, "failed": 4}


def test_summary_is_the_table_and_a_closing_line() -> None:
    results = [
        Result("unit", "unit", "passed", 12.34, {"passed": 40}),
        Result("default", "molecule", "timed out", 900.0, {}, "  It hung."),
    ]
    assert summary(results) == (
        "scenario  kind      result     seconds\n"
        "--------  --------  ---------  -------\n"
        "unit      unit      passed        12.3\n"
        "default   molecule  timed out    900.0\n"
        "\n"
        "default timed out:\n"
        "  It hung.\n"
        "\n"
        "40 passed, 1 failed"
    )
    assert json.loads(run_tests.as_json(results)) == [
        {"name": "unit", "kind": "unit", "result": "passed", "seconds": 12.34},
        {"name": "default", "kind": "molecule", "result": "timed out", "seconds": 900.0},
    ]


def test_choice_of_jobs() -> None:
    lint, scenario = Job("yamllint", "lint", ("true",)), Job("default", "molecule", ("true",))
    assert choose([lint, scenario], None, None) == [lint, scenario]
    assert choose([lint, scenario], None, "lint") == [lint]
    assert choose([lint, scenario], "default", None) == [scenario]
    assert choose([lint, scenario], "yamllint", None) == []
    assert choose([lint, scenario], "none such", None) == []


def test_the_end_of_a_log_stops_before_the_hosts_are_removed() -> None:
    removal = "INFO     [default > destroy] Executing\n"
    log = f"{removal}first\nWhy it failed\n{removal}Delete networks\n"
    assert telling(log) == f"{removal}first\nWhy it failed"
    assert telling("Why it failed\n") == "Why it failed"


def test_a_cause_is_the_tests_that_failed_or_the_last_lines() -> None:
    failed = f"FAILED tests/test_x.py::test_y - {'long ' * 400}"
    log = f"many\n{failed}\nERROR tests/test_z.py::test_a\nERROR    of molecule\n"
    assert cause(log) == f"  {failed[:600]}\n  ERROR tests/test_z.py::test_a"
    assert cause("\n".join("123456789")) == "  5\n  6\n  7\n  8\n  9"


def test_what_measures_nothing_gives_way() -> None:
    measures, other = (Job(name, "molecule", ("true",)) for name in ("deploys", "servers"))
    assert (measures.nice_command, measures.environment) == (("true",), {})
    assert other.nice_command == ("nice", "--adjustment=15", "true")
    assert other.environment == {"TEST_HOSTS_CPU_SHARES": "256"}


@pytest.mark.parametrize(
    ("script", "outcome"),
    [("exit 0", "passed"), ("exit 3", "failed"), ("sleep 60", "timed out")],
)
def test_a_job_is_what_its_command_was(
    script: str, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_tests, "LOGS", tmp_path)
    monkeypatch.setattr(run_tests, "ROOT", tmp_path)
    monkeypatch.setattr(run_tests, "LIMIT_SECONDS", 1)
    result = Runner({"PATH": "/usr/bin:/bin"}).run(Job("x", "lint", ("sh", "-c", script)))
    assert result.result == outcome


def test_a_scenario_waits_for_its_hosts_and_fails_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_tests, "LOGS", tmp_path)
    monkeypatch.setattr(run_tests, "ROOT", tmp_path)
    scenario = Job("deploys", "molecule", ("sh", "-c", 'test "$DOCKER_HOST" = here'), True)
    env = {"PATH": "/usr/bin:/bin"}
    assert Runner(env, lambda: {"DOCKER_HOST": "here"}).run(scenario).passed
    without = Runner(env, lambda: None)
    assert without.run(scenario) == Result(
        "deploys", "molecule", "failed", 0.0, cause="  There are no test hosts."
    )
    assert without.run(Job("yamllint", "lint", ("true",))).passed
