"""What a server behind Apache is sent, as a mirror says; and who else is served."""

from __future__ import annotations

import pytest

CURL = "curl -sg -H 'Host: mirror.example.test' "
NAMES = ("X-Forwarded-Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP")
FORGED = " ".join(f"-H '{name}: forged'" for name in NAMES)


def headers(host, options: str) -> dict[str, str]:
    head = host.check_output(f"{CURL} {options} http://localhost:8080/").splitlines()
    return dict(line.split(": ", 1) for line in head[1:] if line)


@pytest.mark.parametrize(
    "options",
    [
        "",
        f"{FORGED} -H 'Forwarded: for=forged'",
        # What Connection names, a proxy drops: the client must not choose what that is.
        f"{FORGED} -H 'Connection: {', '.join(NAMES)}'",
    ],
)
def test_forwarded_headers_are_apaches_own(host, options):
    seen = headers(host, options)
    assert seen.pop("X-Forwarded-For") == seen.pop("X-Real-IP")
    for name in ("User-Agent", "Accept", "Connection"):
        seen.pop(name, None)
    assert seen == {
        "Host": "mirror.example.test",
        "X-Forwarded-Host": "mirror.example.test",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Port": "8080",
    }


@pytest.mark.parametrize(
    "path", ["/a%2Fb//c?x=%2f&y=[1]", "/icons/", "/server-status", "/cgi-bin/x", "/.htaccess"]
)
def test_every_path_reaches_the_app_as_it_was_sent(host, path):
    head = host.check_output(f"{CURL} 'http://localhost:8080{path}'")
    assert head.splitlines()[0] == f"GET {path} HTTP/1.1"


@pytest.mark.parametrize(
    ("path", "size", "options", "status"),
    [
        ("/socket.io/", 1000, "", 200),
        ("/socket.io/", 1001, "", 413),
        ("/socket.io/", 10, "-H 'Transfer-Encoding: chunked'", 411),
        ("/upload", 2048, "", 200),
        ("/upload", 2049, "", 413),
    ],
)
def test_bodies_are_limited(host, path, size, options, status):
    command = f"head -c {size} /dev/zero | {CURL} -o /dev/null -w '%{{http_code}}' {options}"
    assert host.check_output(f"{command} --data-binary @- http://localhost:8080{path}") == str(
        status
    )


@pytest.mark.parametrize("name", ["stranger.example.test", "www.stranger.example.test"])
def test_a_strangers_site_answers(host, name):
    seen = host.check_output("curl -s -H %s http://localhost/", f"Host: {name}")
    assert seen == "a stranger's site"


def test_the_log_has_no_query_strings(host):
    host.check_output(f"{CURL} 'http://localhost:8080/logged?token=secret'")
    log = host.file("/var/log/apache2/access.log").content_string
    assert '"GET /logged" 200' in log
    assert "secret" not in log
    assert "sid=" not in log
