"""Makes the archives and the git repository that the scenario deploys, in the directory given.

The repository's app lies in a subdirectory, is tagged v1.0, and is broken by the commit after it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

FILES = Path(__file__).parent
ARCHIVES = {"packed": "gztar", "fetched": "zip"}


def make_tree(tree: Path, source: str) -> None:
    tree.mkdir(parents=True)
    shutil.copy(FILES / "app.py", tree)
    (tree / "source").write_text(source, encoding="utf-8")


def make_archives(directory: Path) -> None:
    for name, kind in ARCHIVES.items():
        tree = directory / "trees" / name
        make_tree(tree, f"{name} as {kind}")
        if name != "packed":
            (tree / "requirements.txt").write_text("flask-socketio>=5.5,<6\n", encoding="utf-8")
        archive = Path(shutil.make_archive(str(directory / name), kind, root_dir=tree))
        checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
        archive.with_name(f"{archive.name}.sha256").write_text(checksum, encoding="utf-8")


def make_repository(directory: Path) -> None:
    work = directory / "trees" / "git"

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.test"]
        subprocess.run(
            ["git", *identity, *arguments],
            check=True,
            cwd=work,
            # Signing, templates and hooks of the user's own have no say here.
            env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
        )

    make_tree(work / "backend", "git at v1.0")
    shutil.copy(FILES / "pyproject.toml", work / "backend")
    git("init", "--quiet", "--template=", "--initial-branch=main")
    git("add", ".")
    git("commit", "--quiet", "--message=Works")
    git("tag", "v1.0")
    (work / "backend" / "app.py").write_text("raise SystemExit('broken')\n", encoding="utf-8")
    git("commit", "--quiet", "--all", "--message=Break it")
    bare = directory / "repository" / "app.git"
    git("clone", "--quiet", "--bare", "--template=", ".", str(bare))
    shutil.make_archive(str(directory / "repository"), "gztar", root_dir=bare.parent)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    shutil.rmtree(target, ignore_errors=True)
    make_archives(target)
    make_repository(target)
