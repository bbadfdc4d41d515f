# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a Socket.IO connection fails, and what mends it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A likely cause and its remedy, and what points to it; left out means any."""

    steps: str = ""
    status: str = ""
    seen: str = ""
    cause: str
    remedy: str

    def fits(self, step: str, status: int | None, seen: str) -> bool:
        return (
            (not self.steps or step in self.steps.split())
            and (not self.status or str(status) in self.status.split())
            and re.search(self.seen, seen, re.IGNORECASE) is not None
        )


NO_UPGRADE_CAUSE = "the Upgrade and Connection headers do not reach the server"
NO_UPGRADE_REMEDY = (
    "let the proxy speak HTTP/1.1 to the server and pass both headers, in nginx "
    "'proxy_http_version 1.1', 'proxy_set_header Upgrade $http_upgrade' and "
    "'proxy_set_header Connection $connection_upgrade'"
)
NO_WEBSOCKET_CAUSE = (
    "the server cannot do websocket: simple-websocket is missing beside threads, "
    "or the app sets allow_upgrades or transports"
)
NO_WEBSOCKET_REMEDY = (
    "install simple-websocket in the app's virtualenv (or gevent, with its worker), or allow the "
    "upgrade in the app; if polling is all that is wanted, probe with transports [polling]"
)
WRONG_SERVER_CAUSE = (
    "the server process does not fit the app's async_mode: gevent-websocket is installed under the "
    "plain gevent worker, or uWSGI or mod_wsgi serves an app that is not in mode gevent_uwsgi"
)
WRONG_SERVER_REMEDY = (
    "remove gevent-websocket from the virtualenv or use its own worker; under uWSGI set "
    "async_mode='gevent_uwsgi'; the app's log has the traceback"
)
NO_APP_ANSWER_CAUSE = (
    "the app raised an error or hangs when a client connects (a message queue without monkey "
    "patching shows only here), or a proxy buffers the answers"
)
NO_APP_ANSWER_REMEDY = (
    "read the app's log; if it is quiet, turn buffering off in the proxy, in nginx "
    "'proxy_buffering off'"
)

# The first that fits is taken.
CAUSES: tuple[Cause, ...] = (
    # The server names the reason itself.
    Cause(
        status="400",
        seen=r"not an accepted origin",
        cause=(
            "the app does not accept the Origin; behind a proxy it compares with a "
            "wrong scheme, host or port"
        ),
        remedy=(
            "send Host with its port ($http_host), X-Forwarded-Proto and "
            "X-Forwarded-Host from the proxy, or add the origin to cors_allowed_origins"
        ),
    ),
    Cause(
        status="400",
        seen=r"invalid session",
        cause=(
            "requests of one client reach different processes: several workers, or a "
            "balancer without sticky sessions"
        ),
        remedy="run one worker per server process and let the balancer be sticky",
    ),
    Cause(
        status="400",
        seen=r"unsupported version",
        cause="client and server speak different versions of the Socket.IO protocol",
        remedy=(
            "use Flask-SocketIO 5 with python-socketio 5; check that nothing on the "
            "way drops the EIO parameter"
        ),
    ),
    Cause(
        steps="handshake polling",
        status="400",
        seen=r"invalid transport",
        cause="the app does not allow polling",
        remedy="probe with transports [websocket], or allow polling in the app",
    ),
    Cause(
        steps="upgrade websocket",
        status="400",
        seen=r"invalid transport|invalid websocket upgrade",
        cause=NO_UPGRADE_CAUSE,
        remedy=NO_UPGRADE_REMEDY,
    ),
    Cause(
        steps="upgrade websocket",
        status="400",
        seen=r'"bad request"',
        cause=NO_WEBSOCKET_CAUSE,
        remedy=NO_WEBSOCKET_REMEDY,
    ),
    Cause(
        status="400",
        seen=r"plain http request was sent to https port",
        cause="the port speaks TLS",
        remedy="use an https URL",
    ),
    # TLS.
    Cause(
        steps="connect",
        seen=r"hostname mismatch|address mismatch|doesn't match|not valid for",
        cause="the certificate is for another name",
        remedy="use the name in the certificate, or have one issued for this name",
    ),
    Cause(
        steps="connect",
        seen=r"certificate has expired|not yet valid",
        cause="the certificate is out of date, or a clock is wrong",
        remedy="renew the certificate and reload the proxy; check both clocks",
    ),
    Cause(
        steps="connect",
        seen=r"certificate ends in",
        cause="the certificate was not renewed",
        remedy="renew it and reload the proxy; see why the timer of certbot did not",
    ),
    Cause(
        steps="connect",
        seen=r"certificate verify failed|certificate_verify_failed",
        cause=(
            "the certificate is not signed by an authority known here, or its chain is not complete"
        ),
        remedy="give the authority's certificate as ca_path; serve the full chain",
    ),
    Cause(
        steps="connect",
        seen=r"wrong_version_number|wrong version number|record layer failure",
        cause="the port does not speak TLS",
        remedy="use an http URL, or set up TLS on this port",
    ),
    Cause(
        steps="connect",
        seen=r"\bssl\b|\btls\b",
        cause="the TLS handshake failed",
        remedy="compare the TLS versions and ciphers of the site with this machine's",
    ),
    # Reaching the server at all.
    Cause(
        steps="connect",
        seen=r"no such file",
        cause="the socket file is missing: the server is not running or listens elsewhere",
        remedy=(
            "look at the server's unit and its journal, and compare the path with its configuration"
        ),
    ),
    Cause(
        seen=r"permission denied",
        cause="the user who runs the probe may not open the socket",
        remedy="run the probe with become, or as a member of the socket's group",
    ),
    Cause(
        steps="connect",
        seen=r"refused",
        cause="nothing listens there: the server is down or listens elsewhere",
        remedy=(
            "look at the server's unit and its journal, and compare the address with "
            "its configuration"
        ),
    ),
    Cause(
        steps="connect",
        seen=r"name or service not known|name resolution|nodename|no address",
        cause="the host name cannot be resolved",
        remedy="correct the name, or its DNS entry",
    ),
    Cause(
        steps="connect",
        seen=r"unreachable|no answer",
        cause="the address is not reached: firewall, route, or a server whose backlog is full",
        remedy="check firewall and route, and that the server still accepts connections",
    ),
    Cause(
        status="502 503 504",
        cause=(
            "the proxy does not reach the app: it is down, starting, overloaded, or "
            "listens elsewhere"
        ),
        remedy=(
            "look at the app's unit and journal, and compare its address with the proxy's upstream"
        ),
    ),
    # The path, and who answers there.
    Cause(
        steps="handshake",
        status="301 302 303 307 308",
        cause="the site redirects, mostly from http to https",
        remedy="probe the address to which it redirects",
    ),
    Cause(
        status="404 405",
        cause="Socket.IO is not at this path, or the proxy rewrites it",
        remedy=(
            "compare path with the app's; in nginx give proxy_pass no path and no trailing slash"
        ),
    ),
    Cause(
        steps="handshake",
        status="200",
        seen=r"not an engine\.io handshake",
        cause="something else answers at this path: a page, or another site of the same proxy",
        remedy="compare path and host with the app's and with the proxy's locations",
    ),
    Cause(
        steps="handshake",
        status="200",
        seen=r"no upgrade",
        cause=NO_WEBSOCKET_CAUSE,
        remedy=NO_WEBSOCKET_REMEDY,
    ),
    Cause(
        status="401 403 407",
        cause="something before the app's Socket.IO wants credentials or forbids the request",
        remedy="give them in headers, or open the path in the proxy",
    ),
    Cause(
        status="402",
        cause="the proxy speaks HTTP/1.0 to the server",
        remedy="let it speak HTTP/1.1, in nginx 'proxy_http_version 1.1'",
    ),
    Cause(
        status="413 414 431",
        cause="the proxy's size limits are below what Socket.IO sends",
        remedy="raise them to the app's max_http_buffer_size",
    ),
    Cause(
        status="429",
        cause="a rate or connection limit of the proxy is hit",
        remedy="raise it for the Socket.IO path",
    ),
    # The upgrade.
    Cause(
        steps="upgrade websocket",
        status="500 501",
        cause=WRONG_SERVER_CAUSE,
        remedy=WRONG_SERVER_REMEDY,
    ),
    Cause(
        steps="upgrade websocket",
        status="200 400 426",
        cause=NO_UPGRADE_CAUSE,
        remedy=NO_UPGRADE_REMEDY,
    ),
    Cause(
        steps="upgrade websocket",
        status="101",
        seen=r"cut",
        cause=(
            "the websocket is closed right after it opened: the server raised an "
            "error, or a proxy or firewall does not let websocket frames through"
        ),
        remedy="read the app's log; compare with a probe that goes to the server directly",
    ),
    Cause(
        steps="upgrade websocket",
        status="101",
        seen=r"nothing came|no answer",
        cause=NO_APP_ANSWER_CAUSE,
        remedy=NO_APP_ANSWER_REMEDY,
    ),
    Cause(
        steps="upgrade websocket",
        seen=r"no answer",
        cause=(
            "the request for a websocket is never answered: the Connection header is "
            "missing, uWSGI's --http lacks --http-websockets, or the server's "
            "capacity is used up"
        ),
        remedy=NO_UPGRADE_REMEDY + "; under uWSGI add http-websockets",
    ),
    # Sessions.
    Cause(
        seen=r"cannot connect to",
        cause="the server was there and went away: it could not load the app, or was stopped",
        remedy="look at the server's unit and its journal",
    ),
    Cause(
        steps="polling",
        seen=r"no answer to the polling post",
        cause=(
            "the server handles one request at a time, or its worker does not fit the app's "
            "async_mode: it waits in a poll and does not take the next request"
        ),
        remedy="use gunicorn's gevent worker, or --threads with async_mode='threading'",
    ),
    Cause(
        steps="handshake",
        seen=r"no answer",
        cause=(
            "the server accepts connections but does not answer: its worker does not "
            "fit the app's async_mode, its capacity is used up, or blocking code "
            "holds it"
        ),
        remedy=(
            "compare worker class and async_mode, look for blocking code in the app, "
            "raise the limits"
        ),
    ),
    Cause(
        steps="polling",
        seen=r"no answer|did not arrive",
        cause=NO_APP_ANSWER_CAUSE,
        remedy=NO_APP_ANSWER_REMEDY,
    ),
    Cause(
        seen=r"no such namespace",
        cause="the app has no such namespace",
        remedy="correct namespace, or register it in the app",
    ),
    Cause(
        seen=r"refused the credentials",
        cause="the app does not accept what auth or headers carry",
        remedy="correct them, or leave both out to see only whether the app is reached",
    ),
    Cause(
        steps="event",
        seen=r"with binary data",
        cause=(
            "the server loses binary data, as uWSGI does over websocket when it begins with a byte "
            "of 0x30 or above, or the app's handler for this event fails"
        ),
        remedy=(
            "send the same data as text: if that is acknowledged, leave uwsgi_websocket at "
            "'simple-websocket', or use another server"
        ),
    ),
    Cause(
        steps="event",
        seen=r"refused the anonymous",
        cause="the app wants credentials",
        remedy="give them in auth or headers, or leave event out",
    ),
    Cause(
        steps="event",
        seen=r"no acknowledgement",
        cause=(
            "the app has no handler for this event in this namespace, or the handler fails or hangs"
        ),
        remedy="compare event and namespace with the app's handlers; read the app's log",
    ),
    # Whatever is left.
    Cause(
        status="500",
        cause="the app or its server raised an error",
        remedy="read the app's log",
    ),
    Cause(
        seen=r"reset|disconnected|broken pipe|cut|closed",
        cause="the server closed the connection: it died, was stopped, or a limit was hit",
        remedy="look at the server's unit and its journal",
    ),
    Cause(
        steps="disconnect",
        cause="the server does not let the session end",
        remedy="read the app's log",
    ),
    Cause(
        cause="not known",
        remedy="read the logs of proxy and app",
    ),
)


def diagnose(step: str, status: int | None, seen: str) -> Cause:
    """The likely cause of a failure, by step, HTTP status and what was seen."""
    return next(cause for cause in CAUSES if cause.fits(step, status, seen))
