# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ansible_collections.realtime.flask_socketio.plugins.filter.listeners import listeners

SS = """\
LISTEN 0      511    0.0.0.0:80        0.0.0.0:* users:(("nginx",pid=8,fd=5),("nginx",pid=7,fd=5))
LISTEN 0      511             [::]:80           [::]:* users:(("nginx",pid=8,fd=6))
LISTEN 0      4096   127.0.0.11%lo:8080      0.0.0.0:*
LISTEN 0      511                *:443             *:* users:(("apache2",pid=3,fd=4))
"""


def test_each_program_once_for_each_port() -> None:
    assert listeners(SS) == [
        {"port": 80, "program": "nginx"},
        {"port": 8080, "program": "another program"},
        {"port": 443, "program": "apache2"},
    ]


def test_nobody_listens() -> None:
    assert listeners("") == []


def test_a_program_without_a_name_is_called_by_its_unit() -> None:
    where = "cgroup:/docker/4fe7/system.slice/redis-server.service"
    assert listeners(
        f"LISTEN 0 511 127.0.0.1:6379 0.0.0.0:* {where}\n"
        f'LISTEN 0 511 127.0.0.1:6380 0.0.0.0:* users:(("redis-server",pid=8,fd=5)) {where}\n'
        "LISTEN 0 511 127.0.0.1:6381 0.0.0.0:* cgroup:/\n"
    ) == [
        {"port": 6379, "program": "redis-server.service"},
        {"port": 6380, "program": "redis-server"},
        {"port": 6381, "program": "another program"},
    ]
