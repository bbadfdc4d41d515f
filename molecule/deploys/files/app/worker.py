"""A process beside the instances: it says of which version it is, and waits."""

import signal
from pathlib import Path

from version import VERSION

Path("/var/lib/flask-socketio/whoami/worker").write_text(VERSION)
signal.pause()
