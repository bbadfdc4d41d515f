# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""gixy finds nothing in the sites that the role nginx writes, but for what is waived here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOLECULE = ROOT / "molecule"
# As the scenarios compare them with what was deployed.
MAIN = MOLECULE / "default/tests/expected/nginx.conf"
SITES = [
    MOLECULE / "default/tests/expected/whoami.nginx.conf",
    *(MOLECULE / f"load_balanced/tests/expected/{name}.conf" for name in ("balancer", "node")),
    *(MOLECULE / f"internet/tests/expected/{name}.conf" for name in ("nginx12", "nginx13")),
]
PLACES = {"generation": "0123456789", "address": "10.0.0.11", "lb1": "10.0.0.10"}
WAIVED = {
    # The origin check needs the port, which $host lacks; names that no site has are refused.
    "host_spoofing",
    # A set on a flag file, and a return: deploys shows what they do.
    "if_is_evil",
    # The variable holds the name of an upstream, never one of DNS.
    "missing_resolver",
    # worker_connections counts both sides of a proxied connection already, one descriptor each.
    "worker_rlimit_nofile_vs_connections",
}
UNSAFE = """
    server {
        location /files {
            alias /srv/files/;
        }
    }
"""


def found(site: str, tmp_path: Path) -> set[str]:
    """What gixy finds in a site inside of the nginx.conf that is written with it."""
    for name, value in PLACES.items():
        site = site.replace(f"{{{name}}}", value)
    site = re.sub(r"{node(\d)}", r"10.0.0.2\1", site)
    text = re.sub(r"^ *include /etc/nginx/.*\n", "", MAIN.read_text("utf-8"), flags=re.MULTILINE)
    path = tmp_path / "nginx.conf"
    path.write_text(f"{text.rstrip().removesuffix('}')}\n{site}\n}}\n", "utf-8")
    gixy = Path(sys.executable).with_name("gixy")
    done = subprocess.run(
        [gixy, "--format", "json", path], check=False, capture_output=True, text=True, timeout=60
    )
    return {problem["plugin"] for problem in json.loads(done.stdout)}


@pytest.mark.parametrize("site", SITES, ids=lambda path: path.stem)
def test_a_site_has_no_known_mistake(site: Path, tmp_path: Path) -> None:
    assert found(site.read_text("utf-8"), tmp_path) <= WAIVED


def test_a_mistake_is_found(tmp_path: Path) -> None:
    site = (MOLECULE / "default/tests/expected/whoami.nginx.conf").read_text("utf-8")
    assert "alias_traversal" in found(site + UNSAFE, tmp_path)


def test_each_waiver_is_used(tmp_path: Path) -> None:
    assert set().union(*(found(site.read_text("utf-8"), tmp_path) for site in SITES)) == WAIVED
