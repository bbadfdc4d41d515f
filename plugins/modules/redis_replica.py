#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Redis server's place among those that Sentinels watch."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_replica
short_description: Make a Redis server a replica of the primary that the Sentinels know
version_added: 0.2.0
description:
  - Asks all Sentinels which server is the primary; the answer of the latest failover counts. When
    none answers it is the one that this server's own role tells, or O(initial).
  - Only a server that is a primary beside the real one is changed. What follows another is the
    Sentinels' to mend.
  - Nothing of it is written to a file. After a failover a server that comes back must not follow
    the former primary.
options:
  socket:
    description: The server's address, a unix socket's path or host:port.
    type: str
    required: true
  login_user:
    description: A user who may call C(ROLE) and C(REPLICAOF).
    type: str
    required: true
  login_password:
    description: This user's password.
    type: str
    required: true
  address:
    description: The address by which the others reach this server, an IP address and a port.
    type: str
    required: true
  initial:
    description: Such an address, of the primary where there has been none.
    type: str
    required: true
  sentinels:
    description: The Sentinels' addresses, host:port.
    type: list
    elements: str
    required: true
  service:
    description: The name by which the Sentinels know the servers.
    type: str
    required: true
  watched:
    description: >-
      Wait until each Sentinel knows all others and a replica on each of their hosts but one, so
      that a failover can succeed.
    type: bool
    default: false
  timeout:
    description: Seconds to wait, for the primary to be followed and for O(watched).
    type: int
    default: 30
attributes:
  check_mode:
    description: Asks, and changes nothing.
    support: full
author:
  - The realtime.flask_socketio contributors (@realtime)
"""

EXAMPLES = r"""
- name: Follow the primary
  realtime.flask_socketio.redis_replica:
    socket: /run/redis/admin.sock
    login_user: admin
    login_password: "{{ admin_password }}"
    address: 10.0.0.6:6380
    initial: 10.0.0.5:6380
    sentinels: [10.0.0.5:26380, 10.0.0.6:26380, 10.0.0.7:26380]
    service: flask-socketio
"""

RETURN = r"""
primary:
  description: The primary's address.
  type: str
  returned: success
"""

import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.realtime.flask_socketio.plugins.module_utils.redis_protocol import (
    RedisConnection,
    RedisRefused,
)


def ask(sentinel: str, service: str) -> dict[str, str]:
    """Return what the Sentinel says of the primary, nothing when it does not answer or know it."""
    try:
        with RedisConnection(sentinel, timeout=2) as connection:
            said = connection.call("SENTINEL", "MASTER", service)
    except (OSError, RedisRefused):
        return {}
    return dict(zip(said[::2], said[1::2], strict=True))


def find_primary(answers: list[dict[str, str]], role: list[Any], address: str, initial: str) -> str:
    """Return the primary's address.

    answers: of the Sentinels; role: what the server says of itself, empty when it does not run.
    """
    known = [answer for answer in answers if answer]
    if known:
        latest = max(known, key=lambda answer: int(answer["config-epoch"]))
        return f"{latest['ip']}:{latest['port']}"
    if role[:1] == ["slave"]:
        return f"{role[1]}:{role[2]}"
    return address if role[:1] == ["master"] and role[2] else initial


def complete(answer: dict[str, str], sentinels: int) -> bool:
    """Tell whether the Sentinel knows all others and all replicas, and sees the primary."""
    return (
        answer.get("flags") == "master"
        and int(answer["num-slaves"]) >= sentinels - 1
        and int(answer["num-other-sentinels"]) >= sentinels - 1
    )


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Tell whether it came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "str", "required": True},
            "login_user": {"type": "str", "required": True},
            "login_password": {"type": "str", "required": True, "no_log": True},
            "address": {"type": "str", "required": True},
            "initial": {"type": "str", "required": True},
            "sentinels": {"type": "list", "elements": "str", "required": True},
            "service": {"type": "str", "required": True},
            "watched": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    option = module.params
    sentinels, service = option["sentinels"], option["service"]

    def server(*words: str) -> Any:
        login = (option["socket"], option["login_user"], option["login_password"])
        with RedisConnection(*login) as connection:
            return connection.call(*words)

    try:
        try:
            role = server("ROLE")
        except OSError:
            if not module.check_mode:
                raise
            role = []
        answers = [ask(sentinel, service) for sentinel in sentinels]
        primary = find_primary(answers, role, option["address"], option["initial"])
        changed = role[:1] in ([], ["master"]) and primary != option["address"]
        if changed and not module.check_mode:
            server("REPLICAOF", *primary.rsplit(":", 1))
            if not wait(lambda: server("ROLE")[3:4] == ["connected"], option["timeout"]):
                module.fail_json(
                    msg=f"{option['address']} can't follow the primary {primary} after "
                    f"{option['timeout']} s: is Redis running there and its port reachable? Run "
                    "this for all of the Sentinels' hosts, without --limit."
                )
        if option["watched"] and not module.check_mode:

            def all_complete() -> bool:
                return all(complete(ask(each, service), len(sentinels)) for each in sentinels)

            if not wait(all_complete, option["timeout"]):
                module.fail_json(
                    msg=f"after {option['timeout']} s not all of the Sentinels {sentinels} know "
                    "each other and all replicas: are their ports reachable from each other?"
                )
    except (OSError, RedisRefused) as error:
        module.fail_json(msg=f"{option['socket']}: {error}")
    module.exit_json(changed=changed, primary=primary)


if __name__ == "__main__":
    main()
