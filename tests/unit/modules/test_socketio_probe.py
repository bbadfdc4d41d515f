# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The probe against real servers: a Flask-SocketIO app under gunicorn, directly and by proxies.

Every broken proxy has its counterpart in the good one, which the same probe must pass.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import io
import json
import os
import select
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.realtime.flask_socketio.plugins.modules import socketio_probe
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SERVERS = Path(__file__).parent / "servers"
COLLECTIONS = Path(__file__).parents[3] / ".ansible" / "collections"
STARTING = 20
# Of each step: a busy machine answers within it, and one that gets no answer waits for so long.
SHORT = 4.0
STEPS = ["connect", "handshake", "polling", "upgrade", "websocket", "event", "disconnect"]


def probe(**options: Any) -> dict[str, Any]:
    """Run the module's entry function and return what it prints."""
    output = io.StringIO()
    with (
        patch_module_args(options),
        contextlib.redirect_stdout(output),
        pytest.raises(SystemExit),
    ):
        socketio_probe.main()
    result: dict[str, Any] = json.loads(output.getvalue())
    return result


def results(result: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["result"] for step in result["steps"]}


def expected(failed: str | None = None, skipped: tuple[str, ...] = ("event",)) -> dict[str, str]:
    """Results of all steps when this one fails."""
    steps = {name: "skipped" if name in skipped else "ok" for name in STEPS}
    if failed:
        at = STEPS.index(failed)
        steps |= {failed: "failed"} | dict.fromkeys(STEPS[at + 1 :], "skipped")
    return steps


@contextlib.contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def gunicorn(bind: list[str], workers: int = 1, **environment: str) -> Iterator[None]:
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(SERVERS), "--log-level", "critical"]
    command += [
        "-k",
        "gevent",
        "-w",
        str(workers),
        "--no-control-socket",
        "--graceful-timeout",
        "1",
    ]
    command += [f"--bind={address}" for address in bind]
    inherited = [int(address[5:]) for address in bind if address.startswith("fd://")]
    with running([*command, "app:app"], env=os.environ | environment, pass_fds=inherited):
        yield


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("probe")


@pytest.fixture(scope="module")
def good(directory: Path) -> Iterator[dict[str, Any]]:
    """The app on a unix socket and on a TCP port; both listen before the app is loaded."""
    path = str(directory / "app.sock")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen()
        port: int = tcp.getsockname()[1]
        with gunicorn([f"fd://{tcp.fileno()}", f"fd://{unix.fileno()}"]):
            first = probe(host="127.0.0.1", port=port, wait=STARTING)
            assert results(first) == expected(), first["msg"]
            yield {"unix_socket": path, "port": port}


@pytest.fixture(scope="module")
def relay(directory: Path, good: dict[str, Any], certificate: Path) -> Iterator[Relay]:
    twin = str(directory / "twin.sock")
    command = [sys.executable, str(SERVERS / "relay.py")]
    command += [str(directory), good["unix_socket"], twin]
    with gunicorn([f"unix:{twin}"]), running(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], STARTING)[0], "the relay does not start"
        ready = probe(unix_socket=twin, wait=STARTING)
        assert results(ready) == expected(), ready["msg"]
        yield Relay(directory, int(process.stdout.readline()), certificate)


class Relay:
    def __init__(self, directory: Path, tls_port: int, certificate: Path) -> None:
        self.directory = directory
        self.tls_port = tls_port
        self.certificate = str(certificate)

    def probe(self, mode: str, **options: Any) -> dict[str, Any]:
        path = str(self.directory / f"{mode}.sock")
        return probe(**{"unix_socket": path, "timeout": 3} | options)


@pytest.fixture(scope="module")
def certificate(directory: Path) -> Path:
    """A certificate that nobody vouches for, made out to localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost")]
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(*[True] + [False] * 4 + [True, True] + [False] * 2)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    path = directory / "cert.pem"
    path.write_bytes(built.public_bytes(pem))
    return path


# Good servers


def test_a_healthy_server_passes_every_step(good: dict[str, Any]) -> None:
    started = time.monotonic()
    result = probe(unix_socket=good["unix_socket"], event="echo", event_data={"a": [1]})
    seconds = time.monotonic() - started

    assert results(result) == expected(skipped=())
    assert result["changed"] is False
    assert result["transport"] == "websocket"
    assert result["refused_by_app"] is False
    assert result["handshake"] == {
        "upgrades": ["websocket"],
        "ping_interval": 20.0,
        "ping_timeout": 10.0,
        "max_payload": 1000000,
    }
    assert [step["detail"] for step in result["steps"]] == [
        "unix socket",
        "upgrades websocket; ping 20 + 10 s",
        "connected over polling",
        "connected over websocket",
        "connected over websocket",
        "event 'echo' acknowledged",
        "websocket closed with code 1000",
    ]
    assert result["summary"].startswith(f"websocket reached at {good['unix_socket']}")
    assert result["msg"] == result["summary"]
    assert all(step["ms"] > 0 for step in result["steps"])
    assert seconds < 1.5


@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_a_url(good: dict[str, Any], scheme: str) -> None:
    result = probe(url=f"{scheme}://127.0.0.1:{good['port']}/")
    assert results(result) == expected()


def test_no_session_is_left_behind(good: dict[str, Any]) -> None:
    def open_sessions() -> int:
        url = f"http://127.0.0.1:{good['port']}/sessions"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(json.load(answer)["open"])

    for namespace in ("/", "/private"):
        assert (
            results(probe(host="127.0.0.1", port=good["port"], namespace=namespace)) == expected()
        )
    assert open_sessions() == 0


def test_polling_alone_is_enough_when_no_more_is_wanted(good: dict[str, Any]) -> None:
    result = probe(unix_socket=good["unix_socket"], transports=["polling"], event="echo")
    assert results(result) == expected(skipped=("upgrade", "websocket"))
    assert result["transport"] == "polling"


def test_an_app_that_allows_websocket_only(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    with gunicorn([f"unix:{path}"], TRANSPORTS="websocket"):
        result = probe(unix_socket=path, wait=STARTING)
        assert results(result) == expected("handshake")
        assert result["status"] == 400
        assert result["cause"] == "the app does not allow polling"

        result = probe(unix_socket=path, transports=["websocket"])
        assert results(result) == expected(skipped=("handshake", "polling", "upgrade", "event"))
        assert result["transport"] == "websocket"
        assert result["handshake"]["ping_interval"] == 20.0
        assert result["handshake"]["max_payload"] is None


def test_the_relay_itself_is_good(relay: Relay) -> None:
    assert results(relay.probe("good", event="echo")) == expected(skipped=())


def test_host_is_the_name_in_the_host_header(good: dict[str, Any]) -> None:
    options = {
        "unix_socket": good["unix_socket"],
        "headers": {"Origin": "http://chat.example.org:8080"},
    }
    assert results(probe(**options, host="chat.example.org:8080")) == expected()
    assert results(probe(**options)) == expected("handshake")


def test_connect_to_replaces_the_name_only_when_connecting(
    relay: Relay, good: dict[str, Any]
) -> None:
    options = {
        "url": f"http://chat.example.org:{good['port']}",
        "headers": {"Origin": f"http://chat.example.org:{good['port']}"},
    }
    assert results(probe(**options, connect_to="127.0.0.1")) == expected()

    tls = {"connect_to": "127.0.0.1", "ca_path": relay.certificate}
    assert results(probe(url=f"https://localhost:{relay.tls_port}", **tls)) == expected()
    other = probe(url=f"https://chat.example.org:{relay.tls_port}", **tls)
    assert results(other) == expected("connect")
    assert other["cause"] == "the certificate is for another name"


# Waiting


def test_waiting_is_bounded(tmp_path: Path) -> None:
    started = time.monotonic()
    result = probe(unix_socket=str(tmp_path / "none.sock"), wait=0.5)
    assert 0.5 <= time.monotonic() - started < 2
    assert results(result) == expected("connect")
    assert "tried for 0.5 s" in result["msg"]


def test_without_wait_it_fails_at_once(tmp_path: Path) -> None:
    result = probe(unix_socket=str(tmp_path / "none.sock"))
    assert result["steps"][0]["ms"] < 500
    assert result["cause"].startswith("the socket file is missing")


# Broken servers: mode of the relay, failed step, status, part of the cause, best transport reached

BROKEN: list[tuple[str, str, int | None, str, str]] = [
    ("no_upgrade", "upgrade", 400, "Upgrade and Connection headers do not reach", "polling"),
    ("alternating", "handshake", 400, "several workers", "none"),
    ("bad_gateway", "handshake", 502, "the proxy does not reach the app", "none"),
    ("buffering", "polling", 200, "a proxy buffers the answers", "none"),
    ("silent", "handshake", None, "accepts connections but does not answer", "none"),
    ("silent_upgrade", "upgrade", None, "request for a websocket is never answered", "polling"),
    ("mute", "upgrade", 101, "a proxy buffers the answers", "polling"),
    ("cut", "upgrade", 101, "closed right after it opened", "polling"),
    ("cut_later", "upgrade", 101, "closed right after it opened", "polling"),
    ("error_500", "upgrade", 500, "gevent-websocket", "polling"),
    ("redirect", "handshake", 301, "the site redirects", "none"),
    ("old_protocol", "handshake", 400, "different versions of the Socket.IO protocol", "none"),
    ("reset", "handshake", None, "the server closed the connection", "none"),
]


@pytest.mark.parametrize(("mode", "step", "status", "cause", "transport"), BROKEN)
def test_a_broken_proxy_is_recognised(
    relay: Relay, mode: str, step: str, status: int | None, cause: str, transport: str
) -> None:
    result = relay.probe(mode, timeout=SHORT)
    assert result["failed"] is True
    assert results(result) == expected(step)
    assert result["failed_step"] == step
    assert result["status"] == status
    assert cause in result["cause"]
    assert result["transport"] == transport
    for part in (f"step '{step}'", result["cause"], result["remedy"]):
        assert part in result["msg"]


def test_the_body_of_a_bad_answer_is_returned(relay: Relay) -> None:
    assert relay.probe("bad_gateway")["body"] == "<h1>502 Bad Gateway</h1>"
    assert relay.probe("no_upgrade")["body"] == '"Invalid transport"'


def test_a_proxy_without_upgrade_seen_by_websocket_alone(relay: Relay) -> None:
    result = relay.probe("no_upgrade", transports=["websocket"])
    assert result["failed_step"] == "websocket"
    assert result["body"] == '"Invalid websocket upgrade"'
    assert "Upgrade and Connection headers" in result["cause"]


def test_a_wrong_path(good: dict[str, Any]) -> None:
    result = probe(unix_socket=good["unix_socket"], path="/elsewhere/")
    assert results(result) == expected("handshake")
    assert result["status"] == 404
    assert "not at this path" in result["cause"]


def test_a_page_at_the_path(good: dict[str, Any]) -> None:
    result = probe(unix_socket=good["unix_socket"], path="page")
    assert results(result) == expected("handshake")
    assert result["status"] == 200
    assert "something else answers" in result["cause"]
    assert "<title>A page</title>" in result["body"]


def test_an_origin_that_is_not_accepted(good: dict[str, Any]) -> None:
    headers = {"Origin": "https://elsewhere.example.org"}
    result = probe(unix_socket=good["unix_socket"], headers=headers)
    assert results(result) == expected("handshake")
    assert result["body"] == '"Not an accepted origin."'
    assert "does not accept the Origin" in result["cause"]
    assert "X-Forwarded-Proto" in result["remedy"]


def test_a_handshake_without_upgrades(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    with gunicorn([f"unix:{path}"], ALLOW_UPGRADES="no"):
        result = probe(unix_socket=path, wait=STARTING)
        assert results(result) == expected("handshake")
        assert "simple-websocket is missing" in result["cause"]
        assert result["handshake"]["upgrades"] == []
        assert results(probe(unix_socket=path, transports=["polling"])) == expected(
            skipped=("upgrade", "websocket", "event")
        )


def worker(path: str) -> bytes:
    """The process that answers."""
    client = http.client.HTTPConnection("localhost")
    client.sock = socket.socket(socket.AF_UNIX)
    with contextlib.closing(client):
        client.sock.connect(path)
        client.request("GET", "/worker")
        return client.getresponse().read()


def test_several_workers_are_recognised_whichever_answers_first(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    with gunicorn([f"unix:{path}"], workers=2):
        assert probe(unix_socket=path, transports=["websocket"], wait=STARTING)["handshake"]
        # One that has loaded the app may not accept connections yet.
        until = time.monotonic() + STARTING
        while len({worker(path) for _ in range(10)}) < 2:
            assert time.monotonic() < until, "the second worker does not answer"
        for _ in range(3):
            result = probe(unix_socket=path)
            assert results(result) == expected("handshake")
            assert "Invalid session" in result["body"]
            assert "several workers" in result["cause"]


def test_a_server_that_goes_away_while_it_starts(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    with gunicorn([f"unix:{path}"], TRANSPORTS="nonsense"):
        result = probe(unix_socket=path, wait=STARTING)
    assert results(result) == expected("handshake")
    assert result["steps"][1]["ms"] < STARTING * 1000
    assert "went away" in result["cause"] or "closed the connection" in result["cause"]


def test_nothing_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    stale = str(tmp_path / "stale.sock")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(stale)
    for options in ({"host": "127.0.0.1", "port": port}, {"unix_socket": stale}):
        result = probe(**options)
        assert results(result) == expected("connect")
        assert result["status"] is None
        assert "nothing listens there" in result["cause"]


def test_an_app_that_fails_when_a_client_connects(good: dict[str, Any]) -> None:
    result = probe(unix_socket=good["unix_socket"], namespace="/broken", timeout=SHORT)
    assert results(result) == expected("polling")
    assert "the app raised an error" in result["cause"]


def test_an_event_may_carry_binary_data(good: dict[str, Any]) -> None:
    said = {"event": "echo", "event_data": "0123", "event_binary": True}
    result = probe(unix_socket=good["unix_socket"], **said)
    assert results(result) == expected(skipped=())
    lost = probe(unix_socket=good["unix_socket"], timeout=SHORT, **said | {"event": "failing"})
    assert results(lost) == expected("event")
    assert "the server loses binary data" in lost["cause"]


@pytest.mark.parametrize("event", ["failing", "unknown"])
def test_an_event_that_is_not_acknowledged(good: dict[str, Any], event: str) -> None:
    result = probe(unix_socket=good["unix_socket"], event=event, timeout=SHORT)
    assert results(result) == expected("event")
    assert result["transport"] == "websocket"
    assert "no handler for this event" in result["cause"]


# Refusals by the app


def test_an_app_that_refuses_the_anonymous_client_is_reached(good: dict[str, Any]) -> None:
    result = probe(unix_socket=good["unix_socket"], namespace="/private")
    assert results(result) == expected()
    assert result["refused_by_app"] is True
    assert result["transport"] == "websocket"
    assert result["msg"].endswith("the app itself refuses anonymous clients (members only)")
    assert "failed" not in result


def test_a_missing_upgrade_is_seen_even_if_the_app_refuses(relay: Relay) -> None:
    result = relay.probe("no_upgrade", namespace="/private")
    assert results(result) == expected("upgrade")
    assert result["refused_by_app"] is True
    assert "Upgrade and Connection headers" in result["cause"]


@pytest.mark.parametrize(
    "credentials", [{"auth": {"token": "open-sesame"}}, {"headers": {"X-Token": "open-sesame"}}]
)
def test_good_credentials(good: dict[str, Any], credentials: dict[str, Any]) -> None:
    result = probe(unix_socket=good["unix_socket"], namespace="/private", **credentials)
    assert results(result) == expected()
    assert result["refused_by_app"] is False


@pytest.mark.parametrize(
    "credentials", [{"auth": {"token": "let-me-in"}}, {"headers": {"X-Token": "let-me-in"}}]
)
def test_refused_credentials(good: dict[str, Any], credentials: dict[str, Any]) -> None:
    result = probe(unix_socket=good["unix_socket"], namespace="/private", **credentials)
    assert results(result) == expected("polling")
    assert result["refused_by_app"] is True
    assert "does not accept what auth or headers carry" in result["cause"]
    assert "members only" in result["msg"]


def test_an_event_needs_credentials_where_the_app_does(good: dict[str, Any]) -> None:
    result = probe(unix_socket=good["unix_socket"], namespace="/private", event="echo")
    assert results(result) == expected("event")
    assert result["cause"] == "the app wants credentials"


def test_an_unknown_namespace(good: dict[str, Any]) -> None:
    result = probe(unix_socket=good["unix_socket"], namespace="/nowhere")
    assert results(result) == expected("polling")
    assert result["refused_by_app"] is False
    assert result["cause"] == "the app has no such namespace"


def test_secrets_are_not_shown(relay: Relay) -> None:
    secrets = {"headers": {"X-Secret": "gargoyle-17"}, "auth": {"token": "mandrake-18"}}
    result = relay.probe("telltale", **secrets)
    assert "X-Secret" in result["body"]
    shown = json.dumps(result)
    assert "gargoyle-17" not in shown
    assert "mandrake-18" not in shown


# TLS


def test_a_certificate_that_nobody_vouches_for(relay: Relay) -> None:
    url = f"https://localhost:{relay.tls_port}"
    result = probe(url=url)
    assert results(result) == expected("connect")
    assert "not signed by an authority" in result["cause"]
    assert "ca_path" in result["remedy"]

    result = probe(url=url, ca_path=relay.certificate)
    assert results(result) == expected()
    assert result["steps"][0]["detail"] == "TLSv1.3, certificate for 0 more days"
    assert result["certificate"]["names"] == ["localhost"]
    assert result["certificate"]["days_left"] == 0
    unchecked = probe(url=url, validate_certs=False)
    assert results(unchecked) == expected()
    assert unchecked["certificate"] == {}


def test_a_certificate_that_ends_too_soon(relay: Relay) -> None:
    url = f"https://localhost:{relay.tls_port}"
    result = probe(url=url, ca_path=relay.certificate, certificate_days=1)
    assert results(result) == expected("connect")
    ends = result["certificate"]["not_after"]
    assert f"the certificate ends in 0 days, at {ends}. Likely cause" in result["msg"]
    assert result["cause"] == "the certificate was not renewed"


def test_a_certificate_for_another_name(relay: Relay) -> None:
    result = probe(url=f"https://127.0.0.1:{relay.tls_port}", ca_path=relay.certificate)
    assert results(result) == expected("connect")
    assert result["cause"] == "the certificate is for another name"


def test_https_to_a_plain_port(good: dict[str, Any]) -> None:
    result = probe(url=f"https://127.0.0.1:{good['port']}")
    assert results(result) == expected("connect")
    assert result["cause"] == "the port does not speak TLS"


# As Ansible runs it


def run_ansible(options: dict[str, Any], *flags: str, **env: str) -> str:
    command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-c", "local"]
    command += ["-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}", *flags]
    command += ["-m", "realtime.flask_socketio.socketio_probe", "-a", json.dumps(options)]
    settings = {
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_NOCOLOR": "true",
    }
    done = subprocess.run(
        command, env=os.environ | settings | env, capture_output=True, text=True, timeout=30
    )
    return done.stdout + done.stderr


def test_as_a_module_in_check_mode(good: dict[str, Any]) -> None:
    options = {"unix_socket": good["unix_socket"], "namespace": "/private"}
    options["auth"] = {"token": "open-sesame"}
    output = run_ansible(options, "--check", "-vvv")
    assert "localhost | SUCCESS" in output
    assert '"transport": "websocket"' in output
    assert '"changed": false' in output
    assert "open-sesame" not in output.replace(json.dumps(options), "")


def test_missing_libraries_are_named(tmp_path: Path) -> None:
    (tmp_path / "socketio.py").write_text("raise ImportError('not here')\n")
    output = run_ansible({"unix_socket": "/run/none.sock"}, PYTHONPATH=str(tmp_path))
    assert "localhost | FAILED" in output
    assert (
        "Failed to import the required Python library (python-socketio[asyncio_client])" in output
    )
