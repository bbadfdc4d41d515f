"""WebSockets under uWSGI that tell text from binary. Imported by uWSGI before the app.

uwsgi.websocket_recv() gives a message without its opcode, so that python-engineio's driver
gevent_uwsgi guesses: to it, what begins with a byte of 0x30 ('0') or above is text. A binary
attachment that does is lost with its event, or, when it is no UTF-8, closes the connection.
uWSGI's Python API does not tell the opcode, and no guess can: b"0123" may be either.

Here simple-websocket, which python-engineio brings and uses under gunicorn with gevent, speaks
WebSocket on uWSGI's connection. The rest of the driver stays, and the app is not changed.
"""

import contextlib
import importlib
import os
import sys

import gevent.lock
import gevent.socket
import simple_websocket
import uwsgi

DRIVER = "engineio.async_drivers.gevent_uwsgi"


class Connection:
    """What simple-websocket takes for a socket: send() sends one whole frame after the other."""

    def __init__(self, fileno):
        self.socket = gevent.socket.socket(fileno=fileno)
        self.sending = gevent.lock.RLock()

    def send(self, data):
        with self.sending:
            self.socket.sendall(data)

    def recv(self, size):
        return self.socket.recv(size)

    def close(self):
        self.socket.close()

    def shutdown(self):
        """End the greenlet that reads, unless the client has ended it already."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(gevent.socket.SHUT_RDWR)


class WebSocket:
    """What python-engineio calls the websocket of a driver."""

    def __init__(self, handler, server):
        self.handler = handler
        self.settings = {
            "max_message_size": server.max_http_buffer_size,
            "thread_class": server._async["thread"],
            "event_class": server._async["event"],
        }

    def __call__(self, environ, _start_response):
        # A descriptor of its own, because uWSGI closes the other when the request ends.
        connection = Connection(os.dup(uwsgi.connection_fd()))
        try:
            # simple-websocket looks for the socket under the names of the servers that it knows.
            known = environ | {"werkzeug.socket": connection}
            self.ws = simple_websocket.Server(known, **self.settings)
            self.handler(self)
        finally:
            connection.shutdown()
            uwsgi.disconnect()
        return ""

    def send(self, message):
        try:
            self.ws.send(message)
        except simple_websocket.ConnectionClosed as error:
            raise OSError from error

    def wait(self):
        try:
            return self.ws.receive()
        except simple_websocket.ConnectionClosed:
            return None

    def close(self):
        with contextlib.suppress(simple_websocket.ConnectionClosed):
            self.ws.close()


def __getattr__(name):
    """Give python-engineio its own driver with this WebSocket, when it asks this module for it.

    Not before: an app in a file named websocket.py is imported by `import engineio`, in the place
    of the package websocket-client.
    """
    if name != "_async":
        raise AttributeError(name)
    del sys.modules[DRIVER]
    driver = importlib.import_module(DRIVER)
    driver._async["websocket"] = WebSocket
    return driver._async


sys.modules[DRIVER] = sys.modules[__name__]
