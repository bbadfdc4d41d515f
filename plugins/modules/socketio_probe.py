#!/usr/bin/python

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: socketio_probe
short_description: Check a Socket.IO service with a real client
version_added: 1.0.0
description:
  - Connects to a Socket.IO service as a browser would and says which transport was reached.
  - >-
    The steps, in order, are C(connect) (TCP, TLS or unix socket), C(handshake) (the first HTTP
    answer, which must offer the upgrade to websocket, in a session that several connections find
    again), C(polling) (a Socket.IO session over polling
    only), C(upgrade) (polling first, then websocket), C(websocket) (websocket only), C(event) (emit
    and wait for the acknowledgement, if asked for) and C(disconnect).
  - The first step that fails ends the probe and fails the task, with the likely cause and a remedy.
  - >-
    An app that refuses the anonymous connect by itself has been reached. That counts as success and
    is said in RV(msg), unless O(auth), O(headers) or O(event) is given.
author:
  - The realtime.flask_socketio authors (@realtime)
options:
  url:
    description:
      - Scheme, host and port of the site, such as V(https://chat.example.org) or V(ws://10.0.0.1:5000).
      - Exactly one of O(url), O(unix_socket) and O(host) with O(port) is needed.
    type: str
  unix_socket:
    description:
      - Path of the unix socket on which the server listens.
      - O(host) is then the name in the Host header.
    type: path
  host:
    description:
      - Name or address to connect to, with O(port).
      - With O(unix_socket), the name in the Host header.
      - Defaults to V(localhost) with O(unix_socket).
    type: str
  port:
    description: TCP port, with O(host). The connection is plain HTTP; use O(url) for HTTPS.
    type: int
  connect_to:
    description:
      - Address to connect to instead of resolving the name in O(url), as with a host's own front
        door before the name points to it. Name, port and certificate are still those of O(url),
        which must hold a name and not an address.
    type: str
  path:
    description: Path of Socket.IO on the site.
    type: str
    default: socket.io
  namespace:
    description: Socket.IO namespace to connect to.
    type: str
    default: /
  auth:
    description:
      - Authentication data that is sent with the Socket.IO connect.
      - When given, a refusal by the app is a failure.
      - Its values are removed from the result wherever they appear.
    type: dict
  headers:
    description:
      - Headers for every request, such as C(Origin), C(Cookie) or C(Authorization).
      - When given, a refusal by the app is a failure.
      - Its values are removed from the result wherever they appear.
    type: dict
  event:
    description: Event to emit once connected. The app must acknowledge it.
    type: str
  event_data:
    description: Data of O(event).
    type: raw
  event_binary:
    description:
      - Send O(event_data), which is then a text, as binary data in UTF-8.
      - >-
        Shows what uWSGI's own WebSocket frames lose: binary data that begins with a byte of 0x30,
        the digit V(0), or above.
    type: bool
    default: false
  transports:
    description:
      - Transports that the app allows. Steps that need another one are skipped.
      - With V(websocket) alone, RV(handshake) comes from the websocket and lacks C(max_payload).
    type: list
    elements: str
    choices: [polling, websocket]
    default: [polling, websocket]
  validate_certs:
    description: Whether the certificate of the site must be valid.
    type: bool
    default: true
  ca_path:
    description: File or directory with certificates of authorities to trust besides the system's.
    type: path
  certificate_days:
    description:
      - Days for which the certificate must still be valid. Needs O(validate_certs).
      - Zero does not ask for more than that it is valid now.
    type: int
    default: 0
  timeout:
    description: Seconds that each step may take.
    type: float
    default: 5
  wait:
    description:
      - Seconds to keep trying until the address accepts connections.
      - >-
        What is left of them is also given to the first answer, because a server may listen before
        it has loaded its app. An answer, even a bad one, ends the wait.
    type: float
    default: 0
requirements:
  - Python >= 3.11
  - python-socketio[asyncio_client] >= 5.11
notes:
  - The libraries are needed by the Python that runs the module, not by the app. A virtualenv of
    their own, chosen by C(ansible_python_interpreter), keeps them apart.
  - Nothing is changed, so check mode runs the same probe.
attributes:
  check_mode:
    description: Can run in check mode and return the same result.
    support: full
"""

EXAMPLES = r"""
- name: Check the site from the outside
  realtime.flask_socketio.socketio_probe:
    url: https://chat.example.org
  delegate_to: localhost

- name: Wait until a new instance serves Socket.IO on its own socket
  realtime.flask_socketio.socketio_probe:
    unix_socket: /run/chat/3f2a9c81d0-1.sock
    wait: 30
  vars:
    ansible_python_interpreter: /usr/local/lib/flask-socketio-probe/bin/python

- name: Check a site on this very host, whatever its name resolves to
  realtime.flask_socketio.socketio_probe:
    url: https://chat.example.org
    connect_to: 127.0.0.1

- name: Log in, emit an event and expect its acknowledgement
  realtime.flask_socketio.socketio_probe:
    host: 127.0.0.1
    port: 5000
    namespace: /chat
    auth:
      token: "{{ chat_probe_token }}"
    event: join
    event_data:
      room: lobby

- name: Check that binary data arrives, with an event that the app acknowledges
  realtime.flask_socketio.socketio_probe:
    url: https://chat.example.org
    event: upload
    event_data: "0123"
    event_binary: true

- name: Check an app that allows websocket only
  realtime.flask_socketio.socketio_probe:
    url: https://chat.example.org
    transports: [websocket]
"""

RETURN = r"""
msg:
  description: The same as RV(summary). On failure step, what was seen, likely cause and remedy.
  returned: always
  type: str
summary:
  description: One line for people.
  returned: when the probe ran
  type: str
  sample: websocket reached at http://127.0.0.1:5000/socket.io in 96 ms
steps:
  description: The steps in order.
  returned: when the probe ran
  type: list
  elements: dict
  contains:
    name:
      description: Name of the step.
      type: str
    result:
      description: One of V(ok), V(failed) and V(skipped).
      type: str
    ms:
      description: Milliseconds that it took, V(0) if skipped.
      type: float
    detail:
      description: What was seen.
      type: str
transport:
  description: The best transport reached, one of V(websocket), V(polling) and V(none).
  returned: when the probe ran
  type: str
  sample: websocket
handshake:
  description: What the server said of itself, empty if the probe did not come that far.
  returned: when the probe ran
  type: dict
  contains:
    upgrades:
      description: Transports to which polling may be upgraded.
      type: list
      elements: str
    ping_interval:
      description: Seconds between pings.
      type: float
    ping_timeout:
      description: Seconds that the server waits for the answer to a ping.
      type: float
    max_payload:
      description: Largest payload in bytes that the server accepts.
      type: int
certificate:
  description: The certificate that the site showed, empty without TLS or O(validate_certs).
  returned: when the probe ran
  type: dict
  contains:
    names:
      description: Names and addresses that it is for.
      type: list
      elements: str
    not_after:
      description: When it ends, in UTC.
      type: str
      sample: "2027-01-31T12:00:00Z"
    days_left:
      description: Whole days until then.
      type: int
refused_by_app:
  description: Whether the app answered the Socket.IO connect with a refusal.
  returned: when the probe ran
  type: bool
failed_step:
  description: Name of the step that failed.
  returned: failure of a step
  type: str
status:
  description: HTTP status of the answer that explains the failure, if there was one.
  returned: failure of a step
  type: int
body:
  description: First 300 characters of that answer's body.
  returned: failure of a step
  type: str
cause:
  description: The likely cause.
  returned: failure of a step
  type: str
remedy:
  description: What mends it.
  returned: failure of a step
  type: str
"""

import asyncio
import ipaddress
import logging
import re
import socket
import ssl
import textwrap
import time
import traceback
import typing as t
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.realtime.flask_socketio.plugins.module_utils.socketio_causes import (
    diagnose,
)

try:
    import aiohttp
    import socketio
    from engineio import packet as eio_packet
    from engineio import payload as eio_payload
except ImportError:
    IMPORT_ERROR: str | None = traceback.format_exc()
else:
    IMPORT_ERROR = None

STEPS = ("connect", "handshake", "polling", "upgrade", "websocket", "event", "disconnect")
BODY_LIMIT = 300
SHOWN_LIMIT = 120
POLL_SECONDS = 0.1
GRACE_SECONDS = 0.05
GOODBYE_SECONDS = 0.02
CONNECTIONS = 8
CONNECTED = object()


if IMPORT_ERROR is None:

    class ElsewhereResolver(aiohttp.ThreadedResolver):
        """Resolves every name as if it were another."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        async def resolve(
            self, _host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[aiohttp.abc.ResolveResult]:
            return await super().resolve(self.name, port, family)


class BadOptionError(Exception):
    """The options contradict each other."""


class ProbeError(Exception):
    """A step failed; carries what was seen."""

    def __init__(self, seen: str, status: int | None = None, body: str = "") -> None:
        super().__init__(seen)
        self.seen = seen
        self.status = status
        self.body = body[:BODY_LIMIT]


@dataclass(frozen=True)
class Address:
    base: str
    host: str
    port: int
    tls: bool
    unix_socket: str | None = None
    connect_to: str | None = None


def is_host(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.%]+\]", text))


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def split_host(text: str) -> tuple[str, int | None]:
    """Host, in brackets if it is IPv6, and port of a Host header's value."""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?", text)
    if not match or not is_host(match[1]):
        raise BadOptionError(f"'{text}' is not a host name")
    port = int(match[2]) if match[2] else None
    if port is not None:
        check_port(port)
    return match[1], port


def check_port(port: int) -> None:
    if not 0 < port < 65536:
        raise BadOptionError(f"port {port} is not between 1 and 65535")


def find_address(params: dict[str, t.Any]) -> Address:
    url, unix_socket, host, port = (params[k] for k in ("url", "unix_socket", "host", "port"))
    if port is not None:
        check_port(port)
    if params["connect_to"]:
        if not url:
            raise BadOptionError("connect_to needs url")
        if not is_host(params["connect_to"]) and ":" not in params["connect_to"]:
            raise BadOptionError(f"connect_to '{params['connect_to']}' is not a name or address")
    if url and not (unix_socket or host or port is not None):
        address = address_of_url(url)
        if params["connect_to"] and is_address(address.host):
            # The client asks no resolver for an address, so it would not go elsewhere.
            raise BadOptionError("connect_to needs a name in url, not an address")
        return replace(address, connect_to=params["connect_to"])
    if unix_socket and not url and port is None:
        if not unix_socket.startswith("/"):
            raise BadOptionError(f"unix_socket '{unix_socket}' must be an absolute path")
        name, number = split_host(host or "localhost")
        base = f"http://{name}" + (f":{number}" if number else "")
        return Address(base, name, number or 80, False, unix_socket)
    if host and port is not None and not (url or unix_socket):
        name = f"[{host}]" if ":" in host and not host.startswith("[") else host
        if not is_host(name):
            raise BadOptionError(f"'{host}' is not a host name or address")
        base = f"http://{name}:{port}"
        return Address(base, name.strip("[]"), port, False)
    raise BadOptionError(
        "say in exactly one way where the service is: url, or unix_socket (with host as the name "
        "in the Host header if need be), or host and port together"
    )


def address_of_url(url: str) -> Address:
    parts = urlsplit(url)
    scheme = {"http": "http", "ws": "http", "https": "https", "wss": "https"}.get(parts.scheme)
    if scheme is None:
        raise BadOptionError("url must start with http://, https://, ws:// or wss://")
    if "@" in parts.netloc:
        raise BadOptionError("url must not hold a user or password: give an Authorization header")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise BadOptionError("url is scheme, host and port only: give the rest in path")
    name, port = split_host(parts.netloc)
    base = f"{scheme}://{parts.netloc}"
    default_port = 443 if scheme == "https" else 80
    return Address(base, name.strip("[]"), port or default_port, scheme == "https")


def tls_context(validate_certs: bool, ca_path: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_path:
        try:
            is_directory = Path(ca_path).is_dir()
            context.load_verify_locations(**{"capath" if is_directory else "cafile": ca_path})
        except OSError as exc:
            raise BadOptionError(f"ca_path '{ca_path}' holds no certificates: {exc}") from exc
    if not validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def certificate_result(certificate: dict[str, t.Any]) -> dict[str, t.Any]:
    """What is told of a certificate in the form of SSLSocket.getpeercert."""
    if not certificate:
        return {}
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    return {
        "names": [name for _kind, name in certificate.get("subjectAltName", ())],
        "not_after": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends)),
        "days_left": int((ends - time.time()) // 86400),
    }


@dataclass
class Exchange:
    """One HTTP request and its answer."""

    method: str
    transport: str
    status: int | None = None
    body: str = ""
    error: str = ""

    @property
    def name(self) -> str:
        return "websocket request" if self.transport == "websocket" else f"polling {self.method}"

    @property
    def bad(self) -> bool:
        wanted = (101,) if self.transport == "websocket" else range(200, 300)
        return bool(self.error) or (self.status is not None and self.status not in wanted)

    def failure(self) -> ProbeError:
        if self.error:
            return ProbeError(f"the {self.name} failed: {self.error}")
        text = one_line(self.body)
        return ProbeError(
            f"the {self.name} was answered with HTTP {self.status}" + (f": {text}" if text else ""),
            self.status,
            self.body,
        )


@dataclass
class Wire:
    """Every HTTP exchange of a session.

    The Socket.IO client goes on with polling when the upgrade fails, and tells neither status nor
    body of an answer that it did not want: aiohttp's tracing does.
    """

    exchanges: list[Exchange] = field(default_factory=list)

    def trace(self) -> aiohttp.TraceConfig:
        config = aiohttp.TraceConfig()
        config.on_request_start.append(self._start)
        config.on_request_end.append(self._end)
        config.on_request_exception.append(self._exception)
        return config

    async def _start(self, _session: t.Any, context: t.Any, params: t.Any) -> None:
        context.exchange = Exchange(params.method, params.url.query.get("transport", ""))
        self.exchanges.append(context.exchange)

    async def _end(self, _session: t.Any, context: t.Any, params: t.Any) -> None:
        exchange: Exchange = context.exchange
        exchange.status = params.response.status
        if exchange.bad:
            exchange.body = (await params.response.read()).decode("utf-8", "replace")

    async def _exception(self, _session: t.Any, context: t.Any, params: t.Any) -> None:
        if not isinstance(params.exception, asyncio.CancelledError):
            context.exchange.error = describe(params.exception)

    def failure(self) -> ProbeError | None:
        return next((e.failure() for e in self.exchanges if e.bad), None)

    @property
    def opened(self) -> bool:
        return any(e.status == 101 for e in self.exchanges)

    def cut(self) -> ProbeError | None:
        if not self.opened:
            return None
        return ProbeError(
            "the websocket opened (HTTP 101) and was cut before the server's first message", 101
        )

    def silence(self, seconds: str) -> ProbeError:
        waiting = [e for e in self.exchanges if e.status is None]
        if self.opened:
            return ProbeError(
                f"the websocket opened (HTTP 101), but nothing came through it within {seconds}",
                101,
            )
        if any(e.method == "POST" and e.status == 200 for e in self.exchanges):
            return ProbeError(
                "what the client sent was accepted (HTTP 200), but the server's message for it did "
                f"not arrive within {seconds}",
                200,
            )
        if waiting:
            return ProbeError(f"no answer to the {waiting[-1].name} within {seconds}")
        return ProbeError(f"no answer within {seconds}")


def one_line(text: str) -> str:
    """The start of a body, for a message; the result holds more of it."""
    return textwrap.shorten(text[:BODY_LIMIT], SHOWN_LIMIT, placeholder=" ...")


def describe(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__


def refusal_text(data: t.Any) -> str:
    """The reason in a CONNECT_ERROR: python-socketio sends text or {message: text}."""
    if isinstance(data, dict):
        data = data.get("message", data)
    return str(data)


def handshake_result(
    upgrades: list[str], ping_interval: float, ping_timeout: float, max_payload: int | None
) -> dict[str, t.Any]:
    return {
        "upgrades": upgrades,
        "ping_interval": ping_interval,
        "ping_timeout": ping_timeout,
        "max_payload": max_payload,
    }


async def post(http: aiohttp.ClientSession, url: str, packet_type: int) -> None:
    data = eio_payload.Payload(packets=[eio_packet.Packet(packet_type)]).encode()
    async with http.post(url, data=data, headers={"Content-Type": "text/plain"}) as response:
        await response.read()


def quiet_logger() -> logging.Logger:
    logger = logging.Logger("socketio_probe", logging.CRITICAL)
    logger.addHandler(logging.NullHandler())
    return logger


class Probe:
    def __init__(self, params: dict[str, t.Any]) -> None:
        self.address = find_address(params)
        self.path: str = params["path"].strip("/")
        if not re.fullmatch(r"[A-Za-z0-9._~/-]+", self.path):
            raise BadOptionError(f"path '{params['path']}' is not a URL path")
        self.namespace: str = params["namespace"]
        if not self.namespace.startswith("/") or "," in self.namespace:
            raise BadOptionError(f"namespace '{self.namespace}' must start with /, without comma")
        if params["timeout"] <= 0 or params["wait"] < 0:
            raise BadOptionError("timeout must be above 0 and wait not below it")
        self.certificate_days: int = params["certificate_days"]
        if self.certificate_days < 0:
            raise BadOptionError("certificate_days must not be below 0")
        if self.certificate_days and not (self.address.tls and params["validate_certs"]):
            raise BadOptionError("certificate_days needs an https url and validate_certs")
        if params["event_data"] is not None and not params["event"]:
            raise BadOptionError("event_data needs event")
        if params["event_binary"] and not isinstance(params["event_data"], str):
            raise BadOptionError("event_binary needs event_data that is a text")
        self.transports: list[str] = params["transports"]
        if not self.transports:
            raise BadOptionError("transports must name at least one transport")
        self.auth: dict[str, t.Any] | None = params["auth"] or None
        self.headers = {str(k): str(v) for k, v in (params["headers"] or {}).items()}
        self.event: str | None = params["event"]
        self.event_data: t.Any = params["event_data"]
        self.event_name = f"event '{self.event}'"
        if params["event_binary"]:
            self.event_data = self.event_data.encode()
            self.event_name += " with binary data"
        self.timeout: float = params["timeout"]
        self.wait: float = params["wait"]
        self.tls = (
            tls_context(params["validate_certs"], params["ca_path"]) if self.address.tls else None
        )

        self.steps: list[dict[str, t.Any]] = []
        self.handshake_data: dict[str, t.Any] = {}
        self.certificate: dict[str, t.Any] = {}
        self.transport = "none"
        self.refusal: str | None = None
        self.wire = Wire()
        self.sessions: list[aiohttp.ClientSession] = []
        self.client: socketio.AsyncClient | None = None
        self.deadline = 0.0

    # Running

    async def run(self) -> dict[str, t.Any]:
        started = time.perf_counter()
        self.deadline = started + self.wait
        failure: dict[str, t.Any] = {}
        try:
            for name in STEPS:
                reason = "an earlier step failed" if failure else self.why_skip(name)
                if reason:
                    self.note(name, "skipped", 0, reason)
                else:
                    failure = await self.step(name)
        finally:
            for session in self.sessions:
                await session.close()
        total = round((time.perf_counter() - started) * 1000)
        summary = failure.get("msg") or self.summary(total)
        return {
            "msg": summary,
            "summary": summary,
            "steps": self.steps,
            "transport": self.transport,
            "handshake": self.handshake_data,
            "certificate": self.certificate,
            "refused_by_app": self.refusal is not None,
            **failure,
        }

    def why_skip(self, name: str) -> str:
        needed = {"handshake": {"polling"}, "upgrade": {"polling", "websocket"}}.get(name, {name})
        if name in ("handshake", "polling", "upgrade", "websocket"):
            return "" if needed <= set(self.transports) else "not among transports"
        return "not asked for" if name == "event" and not self.event else ""

    async def step(self, name: str) -> dict[str, t.Any]:
        """Run one step and note its result; returns the failure's part of the result, if any."""
        limit = self.limit(name)
        started = time.perf_counter()
        error: ProbeError | None = None
        detail = ""
        try:
            async with asyncio.timeout(limit):
                detail = await getattr(self, f"step_{name}")()
        except ProbeError as exc:
            error = exc
        except TimeoutError:
            error = self.wire.failure() or self.silence(name, f"{limit:g} s")
        except Exception as exc:  # the client lets its own slips on broken answers through
            error = self.wire.failure() or self.wire.cut() or ProbeError(describe(exc))
        ms = round((time.perf_counter() - started) * 1000, 1)
        if error is None:
            self.note(name, "ok", ms, detail)
            return {}
        self.note(name, "failed", ms, error.seen)
        found = diagnose(name, error.status, f"{error.seen}\n{error.body}")
        msg = (
            f"Socket.IO probe of {self.target} failed at step '{name}': {error.seen}. "
            f"Likely cause: {found.cause}. Remedy: {found.remedy}."
        )
        return {
            "msg": msg,
            "failed_step": name,
            "status": error.status,
            "body": error.body,
            "cause": found.cause,
            "remedy": found.remedy,
        }

    def limit(self, name: str) -> float:
        rest = self.deadline - time.perf_counter()
        if name == "connect":
            return max(rest, 0) + self.timeout
        return max(rest, self.timeout) if name == self.first_request else self.timeout

    def silence(self, name: str, seconds: str) -> ProbeError:
        """What to say when the time of a step is up."""
        if name == "event":
            return ProbeError(f"no acknowledgement of {self.event_name} within {seconds}")
        if name == "disconnect":
            return ProbeError(f"the session did not end within {seconds}")
        return self.wire.silence(seconds)

    @property
    def first_request(self) -> str:
        return "handshake" if "polling" in self.transports else "websocket"

    @property
    def last_session(self) -> str:
        return "websocket" if "websocket" in self.transports else "polling"

    @property
    def target(self) -> str:
        if self.address.unix_socket:
            return f"{self.address.unix_socket} (path /{self.path})"
        return f"{self.address.base}/{self.path}"

    def note(self, name: str, result: str, ms: float, detail: str) -> None:
        self.steps.append({"name": name, "result": result, "ms": ms, "detail": detail})

    def summary(self, total: int) -> str:
        text = f"{self.transport} reached at {self.target} in {total} ms"
        if self.refusal is not None:
            text += f"; the app itself refuses anonymous clients ({self.refusal})"
        return text

    # The steps

    async def step_connect(self) -> str:
        while True:
            try:
                async with asyncio.timeout(self.timeout):
                    return await self.open_and_close()
            except ssl.SSLError as exc:
                raise ProbeError(describe(exc)) from exc
            except OSError as exc:  # TimeoutError is one
                if time.perf_counter() >= self.deadline:
                    raise self.not_connected(exc) from exc
            await asyncio.sleep(POLL_SECONDS)

    def not_connected(self, exc: OSError) -> ProbeError:
        tried = f" (tried for {self.wait:g} s)" if self.wait else ""
        if isinstance(exc, TimeoutError) and exc.errno is None:
            return ProbeError(f"no answer to the connect within {self.timeout:g} s{tried}")
        return ProbeError(f"{describe(exc)}{tried}")

    async def open_and_close(self) -> str:
        address = self.address
        if address.unix_socket:
            _reader, writer = await asyncio.open_unix_connection(address.unix_socket)
            detail = "unix socket"
        else:
            _reader, writer = await asyncio.open_connection(
                address.connect_to or address.host,
                address.port,
                ssl=self.tls,
                server_hostname=address.host if self.tls else None,
            )
            tls = writer.get_extra_info("ssl_object")
            detail = tls.version() if tls else "TCP"
            self.certificate = certificate_result(tls.getpeercert() if tls else {})
        writer.close()
        days = self.certificate.get("days_left")
        if days is not None and days < self.certificate_days:
            raise ProbeError(
                f"the certificate ends in {days} days, at {self.certificate['not_after']}"
            )
        return detail if days is None else f"{detail}, certificate for {days} more days"

    async def step_handshake(self) -> str:
        async with self.http(force_close=True) as http:
            url = f"{self.address.base}/{self.path}/?transport=polling&EIO=4"
            async with http.get(url, allow_redirects=False) as response:
                body = (await response.read()).decode("utf-8", "replace")
                status = response.status
                location = response.headers.get("Location", "")
            if status != 200:
                failure = self.wire.failure()
                if failure is None or location:
                    raise ProbeError(f"HTTP {status} {location}".strip(), status, body)
                raise failure
            data = self.open_data(status, body)
            self.handshake_data = handshake_result(
                data["upgrades"],
                data["pingInterval"] / 1000,
                data["pingTimeout"] / 1000,
                data.get("maxPayload"),
            )
            if "websocket" in self.transports and "websocket" not in data["upgrades"]:
                raise ProbeError(
                    f"the handshake offers no upgrade to websocket (upgrades: {data['upgrades']})",
                    status,
                    body,
                )
            mine = f"{url}&sid={data['sid']}"
            # Several workers behind one address show only when a session comes by several
            # connections, and one after the other spreads them best. An unasked pong changes
            # nothing in the session.
            for _ in range(CONNECTIONS):
                await post(http, mine, eio_packet.PONG)
            # Not to leave an orphan that the server keeps until its ping timeout.
            await post(http, mine, eio_packet.CLOSE)
            if failure := self.wire.failure():
                raise failure
        return (
            f"upgrades {', '.join(data['upgrades']) or 'none'}; "
            f"ping {self.handshake_data['ping_interval']:g} + "
            f"{self.handshake_data['ping_timeout']:g} s"
        )

    @staticmethod
    def open_data(status: int, body: str) -> dict[str, t.Any]:
        """The data of the OPEN packet."""
        try:
            first = eio_payload.Payload(encoded_payload=body).packets[0]
            data: t.Any = first.data if first.packet_type == eio_packet.OPEN else None
            well_formed = (
                isinstance(data["sid"], str)
                and isinstance(data["upgrades"], list)
                and data["pingInterval"] > 0
                and data["pingTimeout"] > 0
            )
        except (ValueError, IndexError, KeyError, TypeError):
            well_formed = False
        if well_formed:
            return dict(data)
        shown = one_line(body) or "empty"
        raise ProbeError(
            f"HTTP {status}, but the answer is not an Engine.IO handshake: {shown}", status, body
        )

    async def step_polling(self) -> str:
        return await self.session("polling", ["polling"])

    async def step_upgrade(self) -> str:
        return await self.session("upgrade", ["polling", "websocket"])

    async def step_websocket(self) -> str:
        return await self.session("websocket", ["websocket"])

    async def step_event(self) -> str:
        client = self.open_client()
        if self.refusal is not None:
            raise ProbeError("the app refused the anonymous client, so no event can be emitted")
        call = asyncio.ensure_future(
            client.call(self.event, self.event_data, self.namespace, timeout=self.timeout * 2)
        )
        await asyncio.wait({call, client.eio.read_loop_task}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            raise ProbeError(f"the connection was cut before {self.event_name} was acknowledged")
        await call
        return f"{self.event_name} acknowledged"

    async def step_disconnect(self) -> str:
        client = self.open_client()
        await self.leave(client)
        if client.transport() != "websocket":
            return "session closed"
        return f"websocket closed with code {client.eio.ws.close_code}"

    # Sessions

    async def session(self, name: str, transports: list[str]) -> str:
        """Connect with the Socket.IO client and learn the app's answer."""
        logger = quiet_logger()
        client = socketio.AsyncClient(
            reconnection=False,
            handle_sigint=False,
            logger=logger,
            engineio_logger=logger,
            http_session=self.http(),
            # The limit of the step is the one that counts: the client's own yields no reason.
            request_timeout=self.limit(name) + self.timeout,
        )
        answer: asyncio.Future[t.Any] = asyncio.get_running_loop().create_future()

        def settle(data: t.Any) -> None:
            if not answer.done():
                answer.set_result(data)

        client.on("connect", lambda: settle(CONNECTED), namespace=self.namespace)
        client.on("connect_error", lambda data=None: settle(data), namespace=self.namespace)
        await client.connect(
            self.address.base,
            headers={},
            auth=self.auth,
            transports=transports,
            namespaces=[self.namespace],
            socketio_path=self.path,
            wait=False,
        )
        if name == "upgrade" and client.transport() != "websocket":
            raise self.wire.failure() or self.wire.cut() or ProbeError("it stayed on polling")
        loops = {client.eio.read_loop_task, client.eio.write_loop_task}
        await asyncio.wait({answer, *loops}, return_when=asyncio.FIRST_COMPLETED)
        # The client hands a last message to a task of its own, so it may come after the end.
        await asyncio.wait({answer}, timeout=GRACE_SECONDS)
        if not answer.done():
            raise self.wire.failure() or self.wire.cut() or ProbeError("the connection was cut")
        self.transport = client.transport()
        if not self.handshake_data:
            self.handshake_data = handshake_result(
                client.eio.upgrades, client.eio.ping_interval, client.eio.ping_timeout, None
            )
        error = None if answer.result() is CONNECTED else self.refused(answer.result())
        if name == self.last_session and not error:
            self.client = client
        else:
            await self.leave(client)
        if error:
            raise error
        if self.refusal is not None:
            return f"{self.transport} reached; the app refused the anonymous client: {self.refusal}"
        return f"connected over {self.transport}"

    async def leave(self, client: socketio.AsyncClient) -> None:
        if client.transport() == "polling":
            # The client's next poll is on its way. Should the goodbye overtake it, the server would
            # write an error to its log; nothing tells when the poll has arrived.
            await asyncio.sleep(GOODBYE_SECONDS)
        await client.disconnect()

    def refused(self, data: t.Any) -> ProbeError | None:
        """Note a CONNECT_ERROR; returns an error when it counts as a failure."""
        if data == "Unable to connect":  # python-socketio itself, without asking the app
            return ProbeError(f"the app has no such namespace as '{self.namespace}'")
        self.refusal = refusal_text(data)
        if self.auth or self.headers:
            return ProbeError(f"the app refused the credentials: {self.refusal}")
        return None

    def open_client(self) -> socketio.AsyncClient:
        if self.client is None:
            raise ProbeError("no session was kept open")
        return self.client

    def http(self, force_close: bool = False) -> aiohttp.ClientSession:
        connector: aiohttp.BaseConnector
        if self.address.unix_socket:
            connector = aiohttp.UnixConnector(
                path=self.address.unix_socket, force_close=force_close
            )
        else:
            resolver = (
                ElsewhereResolver(self.address.connect_to) if self.address.connect_to else None
            )
            connector = aiohttp.TCPConnector(
                ssl=self.tls or True, resolver=resolver, force_close=force_close
            )
        self.wire = Wire()
        session = aiohttp.ClientSession(
            connector=connector,
            # On the session, because the client sends its own only with the first request.
            headers=self.headers,
            # Sticky cookies must also be kept for bare addresses.
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            trace_configs=[self.wire.trace()],
        )
        self.sessions.append(session)
        return session


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str"},
            "unix_socket": {"type": "path"},
            "host": {"type": "str"},
            "port": {"type": "int"},
            "connect_to": {"type": "str"},
            "path": {"type": "str", "default": "socket.io"},
            "namespace": {"type": "str", "default": "/"},
            "auth": {"type": "dict", "no_log": True},
            "headers": {"type": "dict", "no_log": True},
            "event": {"type": "str"},
            "event_data": {"type": "raw"},
            "event_binary": {"type": "bool", "default": False},
            "transports": {
                "type": "list",
                "elements": "str",
                "choices": ["polling", "websocket"],
                "default": ["polling", "websocket"],
            },
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
            "certificate_days": {"type": "int", "default": 0},
            "timeout": {"type": "float", "default": 5},
            "wait": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    if IMPORT_ERROR:
        module.fail_json(
            msg=missing_required_lib("python-socketio[asyncio_client]"), exception=IMPORT_ERROR
        )
    try:
        probe = Probe(module.params)
    except BadOptionError as exc:
        module.fail_json(msg=str(exc))
    result = asyncio.run(probe.run())
    if "failed_step" in result:
        module.fail_json(**result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
