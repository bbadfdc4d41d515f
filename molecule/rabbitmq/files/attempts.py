"""What a login may do and what not: one JSON object of attempts and their outcome.

Takes {"host": ..., "port": ..., "user": ..., "password": ..., "vhost": ..., "channel": ...} on
standard input, so that no process list has the password.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import amqp

LOGIN = json.load(sys.stdin)
EXCHANGE = LOGIN["channel"]
QUEUE = "python-socketio.attempt"


def connect(**changes: str) -> amqp.Connection:
    login = LOGIN | changes
    connection = amqp.Connection(
        host=f"{login['host']}:{login['port']}",
        userid=login["user"],
        password=login["password"],
        virtual_host=login["vhost"],
        connect_timeout=5,
    )
    connection.connect()
    return connection


def broadcast(channel: amqp.Channel) -> None:
    """All that python-socketio does."""
    channel.exchange_declare(EXCHANGE, "fanout", durable=False, auto_delete=False)
    channel.queue_declare(QUEUE, durable=False, auto_delete=False, arguments={"x-expires": 300000})
    channel.queue_bind(QUEUE, EXCHANGE, routing_key="")
    channel.basic_publish(amqp.Message("hello"), exchange=EXCHANGE)
    message = channel.basic_get(QUEUE, no_ack=True)
    channel.queue_delete(QUEUE)
    if message.body != "hello":
        raise ValueError(message.body)


def publish_elsewhere(channel: amqp.Channel) -> None:
    channel.basic_publish(amqp.Message("hello"), exchange="amq.fanout")
    # The refusal comes with the next answer.
    channel.basic_qos(0, 1, False)


def attempt(action: Callable[[amqp.Channel], Any] | None = None, **changes: str) -> str:
    try:
        with connect(**changes) as connection:
            if action:
                action(connection.channel())
    except amqp.exceptions.AMQPError as error:
        return f"{error.reply_code} {type(error).__name__}"
    return "allowed"


print(
    json.dumps(
        {
            "broadcast": attempt(broadcast),
            "another exchange": attempt(
                lambda channel: channel.exchange_declare("other", "fanout", auto_delete=False)
            ),
            "another queue": attempt(lambda channel: channel.queue_declare("other")),
            "publish elsewhere": attempt(publish_elsewhere),
            "listen elsewhere": attempt(
                lambda channel: (
                    channel.queue_declare(QUEUE, auto_delete=True),
                    channel.queue_bind(QUEUE, "amq.fanout"),
                )
            ),
            "another virtual host": attempt(vhost="/"),
            "another password": attempt(password="another"),
            "guest": attempt(user="guest", password="guest", vhost="/"),
        }
    )
)
