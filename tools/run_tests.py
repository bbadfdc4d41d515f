"""Runs lint, unit tests and Molecule scenarios, two at a time, and says what came of each.

    run_tests.py [SCENARIO] [--only lint|unit|molecule] [--jobs N]

Logs are in build/logs, the results in build/test-results.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from workplace import ROOT, engine_environment, environment, fail, say, table

BUILD = ROOT / "build"
LOGS = BUILD / "logs"
LIMIT_SECONDS = 45 * 60
# Those that take longest begin first, so that two at a time end together.
LONGEST = (
    "deploys",
    # The first of these wait more than they work, which leaves the machine to deploys.
    "sentinel",
    "rabbitmq",
    "faults",
    "servers",
    "uwsgi",
    "internet",
    "apache",
    "load_balanced",
    "refusals",
)
# These measure what clients notice, or how long something takes: the others give way to them.
TIMED = ("unit", "deploys", "internet", "sentinel", "rabbitmq", "faults", "instances")
NICENESS = 15
# Docker's default is 1024.
CPU_SHARES = "256"
# This one waits for most of its time, and runs beside the others.
WAITING = "unit"
HEARTBEAT_SECONDS = 30
TAIL_LINES = 120
# Of each failure, in the closing lines: all that some show of a long output.
CAUSE_LINES, CAUSE_CHARACTERS = 5, 600

CLOSING = re.compile(r"^\W*=+ (?P<counts>\d.*) in [\d.]+s\b.*?=", re.MULTILINE)
COUNT = re.compile(r"(\d+) (passed|failed|error|skipped|xfailed|xpassed)")
PHASE = re.compile(r"\[\S+ > (\w+)\] Executing$", re.MULTILINE)
# After a failure molecule removes the hosts: that part of a log tells nothing.
REMOVAL = re.compile(r"^INFO +\[\S+ > (?:cleanup|destroy)\] Executing$", re.MULTILINE)
FAILURE = re.compile(r"^(?:FAILED|ERROR) \S+::.*$", re.MULTILINE)
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Job:
    name: str
    kind: str
    command: tuple[str, ...]
    engine: bool = False
    """Whether it needs Docker and the test hosts' images."""

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    @property
    def nice_command(self) -> tuple[str, ...]:
        give_way = () if self.name in TIMED else ("nice", f"--adjustment={NICENESS}")
        return give_way + self.command

    @property
    def environment(self) -> dict[str, str]:
        """For molecule/resources/tasks/hosts.yml."""
        return {} if self.name in TIMED else {"TEST_HOSTS_CPU_SHARES": CPU_SHARES}


@dataclass(frozen=True)
class Result:
    name: str
    kind: str
    result: str
    seconds: float
    counts: dict[str, int] = field(default_factory=dict)
    cause: str = ""

    @property
    def passed(self) -> bool:
        return self.result == "passed"


def molecule(action: str, scenario: str) -> tuple[str, ...]:
    return (
        "molecule",
        "--base-config",
        ".config/molecule/config.yml",
        action,
        "--scenario-name",
        scenario,
    )


def scenarios(root: Path = ROOT) -> list[str]:
    found = sorted(path.parent.name for path in root.glob("molecule/*/molecule.yml"))
    return [name for name in LONGEST if name in found] + [n for n in found if n not in LONGEST]


def all_jobs(root: Path = ROOT) -> list[Job]:
    jobs = [
        Job("yamllint", "lint", ("yamllint", "--strict", ".")),
        Job("ansible-lint", "lint", ("ansible-lint",)),
        Job("ruff-check", "lint", ("ruff", "check", ".")),
        Job("ruff-format", "lint", ("ruff", "format", "--check", ".")),
        Job("mypy", "lint", ("mypy", "tools", "benchmarks", "molecule/resources/testinfra")),
        Job("changelog", "lint", ("antsibull-changelog", "lint")),
    ]
    for name, kind, directory, engine in (
        ("drift", "lint", "tests/lint", False),
        ("configurations", "lint", "tests/configurations", True),
        ("unit", "unit", "tests/unit", False),
    ):
        if any((root / directory).rglob("test_*.py")):
            jobs.append(Job(name, kind, ("pytest", directory), engine))
    jobs += [Job(name, "molecule", molecule("test", name), True) for name in scenarios(root)]
    return jobs


def choose(jobs: Sequence[Job], scenario: str | None, only: str | None) -> list[Job]:
    if scenario:
        return [job for job in jobs if job.kind == "molecule" and job.name == scenario]
    return [job for job in jobs if only in (None, job.kind)]


def count_tests(log: str) -> dict[str, int]:
    """What pytest's closing lines in a log add up to."""
    counts: dict[str, int] = {}
    for closing in CLOSING.finditer(log):
        for number, word in COUNT.findall(closing["counts"]):
            word = "failed" if word == "error" else word
            counts[word] = counts.get(word, 0) + int(number)
    return counts


def totals(results: Sequence[Result]) -> dict[str, int]:
    """Tests of pytest, and each job that has none as one of its own."""
    sums = {"passed": 0, "failed": 0}
    for result in results:
        for word, number in result.counts.items():
            sums[word] = sums.get(word, 0) + number
        if result.passed and not result.counts.get("passed"):
            sums["passed"] += 1
        if not result.passed and not result.counts.get("failed"):
            sums["failed"] += 1
    return sums


def summary(results: Sequence[Result]) -> str:
    rows = [[r.name, r.kind, r.result, f"{r.seconds:.1f}"] for r in results]
    closing = ", ".join(f"{number} {word}" for word, number in totals(results).items())
    parts = [table(["scenario", "kind", "result", "seconds"], rows)]
    parts += [f"{r.name} {r.result}:\n{r.cause}" for r in results if r.cause]
    return "\n\n".join([*parts, closing])


def as_json(results: Sequence[Result]) -> str:
    keys = ("name", "kind", "result", "seconds")
    return json.dumps([{key: getattr(r, key) for key in keys} for r in results], indent=2) + "\n"


def telling(log: str) -> str:
    """The end of a failed job's log, up to the removal of its hosts."""
    removals = [match.start() for match in REMOVAL.finditer(log)]
    # The first removal is the one before the hosts are created.
    end = removals[1] if len(removals) > 1 else len(log)
    return "\n".join(log[:end].rstrip().splitlines()[-TAIL_LINES:])


def cause(log: str) -> str:
    """The tests that failed in a log, or else its last lines."""
    lines = FAILURE.findall(log) or telling(log).splitlines()[-CAUSE_LINES:]
    return "\n".join(f"  {line[:CAUSE_CHARACTERS]}" for line in lines)


def read(log: Path) -> str:
    return ANSI.sub("", log.read_text(encoding="utf-8", errors="replace"))


class Runner:
    """Runs jobs; those that need an engine wait for it, and have its environment too."""

    def __init__(
        self, env: dict[str, str], ready: Callable[[], dict[str, str] | None] | None = None
    ) -> None:
        self.env = env | {
            "NO_COLOR": "1",
            "ANSIBLE_NOCOLOR": "1",
            "COLUMNS": "160",
            "MOLECULE_COMMAND_BORDERS": "false",
        }
        self.ready = ready or (lambda: {})
        self.running: dict[Job, tuple[subprocess.Popen[bytes], float]] = {}
        self.lock = threading.Lock()
        self.stopped = False

    def run(self, job: Job) -> Result:
        hosts = self.ready() if job.engine else {}
        if hosts is None:
            return Result(job.name, job.kind, "failed", 0.0, cause="  There are no test hosts.")
        started = time.monotonic()
        with self.lock:
            if self.stopped:
                return Result(job.name, job.kind, "interrupted", 0.0)
            say(f"start   {job.name} ({job.kind})")
            with job.log.open("wb") as log:
                # A session of its own, so that all it started can be stopped together.
                process = subprocess.Popen(
                    job.nice_command,
                    cwd=ROOT,
                    env=self.env | hosts | job.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self.running[job] = (process, started)
        try:
            code = process.wait(timeout=LIMIT_SECONDS)
            outcome = "passed" if code == 0 else "failed"
        except subprocess.TimeoutExpired:
            outcome = "timed out"
            stop(process)
        finally:
            with self.lock:
                del self.running[job]
        if self.stopped:
            outcome = "interrupted"
        if outcome in ("timed out", "interrupted") and job.kind == "molecule":
            self.destroy(job)
        log_text = read(job.log)
        result = Result(
            job.name,
            job.kind,
            outcome,
            round(time.monotonic() - started, 1),
            count_tests(log_text),
            cause(log_text) if outcome in ("failed", "timed out") else "",
        )
        self.report(job, result)
        return result

    def report(self, job: Job, result: Result) -> None:
        text = read(job.log)
        closings = [match[0].strip("= \n") for match in CLOSING.finditer(text)]
        detail = f": {closings[-1]}" if closings else ""
        say(f"{result.result:<7} {job.name} in {result.seconds:.1f} s{detail}")
        if result.result not in ("passed", "interrupted"):
            say(f"--- end of {job.log.relative_to(ROOT)}\n{telling(text)}")
            say(f"--- {job.name}: {result.result}")

    def destroy(self, job: Job) -> None:
        """A scenario that was stopped half-way leaves its hosts; one that failed removes them."""
        with job.log.open("ab") as log:
            subprocess.run(
                molecule("destroy", job.name),
                check=False,
                cwd=ROOT,
                env=self.env | (self.ready() or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def heartbeat(self) -> None:
        with self.lock:
            running = [(job, started) for job, (_, started) in self.running.items()]
        for job, started in running:
            phases = PHASE.findall(read(job.log))
            doing = f", {phases[-1]}" if phases else ""
            say(f"  ...   {job.name} ({time.monotonic() - started:.0f} s{doing})")

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            processes = [process for process, _ in self.running.values()]
        for process in processes:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(timeout=10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def run_all(runner: Runner, jobs: Sequence[Job], workers: int) -> list[Result]:
    """Results in the order of the jobs; an interrupt stops what runs and starts no more."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    with ThreadPoolExecutor(workers) as pool, ThreadPoolExecutor(1) as beside:
        futures: list[Future[Result]] = [
            (beside if job.name == WAITING else pool).submit(runner.run, job) for job in jobs
        ]
        pending = set(futures)
        try:
            while pending:
                pending = wait(pending, timeout=HEARTBEAT_SECONDS).not_done
                runner.heartbeat()
        except KeyboardInterrupt:
            # A second Ctrl-C must not leave hosts behind.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            say("interrupted: removing what was made")
            runner.stop()
        return [future.result() for future in futures]


def prepare_hosts(env: dict[str, str]) -> dict[str, str] | None:
    """Start an engine and build the images; returns how to reach it, none when that failed."""
    for command in (["tools/engine"], ["tools/image", "debian12", "debian13"]):
        if subprocess.run(command, check=False, cwd=ROOT, env=env).returncode:
            fail(f"{command[0]} failed: no scenario can run")
            return None
    return engine_environment(env)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("scenario", nargs="?")
    parser.add_argument("--only", choices=["lint", "unit", "molecule"])
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)

    jobs = choose(all_jobs(), options.scenario, options.only)
    if not jobs:
        return fail(f"nothing to run: the scenarios are {', '.join(scenarios()) or 'none'}")

    LOGS.mkdir(parents=True, exist_ok=True)
    env = environment()
    with ThreadPoolExecutor(1) as beside:
        # Most of lint, and the unit tests, need none.
        hosts = beside.submit(prepare_hosts, env) if any(job.engine for job in jobs) else None
        runner = Runner(env, hosts.result if hosts else None)
        results = run_all(runner, jobs, options.jobs)
    (BUILD / "test-results.json").write_text(as_json(results), encoding="utf-8")
    say(f"\n{summary(results)}")
    if any(result.result == "interrupted" for result in results):
        return 130
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
