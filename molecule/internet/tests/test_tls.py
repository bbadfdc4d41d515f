"""Certificates of an authority, and what is spoken with them."""

from __future__ import annotations

import re
from pathlib import Path

from internet import HANDSHAKE, SITES, ask, connector_to, edited, front_door, name
from refusals import inside
from stack import python_client
from traffic import Traffic, keep_case

YEARS = "max-age=63072000"


def test_the_site_is_as_expected(door: str) -> None:
    expected = (Path(__file__).parent / "expected" / f"{door}.conf").read_text("utf-8")
    written = inside(door, f"cat {SITES[front_door(door)]}")
    written = re.sub("/[0-9a-f]{10}-1[.]sock", "/{generation}-1.sock", written)
    assert re.sub("/releases/[0-9a-f]{12}/", "/releases/{release}/", written) == expected


def test_a_client_reaches_websocket(door: str, address) -> None:
    reached = python_client(f"https://{name(door)}", connector=connector_to(address(door)))
    assert reached["transport"] == "websocket"
    assert reached["answers"] == ["hello"]
    assert reached["whoami"]["node"] == door


def test_nobody_else_vouches_for_it(door: str) -> None:
    assert ask(f"https://{name(door)}/").status == 200
    assert ask(f"https://www.{name(door)}/").status == 200
    # curl's exit code for a certificate that is not to be trusted.
    assert ask(f"https://{name(door)}/", "--cacert", "/srv/authority.pem").exit == 60


def test_pages_come_by_http2(door: str) -> None:
    assert ask(f"https://{name(door)}/").version == "2"
    assert ask(f"https://{name(door)}/", "--http1.1").version == "1.1"


def test_who_asks_in_the_clear_is_sent_on(door: str) -> None:
    answer = ask(f"http://{name(door)}/room%20a/b?c=d%20e")
    assert (answer.status, answer.location) == (301, f"https://{name(door)}/room%20a/b?c=d%20e")
    assert ask(f"http://www.{name(door)}/").location == f"https://www.{name(door)}/"


def test_browsers_are_to_come_by_https_only(door: str) -> None:
    for path, status in (("/", 200), ("/none", 404), (HANDSHAKE, 200), ("/socket.io/", 400)):
        answer = ask(f"https://{name(door)}{path}")
        assert (answer.status, answer.headers.get("strict-transport-security")) == (status, YEARS)
    # Only there: what comes in the clear must not be believed.
    assert "strict-transport-security" not in ask(f"http://{name(door)}/").headers


def test_without_the_header_nothing_tells_them_so(door: str) -> None:
    """The negative control."""

    def told() -> bool:
        return "strict-transport-security" in ask(f"https://{name(door)}/").headers

    with edited(door, "/Strict-Transport-Security/d", lambda: not told()):
        pass
    assert told()


def speaks(server: str, *options: str) -> bool:
    """Tell whether openssl's client, which may here what it would refuse, comes to terms."""
    command = f"openssl s_client -connect {server} -cipher DEFAULT@SECLEVEL=0 {' '.join(options)}"
    said = inside("authority", f"{command} </dev/null 2>&1 || true")
    return (
        re.search(r"New, TLSv[0-9.]+, Cipher is \S+-|New, TLSv1.3, Cipher is TLS_", said)
        is not None
    )


GOOD = (["-tls1_3"], ["-tls1_2"], ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"])
BAD = (["-tls1_1"], ["-tls1"], ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"])


def test_only_what_is_safe_is_spoken(door: str) -> None:
    server = f"{name(door)}:443"
    assert [speaks(server, *options) for options in GOOD] == [True] * 3
    assert [speaks(server, *options) for options in BAD] == [False] * 3


def test_the_client_that_was_refused_could_speak_it() -> None:
    """The negative control: a server that takes anything is reached by all of them."""
    serve = "openssl s_server -accept 4433 -cert /srv/authority.pem -key /srv/key.pem -quiet"
    inside(
        "authority",
        f"systemd-run --quiet --unit=lax {serve} -cipher ALL@SECLEVEL=0 -min_protocol TLSv1\n"
        "until ss -Hltn 'sport = :4433' | grep -q .; do sleep 0.1; done",
    )
    try:
        assert [speaks("localhost:4433", *options) for options in BAD] == [True] * 3
    finally:
        inside("authority", "systemctl stop lax")


def serial(door: str) -> str:
    command = f"openssl s_client -connect {name(door)}:443 -servername {name(door)} </dev/null"
    return inside("authority", f"{command} 2>/dev/null | openssl x509 -noout -serial").strip()


def test_nobody_notices_a_renewal(door: str, address) -> None:
    before = serial(door)
    connector = connector_to(address(door))
    with Traffic(
        [f"https://{name(door)}"],
        clients=50,
        newcomers=10,
        speech=0.5,
        kinds=["browser", "polling", "websocket"],
        repeats=True,
        event="echo",
        connector=connector,
    ) as traffic:
        began = traffic.mark("renewal")
        inside(door, "certbot renew --force-renewal --no-random-sleep-on-renew --quiet")
        while serial(door) == before:
            pass
        until = traffic.settle()
        counts = traffic.counts(began, until)
        drops = [drop for drop in traffic.drops if began <= drop.at <= until]
    keep_case(f"certificate renewal: {door}", counts | {"duplicates": 0})
    assert counts["handshakes"] >= 5 * counts["seconds"]
    assert (counts["failed"], counts["lost_acks"]) == (0, 0)
    assert drops == []
    assert inside(door, "systemctl is-active certbot.timer").strip() == "active"


def test_a_renewal_that_restarts_would_be_noticed(door: str, address) -> None:
    """The negative control: what people write into certbot's hooks cuts everybody off."""
    service = {"nginx": "nginx", "apache": "apache2"}[front_door(door)]
    with Traffic(
        [f"https://{name(door)}"], clients=10, newcomers=5, connector=connector_to(address(door))
    ) as traffic:
        began = traffic.mark("restart")
        inside(door, f"systemctl restart {service}")
        traffic.settle()
        drops = [drop for drop in traffic.drops if drop.at >= began]
    assert len(drops) >= 10
