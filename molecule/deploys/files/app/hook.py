"""Notes that a hook ran, by its name and the version of the code that it saw."""

import sys
from pathlib import Path

from version import VERSION

with Path("/var/lib/flask-socketio/whoami/hooks").open("a") as hooks:
    hooks.write(f"{sys.argv[1]} {VERSION}\n")
