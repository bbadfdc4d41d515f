# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ansible_collections.realtime.flask_socketio.plugins.filter.instance_backends import (
    instance_backends,
)


def test_one_backend_for_each_instance_in_order() -> None:
    assert instance_backends("chat", "355f533c3d", 2) == [
        {"name": "chat-355f533c3d@1", "address": "/run/chat/355f533c3d-1.sock"},
        {"name": "chat-355f533c3d@2", "address": "/run/chat/355f533c3d-2.sock"},
    ]


def test_no_instances_no_backends() -> None:
    assert instance_backends("chat", "355f533c3d", 0) == []


def test_apps_and_generations_share_nothing() -> None:
    names = [
        text
        for app, generation in [("a", "0" * 10), ("a", "1" * 10), ("a-b", "0" * 10)]
        for backend in instance_backends(app, generation, 2)
        for text in backend.values()
    ]
    assert len(names) == len(set(names)) == 12


def test_a_socket_of_the_longest_name_fits_into_a_socket_address() -> None:
    (backend,) = instance_backends("a" * 31, "0" * 10, 1)
    assert len(backend["address"].encode()) < 108
