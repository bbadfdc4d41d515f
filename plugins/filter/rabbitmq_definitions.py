# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What RabbitMQ lacks of one app's user, virtual host, permissions and policy."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: rabbitmq_definitions
short_description: Say what must be imported into RabbitMQ for one app
version_added: 0.1.0
description:
  - Compares what C(rabbitmqctl export_definitions) prints with what one app needs, and returns what
    C(rabbitmqctl import_definitions) must be given, with the password hashed as RabbitMQ keeps it.
  - The app's user may declare, write and read what python-socketio's KombuManager uses, in the
    app's own virtual host, and nothing else.
options:
  _input:
    description: The definitions that RabbitMQ has, as JSON.
    type: str
    required: true
  name:
    description: The app's name, which its user and its virtual host have.
    type: str
    required: true
  channel:
    description: The name of the app's exchange.
    type: str
    required: true
  password:
    description: The user's password.
    type: str
    required: true
  queue_bytes:
    description: Bytes that a queue may hold before it drops its oldest messages.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Show what is missing
  ansible.builtin.debug:
    msg: >-
      {{ exported.stdout
         | realtime.flask_socketio.rabbitmq_definitions('chat', 'chat', password, 64000000) }}
"""

RETURN = r"""
_value:
  description: The definitions to import; empty when RabbitMQ has them all.
  type: dict
"""

# Every process has a queue of its own, which python-socketio names so.
QUEUES = r"python-socketio\..+"
HASHING = "rabbit_password_hashing_sha256"


def _hashed(password: str, salt: bytes) -> str:
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _is_password(user: Mapping[str, Any], password: str) -> bool:
    """Whether it is the user's; the first four bytes of a hash are its salt."""
    kept = str(user.get("password_hash", ""))
    try:
        salt = base64.b64decode(kept, validate=True)[:4]
    except ValueError:
        return False
    return user.get("hashing_algorithm") == HASHING and hmac.compare_digest(
        kept, _hashed(password, salt)
    )


def _has(present: Iterable[Mapping[str, Any]], wanted: Mapping[str, Any]) -> bool:
    """Whether one of them is as wanted; what RabbitMQ adds of its own does not count."""
    return any(wanted.items() <= dict(one).items() for one in map(_plain, present))


def _plain(one: Mapping[str, Any]) -> dict[str, Any]:
    # Only what can be compared as a whole.
    return {key: json.dumps(value, sort_keys=True) for key, value in one.items()}


def rabbitmq_definitions(
    exported: str, name: str, channel: str, password: str, queue_bytes: int
) -> dict[str, list[dict[str, Any]]]:
    """Return the definitions that are missing or differ.

    Raises AnsibleFilterError when the input is not what RabbitMQ prints; the message never holds
    a part of it, which has the hashes of passwords.
    """
    try:
        present = json.loads(exported)
        users = {user["name"]: user for user in present.get("users", [])}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(
            f"rabbitmq_definitions: the input is not RabbitMQ's JSON: {type(error).__name__}"
        ) from None

    wanted = {
        "vhosts": {"name": name},
        "permissions": {"user": name, "vhost": name}
        | dict.fromkeys(("configure", "write", "read"), rf"^({re.escape(channel)}|{QUEUES})$"),
        "policies": {
            "vhost": name,
            "name": "flask-socketio",
            "pattern": rf"^{QUEUES}$",
            "apply-to": "queues",
            "priority": 0,
            "definition": {"max-length-bytes": int(queue_bytes), "overflow": "drop-head"},
        },
    }
    missing = {
        kind: [one] for kind, one in wanted.items() if not _has(present.get(kind, []), _plain(one))
    }
    if not _is_password(users.get(name, {}), password) or users[name].get("tags"):
        missing["users"] = [
            {
                "name": name,
                "password_hash": _hashed(password, secrets.token_bytes(4)),
                "hashing_algorithm": HASHING,
                "tags": [],
            }
        ]
    return missing


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"rabbitmq_definitions": rabbitmq_definitions}
