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
import gc
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


def servers():
    """Return every Engine.IO server of the process, wherever the app keeps it."""
    engineio = sys.modules.get("engineio")
    kind = getattr(engineio, "Server", ())
    # isinstance() would ask lazy objects of the app for what they stand for.
    return [found for found in gc.get_objects() if issubclass(type(found), kind)]


def event_loop():
    """Return what the loop that serves has for the module socket, sleep() and Thread.start().

    The standard library's are the same where they are patched. The embedded server may run without.
    """
    modes = {server.async_mode for server in servers()}
    if "gevent" in modes:
        import gevent.socket

        return gevent.socket, gevent.sleep, gevent.spawn
    if "eventlet" in modes:
        import eventlet
        from eventlet.green import socket

        return socket, eventlet.sleep, eventlet.spawn

    import socket
    import threading

    def spawn(function, *arguments):
        threading.Thread(target=function, args=arguments, daemon=True).start()

    return socket, time.sleep, spawn


def remember(client):
    """Let each client know when it came, and its driver's WebSocket."""
    create, handle = client.__init__, client._websocket_handler

    def create_and_remember(self, *arguments):
        create(self, *arguments)
        self.drain_born = time.monotonic()

    def handle_and_remember(self, websocket):
        self.drain_websocket = websocket
        try:
            return handle(self, websocket)
        finally:
            del self.drain_websocket

    client.__init__, client._websocket_handler = create_and_remember, handle_and_remember


def go_away(websocket, close):
    """Close a WebSocket with status 1001, in the words of its driver; `close` is its own way."""
    if hasattr(websocket, "ws"):  # simple-websocket
        if websocket.ws.connected:
            websocket.ws.close(1001)
    elif hasattr(websocket, "_send_queue"):  # uWSGI
        go_away_from_uwsgi(websocket)
    elif hasattr(websocket, "iterator"):  # eventlet, which does not end its wait() after a close()
        websocket._send_closing_frame(True, (1001, b""))
    elif hasattr(websocket, "_sock"):  # gevent-websocket
        # Its close() sends the message alone.
        websocket._sock.close(1001, (1001).to_bytes(2))
    else:
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
    client.drain_left = time.monotonic()
    if client.upgraded:
        websocket = getattr(client, "drain_websocket", None)
        if websocket:
            websocket.close = functools.partial(go_away, websocket, websocket.close)
        # Ends the greenlet or thread that writes, after what is queued; it closes the WebSocket.
        client.queue.put(None)
    else:
        # It waits, and tells the app, whose handler may take its time.
        client.server.start_background_task(forget, client)


def forget(client):
    """End a polling client's session: its next request gets 400, and it connects anew."""
    while not client.queue.empty() and time.monotonic() < client.drain_left + LINGER / 2:
        client.server.sleep(TICK)
    # Answers the request that waits; an empty answer is an error to the JavaScript client.
    packet = sys.modules["engineio.packet"]
    client.queue.put(packet.Packet(packet.NOOP))
    reason = getattr(client.server, "reason", None)
    reasons = {"reason": reason.TRANSPORT_CLOSE} if reason else {}
    client.close(wait=False, abort=True, **reasons)
    client.server.sockets.pop(client.sid, None)


def born(client):
    return getattr(client, "drain_born", 0)


def is_settled(client, now):
    """Tell whether no handshake is in flight."""
    return client.connected and not client.upgrading and now - born(client) >= GRACE


def drain(seconds, sleep):
    """Close all clients, the oldest first, and those who still connect."""
    began = before = time.monotonic()
    deadline = began + seconds
    found = servers()
    seen, closed = set(), set()
    quota = 1.0
    while True:
        now = time.monotonic()
        clients = [one for server in found for one in server.sockets.copy().values()]
        # Who comes when the time is over is left alone.
        clients = {
            client.sid: client
            for client in clients
            if not client.closed and born(client) <= deadline
        }
        seen |= clients.keys()
        waiting = [client for client in clients.values() if not hasattr(client, "drain_left")]
        answering = [
            client
            for client in clients.values()
            if now - getattr(client, "drain_left", now - LINGER) < LINGER
        ]
        if now > deadline + LINGER or not (waiting or answering):
            break
        if now < deadline:
            waiting.sort(key=born)
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
        json.dump(drain(float(file.readline()), sleep), file)


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
            answered = json.load(connection.makefile())
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
