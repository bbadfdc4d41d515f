# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The probe's parts that need no server: its options and its table of causes."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from ansible_collections.realtime.flask_socketio.plugins.module_utils.socketio_causes import (
    CAUSES,
    diagnose,
)
from ansible_collections.realtime.flask_socketio.plugins.modules import socketio_probe
from ansible_collections.realtime.flask_socketio.plugins.modules.socketio_probe import (
    BadOptionError,
    Probe,
)

DEFAULTS: dict[str, Any] = {
    name: option.get("default")
    for name, option in yaml.safe_load(socketio_probe.DOCUMENTATION)["options"].items()
}


def probe(**options: Any) -> Probe:
    return Probe(DEFAULTS | options)


@pytest.mark.parametrize(
    ("options", "base", "host", "port", "target"),
    [
        (
            {"url": "https://chat.example.org"},
            "https://chat.example.org",
            "chat.example.org",
            443,
            "https://chat.example.org/socket.io",
        ),
        (
            {"url": "ws://[::1]:5000/", "path": "/live/io/"},
            "http://[::1]:5000",
            "::1",
            5000,
            "http://[::1]:5000/live/io",
        ),
        (
            {"host": "::1", "port": 5000},
            "http://[::1]:5000",
            "::1",
            5000,
            "http://[::1]:5000/socket.io",
        ),
        (
            {"unix_socket": "/run/chat/1.sock"},
            "http://localhost",
            "localhost",
            80,
            "/run/chat/1.sock (path /socket.io)",
        ),
        (
            {"unix_socket": "/run/chat/1.sock", "host": "chat.example.org:8080"},
            "http://chat.example.org:8080",
            "chat.example.org",
            8080,
            "/run/chat/1.sock (path /socket.io)",
        ),
    ],
)
def test_addresses(options: dict[str, Any], base: str, host: str, port: int, target: str) -> None:
    made = probe(**options)
    assert (made.address.base, made.address.host, made.address.port) == (base, host, port)
    assert made.address.tls is base.startswith("https")
    assert made.target == target


UNIX = {"unix_socket": "/run/chat/1.sock"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "in exactly one way"),
        ({"host": "localhost"}, "in exactly one way"),
        ({"port": 5000}, "in exactly one way"),
        ({"url": "http://localhost", "port": 5000}, "in exactly one way"),
        ({"url": "http://localhost", **UNIX}, "in exactly one way"),
        ({**UNIX, "host": "localhost", "port": 5000}, "in exactly one way"),
        ({"host": "localhost", "port": 0}, "not between 1 and 65535"),
        ({"host": "local/host", "port": 5000}, "not a host name"),
        ({"unix_socket": "1.sock"}, "must be an absolute path"),
        ({**UNIX, "host": "a b"}, "not a host name"),
        ({"url": "localhost:5000"}, "must start with http://"),
        ({"url": "ftp://localhost"}, "must start with http://"),
        ({"url": "http://"}, "not a host name"),
        ({"url": "http://localhost:99999"}, "port 99999 is not between"),
        ({"url": "http://user:word@localhost"}, "give an Authorization header"),
        ({"url": "http://localhost/socket.io"}, "give the rest in path"),
        ({"url": "http://10.0.0.1", "connect_to": "127.0.0.1"}, "connect_to needs a name in url"),
        ({"url": "http://localhost", "connect_to": "a/b"}, "not a name or address"),
        ({**UNIX, "connect_to": "127.0.0.1"}, "connect_to needs url"),
        ({**UNIX, "path": "/"}, "not a URL path"),
        ({**UNIX, "path": "a?b"}, "not a URL path"),
        ({**UNIX, "namespace": "chat"}, "must start with /"),
        ({**UNIX, "timeout": 0}, "timeout must be above 0"),
        ({**UNIX, "wait": -1}, "wait not below it"),
        ({**UNIX, "certificate_days": 1}, "certificate_days needs an https url"),
        ({"url": "https://x", "certificate_days": -1}, "must not be below 0"),
        ({**UNIX, "event_data": 1}, "event_data needs event"),
        ({**UNIX, "transports": []}, "at least one transport"),
        ({"url": "https://localhost", "ca_path": "/none.pem"}, "holds no certificates"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOptionError, match=message):
        probe(**options)


def test_the_wait_is_also_for_the_first_answer_but_for_no_other() -> None:
    """A server may listen before it has loaded its app."""
    waiting = probe(**UNIX, timeout=5, wait=30)
    waiting.deadline = time.perf_counter() + 30
    assert 29 < waiting.limit("handshake") <= 30
    assert waiting.limit("polling") == 5
    waiting.deadline = time.perf_counter()
    assert waiting.limit("handshake") == 5


def test_the_documentation_has_the_options_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    class SpecError(Exception):
        pass

    def note_spec(argument_spec: dict[str, Any], **_: Any) -> None:
        raise SpecError(argument_spec)

    monkeypatch.setattr(socketio_probe, "AnsibleModule", note_spec)
    with pytest.raises(SpecError) as caught:
        socketio_probe.main()
    (spec,) = caught.value.args
    keys = ("type", "default", "choices", "elements")
    documented = yaml.safe_load(socketio_probe.DOCUMENTATION)["options"]
    assert {
        name: {k: v for k, v in option.items() if k in keys} for name, option in spec.items()
    } == {
        name: {k: v for k, v in option.items() if k in keys} for name, option in documented.items()
    }


# Step, HTTP status, what was seen, part of the cause. The servers' own words where there are any.
KNOWN = [
    ("connect", None, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed "
     "certificate", "not signed by an authority"),
    ("connect", None, "certificate verify failed: Hostname mismatch, certificate is not valid for "
     "'a'", "for another name"),
    ("connect", None, "certificate verify failed: certificate has expired", "out of date"),
    ("connect", None, "[SSL: WRONG_VERSION_NUMBER] wrong version number", "does not speak TLS"),
    ("connect", None, "[SSL: TLSV1_ALERT_PROTOCOL_VERSION] tlsv1 alert", "TLS handshake failed"),
    ("connect", None, "FileNotFoundError: [Errno 2] No such file or directory", "socket file"),
    ("connect", None, "PermissionError: [Errno 13] Permission denied", "may not open the socket"),
    ("connect", None, "ConnectionRefusedError: [Errno 111] Connect call failed", "nothing listens"),
    ("connect", None, "gaierror: [Errno -2] Name or service not known", "cannot be resolved"),
    ("connect", None, "OSError: [Errno 113] No route to host: unreachable", "is not reached"),
    ("connect", None, "no answer to the connect within 5 s", "is not reached"),
    ("handshake", 400, '"Not an accepted origin."', "does not accept the Origin"),
    ("polling", 400, '"Invalid session x8Qn"', "several workers"),
    ("upgrade", 400, '"Invalid session x8Qn"', "several workers"),
    ("handshake", 400, '"The client is using an unsupported version of the Socket.IO or Engine.IO '
     'protocols"', "different versions"),
    ("handshake", 400, '"Invalid transport"', "does not allow polling"),
    ("handshake", 400, "The plain HTTP request was sent to HTTPS port", "speaks TLS"),
    ("upgrade", 400, '"Invalid transport"', "Upgrade and Connection headers"),
    ("websocket", 400, '"Invalid websocket upgrade"', "Upgrade and Connection headers"),
    ("upgrade", 200, "6", "Upgrade and Connection headers"),
    ("upgrade", 426, "Upgrade Required", "Upgrade and Connection headers"),
    ("websocket", 400, '"Bad Request"', "cannot do websocket"),
    ("upgrade", 500, "Internal Server Error", "gevent-websocket"),
    ("upgrade", 101, "the websocket opened (HTTP 101) and was cut", "closed right after"),
    ("upgrade", 101, "nothing came through it within 5 s", "a proxy buffers"),
    ("upgrade", None, "no answer to the websocket request within 5 s", "--http-websockets"),
    ("websocket", 402, "Payment Required", "HTTP/1.0"),
    ("handshake", 301, "HTTP 301 https://a/", "redirects"),
    ("handshake", 200, "not an Engine.IO handshake: <html>", "something else answers"),
    ("handshake", 200, "the handshake offers no upgrade to websocket", "cannot do websocket"),
    ("handshake", 404, "<h1>404 Not Found</h1>", "not at this path"),
    ("handshake", 502, "<h1>502 Bad Gateway</h1>", "does not reach the app"),
    ("upgrade", 503, "", "does not reach the app"),
    ("handshake", 504, "", "does not reach the app"),
    ("handshake", 401, "", "wants credentials"),
    ("polling", 413, "", "size limits"),
    ("handshake", 429, "", "rate or connection limit"),
    ("handshake", 500, "", "raised an error"),
    ("handshake", None, "no answer to the polling GET within 5 s", "does not fit the app's"),
    ("handshake", None, "ClientOSError: [Errno 104] Connection reset by peer", "it died"),
    ("handshake", None, "UnixClientConnectorError: Cannot connect to unix socket /a [No such file "
     "or directory]", "went away"),
    ("polling", None, "no answer to the polling POST within 5 s", "one request at a time"),
    ("polling", 200, "did not arrive within 5 s", "a proxy buffers"),
    ("event", None, "no acknowledgement of event 'a' within 5 s", "no handler for this event"),
    ("disconnect", None, "the session did not end within 5 s", "does not let the session end"),
    ("polling", 418, "", "not known"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "status", "seen", "cause"), KNOWN)
def test_causes(step: str, status: int | None, seen: str, cause: str) -> None:
    assert cause in diagnose(step, status, seen).cause


def test_every_cause_can_be_read() -> None:
    for cause in CAUSES:
        for text in (cause.cause, cause.remedy):
            assert text
            assert not text.endswith(".")
