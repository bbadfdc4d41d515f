# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few commands to a Redis server, without a client package on the host."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Any


class RedisRefused(Exception):
    """The server's own error, such as "NOPERM ..." or "WRONGPASS ..."."""


class RedisConnection:
    """A connection by RESP2; a context manager.

    address: the absolute path of a unix socket, or host:port. Raises OSError when nobody answers
    there or the answer is late, RedisRefused when the server doesn't accept the user.
    """

    def __init__(
        self, address: str, user: str = "", password: str = "", timeout: float = 5
    ) -> None:
        if address.startswith("/"):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(timeout)
            try:
                self._socket.connect(address)
            except OSError:
                self._socket.close()
                raise
        else:
            host, _, port = address.rpartition(":")
            self._socket = socket.create_connection((host, int(port)), timeout)
        self._replies = self._socket.makefile("rb")
        try:
            if user:
                self.call("AUTH", user, password)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RedisConnection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._replies.close()
        self._socket.close()

    def call(self, *words: str) -> Any:
        """Return the reply: a string, a number, None, or a list of these.

        Raises RedisRefused on the server's error, OSError when the connection breaks.
        """
        encoded = [word.encode() for word in words]
        request = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        self._socket.sendall(b"*%d\r\n%s" % (len(encoded), request))
        return self._reply()

    def _line(self) -> bytes:
        line = self._replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        return line[:-2]

    def _reply(self) -> Any:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise RedisRefused(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            if size < 0:
                return None
            data = self._replies.read(size + 2)
            if len(data) != size + 2:
                raise ConnectionError("the server closed the connection")
            return data[:-2].decode(errors="replace")
        if kind == b"*":
            return None if int(rest) < 0 else [self._reply() for _ in range(int(rest))]
        raise ConnectionError(f"this is no Redis: it answered {line[:40]!r}")
