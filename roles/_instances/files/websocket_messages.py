"""Take no WebSocket message that is too big, and send those of the application whole.

simple-websocket leaves both to others. python-engineio compares a message with
max_http_buffer_size when it has it whole: one of 100 MB took 200 MB of gunicorn's worker before it
was refused. And where a socket does not block, as with gevent, simple-websocket sends as much of a
message as fits into the socket's buffer, 200 kB of a unix socket, and forgets the rest: the client
waits for it for ever. The server loads this after the application.
"""

import contextlib
import threading


class Connection:
    """A socket whose send() sends one whole frame after the other."""

    def __init__(self, socket):
        self.socket = socket
        # The greenlet or thread that reads answers pings and closes.
        self.sending = threading.RLock()

    def __getattr__(self, name):
        return getattr(self.socket, name)

    def send(self, data):
        """Send all of it."""
        with self.sending:
            self.socket.sendall(data)
        return len(data)


# Without these the server has another driver, or none.
with contextlib.suppress(ImportError):
    from engineio.async_drivers._websocket_wsgi import SimpleWebSocketWSGI
    from simple_websocket.ws import Base

    create, connect = SimpleWebSocketWSGI.__init__, Base.__init__

    def create_with_limit(self, handler, server, **settings):
        """Take the server's limit, unless the driver has one of its own."""
        settings.setdefault("max_message_size", server.max_http_buffer_size)
        create(self, handler, server, **settings)

    def connect_whole(self, sock=None, **settings):
        """Put the connection's socket into one that sends all."""
        connect(self, Connection(sock), **settings)

    SimpleWebSocketWSGI.__init__, Base.__init__ = create_with_limit, connect_whole
