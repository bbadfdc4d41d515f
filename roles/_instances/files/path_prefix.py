"""Serve the application below SOCKETIO_PATH_PREFIX, such as /chat; without it nothing changes.

The front door hands the whole path on. As WSGI has it, the part before the application's own
belongs in SCRIPT_NAME, from which url_for() makes addresses that work outside; Socket.IO's path is
looked for in the rest. A request without the prefix, such as a probe's, is answered too. The server
loads this before or after the application.
"""

import os

prefix = os.environ.get("SOCKETIO_PATH_PREFIX")

if prefix:
    from flask import Flask

    answer = Flask.__call__

    def answer_below(self, environ, start_response):
        """Move the prefix from the path to SCRIPT_NAME."""
        path = environ["PATH_INFO"]
        if path == prefix or path.startswith(prefix + "/"):
            environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
            environ["PATH_INFO"] = path[len(prefix) :]
        return answer(self, environ, start_response)

    Flask.__call__ = answer_below
