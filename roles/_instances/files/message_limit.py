"""Refuse a WebSocket message that is too big while it comes in.

python-engineio compares a message with max_http_buffer_size when it has it whole: one of 100 MB
took 200 MB of gunicorn's worker before it was refused. simple-websocket can end the connection as
soon as the limit is passed (status 1009), but is not asked to. The server loads this after the
application.
"""

import contextlib

# Without it the server has another driver, or none.
with contextlib.suppress(ImportError):
    from engineio.async_drivers._websocket_wsgi import SimpleWebSocketWSGI

    create = SimpleWebSocketWSGI.__init__

    def create_with_limit(self, handler, server, **settings):
        """Take the server's limit, unless the driver has one of its own."""
        settings.setdefault("max_message_size", server.max_http_buffer_size)
        create(self, handler, server, **settings)

    SimpleWebSocketWSGI.__init__ = create_with_limit
