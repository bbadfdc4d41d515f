"""An app below a path of its host name, behind both front doors and by two servers."""

from __future__ import annotations

import pytest
from internet import HANDSHAKE, ask, name, text
from refusals import deploy

DOORS = ("nginx12", "apache13")


@pytest.fixture(scope="module", autouse=True)
def below():
    """The deployment's own probe has connected and upgraded below the path."""
    limit = f"--limit={','.join(DOORS)}"
    server = "{{ 'uwsgi' if inventory_hostname == 'nginx12' else 'gunicorn' }}"
    done = deploy(limit, app_path_prefix="/chat", app_server=server)
    assert done.returncode == 0, done.output
    yield
    done = deploy(limit)
    assert done.returncode == 0, done.output


@pytest.fixture(params=DOORS)
def door(request) -> str:
    return str(request.param)


def test_the_page_knows_where_it_is(door: str) -> None:
    page = text(door, "/chat/")
    assert '"/chat/socket.io"' in page
    assert '"/chat/static/whoami.css"' in page
    assert text(door, "/chat/static/told.txt") == "plain"


def test_the_slash_is_put_in(door: str) -> None:
    answer = ask(f"https://{name(door)}/chat")
    assert answer.status in (301, 302)
    assert answer.location == f"https://{name(door)}/chat/"


def test_nothing_else_is_served(door: str) -> None:
    assert ask(f"https://{name(door)}/chat{HANDSHAKE}").status == 200
    for path in ("/", HANDSHAKE, "/chats/", "/static/told.txt"):
        assert ask(f"https://{name(door)}{path}").status == 404, path
