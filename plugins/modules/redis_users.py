#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users in a Redis server's ACL file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_users
short_description: Write users into Redis's ACL file and tell the running server of them
version_added: 0.2.0
description:
  - The file that C(aclfile) in C(redis.conf) names. Users of whom nothing is said here stay.
  - A running server is told of each change by C(ACL SETUSER) and C(ACL DELUSER), because
    C(ACL LOAD) closes the connections of every user, before Redis 7.2 of those that stay too. What
    it refuses is not written.
options:
  path:
    description: The ACL file.
    type: path
    required: true
  users:
    description: Name and rules of each user, the rules as one string.
    type: dict
    default: {}
  absent:
    description: Names of users that must not be there.
    type: list
    elements: str
    default: []
  socket:
    description: The server's address, a unix socket's path or host:port.
    type: str
    required: true
  login_user:
    description: A user who may call C(ACL SETUSER) and C(ACL DELUSER).
    type: str
    required: true
  login_password:
    description: This user's password.
    type: str
    required: true
extends_documentation_fragment:
  - ansible.builtin.files
attributes:
  check_mode:
    description: Compares, writes nothing and tells the server nothing.
    support: full
author:
  - The realtime.flask_socketio contributors (@realtime)
"""

EXAMPLES = r"""
- name: Let an app use its channel
  realtime.flask_socketio.redis_users:
    path: /etc/redis/users.acl
    owner: root
    group: redis
    mode: "0640"
    users:
      chat: "on #{{ chat_password | hash('sha256') }} &chat -@all +hello +publish +subscribe"
    socket: /run/redis/admin.sock
    login_user: admin
    login_password: "{{ admin_password }}"
"""

RETURN = r"""
existed:
  description: Whether there was an ACL file.
  type: bool
  returned: success
users:
  description: Names of all users that are in the file now.
  type: list
  elements: str
  returned: success
applied:
  description: >-
    False when a change could not be told, because the server does not run or does not accept the
    login: it learns of its users when it is started.
  type: bool
  returned: success
"""

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.realtime.flask_socketio.plugins.module_utils.redis_protocol import (
    RedisConnection,
    RedisRefused,
)


def parse(text: str) -> dict[str, str]:
    """Return name and rules of each user, in the file's order."""
    users = {}
    for line in text.splitlines():
        words = line.split(None, 2)
        if len(words) >= 2 and words[0] == "user":
            users[words[1]] = " ".join(words[2:])
    return users


def render(users: dict[str, str]) -> str:
    """Return the file's text; Redis allows no comments there."""
    return "".join(f"user {name} {rules}".rstrip() + "\n" for name, rules in users.items())


def write(path: Path, text: str) -> None:
    """Replace the file as a whole with one that only its owner can read; raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        if path.exists():
            # As it was from the beginning: the server may read it any time.
            former = path.stat()
            os.chown(name, former.st_uid, former.st_gid)
            Path(name).chmod(former.st_mode & 0o7777)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def apply(login: list[str], changed: dict[str, str], gone: list[str]) -> bool:
    """Tell the running server; false when it does not run or does not know the login.

    Raises RedisRefused when the server refuses a rule.
    """
    try:
        with RedisConnection(*login) as server:
            for name, rules in changed.items():
                server.call("ACL", "SETUSER", name, "reset", *rules.split())
            if gone:
                server.call("ACL", "DELUSER", *gone)
    except OSError:
        return False
    except RedisRefused as refusal:
        if str(refusal).startswith(("WRONGPASS", "NOPERM")):
            return False
        raise
    return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "users": {"type": "dict", "default": {}},
            "absent": {"type": "list", "elements": "str", "default": []},
            "socket": {"type": "str", "required": True},
            "login_user": {"type": "str", "required": True},
            "login_password": {"type": "str", "required": True, "no_log": True},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    login = [module.params[name] for name in ("socket", "login_user", "login_password")]
    existed = path.exists()
    applied = True
    try:
        former = parse(path.read_text(encoding="utf-8")) if existed else {}
        gone = [name for name in module.params["absent"] if name in former]
        different = {n: r for n, r in module.params["users"].items() if former.get(n) != r}
        users = {name: rules for name, rules in (former | different).items() if name not in gone}
        changed = bool(different or gone)
        if changed and not module.check_mode:
            # The server first: what it refuses is not kept for its next start.
            applied = apply(login, different, gone)
            write(path, render(users))
        if path.exists():
            arguments = module.load_file_common_arguments(module.params, path=str(path))
            changed = module.set_fs_attributes_if_different(arguments, changed)
    except RedisRefused as refusal:
        module.fail_json(msg=f"Redis refuses the users, so {path} stays as it was: {refusal}")
    except OSError as error:
        module.fail_json(msg=f"can't write the users into {path}: {error}")
    module.exit_json(changed=changed, existed=existed, users=list(users), applied=applied)


if __name__ == "__main__":
    main()
