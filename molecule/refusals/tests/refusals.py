"""Runs site.yml as a user would, and tells whether anything on a host is another than before."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from stack import playbook

FATAL = re.compile(
    r"^fatal: \[(\S+?)(?: -> \S+)?\]: FAILED! =>\s*\n((?:(?:    .*)?\n)+)", re.MULTILINE
)
RECAP = re.compile(
    r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+.*failed=(\d+)\s.*rescued=(\d+)", re.MULTILINE
)

# Files by inode and times, which nobody sets back; directories by what they hold, because a
# release that was made and removed leaves a new time on its parent.
SNAPSHOT = r"""
find /etc /opt /usr/local /var/lib/flask-socketio -xdev \
  \( -type d -printf '%p %m %u:%g\n' -o -printf '%p %m %u:%g %s %i %T@ %C@ %l\n' \) | sort
sort /etc/passwd
find /run/whoami -printf '%p %m %u:%g %i\n' | sort
ps -o pid=,lstart=,args= -C gunicorn,nginx,python3 | grep -v ansible
dpkg-query --show
if test -d /run/systemd/system; then
  systemctl show 'whoami*' nginx.service '*stranger.service' --property \
    Id,ActiveState,UnitFileState,MainPID,NRestarts,ActiveEnterTimestampMonotonic
  curl --silent --show-error --fail http://127.0.0.1/whoami
  curl --silent --show-error --fail --output /dev/null \
    'http://127.0.0.1/socket.io/?EIO=4&transport=polling'
fi 2>&1
true
"""


@dataclass(frozen=True)
class Run:
    returncode: int
    output: str
    errors: list[tuple[str, str]]
    changed: dict[str, int]
    failed: dict[str, int]
    rescued: dict[str, int]

    @property
    def refused(self) -> bool:
        return self.returncode != 0 and sum(self.failed.values()) == 1

    @property
    def message(self) -> str:
        """The error that ended the run."""
        return self.errors[-1][1]

    def told(self, host: str) -> list[str]:
        """The errors of a host, in their order."""
        return [message for name, message in self.errors if name == host]


def deploy(*arguments: str, **variables: Any) -> Run:
    """Run site.yml with extra variables; what it prints is read as a person reads it."""
    done = playbook("playbooks/site.yml", *arguments, **variables)
    return read(done.returncode, done.stdout)


def deploy_cases(
    directory: Path,
    host: str,
    cases: Sequence[dict[str, Any]],
    name: str = "playbooks/site.yml",
    **variables: Any,
) -> Run:
    """Deploy cases in one run, each as a host of its own, case0 and so on, and all the same one.

    What a run costs by itself is paid once. The variables that all cases share are extra variables,
    which may name those of a case.
    """
    path = directory / "hosts.yml"
    same = {"ansible_connection": "ssh", "ansible_host": host}
    hosts = {f"case{number}": same | case for number, case in enumerate(cases)}
    groups = {"app_servers": {"hosts": hosts}, "over_ssh": {"hosts": {name: {} for name in hosts}}}
    path.write_text(yaml.safe_dump(groups), encoding="utf-8")
    done = playbook(name, f"--inventory={path}", "--limit=case*", **variables)
    return read(done.returncode, done.stdout)


def read(returncode: int, output: str) -> Run:
    recap = RECAP.findall(output)
    # The controller checks the groups: it counts only when it did more than that.
    hosts = [line for line in recap if line[0] != "localhost" or any(map(int, line[1:]))]
    return Run(
        returncode,
        output,
        [(host, yaml.safe_load(block)["msg"]) for host, block in FATAL.findall(output)],
        {host: int(changed) for host, changed, _, _ in hosts},
        {host: int(failed) for host, _, failed, _ in hosts},
        {host: int(rescued) for host, _, _, rescued in hosts},
    )


def inside(name: str, script: str) -> str:
    """Run a shell script in the container of a platform."""
    container = f"fs-{os.environ['MOLECULE_SCENARIO_NAME']}-{name}"
    done = subprocess.run(
        ["docker", "exec", "--interactive", container, "sh", "-s"],
        check=True,
        capture_output=True,
        text=True,
        input=script,
    )
    return done.stdout


def snapshot(name: str) -> list[str]:
    return inside(name, SNAPSHOT).splitlines()


def difference(before: list[str], after: list[str]) -> list[str]:
    gone, new = Counter(before) - Counter(after), Counter(after) - Counter(before)
    return sorted([f"gone: {line}" for line in gone] + [f"new: {line}" for line in new])
