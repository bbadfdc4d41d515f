#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks an application what its Socket.IO server is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_inspect
short_description: Ask a Flask-SocketIO application what it is, before it serves
version_added: 0.1.0
description:
  - Imports the application in its own virtualenv, as its own user and with its own environment,
    in a transient systemd unit, and returns what its Socket.IO server is.
  - Returns the cause and the remedy as RV(refusal) when the application can't be imported, is no
    Flask-SocketIO application, or contradicts the server that is to run it. The caller fails with
    it, after it removed what must not stay.
  - Changes nothing; the transient unit is gone when the module returns.
options:
  command:
    description: The launcher with its arguments; it reads O(script) from standard input.
    type: list
    elements: str
    required: true
  script:
    description: The inspector's text.
    type: str
    required: true
  target:
    description: The application as C(module:callable), for messages.
    type: str
    required: true
  user:
    description: The system user to ask as.
    type: str
    required: true
  directory:
    description: The working directory, which holds the application's code.
    type: path
    required: true
  environment_file:
    description: A systemd EnvironmentFile.
    type: path
    required: true
  properties:
    description: Further properties of the transient unit, such as C(ReadWritePaths=/srv/uploads).
    type: list
    elements: str
    default: []
  async_mode:
    description: The C(async_mode) that the server can run.
    type: str
    required: true
  server:
    description: What the server is called in messages.
    type: str
    required: true
  instances:
    description: How many processes are to serve the application, on all nodes together.
    type: int
    default: 1
  channel:
    description: >-
      The channel of the message queue that the application was given; empty when it was given none.
    type: str
    default: ""
  websocket_only:
    description: >-
      Whether the front door ties no client to an instance, so that the application must not accept
      polling.
    type: bool
    default: false
  timeout:
    description: Seconds after which the question is given up.
    type: int
    default: 60
attributes:
  check_mode:
    description: Asks in check mode too, because asking changes nothing.
    support: full
author:
  - The realtime.flask_socketio contributors (@realtime)
"""

EXAMPLES = r"""
- name: Ask the app
  realtime.flask_socketio.app_inspect:
    command: [/opt/chat/current/venv/bin/python, "-", --patch=gevent, "chat:app"]
    script: "{{ lookup('ansible.builtin.file', 'inspect_app.py') }}"
    target: chat:app
    user: chat
    directory: /opt/chat/current/src
    environment_file: /etc/flask-socketio/chat/environment
    async_mode: gevent
    server: gunicorn
"""

RETURN = r"""
refusal:
  description: Why the application must not be served, and the remedy.
  type: str
  returned: when there is a reason
app:
  description: What the application's Socket.IO server is.
  type: dict
  returned: when the application could be asked
  contains:
    async_mode:
      description: C(gevent), C(threading), C(eventlet) or C(gevent_uwsgi).
      type: str
    path:
      description: The Socket.IO path without slashes at its ends.
      type: str
    manager:
      description: The class of the client manager.
      type: str
    has_queue:
      description: Whether the client manager reaches other processes.
      type: bool
    channel:
      description: The client manager's channel; none without a queue.
      type: str
    queue_scheme:
      description: The scheme of the queue's URL; none when it is not known.
      type: str
    queue_address:
      description: The queue's URL without user and password; none when it is not known.
      type: str
    queue_is_given:
      description: >-
        Whether the queue is the one in the environment's C(SOCKETIO_MESSAGE_QUEUE); none when
        there is none of both.
      type: bool
    queue_error:
      description: Why the queue can't be used from this host; none when it can or was not tried.
      type: str
    missing_queue_client:
      description: The package that the client manager will miss when it connects; none else.
      type: str
    patched:
      description: Whether sockets are monkey patched; none where they need not be.
      type: bool
    ping_interval:
      description: Seconds, with the grace period.
      type: int
    ping_timeout:
      description: Seconds.
      type: int
    max_http_buffer_size:
      description: Bytes.
      type: int
    cors_allowed_origins:
      description: As the application gave it; C(callable) for a function.
      type: raw
    polling:
      description: Whether the server accepts the polling transport.
      type: bool
    websocket:
      description: Whether the server accepts the websocket transport.
      type: bool
    websocket_driver:
      description: Whether what the async_mode needs for WebSocket is installed.
      type: bool
    uwsgi_has_ssl:
      description: Whether the uWSGI that asked was built with SSL; none outside of uWSGI.
      type: bool
    worker:
      description: The class of gunicorn's worker; none with another server.
      type: str
    worker_error:
      description: Why gunicorn can't load that worker; none when it can.
      type: str
versions:
  description: Versions of the installed packages that decide what works.
  type: dict
  returned: when there was an answer
"""

import platform

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.realtime.flask_socketio.plugins.module_utils.findings import (
    findings,
    parse,
    refusal,
    warnings,
)
from ansible_collections.realtime.flask_socketio.plugins.module_utils.sandbox import systemd_run


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "command": {"type": "list", "elements": "str", "required": True},
            # Not in every journal: it is long.
            "script": {"type": "str", "required": True, "no_log": True},
            "target": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "environment_file": {"type": "path", "required": True},
            "properties": {"type": "list", "elements": "str", "default": []},
            "async_mode": {"type": "str", "required": True},
            "server": {"type": "str", "required": True},
            "instances": {"type": "int", "default": 1},
            "channel": {"type": "str", "default": ""},
            "websocket_only": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    p = module.params
    rc, stdout, stderr = module.run_command(
        systemd_run(
            p["command"],
            user=p["user"],
            directory=p["directory"],
            environment_file=p["environment_file"],
            timeout=p["timeout"],
            properties=p["properties"],
        ),
        data=p["script"],
        binary_data=False,
    )
    answer = parse(stdout)
    if answer is None:
        said = "\n".join((stdout + stderr).strip().splitlines()[-8:])
        module.exit_json(
            refusal=f"app_module {p['target']!r}: the app gave no answer (exit code {rc}) within "
            f"{p['timeout']} s. Its last words:\n{said}\n"
            "Remedy: keep what blocks or exits, such as socketio.run(app), under "
            "if __name__ == '__main__'."
        )
    if "error" in answer:
        module.exit_json(refusal=refusal(p["target"], answer["error"]), versions=answer["versions"])
    for warning in warnings(answer["app"], answer["versions"], p["server"]):
        module.warn(warning)
    found = findings(
        answer["app"],
        answer["versions"],
        p["async_mode"],
        p["server"],
        p["instances"],
        p["channel"],
        p["websocket_only"],
        platform.node(),
    )
    if found:
        module.exit_json(refusal=f"app_module {p['target']!r}: " + "\n".join(found), **answer)
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
