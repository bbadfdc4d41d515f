#!/usr/bin/python

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: message_queue_probe
short_description: Check that messages pass from the queue to every instance's clients, and back
version_added: 0.1.0
description:
  - >-
    Connects a Socket.IO client to each of several addresses, instances of an app or front doors of
    nodes, and emits a message through the message queue to each of them.
  - >-
    The messages go out by python-socketio's own manager, on the app's channel, each to the room
    that is the client's own session id. So the app needs no change and its users see nothing.
  - >-
    Every client must get its message exactly once, and its acknowledgement must come back through
    the queue. That fails when an instance is not subscribed, uses another channel or another queue,
    is subscribed twice, or can't write to the queue.
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
        initialized then), so messages are emitted every half second until all of one round were
        acknowledged.
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
  sample: >-
    a message through the queue reached a client on each of 4 targets and was acknowledged in 12 ms
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
    acknowledgements:
      description: How often its acknowledgement of that message came back through the queue.
      type: int
emitted:
  description: How many messages each target was sent until one had been acknowledged by all.
  returned: when the clients connected
  type: int
ms:
  description: Milliseconds from the emission to the last client's acknowledgement.
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
    if scheme.partition("+")[0] in REDIS_SCHEMES and scheme != "redis+socket":
        return socketio.RedisManager(queue, channel=channel, logger=logger)
    # Its queue goes with the probe, not five minutes later.
    return socketio.KombuManager(
        queue, channel=channel, logger=logger, queue_options={"auto_delete": True}
    )


def listen(manager: socketio.PubSubManager, logger: logging.Logger) -> None:
    """Make it take part as a server without clients: acknowledgements return to a server only."""
    server = socketio.Server(async_mode="threading", client_manager=manager, logger=logger)
    server.manager_initialized = True
    manager.initialize()


class Client:
    def __init__(self, target: str, event: str, host: str | None) -> None:
        self.target = target
        self.got: Counter[int] = Counter()
        self.acknowledged: Counter[int] = Counter()
        self.sid = ""
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

    def receive(self, number: int) -> int:
        self.got.update([number])
        return number

    def acknowledge(self, number: int) -> None:
        self.acknowledged.update([number])

    def send(self, manager: socketio.PubSubManager, number: int, namespace: str) -> None:
        """Emit to the room that is the session's id."""
        manager.emit(
            self.event, number, namespace=namespace, room=self.sid, callback=self.acknowledge
        )

    async def connect(self, path: str, namespace: str, seconds: float) -> None:
        self.client.on(self.event, self.receive, namespace=namespace)
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
        self.sid = str(self.client.get_sid(namespace))

    def refuse(self, data: t.Any = None) -> None:
        self.refusal = data.get("message", data) if isinstance(data, dict) else str(data)

    async def close(self) -> None:
        await self.client.disconnect()
        await self.http.close()


async def spread(params: dict[str, t.Any], clients: list[Client]) -> dict[str, t.Any]:
    """Emit until all messages of a round are acknowledged; returns the result's part of it."""
    failures = Failures()
    logger = logging.Logger("message_queue_probe", logging.ERROR)
    logger.addHandler(failures)
    manager = make_manager(params["queue"], params["channel"], logger)
    listen(manager, logger)
    namespace = params["namespace"]
    await asyncio.gather(
        *(c.connect(params["path"], namespace, params["timeout"]) for c in clients)
    )

    def emit(number: int) -> None:
        for client in clients:
            client.send(manager, number, namespace)

    deadline = time.monotonic() + params["timeout"]
    emitted, number, arrived = [], 0, False
    while not arrived and time.monotonic() < deadline:
        emitted.append(time.monotonic())
        number = len(emitted)
        await asyncio.wait_for(asyncio.to_thread(emit, number), params["timeout"])
        if failures.seen:
            raise ProbeError(
                f"The message queue refused the message: {failures.seen[-1]}. Remedy: check its "
                "address, user, password and what that user may do."
            )
        until = time.monotonic() + INTERVAL_SECONDS
        while not arrived and time.monotonic() < until:
            await asyncio.sleep(0.002)
            arrived = all(client.acknowledged[number] for client in clients)
    ms = round((time.monotonic() - emitted[-1]) * 1000, 1)
    if not arrived:
        raise ProbeError(missed(clients, number, params["timeout"]))
    await asyncio.sleep(DUPLICATE_SECONDS)
    twice = [client.target for client in clients if client.got[number] > 1]
    if twice:
        raise ProbeError(
            f"A message reached {', '.join(twice)} more than once. Remedy: two queues or two "
            "subscriptions serve the app; let one process have one client manager."
        )
    return {"emitted": number, "ms": ms}


def missed(clients: list[Client], number: int, seconds: float) -> str:
    """Say which part of the way is broken."""
    late = [client.target for client in clients if not client.got[number]]
    if late:
        never = [client.target for client in clients if not client.got]
        return (
            f"Of {number} messages through the queue in {seconds:g} s none reached all "
            f"clients; without any: {', '.join(never) or 'none'}; without the last: "
            f"{', '.join(late)}. Remedy: {REMEDY}."
        )
    silent = [client.target for client in clients if not client.acknowledged[number]]
    return (
        f"Messages through the queue reach every client, but the acknowledgements of "
        f"{', '.join(silent)} do not come back in {seconds:g} s. Remedy: let the user of the "
        "queue publish on the channel, and look for 'Cannot publish to' in the app's journal on "
        "that node."
    )


async def run(params: dict[str, t.Any]) -> dict[str, t.Any]:
    event = f"flask-socketio-probe-{uuid.uuid4().hex}"
    clients = [Client(target, event, params["host"]) for target in params["targets"]]
    result: dict[str, t.Any] = {}
    try:
        result = await spread(params, clients)
        summary = (
            f"a message through the queue reached a client on each of {len(clients)} targets "
            f"and was acknowledged in {result['ms']:g} ms"
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
            {
                "target": client.target,
                "messages": max(client.got.values(), default=0),
                "acknowledgements": max(client.acknowledged.values(), default=0),
            }
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
