"""Who may come: pages of other sites, forged headers and unknown names."""

from __future__ import annotations

from internet import HANDSHAKE, WEBSOCKET, WEBSOCKET_HANDSHAKE, ask, edited, front_door, name
from refusals import inside

EVIL = "https://evil.example"
FORGED = [
    *["--header", f"Origin: {EVIL}"],
    *["--header", "X-Forwarded-Host: evil.example"],
    *["--header", "X-Forwarded-Proto: https"],
    *["--header", "Forwarded: host=evil.example;proto=https"],
]


def handshakes(door: str, *options: str) -> list[int]:
    """How the front door answers a handshake over polling, and one over WebSocket."""
    url = f"https://{name(door)}"
    return [
        ask(f"{url}{HANDSHAKE}", *options).status,
        ask(f"{url}{WEBSOCKET_HANDSHAKE}", *options, *WEBSOCKET, "--max-time", "2").status,
    ]


def test_its_own_pages_may_connect(door: str) -> None:
    assert handshakes(door) == [200, 101]
    assert handshakes(door, "--header", f"Origin: https://{name(door)}") == [200, 101]


def test_pages_of_other_sites_may_not(door: str) -> None:
    assert handshakes(door, "--header", f"Origin: {EVIL}") == [400, 400]
    # Nor its own name in the clear, which anybody between can write.
    assert handshakes(door, "--header", f"Origin: http://{name(door)}") == [400, 400]


def test_forged_headers_do_not_help(door: str) -> None:
    assert handshakes(door, *FORGED) == [400, 400]


def test_the_app_alone_would_believe_them() -> None:
    """The negative control: without a front door the forged headers pass."""
    command = " ".join(f"'{option}'" for option in FORGED)
    status = inside(
        "nginx13",
        "curl --silent --output /dev/null --write-out '%{http_code}' "
        f"--unix-socket /run/whoami/*-1.sock {command} 'http://nginx13.example.test{HANDSHAKE}'",
    )
    assert status == "200"


def test_unknown_names_get_no_answer(door: str) -> None:
    for url in (f"https://{name(door)}", f"http://{name(door)}"):
        for path in ("/", HANDSHAKE):
            assert ask(f"{url}{path}", "--header", f"Host: {name(door)}").status in (200, 301)
            other = ask(f"{url}{path}", "--header", "Host: other.example.test")
            # nginx closes the connection.
            assert other.status == (421 if front_door(door) == "apache" else 0)


def test_without_what_refuses_them_unknown_names_are_served(door: str) -> None:
    """The negative control."""

    def served() -> bool:
        return ask(f"https://{name(door)}/", "--header", "Host: other.example.test").status == 200

    with edited(door, "/return 444;/d; /Redirect 421/d", served):
        pass
    assert not served()
