#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a command of an application as the application."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_command
short_description: Run a command in an application's release, as its user and with its environment
version_added: 0.1.0
description:
  - Runs a command, such as a migration of the database, in a transient systemd unit like the one
    in which M(realtime.flask_socketio.app_inspect) asks the application.
  - Neither the command nor the environment stands in an argument of a process. A command takes
    its secrets from the environment.
  - Fails with the last lines of the command's output when its exit code is not 0, or when it does
    not end in time.
options:
  command:
    description: What C(/bin/sh) is to run. It has no standard input.
    type: str
    required: true
  name:
    description: Which setting the command is from, for messages.
    type: str
    required: true
  unit:
    description: >-
      The transient unit's name. While a command of that name runs, no other starts.
    type: str
    required: true
  user:
    description: The system user.
    type: str
    required: true
  directory:
    description: The working directory.
    type: path
    required: true
  environment_file:
    description: A systemd EnvironmentFile.
    type: path
    required: true
  defaults:
    description: Variables of the environment that are set unless the environment has them.
    type: dict
    default: {}
  path:
    description: A directory that comes first on C(PATH), such as that of the virtualenv's programs.
    type: path
    required: true
  properties:
    description: Further properties of the transient unit, such as C(ReadWritePaths=/srv/uploads).
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds after which the command is killed.
    type: int
    default: 900
attributes:
  check_mode:
    description: Runs nothing.
    support: full
author:
  - The realtime.flask_socketio contributors (@realtime)
"""

EXAMPLES = r"""
- name: Migrate the database
  realtime.flask_socketio.app_command:
    command: flask db upgrade
    name: app_migration
    unit: chat-migration
    user: chat
    directory: /opt/chat/current/src
    environment_file: /etc/flask-socketio/chat/environment
    path: /opt/chat/current/venv/bin
    defaults:
      FLASK_APP: chat:app
"""

RETURN = r"""
output:
  description: What the command said, on both streams.
  type: str
  returned: when it ran
seconds:
  description: How long it took.
  type: float
  returned: when it ran
"""

import shlex
import time
from collections.abc import Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.realtime.flask_socketio.plugins.module_utils.sandbox import systemd_run

# The text itself comes by standard input, which the command then has not.
SHELL = ("/bin/sh", "-c", 'eval "$(cat)" </dev/null 2>&1')
SHOWN_LINES = 20


def script(command: str, path: str, defaults: Mapping[str, str]) -> str:
    """Return the text for the shell."""
    lines = [f"PATH={shlex.quote(path)}:$PATH", "export PATH"]
    for name, value in defaults.items():
        lines.append(f'[ -n "${{{name}+x}}" ] || export {name}={shlex.quote(str(value))}')
    return "\n".join([*lines, command, ""])


def failure(
    name: str, command: str, unit: str, code: int, output: str, seconds: float, timeout: int
) -> str:
    """Return why the command failed, and what is left to see of it."""
    if code == 1 and f"{unit}.service was already loaded" in output:
        return (
            f"{name} is {command!r}: another command of the app still runs, as {unit}.service. "
            f"Wait until it has ended, or stop it: systemctl stop {unit}"
        )
    ended = f"did not end within {timeout} s" if seconds >= timeout else f"exit code {code}"
    said = output.strip().splitlines()[-SHOWN_LINES:]
    last = ["Its last words:", *said] if said else ["It said nothing."]
    return "\n".join([f"{name} is {command!r}: {ended}. {last[0]}", *last[1:]])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "command": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "unit": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "environment_file": {"type": "path", "required": True},
            "defaults": {"type": "dict", "default": {}},
            "path": {"type": "path", "required": True},
            "properties": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )
    p = module.params
    if module.check_mode:
        module.exit_json(changed=True)
    line = systemd_run(
        SHELL,
        user=p["user"],
        directory=p["directory"],
        environment_file=p["environment_file"],
        timeout=p["timeout"],
        properties=p["properties"],
        unit=p["unit"],
    )
    began = time.monotonic()
    code, stdout, stderr = module.run_command(
        line, data=script(p["command"], p["path"], p["defaults"]), binary_data=False
    )
    seconds = time.monotonic() - began
    output = stdout + stderr
    if code:
        told = failure(p["name"], p["command"], p["unit"], code, output, seconds, p["timeout"])
        module.fail_json(msg=told, output=output, seconds=round(seconds, 1))
    module.exit_json(changed=True, output=output, seconds=round(seconds, 1))


if __name__ == "__main__":
    main()
