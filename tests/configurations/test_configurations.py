# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""nginx, Apache and systemd accept what the scenarios compare with what was deployed.

They do so in a container of the test image, where the services are installed and none of them runs.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MOLECULE = ROOT / "molecule"
IMAGE = "flask-socketio-test:debian13"
# By which `make clean` finds what an interrupted run has left.
LABEL = "flask-socketio-test=configurations"
EXPECTED = {
    path.relative_to(MOLECULE): path.read_text("utf-8")
    for path in sorted(MOLECULE.glob("*/tests/expected/*"))
}
NGINX = EXPECTED[Path("default/tests/expected/nginx.conf")]
APACHE = EXPECTED[Path("apache/tests/expected/shared.conf")]
PLACES = {
    "generation": "0123456789",
    "release": "0123456789ab",
    "environment": "environment",
    # nginx tries to listen there.
    "address": "127.0.0.1",
    "lb1": "10.0.0.10",
    "node1": "10.0.0.21",
    "node2": "10.0.0.22",
}
UNIT = re.compile(r"\.(service|target)$")


def sites(begins: str) -> list[str]:
    """The expected files that have a line that begins so, but those that others are put into."""
    beginning = re.compile(f"^{begins}", re.MULTILINE)
    return [str(path) for path, text in EXPECTED.items() if beginning.search(text)]


def expected(path: str) -> str:
    text = EXPECTED[Path(path)]
    for name, value in PLACES.items():
        text = text.replace(f"{{{name}}}", value)
    return text


class Container:
    """A host on which files are written and commands are run."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, script: str) -> str:
        """What a script says, its status in the last line."""
        command = ["docker", "exec", "--interactive", self.name, "sh"]
        done = subprocess.run(
            command,
            input=f"({script}) 2>&1; echo status $?",
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done.stdout

    def write(self, files: dict[str, str]) -> None:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path, text in files.items():
                member = tarfile.TarInfo(path.lstrip("/"))
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
        subprocess.run(
            ["docker", "cp", "-", f"{self.name}:/"],
            input=archive.getvalue(),
            check=True,
            timeout=60,
        )

    def makes(self, text: str, named: str, script: str) -> None:
        """Make each file that a text names after something."""
        for path in set(re.findall(named, text, re.MULTILINE)):
            said = self.run(f"mkdir -p {Path(path).parent} && {script.format(path)}")
            assert said.endswith("status 0\n"), said


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    roles = yaml.safe_load((ROOT / "roles/apache/vars/main.yml").read_text("utf-8"))
    modules = set(re.findall(r"'(\w+)'", roles["__apache_modules"])) - {"none"}
    started = subprocess.run(
        ["docker", "run", "--detach", "--rm", "--label", LABEL, IMAGE, "sleep", "infinity"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    host = Container(started.stdout.strip())
    try:
        said = host.run(
            f"""set -e
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends nginx apache2
            a2dissite -q 000-default
            a2enmod -q {" ".join(sorted(modules))}
            rm /etc/nginx/sites-enabled/default
            openssl req -x509 -newkey rsa:2048 -nodes -keyout /srv/key.pem -out /srv/cert.pem \
              -subj /CN=test -days 2"""
        )
        assert said.endswith("status 0\n"), said
        yield host
    finally:
        subprocess.run(["docker", "kill", host.name], check=True, capture_output=True, timeout=60)


def ask_nginx(host: Container, site: str) -> str:
    host.write({"/etc/nginx/nginx.conf": NGINX, "/etc/nginx/conf.d/site.conf": site})
    host.makes(site, r"^ *ssl_certificate (.+);", "cp /srv/cert.pem {}")
    host.makes(site, r"^ *ssl_certificate_key (.+);", "cp /srv/key.pem {}")
    return host.run("nginx -q -t")


# Since 1.25.1 nginx would like another form of what 1.22 must be told.
HTTP2 = re.compile(r'.*the "listen ... http2" directive is deprecated.*\n')


@pytest.mark.parametrize("path", sites("upstream "))
def test_nginx_accepts_the_site(container: Container, path: str) -> None:
    assert HTTP2.sub("", ask_nginx(container, expected(path))) == "status 0\n"


def test_nginx_refuses_a_mistake(container: Container) -> None:
    site = expected("default/tests/expected/whoami.nginx.conf")
    said = ask_nginx(container, site.replace("keepalive 32;", "keepalive;"))
    assert "invalid number of arguments" in said
    assert said.endswith("status 1\n")


def ask_apache(host: Container, site: str) -> str:
    host.write(
        {
            "/etc/apache2/conf-enabled/shared.conf": APACHE,
            "/etc/apache2/sites-enabled/site.conf": site,
        }
    )
    host.makes(site, r"^ *SSLCertificateFile (.+)", "cp /srv/cert.pem {}")
    host.makes(site, r"^ *SSLCertificateKeyFile (.+)", "cp /srv/key.pem {}")
    return host.run("apachectl configtest")


@pytest.mark.parametrize("path", sites("<VirtualHost "))
def test_apache_accepts_the_site(container: Container, path: str) -> None:
    said = ask_apache(container, expected(path))
    assert said.endswith("Syntax OK\nstatus 0\n"), said


def test_apache_refuses_a_mistake(container: Container) -> None:
    site = expected("apache/tests/expected/whoami.conf")
    said = ask_apache(container, site.replace("lbmethod=bybusyness", "lbmethod=none"))
    assert "unknown lbmethod" in said.lower()
    assert said.endswith("status 1\n")


def ask_systemd(host: Container, name: str, unit: str) -> str:
    host.write({f"/etc/systemd/system/{name}": unit})
    host.makes(unit, r"^ExecStart=(\S+)", "ln -sf /bin/true {}")
    return host.run(f"systemd-analyze verify --man=false {name}")


@pytest.mark.parametrize("path", [str(path) for path in EXPECTED if UNIT.search(path.name)])
def test_systemd_accepts_the_unit(container: Container, path: str) -> None:
    name = Path(path).name.replace("@.", "-0123456789@1.")
    assert ask_systemd(container, name, expected(path)) == "status 0\n"


def test_systemd_refuses_a_mistake(container: Container) -> None:
    unit = expected("default/tests/expected/whoami@.service")
    said = ask_systemd(container, "wrong@1.service", unit.replace("PrivateTmp=", "PrivateTemp="))
    assert "Unknown key 'PrivateTemp'" in said


# What has no expected file: drop-ins, which say the same for every app.
DROP_INS = {
    "nginx.service": "roles/nginx/templates/service.conf.j2",
    "apache2.service": "roles/apache/templates/service.conf.j2",
}


@pytest.mark.parametrize("unit", DROP_INS)
def test_systemd_accepts_the_drop_in(container: Container, unit: str) -> None:
    text = (ROOT / DROP_INS[unit]).read_text("utf-8").replace("{{ ansible_managed }}", "")
    assert "{" not in text
    container.write({f"/etc/systemd/system/{unit}.d/flask-socketio.conf": text})
    assert container.run(f"systemd-analyze verify --man=false {unit}") == "status 0\n"
