"""What the tests of front doors share: their names, and clients that come as the internet does."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import aiohttp.abc
from refusals import inside

DOORS = ("nginx12", "nginx13", "apache13")
HANDSHAKE = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET_HANDSHAKE = "/socket.io/?EIO=4&transport=websocket"
# What a browser sends to open a WebSocket; curl stays there without a word, until its time is up.
WEBSOCKET = [
    "--http1.1",
    *["--header", "Connection: Upgrade", "--header", "Upgrade: websocket"],
    *["--header", "Sec-WebSocket-Version: 13"],
    *["--header", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
]
EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SITES = {
    "nginx": "/etc/nginx/conf.d/flask-socketio-whoami.conf",
    "apache": "/etc/apache2/sites-available/flask-socketio-whoami.conf",
}


def name(door: str) -> str:
    return f"{door}.example.test"


def front_door(door: str) -> str:
    return "apache" if door.startswith("apache") else "nginx"


@contextlib.contextmanager
def edited(door: str, expression: str, shows: Callable[[], bool]) -> Iterator[None]:
    """The site as a script of sed would have it, once it shows; for negative controls."""
    site, service = SITES[front_door(door)], {"nginx": "nginx", "apache": "apache2"}
    reload = f"systemctl reload {service[front_door(door)]}"
    inside(door, f"cp -p {site} /srv/site && sed -i {shlex.quote(expression)} {site} && {reload}")
    try:
        wait_until(shows)
        yield
    finally:
        inside(door, f"mv /srv/site {site} && {reload}")
        wait_until(lambda: not shows())


def wait_until(shows: Callable[[], bool]) -> None:
    """Workers from before a reload may answer for a moment."""
    until = time.monotonic() + 10
    while not shows():
        assert time.monotonic() < until, "the reload shows no effect"


class Elsewhere(aiohttp.abc.AbstractResolver):
    """Knows one address for every name."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        return [
            aiohttp.abc.ResolveResult(
                hostname=host, host=self.address, port=port, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        return None


def connector_to(
    address: str, authority: Path = EPHEMERAL / "root.pem"
) -> Callable[[], aiohttp.TCPConnector]:
    """Connectors that come to one address, whatever the name, and trust one authority."""
    context = ssl.create_default_context(cafile=str(authority))

    def connector() -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(force_close=True, resolver=Elsewhere(address), ssl=context)

    return connector


@dataclass(frozen=True)
class Answer:
    """What curl says of an answer; its exit code is not 0 where there was none."""

    exit: int
    status: int
    version: str
    location: str
    headers: dict[str, str]


def ask(url: str, *options: str) -> Answer:
    """Ask a front door from another host, which knows its name and trusts its authority."""
    told = "\\n%{exitcode} %{http_code} %{http_version} %{redirect_url}"
    command = [
        *["curl", "--silent", "--max-time", "10", "--cacert", "/srv/root.pem"],
        *["--output", "/dev/null", "--dump-header", "-", "--write-out", told, *options, url],
    ]
    said = inside("authority", f"{shlex.join(command)} || true").splitlines()
    code, status, version, location = said[-1].split(" ", 3)
    headers = dict(line.lower().split(": ", 1) for line in said[:-1] if ": " in line)
    return Answer(int(code), int(status), version, location, headers)


def text(door: str, path: str, *options: str) -> str:
    """What a front door sends."""
    url = f"https://{name(door)}{path}"
    return inside(
        "authority", shlex.join(["curl", "--silent", "--cacert", "/srv/root.pem", *options, url])
    )
