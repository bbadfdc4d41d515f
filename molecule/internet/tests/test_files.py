"""Static files that the front doors send by themselves."""

from __future__ import annotations

import shutil
from pathlib import Path

from internet import EPHEMERAL, ask, front_door, name, text
from refusals import deploy, inside

DOOR = "nginx13"
UNIT = "systemctl list-units --plain --no-legend 'whoami-*@*' | cut -d ' ' -f 1"


def test_files_need_no_app(door: str) -> None:
    (unit,) = inside(door, UNIT).split()
    inside(door, f"systemctl stop {unit}")
    try:
        assert text(door, "/static/told.txt") == "plain"
        answer = ask(f"https://{name(door)}/static/whoami.css")
        assert (answer.status, answer.headers["content-type"]) == (200, "text/css")
        assert ask(f"https://{name(door)}/static/none.css").status == 404
        assert ask(f"https://{name(door)}/static/../app.py", "--path-as-is").status != 200
        assert ask(f"https://{name(door)}/static/%2e%2e/app.py", "--path-as-is").status != 200
        # The app's own, as a control.
        assert ask(f"https://{name(door)}/").status in (502, 503)
    finally:
        inside(door, f"systemctl start {unit}")


def test_browsers_ask_again_but_for_what_never_changes(door: str) -> None:
    url = f"https://{name(door)}/static/whoami.css"
    for compressed in ([], ["--header", "Accept-Encoding: gzip"]):
        first = ask(url, *compressed).headers
        assert first["cache-control"] == "no-cache"
        assert first["x-content-type-options"] == "nosniff"
        assert "strict-transport-security" in first
        again = ask(url, *compressed, "--header", f"If-None-Match: {first['etag']}")
        assert again.status == 304
        other = ask(url, *compressed, "--header", 'If-None-Match: "0-0"')
        assert other.status == 200
    never = ask(f"https://{name(door)}/static/vendor/socket.io.min.js").headers
    assert never["cache-control"] == "public, max-age=31536000, immutable"


def test_a_compressed_file_is_sent_to_who_takes_it(door: str) -> None:
    takes = text(door, "/static/told.txt", "--compressed")
    assert takes == {"nginx": "compressed", "apache": "plain"}[front_door(door)]


def test_unknown_names_get_no_files(door: str) -> None:
    url = f"https://{name(door)}/static/told.txt"
    answer = ask(url, "--header", "Host: unknown.example.test")
    assert (answer.exit, answer.status) != (0, 200)
    assert answer.status in (0, 421)


def test_pages_of_the_release_before_find_their_files(tmp_path: Path) -> None:
    before = ask(f"https://{name(DOOR)}/static/changes.txt").headers["etag"]
    source = tmp_path / "source"
    shutil.copytree(EPHEMERAL / "source", source)
    (source / "static/told.txt").unlink()
    # Of the same length.
    (source / "static/changes.txt").write_text("two", "utf-8")
    done = deploy(f"--limit={DOOR}", app_source=str(source))
    assert done.returncode == 0, done.output
    assert text(DOOR, "/static/told.txt") == "plain"
    assert text(DOOR, "/static/changes.txt") == "two"
    known = ["--header", f"If-None-Match: {before}"]
    assert ask(f"https://{name(DOOR)}/static/changes.txt", *known).status == 200


def test_a_release_without_the_files_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(EPHEMERAL / "source", source)
    shutil.rmtree(source / "static")
    current = inside(DOOR, "readlink /opt/whoami/current")
    refused = deploy(f"--limit={DOOR}", app_source=str(source))
    assert refused.returncode != 0
    assert refused.message.splitlines()[0].startswith("Check that the release has them: failed.")
    assert (
        'app_static: the release has no directory "static/vendor", "static"; write one that is '
        "inside of the app's code, or let app_hooks.after_build make it."
    ) in refused.message
    assert inside(DOOR, "readlink /opt/whoami/current") == current
    assert text(DOOR, "/static/changes.txt") == "two"
