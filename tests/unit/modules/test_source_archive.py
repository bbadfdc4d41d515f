# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.realtime.flask_socketio.plugins.modules import source_archive

COLLECTIONS = Path(__file__).resolve().parents[3] / ".ansible" / "collections"
EXCLUDE = [".git", "__pycache__", "*.pyc"]


def run(**options: Any) -> tuple[int, dict[str, Any]]:
    """Run the module as Ansible does, in a process of its own; return its exit code and result."""
    check = options.pop("check", False)
    arguments = {"exclude": EXCLUDE, **options, "_ansible_check_mode": check}
    # ansible-core from 2.19 on wants a profile and a tmpdir with the arguments.
    script = (
        "import json, sys\n"
        "from ansible.module_utils import basic\n"
        "basic._ANSIBLE_ARGS = sys.stdin.buffer.read()\n"
        "basic._ANSIBLE_PROFILE = 'legacy'\n"
        "from ansible_collections.realtime.flask_socketio.plugins.modules import source_archive\n"
        "source_archive.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(COLLECTIONS)},
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def make_tree(root: Path) -> Path:
    (root / "static" / "empty").mkdir(parents=True)
    (root / "app.py").write_text("app = 1\n", encoding="utf-8")
    (root / "static" / "logo.bin").write_bytes(bytes(range(256)))
    (root / "run").write_text("#!/bin/sh\n", encoding="utf-8")
    (root / "run").chmod(0o755)
    (root / "latest").symlink_to("static")
    (root / "dangling").symlink_to("/nowhere")
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "one")


def digest(root: Path) -> str:
    return source_archive.checksum(root, EXCLUDE)


def packed(root: Path, dest: Path) -> bytes:
    source_archive.pack(root, dest, EXCLUDE)
    return dest.read_bytes()


def test_the_same_tree_elsewhere_has_the_same_checksum_and_archive(
    tree: Path, tmp_path: Path
) -> None:
    """Another place, other times, another umask, another name of the archive, hard links."""
    other = make_tree(tmp_path / "another place")
    for path in other.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() or path.name == "run" else 0o600)
    (other / "app.py").unlink()
    (tmp_path / "origin").write_text("app = 1\n", encoding="utf-8")
    (other / "app.py").hardlink_to(tmp_path / "origin")

    assert digest(other) == digest(tree)
    assert packed(other, tmp_path / "b.tgz") == packed(tree, tmp_path / "a.tar.gz")


def test_two_names_of_one_file_are_packed_as_two_files(tmp_path: Path) -> None:
    copied, linked = tmp_path / "copied", tmp_path / "linked"
    for root in (copied, linked):
        root.mkdir()
        (root / "a").write_text("text", encoding="utf-8")
    (copied / "b").write_text("text", encoding="utf-8")
    (linked / "b").hardlink_to(linked / "a")
    assert packed(linked, tmp_path / "l") == packed(copied, tmp_path / "c")


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(write("app.py", "app = 2\n"), id="content"),
        pytest.param(write("new.py", ""), id="new file"),
        pytest.param(lambda root: (root / "app.py").unlink(), id="removed file"),
        pytest.param(lambda root: (root / "app.py").rename(root / "web.py"), id="name"),
        pytest.param(lambda root: (root / "run").chmod(0o644), id="execute bit off"),
        pytest.param(lambda root: (root / "app.py").chmod(0o744), id="execute bit on"),
        pytest.param(lambda root: (root / "new").mkdir(), id="new directory"),
        pytest.param(lambda root: (root / "static" / "empty").rmdir(), id="removed directory"),
        pytest.param(
            lambda root: ((root / "latest").unlink(), (root / "latest").symlink_to("app.py")),
            id="target of a link",
        ),
        pytest.param(
            lambda root: ((root / "latest").unlink(), write("latest", "static")(root)),
            id="a file in place of a link",
        ),
        pytest.param(
            lambda root: (root / "app.py").rename(root / "static" / "app.py"), id="directory"
        ),
    ],
)
def test_a_change_of_the_tree_changes_checksum_and_archive(
    tree: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    before = digest(tree), packed(tree, tmp_path / "a")
    change(tree)
    after = digest(tree), packed(tree, tmp_path / "a")
    assert after[0] != before[0]
    assert after[1] != before[1]


def test_files_that_trade_bytes_at_their_border_are_not_the_same_tree(tmp_path: Path) -> None:
    for name, first, second in [("one", "ab", "c"), ("two", "a", "bc")]:
        (tmp_path / name).mkdir()
        write("a", first)(tmp_path / name)
        write("b", second)(tmp_path / name)
    assert digest(tmp_path / "one") != digest(tmp_path / "two")


def test_excluded_names_do_not_matter_at_any_depth(tree: Path, tmp_path: Path) -> None:
    before = digest(tree), packed(tree, tmp_path / "a")
    for directory in (tree / ".git", tree / "static" / "__pycache__"):
        directory.mkdir()
        write("x", "x")(directory)
    write("app.pyc", "x")(tree / "static")
    assert (digest(tree), packed(tree, tmp_path / "a")) == before
    assert source_archive.checksum(tree, []) != before[0]


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    name = os.fsdecode(b"caf\xe9.txt")
    write(name, "x")(root)
    (root / "link").symlink_to(name)
    before = digest(root)
    packed(root, tmp_path / "a.tar.gz")
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        assert archive.getnames() == [name, "link"]
        assert archive.getmember("link").linkname == name
    (root / name).rename(root / os.fsdecode(b"caf\xe8.txt"))
    assert digest(root) != before


def test_the_archive_unpacks_to_the_same_tree(tree: Path, tmp_path: Path) -> None:
    packed(tree, tmp_path / "a.tar.gz")
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    # By the program that unpacks on a host.
    subprocess.run(["tar", "-xzf", tmp_path / "a.tar.gz", "-C", unpacked], check=True)
    assert digest(unpacked) == digest(tree)
    assert sorted(path.relative_to(unpacked) for path in unpacked.rglob("*")) == sorted(
        path.relative_to(tree) for path in tree.rglob("*")
    )


def test_the_archive_tells_nothing_of_the_controller(tree: Path, tmp_path: Path) -> None:
    (tree / "app.py").chmod(0o600)
    with tarfile.open(fileobj=io.BytesIO(packed(tree, tmp_path / "a.tar.gz"))) as archive:
        members = archive.getmembers()
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    assert {m.name: oct(m.mode) for m in members if not m.issym()} == {
        "app.py": "0o644",
        "run": "0o755",
        "static": "0o755",
        "static/empty": "0o755",
        "static/logo.bin": "0o644",
    }


def test_the_module_packs_once(tree: Path, tmp_path: Path) -> None:
    dest = tmp_path / "cache" / "chat" / "source.tar.gz"
    code, result = run(src=str(tree), dest=str(dest))
    assert (code, result["changed"], result["path"]) == (0, True, str(dest))
    assert result["checksum"] == digest(tree)
    assert dest.read_bytes() == packed(tree, tmp_path / "a")
    assert dest.stat().st_mode & 0o777 == 0o600

    code, result = run(src=str(tree), dest=str(dest))
    assert (code, result["changed"]) == (0, False)

    write("app.py", "app = 2\n")(tree)
    assert run(src=str(tree), dest=str(dest))[1]["changed"] is True
    assert [path.name for path in dest.parent.iterdir()] == ["source.tar.gz"]


def test_check_mode_and_no_dest_write_nothing(tree: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    dest = tmp_path / "cache" / "source.tar.gz"
    checked = run(src=str(tree), dest=str(dest), check=True)[1]
    asked = run(src=str(tree))[1]
    assert sorted(tmp_path.rglob("*")) == before
    assert checked["checksum"] == asked["checksum"] == digest(tree)
    assert (checked["changed"], asked["changed"], checked["path"]) == (False, False, str(dest))
    assert "path" not in asked


def test_a_file_is_an_archive_by_itself(tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "given.tar.gz"
    content = packed(tree, archive)
    dest = tmp_path / "source.tar.gz"
    code, result = run(src=str(archive), dest=str(dest))
    assert (code, result["changed"], result["path"]) == (0, False, str(archive))
    assert result["checksum"] == hashlib.sha256(content).hexdigest()
    assert not dest.exists()


def test_a_missing_source_fails(tmp_path: Path) -> None:
    code, result = run(src=str(tmp_path / "gone"))
    assert code == 1
    assert result["msg"] == f"{tmp_path / 'gone'} does not exist on the controller"


def test_a_failure_leaves_no_half_archive(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    dest = cache / "source.tar.gz"
    dest.mkdir()
    code, result = run(src=str(tree), dest=str(dest))
    assert code == 1
    assert "can't be read or packed" in result["msg"]
    assert list(cache.iterdir()) == [dest]
    shutil.rmtree(dest)
