"""Let python-socketio look for a message queue that is away every second.

By itself it waits 1, 2, 4 ... 60 s between its attempts, so that the messages of other processes
are lost for up to as long again as the queue was away. Its log still names those times. The server
loads this after the application.
"""

import importlib
import time

LONGEST = 1


class Clock:
    """The module time, but for long sleeps."""

    def __getattr__(self, name):
        return getattr(time, name)

    @staticmethod
    def sleep(seconds):
        time.sleep(min(seconds, LONGEST))


for name in ("socketio.redis_manager", "socketio.kombu_manager"):
    # One without it waits in some other way, which is then left as it is.
    try:
        module = importlib.import_module(name)
    except ImportError:
        continue
    if getattr(module, "time", None) is time:
        module.time = Clock()
