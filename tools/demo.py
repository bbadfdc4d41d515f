"""Deploys the example app to one fresh host in a container, probes it and says where it is.

DEMO_PORT chooses the port on 127.0.0.1; without it a running demo keeps its own, a new one takes
8080 or the next free one.
"""

from __future__ import annotations

import json
import os
import queue
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workplace import ROOT, engine_environment, environment, fail, say, table

CONTAINER = "flask-socketio-demo"
IMAGE = "debian12"
APP = "whoami"
FIRST_PORT = 8080
LAST_PORT = 8180
PATIENCE_SECONDS = 10
LOG = ROOT / "build" / "logs" / "demo.log"
RESULT = ROOT / "build" / "demo-probe.json"
DEMO = ROOT / "molecule" / "resources" / "demo"

TASK = re.compile(r"^TASK \[(?P<name>.*)\]")
PLAY = re.compile(r"^PLAY \[(?P<name>.*)\]")


def docker(env: dict[str, str], *args: str) -> str:
    """What docker says, or nothing when it refuses."""
    done = subprocess.run(
        ["docker", *args], check=False, capture_output=True, text=True, env=env, timeout=60
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def port_of_running_demo(env: dict[str, str]) -> int | None:
    bindings = docker(env, "inspect", "--format", "{{json .HostConfig.PortBindings}}", CONTAINER)
    port = (json.loads(bindings or "{}") or {}).get("80/tcp", [{}])[0].get("HostPort")
    return int(port) if port else None


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(wanted: str | None, current: int | None) -> int:
    if wanted:
        if not wanted.isdigit() or not 0 < int(wanted) < 65536:
            raise ValueError(f"DEMO_PORT={wanted} is not a port")
        if int(wanted) != current and not is_free(int(wanted)):
            raise ValueError(f"port {wanted} on 127.0.0.1 is taken: choose another DEMO_PORT")
        return int(wanted)
    if current:
        return current
    for port in range(FIRST_PORT, LAST_PORT):
        if is_free(port):
            return port
    raise ValueError(f"ports {FIRST_PORT} to {LAST_PORT} are all taken: set DEMO_PORT")


def lines(process: subprocess.Popen[str]) -> Iterator[str | None]:
    """Lines as they come, and None when none came for a while."""
    assert process.stdout is not None  # noqa: S101 - for the type checker: we asked for a pipe
    received: queue.Queue[str] = queue.Queue()
    end = "\0"

    def read() -> None:
        for line in process.stdout or ():
            received.put(line)
        received.put(end)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = received.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            yield None
            continue
        if line == end:
            return
        yield line


def deploy(env: dict[str, str], port: int) -> int:
    """Run the playbook; show plays, changed tasks and whatever takes long; the rest is logged."""
    command = [
        "ansible-playbook",
        "--inventory",
        str(DEMO / "hosts.yml"),
        "--extra-vars",
        json.dumps({"demo_port": port, "demo_result": str(RESULT)}),
        str(DEMO / "playbook.yml"),
    ]
    quiet = env | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "NO_COLOR": "1"}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=quiet,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    task, shown, started = "", True, time.monotonic()
    with LOG.open("w", encoding="utf-8") as log:
        for line in lines(process):
            if line is None:
                say(f"  ...      {task} ({time.monotonic() - started:.0f} s)")
                continue
            log.write(line)
            if play := PLAY.match(line):
                say(play["name"])
            elif found := TASK.match(line):
                task = found["name"].removeprefix("realtime.flask_socketio.")
                shown, started = False, time.monotonic()
            elif line.startswith("changed:") and not shown:
                shown = True
                say(f"  changed  {task}")
    return process.wait()


def deployed(env: dict[str, str], port: int) -> list[list[str]]:
    release = docker(env, "exec", CONTAINER, "readlink", "-f", f"/opt/{APP}/current")
    listing = docker(
        env,
        "exec",
        CONTAINER,
        *("systemctl", "list-units", "--plain", "--no-legend", "--state=active"),
        *("--type=service,target", f"{APP}*", "nginx.service"),
    )
    units = [line.split()[0] for line in listing.splitlines()]
    server = docker(
        env, "exec", CONTAINER, f"{release}/venv/bin/python", "-m", "gunicorn", "--version"
    )
    return [
        ["app", APP],
        ["release", Path(release).name],
        ["server", server.replace("__main__.py", "gunicorn").replace("(version ", "").rstrip(")")],
        *[["unit" if not number else "", unit] for number, unit in enumerate(units)],
        ["host", f"container {CONTAINER} (log: {LOG.relative_to(ROOT)})"],
        ["open", f"http://127.0.0.1:{port}"],
    ]


def probed(probe: dict[str, Any]) -> list[list[str]]:
    return [
        [step["name"], step["result"], f"{step['ms']:.1f}", step.get("detail", "")]
        for step in probe["steps"]
    ]


def main() -> int:
    started = time.monotonic()
    env = environment()
    for command in (["tools/engine"], ["tools/image", IMAGE]):
        if subprocess.run(command, check=False, cwd=ROOT, env=env).returncode:
            return fail(f"demo: {command[0]} failed")
    env = engine_environment(env)
    try:
        port = choose_port(os.environ.get("DEMO_PORT"), port_of_running_demo(env))
    except ValueError as problem:
        return fail(f"demo: {problem}")

    LOG.parent.mkdir(parents=True, exist_ok=True)
    RESULT.unlink(missing_ok=True)
    if deploy(env, port):
        tail = LOG.read_text(encoding="utf-8").rstrip().splitlines()[-40:]
        return fail("\n".join([*tail, f"demo: failed, the whole log is {LOG.relative_to(ROOT)}"]))

    probe = json.loads(RESULT.read_text(encoding="utf-8"))
    say(f"\n{table(['probe', 'result', 'ms', 'seen'], probed(probe))}")
    rows = [["transport", probe["transport"]], *deployed(env, port)]
    say(f"\n{table(['what', 'value'], rows)}")
    say(f"\nDone in {time.monotonic() - started:.0f} s. It keeps running; `make clean` removes it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
