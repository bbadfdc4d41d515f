"""What does not fit together is refused with one message, and the stack is left as it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from refusals import deploy, difference, read, snapshot
from stack import playbook

NODE = "node1"


@pytest.fixture
def inventory() -> Iterator[Callable[[Callable[[dict[str, Any]], None]], Path]]:
    """Make another inventory of the one that there is."""
    whole = Path(os.environ["MOLECULE_INVENTORY_FILE"])
    path = whole.with_name("other.yml")

    def make(change: Callable[[dict[str, Any]], None]) -> Path:
        found = yaml.safe_load(whole.read_text("utf-8"))
        change(found)
        path.write_text(yaml.safe_dump(found), "utf-8")
        return path

    yield make
    path.unlink()


def no_queue_host(groups: dict[str, Any]) -> None:
    groups["message_queue"]["hosts"] = {}


def no_balancer(groups: dict[str, Any]) -> None:
    groups["load_balancers"]["hosts"] = {}


def no_node(groups: dict[str, Any]) -> None:
    groups["app_servers"]["hosts"] = {}


def balancer_is_node(groups: dict[str, Any]) -> None:
    groups["load_balancers"]["hosts"] = {NODE: {}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_queue_host, "The group message_queue is []: message_queue is redis and there are 2 "),
        (no_balancer, "The group load_balancers is []: name at least one host in it, or remove"),
        (no_node, "The group app_servers is []: name at least one host that is to run the app."),
        (balancer_is_node, "The group load_balancers is ['node1']: node1 is in app_servers too,"),
    ],
)
def test_groups(inventory, change, message):
    done = playbook("playbooks/site.yml", inventory=inventory(change))
    run = read(done.returncode, done.stdout)
    assert run.refused, run.output
    assert run.message.startswith(message)
    assert set(run.changed.values()) == {0}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"message_queue": "redis://localhost:6379/0"},
            "message_queue: the address that all nodes reach; localhost is another queue on each",
        ),
        (
            {"message_queue": "reddis"},
            "message_queue: none, redis, rabbitmq, or a URL such as 'redis://10.0.0.20:6379/0'.",
        ),
        ({"app_front_door": "apache"}, "app_front_door is ['apache']: nginx; with load_balancers"),
        ({"message_queue_channel": "a b"}, "message_queue_channel is ['a b']: letters, digits,"),
    ],
)
def test_settings(variables, message):
    run = deploy(**variables)
    assert run.refused, run.output
    assert run.message.startswith(message)
    assert set(run.changed.values()) == {0}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"private_address": "chat.example.org"}, "private_address is 'chat.example.org': "),
        ({"app_bind": "tcp", "app_port": 8080, "nginx_port": 8080}, "The ports of node1 is [{"),
        ({"nginx_sticky": "cookie"}, "nginx_sticky is 'cookie': this needs nginx 1.29.6 or later"),
    ],
)
def test_hosts(variables, message):
    run = deploy(**variables)
    assert run.returncode != 0, run.output
    assert any(text.startswith(message) for _, text in run.errors), run.output
    assert set(run.changed.values()) == {0}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"message_queue": "none"},
            "4 instances are to serve it, but the app has no message queue",
        ),
        (
            {"message_queue": "redis://queue1:6399/0"},
            "the message queue at redis://queue1:6399/0 can't be used from node1: ConnectionError:",
        ),
        (
            {"message_queue": "redis://whoami:wrong@queue1:6380/0"},
            "the message queue at redis://queue1:6380/0 can't be used from node1: "
            "AuthenticationError:",
        ),
        (
            {"nginx_sticky": "none"},
            "nginx_sticky is 'none', which is for clients that use nothing but WebSocket, but the "
            "app accepts polling",
        ),
    ],
)
def test_what_the_app_says(variables, message):
    """One node is enough: each asks the app of its own."""
    before = snapshot(NODE)
    run = deploy(
        "--limit=localhost,node1,queue1", app_requirements=["flask-socketio", "redis"], **variables
    )
    assert run.refused, run.output
    assert run.message.startswith(f"app_module 'app:app': {message}")
    assert "wrong" not in run.message
    assert difference(before, snapshot(NODE)) == []
