# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.realtime.flask_socketio.plugins.filter.rabbitmq_definitions import (
    rabbitmq_definitions,
)

PASSWORD = "a long secret"
# What a fresh RabbitMQ 3.10 has.
FRESH: dict[str, Any] = {
    "rabbit_version": "3.10.8",
    "users": [{"name": "guest", "password_hash": "AAAA", "tags": ["administrator"], "limits": {}}],
    "vhosts": [{"name": "/", "limits": [], "metadata": {"description": "Default virtual host"}}],
    "permissions": [
        {"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
    ],
    "policies": [],
}


def missing(present: dict[str, Any], **changes: Any) -> dict[str, list[dict[str, Any]]]:
    wanted = {"name": "chat", "channel": "chat", "password": PASSWORD, "queue_bytes": 64}
    return rabbitmq_definitions(json.dumps(present), **(wanted | changes))


def imported(present: dict[str, Any], new: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The definitions afterwards, with what RabbitMQ adds of its own."""
    extra = {"users": {"limits": {}}, "vhosts": {"limits": [], "metadata": {"tags": []}}}
    return present | {
        kind: present[kind] + [one | extra.get(kind, {}) for one in new.get(kind, [])]
        for kind in ("users", "vhosts", "permissions", "policies")
    }


def test_a_fresh_server_lacks_everything() -> None:
    new = missing(FRESH)
    (user,) = new.pop("users")
    kept = base64.b64decode(user.pop("password_hash"))
    assert kept[4:] == hashlib.sha256(kept[:4] + PASSWORD.encode()).digest()
    assert user == {
        "name": "chat",
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": [],
    }
    own = r"^(chat|python-socketio\..+)$"
    assert new == {
        "vhosts": [{"name": "chat"}],
        "permissions": [
            {"user": "chat", "vhost": "chat", "configure": own, "write": own, "read": own}
        ],
        "policies": [
            {
                "vhost": "chat",
                "name": "flask-socketio",
                "pattern": r"^python-socketio\..+$",
                "apply-to": "queues",
                "priority": 0,
                "definition": {"max-length-bytes": 64, "overflow": "drop-head"},
            }
        ],
    }


def test_nothing_is_missing_once_it_was_imported() -> None:
    assert missing(imported(FRESH, missing(FRESH))) == {}


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"password": "another"}, ["users"]),
        ({"channel": "other"}, ["permissions"]),
        ({"queue_bytes": 65}, ["policies"]),
        ({"name": "other"}, ["permissions", "policies", "users", "vhosts"]),
    ],
)
def test_a_change_is_imported_alone(change: dict[str, Any], kinds: list[str]) -> None:
    assert sorted(missing(imported(FRESH, missing(FRESH)), **change)) == kinds


@pytest.mark.parametrize(
    "more",
    [{"tags": ["administrator"]}, {"hashing_algorithm": "rabbit_password_hashing_md5"}],
)
def test_a_user_who_may_more_is_mended(more: dict[str, Any]) -> None:
    present = imported(FRESH, missing(FRESH))
    present["users"][1] |= more
    assert list(missing(present)) == ["users"]


@pytest.mark.parametrize("kept", ["", "not base64!", "AAAA", None])
def test_a_user_without_this_password_is_mended(kept: str | None) -> None:
    present = imported(FRESH, missing(FRESH))
    present["users"][1]["password_hash"] = kept
    assert list(missing(present)) == ["users"]


def test_permissions_are_of_this_channel_only() -> None:
    (allowed,) = missing(FRESH, channel="a.b")["permissions"]
    may = re.compile(allowed["configure"])
    assert may.search("a.b")
    assert may.search("python-socketio.3f0c")
    for other in ("a-b", "a.bc", "amq.fanout", "python-socketio-x", "", "x python-socketio.1"):
        assert not may.search(other), other


@pytest.mark.parametrize("text", ["", "[]", "{'a': 1}", '{"users": [{"password_hash": "s3cr3t"}]}'])
def test_what_is_not_rabbitmqs_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(AnsibleFilterError) as refused:
        rabbitmq_definitions(text, "chat", "chat", "s3cr3t", 1)
    assert "s3cr3t" not in str(refused.value)
