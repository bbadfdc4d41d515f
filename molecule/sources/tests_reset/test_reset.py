"""playbooks/reset.yml for one app among others, and the same once more."""

from __future__ import annotations

import asyncio
import re

import pytest
import socketio.exceptions
from stack import playbook

testinfra_hosts = ["node1"]

APP = "fetched"
# Its name begins with that app's.
OTHER = "fetched-by-git"
# What changes by itself, and by Ansible's way of working.
RESTLESS = re.compile(
    r"/(root/\.ansible|run/(systemd|user|log)|tmp|var/lib/systemd|var/log/journal)(/|$)"
)
BELONGS = re.compile(
    r"/opt/fetched(/.*)?"
    r"|/etc/flask-socketio/fetched(/.*)?"
    r"|/etc/systemd/system/fetched-[0-9a-f]{10}@\.service"
    r"|/etc/systemd/system/fetched\.target"
    r"|/etc/systemd/system/fetched\.target\.wants(/fetched-[0-9a-f]{10}@1\.service)?"
    r"|/etc/systemd/system/multi-user\.target\.wants/fetched\.target"
    r"|/etc/nginx/conf\.d/flask-socketio-fetched\.conf"
    r"|/var/log/nginx/flask-socketio-fetched\.log"
    r"|/run/fetched(/[0-9a-f]{10}-1\.(sock|drain))?"
    r"|/var/lib/flask-socketio/fetched"
    r"|/var/tmp/systemd-private-[0-9a-f]{32}-fetched-[0-9a-f]{10}@1\.service-\w+(/tmp)?"
)


def files(host):
    found = host.check_output("find / /run -xdev -print").splitlines()
    return {path for path in found if not RESTLESS.match(path)}


def users(host):
    return set(host.check_output("getent passwd; getent group").splitlines())


def units(host):
    listed = host.check_output("systemctl list-units --all --plain --no-legend '*@*' '*.target'")
    return {line.split()[0] for line in listed.splitlines() if "not-found" not in line}


def reset():
    """Reset the app; return the number of changes."""
    done = playbook("playbooks/reset.yml", app_name=APP)
    assert done.returncode == 0, done.stdout
    recap = re.search(r"^node1 .* changed=(\d+) .* failed=0 ", done.stdout, re.MULTILINE)
    assert recap, done.stdout
    return int(recap[1])


def test_reset_removes_one_app_and_cuts_nobody_else(host, connected, expected, whoami):
    before = {"files": files(host), "users": users(host), "units": units(host)}
    assert whoami(APP) == expected[APP]

    async def reset_while_connected():
        async with connected(OTHER) as client:
            changes = await asyncio.to_thread(reset)
            answer = await client.call("whoami", timeout=5)
            return changes, client.transport(), answer["source"]

    changes, *answer = asyncio.run(reset_while_connected())
    assert changes > 0
    assert answer == ["websocket", expected[OTHER]["source"]]

    after = {"files": files(host), "users": users(host), "units": units(host)}
    gone = before["files"] - after["files"]
    assert sorted(path for path in gone if not BELONGS.fullmatch(path)) == []
    assert sorted(after["files"] - before["files"]) == []
    # What is left of the app by name, whatever it may be.
    assert [path for path in after["files"] if APP in path.replace(OTHER, "")] == []
    assert {line.split(":")[0] for line in before["users"] - after["users"]} == {APP}
    assert after["users"] - before["users"] == set()
    stopped = before["units"] - after["units"]
    assert sorted(re.sub("[0-9a-f]{10}", "", unit) for unit in stopped) == [
        f"{APP}-@1.service",
        f"{APP}.target",
    ]
    assert after["units"] - before["units"] == set()
    assert host.run("pgrep -u %s", APP).rc != 0


def test_the_other_apps_serve(whoami, expected):
    for app in set(expected) - {APP}:
        assert whoami(app) == expected[app]


def test_the_name_is_served_no_longer(whoami):
    with pytest.raises(socketio.exceptions.ConnectionError):
        whoami(APP)


def test_a_second_reset_changes_nothing(host):
    before = files(host)
    assert reset() == 0
    assert files(host) == before
