"""Let the clients of a process go before it is stopped, so that each connects again by itself.

    drain.py --seconds NUMBER SOCKET...

asks the processes that listen on these unix sockets, all at once, waits for them, and prints
{"clients": 200, "closed": 200, "left": 0, "seconds": 20.1} for all of them together: the clients
that were seen, those that were closed, and those that are still there. A socket without a listener
has no clients. Status 1 when a process gives no such answer in time.

The server loads this file in the process that serves; it then listens on the socket that
SOCKETIO_DRAIN names. Clients are closed at the transport: after a packet CLOSE of Engine.IO or
DISCONNECT of Socket.IO they would not come back. Who connects later is closed too.
"""

import argparse
import contextlib
import functools
import json
import os
import sys
import time
from pathlib import Path

GRACE = 5
"""Seconds that a handshake may take; before that nobody is closed."""
RATE = 10
"""Clients a second that go in any case; many go as fast as the time needs, spread over it."""
LINGER = 2
"""Seconds for a client to answer, after which it is left to the process's end."""
TICK = 0.05
SLACK = 3
"""Seconds after LINGER in which a busy process must have answered."""


servers = set()
"""Every Engine.IO server of the process that has had a client, wherever the app keeps it."""


def event_loop():
    """Return what the loop that serves has for the module socket, sleep() and Thread.start().

    The standard library's are the same where they are patched. The embedded server may run without.
    """
    if "engineio.async_drivers.gevent" in sys.modules:
        import gevent.socket

        return gevent.socket, gevent.sleep, gevent.spawn
    if "engineio.async_drivers.eventlet" in sys.modules:
        import eventlet
        from eventlet.green import socket

        return socket, eventlet.sleep, eventlet.spawn

    import socket
    import threading

    def spawn(function, *arguments):
        threading.Thread(target=function, args=arguments, daemon=True).start()

    return socket, time.sleep, spawn


def remember(client):
    """Have python-engineio's class of clients keep each one's server, age and WebSocket."""
    create, handle = client.__init__, client._websocket_handler

    def create_and_remember(self, server, sid):
        create(self, server, sid)
        self.drain_born = time.monotonic()
        servers.add(server)

    def handle_and_remember(self, websocket):
        self.drain_websocket = websocket
        try:
            return handle(self, websocket)
        finally:
            self.drain_websocket = None

    client.__init__, client._websocket_handler = create_and_remember, handle_and_remember
    client.drain_born, client.drain_released, client.drain_websocket = 0, None, None


def go_away(websocket, close):
    """Close a WebSocket with status 1001, if its driver can say it; `close` is its own way."""
    if hasattr(websocket, "ws"):  # simple-websocket
        if websocket.ws.connected:
            websocket.ws.close(1001)
    elif hasattr(websocket, "_send_queue"):  # uWSGI
        go_away_from_uwsgi(websocket)
    elif hasattr(websocket, "iterator"):  # eventlet, which does not end its wait() after a close()
        websocket._send_closing_frame(True, (1001, b""))
    else:  # gevent-websocket, which sends no status
        close()


def go_away_from_uwsgi(websocket):
    """Send a close frame after what is queued, and end wait(): the driver does neither."""
    from wsproto.frame_protocol import FrameProtocol

    send = websocket._send

    def send_or_end(message):
        if message is not None:
            return send(message)
        with contextlib.suppress(OSError):
            os.write(websocket._sock, FrameProtocol(client=False, extensions=[]).close(1001))
        # To wait() the connection is closed.
        raise OSError

    websocket._send = send_or_end
    websocket.send(None)


def let_go(client):
    client.drain_released = time.monotonic()
    if client.upgraded:
        websocket = client.drain_websocket
        if websocket:
            websocket.close = functools.partial(go_away, websocket, websocket.close)
        # Ends the greenlet or thread that writes, after what is queued; it closes the WebSocket.
        client.queue.put(None)
    else:
        # It waits, and tells the app, whose handler may take its time.
        client.server.start_background_task(forget, client)


def forget(client):
    """End a polling client's session: its next request gets 400, and it connects anew."""
    while not client.queue.empty() and time.monotonic() < client.drain_released + LINGER / 2:
        client.server.sleep(TICK)
    # Answers the request that waits, which an empty payload would not by Engine.IO's rules.
    packet = sys.modules["engineio.packet"]
    client.queue.put(packet.Packet(packet.NOOP))
    reason = getattr(client.server, "reason", None)
    reasons = {"reason": reason.TRANSPORT_CLOSE} if reason else {}
    client.close(wait=False, abort=True, **reasons)
    client.server.sockets.pop(client.sid, None)


def is_settled(client, now):
    """Tell whether no handshake is in flight."""
    return client.connected and not client.upgrading and now - client.drain_born >= GRACE


def drain(seconds, sleep):
    """Close all clients, the oldest first, and those who still connect."""
    began = before = time.monotonic()
    deadline = began + seconds
    seen, closed = set(), set()
    quota = 1.0
    while True:
        now = time.monotonic()
        clients = [one for server in servers.copy() for one in server.sockets.copy().values()]
        # Who comes when the time is over is left alone.
        clients = {
            client.sid: client
            for client in clients
            if not client.closed and client.drain_born <= deadline
        }
        seen |= clients.keys()
        waiting = [client for client in clients.values() if client.drain_released is None]
        pending = any(now - (client.drain_released or now) < LINGER for client in clients.values())
        if now > deadline + LINGER or not pending:
            break
        if now < deadline:
            waiting.sort(key=lambda client: client.drain_born)
            settled = [client for client in waiting if is_settled(client, now)]
            quota += (now - before) * max(RATE, len(waiting) / (deadline - now))
            quota = min(quota, 1 + len(settled))
            leaving = settled[: int(quota)]
            quota -= len(leaving)
        else:
            leaving = waiting
        for client in leaving:
            let_go(client)
            closed.add(client.sid)
        before = now
        sleep(TICK)
    return {
        "clients": len(seen),
        "closed": len(closed - clients.keys()),
        "left": len(clients),
        "seconds": round(now - began, 2),
    }


def answer(connection, sleep):
    # Who asked may be gone.
    with contextlib.suppress(OSError), connection, connection.makefile("rw") as file:
        file.write(json.dumps(drain(float(file.readline()), sleep)) + "\n")
        # Now: under uWSGI gevent may close the connection seconds later.
        file.flush()


def serve(listener, sleep, spawn):
    """Answer each who asks."""
    # uWSGI loads this file before the app, which brings python-engineio.
    while not hasattr(sys.modules.get("engineio.socket"), "Socket"):
        sleep(TICK)
    remember(sys.modules["engineio.socket"].Socket)
    while True:
        connection, _ = listener.accept()
        spawn(answer, connection, sleep)


def listen(path):
    socket, sleep, spawn = event_loop()
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    # Before listen() nobody can connect.
    Path(path).chmod(0o600)
    listener.listen()
    spawn(serve, listener, sleep, spawn)


def ask(seconds, paths):
    """Return the sum of what the processes answer, and what is wrong with those that do not."""
    import socket

    began = time.monotonic()
    total = {"clients": 0, "closed": 0, "left": 0}
    asked, problems = {}, []
    for path in paths:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(SLACK)
        try:
            connection.connect(path)
            connection.sendall(f"{seconds:g}\n".encode())
            asked[path] = connection
        except (FileNotFoundError, ConnectionRefusedError):
            pass  # Nobody listens.
        except OSError as error:
            problems.append(f"{path}: {error!r}")
    for path, connection in asked.items():
        rest = began + seconds + LINGER + SLACK - time.monotonic()
        connection.settimeout(max(rest, TICK))
        try:
            answered = json.loads(connection.makefile().readline())
            for name in total:
                total[name] += answered[name]
        except (OSError, ValueError, TypeError, KeyError) as error:
            problems.append(f"{path}: {error!r}")
    return total | {"seconds": round(time.monotonic() - began, 2)}, problems


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, required=True, metavar="NUMBER")
    parser.add_argument("sockets", nargs="*", metavar="SOCKET")
    arguments = parser.parse_args()
    total, problems = ask(arguments.seconds, arguments.sockets)
    print(json.dumps(total))
    if problems:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
elif os.environ.get("SOCKETIO_DRAIN"):
    listen(os.environ["SOCKETIO_DRAIN"])
