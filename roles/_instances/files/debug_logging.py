"""Let python-socketio and python-engineio tell every packet to the journal.

The server loads it before the application. Both libraries leave a logger alone that has a level,
whatever the application's logger and engineio_logger say.
"""

import logging

handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
for name in ("socketio.server", "engineio.server"):
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
