"""A converged scenario, converged again in check mode, must report no change on any host."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=0\b", re.MULTILINE)


def check_mode(playbook: Path) -> tuple[str, dict[str, int]]:
    """Run a playbook with --check --diff; return its output and the changes of each host."""
    done = subprocess.run(
        [
            "ansible-playbook",
            "--check",
            "--diff",
            "--inventory",
            os.environ["MOLECULE_INVENTORY_FILE"],
            str(playbook),
        ],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"},
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output, {host: int(changed) for host, changed in RECAP.findall(output)}


def test_converge_in_check_mode_changes_nothing() -> None:
    playbook = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "converge.yml"
    output, changes = check_mode(playbook)
    assert changes, f"no host in the recap:\n{output}"
    assert not any(changes.values()), output


def test_a_change_in_check_mode_is_seen(tmp_path: Path) -> None:
    """Negative control: the same reading of the recap must notice a task that would change."""
    playbook = tmp_path / "changes.yml"
    playbook.write_text(
        "- hosts: all\n"
        "  gather_facts: false\n"
        "  tasks:\n"
        "    - ansible.builtin.copy:\n"
        "        content: x\n"
        "        dest: /etc/not-there\n"
        '        mode: "0600"\n',
        encoding="utf-8",
    )
    _, changes = check_mode(playbook)
    assert changes
    assert all(changed == 1 for changed in changes.values())
