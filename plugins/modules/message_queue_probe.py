#!/usr/bin/python

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: message_queue_probe
short_description: Check that a message passes from the queue to the clients of every instance
version_added: 0.1.0
description:
  - >-
    Connects a Socket.IO client to each of several addresses, instances of an app or front doors of
    nodes, and emits one message through the message queue to all of them.
  - >-
    The message goes out by python-socketio's write-only manager, on the app's channel, to the rooms
    that are the clients' own session ids. So the app needs no change and its users see nothing.
  - >-
    Every client must get it exactly once. That fails when an instance is not subscribed, uses
    another channel or another queue, or is subscribed twice.
  - >-
    Where it can't be shown, RV(skipped_because) says why, an app that refuses anonymous clients, or
    a queue that has no client library here (Kafka, ZeroMQ).
options:
  queue:
    description: The message queue's URL, as the app gets it.
    type: str
    required: true
  channel:
    description: The app's channel.
    type: str
    required: true
  targets:
    description:
      - Where to connect, each the path of a unix socket, C(host:port) or a URL of scheme, host and
        port.
    type: list
    elements: str
    required: true
  path:
    description: Path of Socket.IO on all of them.
    type: str
    default: socket.io
  host:
    description: The Host header. Defaults to what each target is called.
    type: str
  namespace:
    description: Socket.IO namespace to connect to.
    type: str
    default: /
  timeout:
    description:
      - Seconds that the clients may take to connect, and then the message to arrive.
      - >-
        An instance subscribes when its first client connects (python-socketio's manager is
        initialized then), so a message is emitted every half second until one has reached all.
    type: float
    default: 10
requirements:
  - Python >= 3.11
  - python-socketio[asyncio_client] >= 5.11
  - redis or kombu, as the queue's URL needs
attributes:
  check_mode:
    description: Can run in check mode and return the same result.
    support: full
author:
  - The realtime.flask_socketio authors (@realtime)
"""

EXAMPLES = r"""
- name: Prove that messages reach the clients of both nodes
  realtime.flask_socketio.message_queue_probe:
    queue: "{{ chat_message_queue }}"
    channel: chat
    targets: [/run/chat/3f2a9c81d0-1.sock, 10.0.0.12:80]
  vars:
    ansible_python_interpreter: /usr/local/lib/flask-socketio-probe/bin/python
"""

RETURN = r"""
msg:
  description: The same as RV(summary); on failure which targets got no message, and the remedy.
  returned: always
  type: str
summary:
  description: One line for people.
  returned: success
  type: str
  sample: a message through the queue reached a client on each of 4 targets in 12 ms
targets:
  description: The targets with what their clients got.
  returned: when the clients connected
  type: list
  elements: dict
  contains:
    target:
      description: The target.
      type: str
    messages:
      description: How often the client got the message that counts.
      type: int
emitted:
  description: How many messages were emitted until one had reached all.
  returned: when the clients connected
  type: int
ms:
  description: Milliseconds from the emission to the last client's receipt.
  returned: success
  type: float
skipped_because:
  description: Why it can't be shown here.
  returned: when it can't
  type: str
"""

import asyncio
import logging
import time
import traceback
import typing as t
import uuid
from collections import Counter

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import aiohttp
    import socketio
except ImportError:
    IMPORT_ERROR: str | None = traceback.format_exc()
else:
    IMPORT_ERROR = None

INTERVAL_SECONDS = 0.5
# After the last client has it, a second copy would come at once.
DUPLICATE_SECONDS = 0.2
REDIS_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")
REMEDY = (
    "look at the app's journal on that node (journalctl -t <app_name>) for 'Cannot receive from', "
    "and check that every node gets the same message_queue and message_queue_channel"
)


class ProbeError(Exception):
    """The message did not pass; carries the whole sentence."""


class Unprovable(Exception):
    """It can't be shown here; carries the reason."""


class Failures(logging.Handler):
    """What the manager logs instead of raising."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        causes = (getattr(record, f"{kind}_exception", "") for kind in ("redis", "rabbitmq"))
        cause = next((text for text in causes if text), "")
        self.seen.append(f"{record.getMessage()} {cause}".strip())


def make_manager(queue: str, channel: str, logger: logging.Logger) -> socketio.PubSubManager:
    scheme = queue.partition(":")[0].lower()
    if scheme.startswith(("kafka", "zmq")):
        raise Unprovable(f"nothing here emits to a queue of {scheme}")
    redis = scheme.partition("+")[0] in REDIS_SCHEMES and scheme != "redis+socket"
    kind = socketio.RedisManager if redis else socketio.KombuManager
    return kind(queue, channel=channel, write_only=True, logger=logger)


def emit(manager: socketio.PubSubManager, *arguments: t.Any, **options: t.Any) -> None:
    manager.emit(*arguments, **options)


class Client:
    def __init__(self, target: str, event: str, host: str | None) -> None:
        self.target = target
        self.got: Counter[int] = Counter()
        connector: aiohttp.BaseConnector
        if target.startswith("/"):
            self.url = "http://localhost"
            connector = aiohttp.UnixConnector(path=target)
        else:
            self.url = target if "://" in target else f"http://{target}"
            connector = aiohttp.TCPConnector()
        self.http = aiohttp.ClientSession(
            connector=connector, headers={"Host": host} if host else None
        )
        self.client = socketio.AsyncClient(reconnection=False, http_session=self.http)
        self.refusal: t.Any = None
        self.event = event

    async def connect(self, path: str, namespace: str, seconds: float) -> str:
        """Connect and return the session's id, which is also its own room."""
        self.client.on(self.event, lambda number: self.got.update([number]), namespace=namespace)
        self.client.on("connect_error", self.refuse, namespace=namespace)
        try:
            await self.client.connect(
                self.url,
                transports=["websocket"],
                namespaces=[namespace],
                socketio_path=path,
                wait_timeout=seconds,
            )
        except socketio.exceptions.ConnectionError as exc:
            # What the client itself could not do has other words.
            if self.refusal is not None and str(exc).startswith("One or more namespaces failed"):
                raise Unprovable(f"the app refuses anonymous clients ({self.refusal})") from exc
            raise ProbeError(
                f"No client could connect to {self.target}: {exc}. Remedy: probe it alone with "
                "socketio_probe, which says why."
            ) from exc
        return str(self.client.get_sid(namespace))

    def refuse(self, data: t.Any = None) -> None:
        self.refusal = data.get("message", data) if isinstance(data, dict) else str(data)

    async def close(self) -> None:
        await self.client.disconnect()
        await self.http.close()


async def spread(params: dict[str, t.Any], clients: list[Client], event: str) -> dict[str, t.Any]:
    """Emit until one message has reached every client; returns the result's part of it."""
    failures = Failures()
    logger = logging.Logger("message_queue_probe", logging.ERROR)
    logger.addHandler(failures)
    manager = make_manager(params["queue"], params["channel"], logger)
    rooms = await asyncio.gather(
        *(c.connect(params["path"], params["namespace"], params["timeout"]) for c in clients)
    )
    deadline = time.monotonic() + params["timeout"]
    emitted, number, arrived = [], 0, False
    while not arrived and time.monotonic() < deadline:
        emitted.append(time.monotonic())
        number = len(emitted)
        await asyncio.wait_for(
            asyncio.to_thread(
                emit, manager, event, number, namespace=params["namespace"], room=rooms
            ),
            params["timeout"],
        )
        if failures.seen:
            raise ProbeError(
                f"The message queue refused the message: {failures.seen[-1]}. Remedy: check its "
                "address, user, password and what that user may do."
            )
        until = time.monotonic() + INTERVAL_SECONDS
        while not arrived and time.monotonic() < until:
            await asyncio.sleep(0.002)
            arrived = all(client.got[number] for client in clients)
    ms = round((time.monotonic() - emitted[-1]) * 1000, 1)
    if not arrived:
        missed = [client.target for client in clients if not client.got]
        late = [client.target for client in clients if not client.got[number]]
        raise ProbeError(
            f"Of {number} messages through the queue in {params['timeout']:g} s none reached all "
            f"clients; without any: {', '.join(missed) or 'none'}; without the last: "
            f"{', '.join(late)}. Remedy: {REMEDY}."
        )
    await asyncio.sleep(DUPLICATE_SECONDS)
    twice = [client.target for client in clients if client.got[number] > 1]
    if twice:
        raise ProbeError(
            f"A message reached {', '.join(twice)} more than once. Remedy: two queues or two "
            "subscriptions serve the app; let one process have one client manager."
        )
    return {"emitted": number, "ms": ms}


async def run(params: dict[str, t.Any]) -> dict[str, t.Any]:
    event = f"flask-socketio-probe-{uuid.uuid4().hex}"
    clients = [Client(target, event, params["host"]) for target in params["targets"]]
    result: dict[str, t.Any] = {}
    try:
        result = await spread(params, clients, event)
        summary = (
            f"a message through the queue reached a client on each of {len(clients)} targets "
            f"in {result['ms']:g} ms"
        )
    except Unprovable as exc:
        summary = f"not shown that messages pass between instances: {exc}"
        result = {"skipped_because": str(exc)}
    except ProbeError as exc:
        return {"failed": True, "msg": str(exc), **found(clients)}
    finally:
        for client in clients:
            await client.close()
    return {"msg": summary, "summary": summary, **found(clients), **result}


def found(clients: list[Client]) -> dict[str, t.Any]:
    return {
        "targets": [
            {"target": client.target, "messages": max(client.got.values(), default=0)}
            for client in clients
        ]
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "queue": {"type": "str", "required": True, "no_log": True},
            "channel": {"type": "str", "required": True},
            "targets": {"type": "list", "elements": "str", "required": True},
            "path": {"type": "str", "default": "socket.io"},
            "host": {"type": "str"},
            "namespace": {"type": "str", "default": "/"},
            "timeout": {"type": "float", "default": 10},
        },
        supports_check_mode=True,
    )
    if IMPORT_ERROR:
        module.fail_json(
            msg=missing_required_lib("python-socketio[asyncio_client]"), exception=IMPORT_ERROR
        )
    if not module.params["targets"]:
        module.fail_json(msg="targets must name at least one address")
    result = asyncio.run(run(module.params))
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
