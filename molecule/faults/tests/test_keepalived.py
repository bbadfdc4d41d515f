"""The role keepalived by itself, after the stack was deployed with it."""

from __future__ import annotations

import os
from pathlib import Path

from refusals import Run, inside, read
from stack import playbook

BALANCERS = ["lb1", "lb2"]
PLAYBOOK = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "files/keepalived.yml"
# Files, and whether what runs was reloaded or restarted.
STATE = """
find /etc/keepalived -type f ! -name '*sample*' ! -name '*opts' | sort
journalctl --unit keepalived --output cat | grep -c 'Reload complete' || true
systemctl show keepalived --property MainPID --property UnitFileState
"""


def run(entry_point: str, name: str, *arguments: str, **variables: object) -> Run:
    done = playbook(
        str(PLAYBOOK), *arguments, entry_point=entry_point, name_of_app=name, **variables
    )
    return read(done.returncode, done.stdout)


def changed(name: str, *arguments: str, entry_point: str = "main") -> list[int]:
    done = run(entry_point, name, *arguments)
    assert done.returncode == 0, done.output
    return [done.changed[balancer] for balancer in BALANCERS]


def state() -> list[list[str]]:
    return [inside(name, STATE).splitlines() for name in BALANCERS]


def test_its_files():
    assert inside("lb1", "cat /etc/keepalived/keepalived.conf") == (
        "include /etc/keepalived/flask-socketio.conf\n"
    )
    assert inside("lb1", "cat /etc/keepalived/flask-socketio.d/whoami").strip() == "80"
    own = inside("lb1", "hostname --ip-address").split()[0]
    peer = inside("lb2", "hostname --ip-address").split()[0]
    assert (
        inside("lb1", "cat /etc/keepalived/flask-socketio.conf")
        == f"""\
# Ansible managed
global_defs {{
    # No script as root that somebody else may write.
    enable_script_security
}}

vrrp_script flask_socketio {{
    script /etc/keepalived/flask-socketio-check
    user nobody nogroup
    interval 1
    timeout 2
    # One failure may be a restart.
    fall 2
    rise 2
}}

vrrp_instance flask_socketio {{
    # Whoever has it keeps it: every move closes the connections of all clients.
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id 51
    priority 200
    advert_int 1
    unicast_src_ip {own}
    check_unicast_src
    unicast_peer {{
        {peer}
    }}
    virtual_ipaddress {{
        {own.rpartition(".")[0]}.250
    }}
    track_script {{
        flask_socketio
    }}
}}
"""
    )


def test_a_second_run_changes_nothing():
    assert changed("whoami", "--check") == [0, 0]


def test_a_second_app_comes_and_goes_unnoticed():
    before = state()
    assert changed("second") == [1, 1]
    # A file, and nothing that was reloaded.
    ports = "/etc/keepalived/flask-socketio.d/"
    assert state() == [sorted([*host[:-3], f"{ports}second"]) + host[-3:] for host in before]
    assert changed("second", entry_point="remove") == [1, 1]
    assert state() == before


def test_bad_settings_are_refused():
    one = [{"name": "lb1", "address": "192.0.2.1"}]
    done = run(
        "preflight",
        "whoami",
        "--limit=lb1",
        keepalived_address="10.0.0.300",
        keepalived_hosts=one,
    )
    assert done.refused, done.output
    assert done.message.splitlines() == [
        "keepalived_address is '10.0.0.300': an IPv4 address in the balancers' network that no "
        "host has.",
        "keepalived_hosts is ['lb1']: at least two balancers in the group load_balancers, or "
        "leave keepalived_address out: one alone has nobody to fail over to.",
    ]


def test_an_address_that_the_host_does_not_have_is_refused():
    two = [{"name": f"lb{number}", "address": f"192.0.2.{number}"} for number in (1, 2)]
    done = run("preflight", "whoami", "--limit=lb1", keepalived_hosts=two)
    assert done.refused, done.output
    assert done.message == (
        "keepalived_interface is '': no interface of this host has the address 192.0.2.1; "
        "write the interface's name."
    )


def test_the_last_app_takes_all_with_it():
    """The last test of the file: the address is gone."""
    assert changed("whoami", entry_point="remove") == [5, 5]
    for name in BALANCERS:
        assert inside(name, "ls /etc/keepalived | grep -v -e sample -e opts || true") == ""
        assert inside(name, "systemctl is-active keepalived || true").strip() == "inactive"
        assert ".250/" not in inside(name, "ip -oneline -4 address")
