"""Certificates that are given, or made for a trial, and those that are refused."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from internet import EPHEMERAL, SITES, ask, connector_to, name
from refusals import deploy, deploy_cases, inside
from stack import python_client

DOOR = "nginx13"
NAMES = [name(DOOR), f"www.{name(DOOR)}"]
KEPT = "/etc/ssl/flask-socketio/whoami.nginx"
# What an owner has: an authority of his own, and certificates of it.
MAKE = r"""
set -e
cd /srv
if ! test -e ca.pem; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem \
    -days 30 -subj /CN=owner -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
fi
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout given.key -out given.csr \
  -subj /CN=given -addext "subjectAltName=$names" 2>/dev/null
openssl x509 -req -in given.csr -CA ca.pem -CAkey ca.key -days $days -copy_extensions copy \
  -out given.pem 2>/dev/null
cat given.pem ca.pem
echo
cat given.key
"""


@dataclass(frozen=True)
class Pair:
    certificate: str
    key: str


def issue(names: list[str], days: int = 30) -> Pair:
    listed = ",".join(f"DNS:{name}" for name in names)
    chain, _, key = inside("authority", f"names={listed} days={days}\n{MAKE}").rpartition("\n\n")
    return Pair(chain, key)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return issue(NAMES)


@pytest.fixture(scope="module", autouse=True)
def as_it_was():
    yield
    done = deploy(f"--limit={DOOR}")
    assert done.returncode == 0, done.output


def files(pair: Pair) -> dict[str, str]:
    return {
        "nginx_tls": "files",
        "nginx_tls_certificate": pair.certificate,
        "nginx_tls_private_key": pair.key,
        "nginx_tls_ca_path": "/srv/ca.pem",
    }


def test_settings_that_do_not_fit_are_refused(pair: Pair, tmp_path) -> None:
    by_http = "an authority that asks over HTTP gives none for"
    cases = [
        ({"nginx_tls": "acme", "nginx_server_name": ["_"]}, "a certificate is for names"),
        ({"nginx_tls": "acme", "nginx_server_name": ["*.a.test"]}, f"{by_http} *.a.test"),
        ({"nginx_tls": "acme", "nginx_server_name": ["a"]}, f"{by_http} a"),
        ({"nginx_tls": "acme", "nginx_tls_acme_directory": "http://a/"}, "the URL of an ACME"),
        ({"nginx_tls": "acme", "nginx_tls_acme_email": "ops"}, "an address such as"),
        ({"nginx_tls": "files"}, "nginx_tls_certificate: nginx_tls is files; write"),
        (files(Pair(pair.certificate, "/key.pem")), "nginx_tls_private_key: write both"),
        (files(pair) | {"nginx_server_name": ["_"]}, "a certificate is for names"),
    ]
    names = {"nginx_server_name": NAMES}
    done = deploy_cases(
        tmp_path, DOOR, [names | given for given, _ in cases], app_name="whoami", app_source="/"
    )
    assert set(done.changed.values()) == {0}, done.output
    for number, (_, sentence) in enumerate(cases):
        (told,) = done.told(f"case{number}")
        assert sentence in told, told


def test_what_is_no_certificate_of_the_site_is_refused(pair: Pair, tmp_path) -> None:
    other = issue(NAMES)
    cases = {
        "nginx_tls_certificate: there is no readable certificate in it": (
            Pair("-----BEGIN CERTIFICATE-----\nnone", pair.key)
        ),
        "nginx_tls_private_key: there is no readable key": (
            Pair(pair.certificate, "-----BEGIN PRIVATE KEY-----\nnone")
        ),
        "nginx_tls_private_key: it is not the key of the certificate": (
            Pair(pair.certificate, other.key)
        ),
        "nginx_tls_certificate: it ends within 7 days": issue(NAMES, days=6),
        f"nginx_tls_certificate: it is not for www.{name(DOOR)}": issue(NAMES[:1]),
        "nginx_tls_certificate: there is no readable certificate at /none.pem": (
            Pair("/none.pem", "/none.key")
        ),
    }
    done = deploy_cases(
        tmp_path,
        DOOR,
        [files(given) for given in cases.values()],
        app_name="whoami",
        app_source="/",
        nginx_server_name=NAMES,
    )
    assert set(done.changed.values()) == {0}, done.output
    for number, sentence in enumerate(cases):
        (told,) = done.told(f"case{number}")
        assert sentence in told, told
    assert "PRIVATE KEY" not in done.output


def served() -> str:
    """The subject of who issued the certificate that is served."""
    command = f"openssl s_client -connect {name(DOOR)}:443 -servername {name(DOOR)} </dev/null"
    return inside("authority", f"{command} 2>/dev/null | openssl x509 -noout -serial").strip()


def test_a_given_certificate_is_served_and_replaced(pair: Pair, address) -> None:
    inside(DOOR, f"cat >/srv/ca.pem <<'END'\n{inside('authority', 'cat /srv/ca.pem')}END")
    (EPHEMERAL / "owner.pem").write_text(inside("authority", "cat /srv/ca.pem"), "utf-8")
    connector = connector_to(address(DOOR), EPHEMERAL / "owner.pem")
    serials = []
    for given in (pair, issue(NAMES)):
        done = deploy(f"--limit={DOOR}", "--diff", "-vvv", **files(given))
        assert done.returncode == 0, done.output
        # What stands between the marks, as it may be folded in another way.
        assert given.key.splitlines()[1][:40] not in done.output
        reached = python_client(f"https://{name(DOOR)}", connector=connector)
        assert reached["transport"] == "websocket"
        serials.append(served())
        # The one before is gone, and nobody else may read the key.
        assert inside(DOOR, f"cd {KEPT} && stat -c '%a %U %n' */key.pem").split()[:2] == [
            "600",
            "root",
        ]
        assert len(inside(DOOR, f"ls {KEPT}").split()) == 1
    assert serials[0] != serials[1]


def test_a_trial_is_served_without_a_promise(address) -> None:
    done = deploy(f"--limit={DOOR}", nginx_tls="self_signed")
    assert done.returncode == 0, done.output
    (EPHEMERAL / "trial.pem").write_text(inside(DOOR, f"cat {KEPT}/*/certificate.pem"), "utf-8")
    connector = connector_to(address(DOOR), EPHEMERAL / "trial.pem")
    reached = python_client(f"https://{name(DOOR)}", connector=connector)
    assert reached["transport"] == "websocket"
    # Who trusts it once must not be kept from the site when it is gone.
    answer = ask(f"https://{name(DOOR)}/", "--insecure")
    assert answer.status == 200
    assert "strict-transport-security" not in answer.headers
    again = deploy(f"--limit={DOOR}", nginx_tls="self_signed")
    assert again.changed == {DOOR: 0}, again.output


def test_an_order_that_fails_changes_nothing() -> None:
    before = inside(DOOR, f"sha256sum {SITES['nginx']}")
    nowhere = ["nowhere.example.test"]
    failed = deploy(f"--limit={DOOR}", nginx_server_name=nowhere)
    assert failed.returncode != 0
    assert "gave no certificate for nowhere.example.test:" in failed.message
    # In the authority's words.
    assert "Domain: nowhere.example.test" in failed.message
    assert inside(DOOR, f"sha256sum {SITES['nginx']}") == before
