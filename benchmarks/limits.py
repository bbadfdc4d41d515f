"""Measures what a user meets at each server's limits, and writes the table in docs/servers.md.

    limits.py [ROW ...] [--render]

Makes one host through Molecule's playbooks, deploys the example app to it by site.yml once for each
row, over the row before, and measures inside of the host by limits_client.py. The result of a row
replaces the former one in benchmarks/results/limits.json. Without ROW all rows are measured; with
--render none is, and only the table is written. Ansible's output is in build/logs/limits.log.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from workplace import engine_environment, environment, fail, say

IMAGE = "debian13"
NODE = "node"
SCENARIO = "limits"
CONTAINER = f"fs-{SCENARIO}-{NODE}"
INVENTORY = ROOT / "molecule" / "resources" / "demo" / "hosts.yml"
PLAYBOOKS = ROOT / "molecule" / "resources"
CLIENT = ROOT / "benchmarks" / "limits_client.py"
RESULTS = ROOT / "benchmarks" / "results" / "limits.json"
DOCUMENT = ROOT / "docs" / "servers.md"
LOG = ROOT / "build" / "logs" / "limits.log"
BEGIN, END = "<!-- limits: begin -->", "<!-- limits: end -->"

APP = "whoami"
PROBE = "/usr/local/lib/flask-socketio-probe/bin/python"
PLAY_SECONDS = 900
MEASURE_SECONDS = 600
ASK_SECONDS = 60

LIMIT = 300
"""Connections that each instance is set to hold."""
IDLE = 250
"""Connections whose memory is measured."""
HELD = 20
"""Connections that a stop and a reload meet."""
WAITS = "TCP connection, no answer within 10 s"
"""What limits_client.py says of a client that waits in the listener's queue."""
CODES = {"no close frame (1006)": "1006", "close frame 0": "1005"}
"""The numbers that a WebSocket API has for no close frame, and for one without a code."""

PACKAGES = (
    "gunicorn",
    "gevent",
    "gevent-websocket",
    "eventlet",
    "werkzeug",
    "flask-socketio",
    "python-socketio",
    "python-engineio",
    "simple-websocket",
)
VERSIONS = """
import importlib.metadata, json, platform, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps({"Python": platform.python_version()} | found))
"""


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    role: str
    limit: str
    """The role's variable that is the limit; LIMIT in the measurement."""
    variables: dict[str, Any]
    bounded: bool = True
    """Whether the server has a limit of connections; the variable raises the limit of files too."""


GUNICORN = {"app_server": "gunicorn"}
EMBEDDED = {"app_server": "embedded"}
UWSGI = {"app_server": "uwsgi"}
EVENTLET = {"app_async_mode": "eventlet"}
THREADING = {"app_async_mode": "threading"}
ROWS = (
    Row("gunicorn-gevent", "gunicorn, gevent", "gunicorn", "gunicorn_connections", GUNICORN),
    Row(
        "gunicorn-gthread",
        "gunicorn, gthread (`threading`)",
        "gunicorn",
        "gunicorn_threads",
        GUNICORN | THREADING,
    ),
    Row(
        "gunicorn-geventwebsocket",
        "gunicorn, geventwebsocket",
        "gunicorn",
        "gunicorn_connections",
        GUNICORN | {"gunicorn_worker": "geventwebsocket"},
    ),
    Row(
        "gunicorn-eventlet",
        "gunicorn, eventlet",
        "gunicorn",
        "gunicorn_connections",
        GUNICORN | EVENTLET,
    ),
    Row("uwsgi", "uWSGI", "uwsgi", "uwsgi_connections", UWSGI),
    Row(
        "uwsgi-native",
        "uWSGI, `uwsgi_websocket: native`",
        "uwsgi",
        "uwsgi_connections",
        UWSGI | {"uwsgi_websocket": "native"},
    ),
    Row("embedded-gevent", "embedded, gevent", "embedded", "embedded_connections", EMBEDDED),
    Row(
        "embedded-eventlet",
        "embedded, eventlet",
        "embedded",
        "embedded_connections",
        EMBEDDED | EVENTLET,
    ),
    Row(
        "embedded-werkzeug",
        "embedded, Werkzeug (`threading`)",
        "embedded",
        "embedded_connections",
        EMBEDDED | THREADING | {"embedded_allow_development_server": True},
        bounded=False,
    ),
)


def play(env: dict[str, str], *arguments: str, **variables: Any) -> None:
    """Run a playbook; what it prints goes to the log, its end is shown when it fails."""
    command = ["ansible-playbook", f"--extra-vars={json.dumps(variables)}", *arguments]
    done = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env=env | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PLAY_SECONDS,
    )
    with LOG.open("a", encoding="utf-8") as log:
        log.write(done.stdout)
    if done.returncode:
        tail = "\n".join(done.stdout.rstrip().splitlines()[-40:])
        raise RuntimeError(f"{tail}\nansible-playbook failed: the whole log is {LOG}")


def host(env: dict[str, str], action: str) -> None:
    """Create or destroy the host, as Molecule does it for a scenario."""
    platform = {"name": NODE, "image": f"flask-socketio-test:{IMAGE}"}
    play(
        env | {"MOLECULE_SCENARIO_NAME": SCENARIO},
        str(PLAYBOOKS / f"{action}.yml"),
        molecule_yml={"platforms": [platform]},
        ansible_python_interpreter="{{ ansible_playbook_python }}",
    )


def inside(env: dict[str, str], *command: str, text: str = "", seconds: int = ASK_SECONDS) -> str:
    """What a command in the host prints."""
    done = subprocess.run(
        ["docker", "exec", "--interactive", CONTAINER, *command],
        check=False,
        env=env,
        input=text,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} in {CONTAINER} failed:\n{done.stderr[-4000:]}")
    return done.stdout.strip()


def versions(env: dict[str, str], row: Row) -> dict[str, str]:
    """The versions of what serves a row."""
    python = f"/opt/{APP}/current/venv/bin/python"
    found: dict[str, str] = json.loads(inside(env, python, "-", *PACKAGES, text=VERSIONS))
    if row.role == "uwsgi":
        found["uwsgi"] = inside(env, "uwsgi-core", "--version")
    return found


def conditions(env: dict[str, str]) -> dict[str, str]:
    """What is the same for all rows."""
    release = dict(
        line.split("=", 1) for line in inside(env, "cat", "/etc/os-release").splitlines()
    )
    return {"system": release["PRETTY_NAME"].strip('"'), "cores": inside(env, "nproc")}


def measure(env: dict[str, str], row: Row) -> dict[str, Any]:
    """Deploy a row over the one before, and measure its one instance on its own address."""
    play(
        env,
        f"--inventory={INVENTORY}",
        str(ROOT / "site.yml"),
        ansible_docker_host=CONTAINER,
        app_bind="tcp",
        **{row.limit: LIMIT},
        **row.variables,
    )
    (unit,) = inside(env, "ls", f"/etc/systemd/system/{APP}.target.wants").split()
    port = unit.partition("@")[2].removesuffix(".service")
    settings = {
        "unit": unit,
        "address": f"127.0.0.1:{port}",
        "limit": LIMIT,
        "idle": IDLE,
        "held": HELD,
    }
    seen = inside(
        env,
        *(PROBE, "-", json.dumps(settings)),
        text=CLIENT.read_text(encoding="utf-8"),
        seconds=MEASURE_SECONDS,
    )
    return {"versions": versions(env, row), **json.loads(seen)}


def load() -> dict[str, Any]:
    if not RESULTS.exists():
        return {"conditions": {}, "rows": {}}
    loaded: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return loaded


def keep(results: dict[str, Any]) -> None:
    """Write the results, in the order of the table."""
    rows = results["rows"]
    results["rows"] = {row.name: rows[row.name] for row in ROWS if row.name in rows}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def default(row: Row) -> str:
    """The limit that a role has when nobody sets it."""
    text = (ROOT / "roles" / row.role / "defaults" / "main.yml").read_text(encoding="utf-8")
    return str(yaml.safe_load(text)[row.limit])


def limit_cell(row: Row) -> str:
    setting = f"`{row.limit}` ({default(row)})"
    return setting if row.bounded else f"none; files, {setting} + 1024"


def full_cell(full: dict[str, Any]) -> str:
    """What limit + 10 % saw."""
    parts = [f"{full['held']} held"]
    if full["echoed"] != full["held"]:
        parts[0] += f", {full['echoed']} of them answered"
    for reason, number in full["refused"].items():
        parts.append(f"{number} wait" if reason == WAITS else f"{number}: {reason}")
    parts.append("pages wait" if full["page"].startswith("no answer") else f"page: {full['page']}")
    if "next" in full:
        parts.append("next: " + ("never" if full["next"] is None else seconds(full["next"])))
    return ", ".join(parts)


def memory_cell(memory: dict[str, int]) -> str:
    """kB for each connection, threads for each, and MB of the process without connections."""
    number = memory["connections"]
    each = (memory["after"] - memory["before"]) / number
    threads = (memory["threads_after"] - memory["threads_before"]) / number
    text = f"{each:.0f} kB"
    if threads > 0.5:
        text += f" and {threads:.0f} thread{'s' if round(threads) > 1 else ''}"
    return f"{text}, above {memory['before'] / 1024:.0f} MB"


def seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} s"


def span(first: float, last: float) -> str:
    """Two times, or one where they are the same."""
    begin, end = f"{first:.1f}", f"{last:.1f}"
    return f"{end} s" if begin == end else f"{begin} to {end} s"


def ends_text(ends: dict[str, Any]) -> str:
    """How connections ended and when."""
    hows = {CODES.get(how, how): number for how, number in ends["how"].items()}
    how = (
        next(iter(hows)) if len(hows) == 1 else ", ".join(f"{n}: {how}" for how, n in hows.items())
    )
    return f"sockets {how} at {span(ends['first'], ends['last'])}"


def listener_text(refused: dict[str, float] | None) -> str:
    if refused is None:
        return "listener open"
    at_times = "" if refused["share"] == 1 else " at times"
    return f"listener closed{at_times} from {refused['from']:.1f} to {refused['to']:.1f} s"


def stop_cell(stop: dict[str, Any]) -> str:
    parts = [
        f"**{stop['seconds']:.1f} s**",
        ends_text(stop["ends"]),
        f"last page {seconds(stop['last_page'])}",
        listener_text(stop["refused"]),
    ]
    if stop["result"] != "success":
        parts.append(f"systemd: {stop['result']}")
    return ", ".join(parts)


def reload_cell(reload: dict[str, Any]) -> str:
    parts = [] if reload["main_process"] == "same" else ["dies"]
    if reload["first_page"] is None:
        parts.append(f"no new process within {reload['watched']:.0f} s")
    else:
        parts.append(f"serves anew at {seconds(reload['first_page'])}")
    parts.append(f"last page {seconds(reload['last_page'])}")
    if reload["kept"]:
        parts.append(f"{reload['kept']} of {reload['connections']} sockets kept")
    if reload["ends"]["how"]:
        parts.append(ends_text(reload["ends"]))
    parts.append(listener_text(reload["refused"]))
    return ", ".join(parts)


def render(results: dict[str, Any]) -> str:
    """The conditions and the table, as they stand between the markers."""
    header = ("server", "limit (default)", "at the limit", "idle connection", "stop", "SIGHUP")
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    seen: dict[str, list[str]] = {}
    for row in ROWS:
        if row.name not in results["rows"]:
            continue
        found = results["rows"][row.name]
        cells = (
            row.title,
            limit_cell(row),
            full_cell(found["full"]),
            memory_cell(found["memory"]),
            stop_cell(found["stop"]),
            reload_cell(found["reload"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
        for name, version in found["versions"].items():
            if version not in seen.setdefault(name, []):
                seen[name].append(version)
    had = ", ".join(f"{name} {' and '.join(numbers)}" for name, numbers in seen.items())
    where = results["conditions"]
    closing = f"A container with {where['system']} on {where['cores']} cores; {had}."
    return "\n".join([*lines, "", closing])


def documented(document: str, table: str) -> str:
    """The document with another table between its markers."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{BEGIN} and {END} are not both in the document")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def write_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(documented(text, render(load())), encoding="utf-8")


def measure_all(env: dict[str, str], rows: Sequence[Row]) -> list[str]:
    """Measure rows on one fresh host, removed at the end, and say which could not be measured."""
    failed = []
    # An interrupted run may have left one.
    host(env, "destroy")
    try:
        host(env, "create")
        for row in rows:
            started = time.monotonic()
            try:
                found = measure(env, row)
            except (RuntimeError, subprocess.TimeoutExpired) as problem:
                failed.append(row.name)
                say(f"{row.name}: not measured: {problem}")
                continue
            results = load()
            results["conditions"] = conditions(env)
            results["rows"][row.name] = found
            keep(results)
            say(f"{row.name}: {time.monotonic() - started:.0f} s")
    finally:
        host(env, "destroy")
    return failed


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", nargs="*", help=f"of {', '.join(row.name for row in ROWS)}")
    parser.add_argument("--render", action="store_true", help="write the table only")
    options = parser.parse_args(arguments)
    unknown = set(options.row) - {row.name for row in ROWS}
    if unknown:
        return fail(f"limits: no such row: {', '.join(sorted(unknown))}")
    if not options.render:
        env = environment()
        for command in (["tools/engine"], ["tools/image", IMAGE]):
            if subprocess.run(command, check=False, cwd=ROOT, env=env).returncode:
                return fail(f"limits: {command[0]} failed")
        LOG.parent.mkdir(parents=True, exist_ok=True)
        LOG.write_text("", encoding="utf-8")
        rows = [row for row in ROWS if not options.row or row.name in options.row]
        if failed := measure_all(engine_environment(env), rows):
            return fail(f"limits: failed: {', '.join(failed)}; the table is as before")
    write_table()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
