"""Let systemd kill and restart a process that hangs, after SOCKETIO_WATCHDOG seconds.

The server loads it in the process that serves, after the application, so that the time which that
takes does not count. Under gevent and eventlet the thread is a greenlet, which does not get its
turn while something blocks the event loop.
"""

import os
import socket
import threading
import time


def beat(address, seconds):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.connect(address)
        systemd.send(f"WATCHDOG_USEC={round(seconds * 1e6)}".encode())
        while True:
            systemd.send(b"WATCHDOG=1")
            time.sleep(seconds / 4)


address = os.environ.get("NOTIFY_SOCKET", "")
if address:
    threading.Thread(
        target=beat,
        # systemd writes an abstract address with an @.
        args=(
            "\0" + address[1:] if address[0] == "@" else address,
            float(os.environ["SOCKETIO_WATCHDOG"]),
        ),
        daemon=True,
    ).start()
