"""Resource Managers' options become a configuration that is accepted, and each is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from rmlb.config import Config, parse
from rmlb.rm_import.conversion import Imported, NotEnough, convert
from rmlb.rm_import.export import Export, read_export

EXPORTS = Path(__file__).parents[2] / "integration" / "scenarios" / "rm-exports"
PAIR = [(f"rm{n}.cfg", read_export((EXPORTS / f"rm{n}.cfg").read_bytes())) for n in (1, 2)]

CLUSTER = {
    "members": "1 2",
    "member.1": "10.99.0.11:9801",
    "member.2": "10.99.0.12:9801",
    "virtual-ip": "10.99.0.100",
}


def export(**sections: dict[str, str]) -> Export:
    return Export({"cluster": CLUSTER | sections.pop("cluster", {}), **sections})


def one(**sections: dict[str, str]) -> Imported:
    return convert([("rm.cfg", export(**sections))])


def accepted(imported: Imported) -> Config:
    return parse(imported.text, "rmlb.toml", environ={"HOME": "/home/operator"})


@pytest.mark.parametrize("beside", [None, 1, 2])
def test_the_pair_of_the_guide(beside: int | None) -> None:
    imported = convert(PAIR, beside)
    config = accepted(imported)
    assert str(config.cluster.ha_mode) == "active-active"
    assert config.cluster.virtual_ip == "10.99.0.100"
    assert config.cluster.member == {1: "10.99.0.11:9801", 2: "10.99.0.12:9801"}
    assert {n: [str(a) for a in rm.sip] for n, rm in config.rm.items()} == {
        1: ["udp:10.99.0.11:5060", "tcp:10.99.0.11:5060"],
        2: ["udp:10.99.0.12:5060", "tcp:10.99.0.12:5060"],
    }
    assert config.cluster.mymemberid == beside
    macs = {
        None: {},
        1: {0: "00:0f:1f:6d:eb:ca", 1: "00:0f:1f:6d:eb:cb"},
        2: {0: "00:0f:1f:6d:ec:0a", 1: "00:0f:1f:6d:ec:0b"},
    }
    assert config.gvp.nic == macs[beside]
    left = "\n".join(imported.report.left)
    assert "NLB.bat: is a Windows command" in left
    assert "[log]: 4 options" in left


def test_the_script_stays_readable_as_a_comment() -> None:
    script = r"C:\Program Files\GCTI\gvp\VP Resource Manager 9.0\bin\NLB.bat"
    assert '# failoverscript = "' + script.replace("\\", "\\\\") + '"' in convert(PAIR).text


@pytest.mark.parametrize(
    ("cluster", "mode", "changed"),
    [
        ({"ha-mode": "active standby"}, "active-standby", "must be switched off"),
        ({"ha-mode": "None"}, "active-active", '"None"'),
        ({}, "active-active", "not given"),
        ({"ha-mode": "active-active"}, "active-active", ""),
    ],
)
def test_ha_mode(cluster: dict[str, str], mode: str, changed: str) -> None:
    imported = one(cluster=cluster)
    assert str(accepted(imported).cluster.ha_mode) == mode
    about = [line for line in imported.report.changed if line.startswith("cluster.ha-mode")]
    assert changed in "".join(about)
    assert bool(about) is bool(changed)


def test_without_transports_the_port_is_assumed_and_said() -> None:
    imported = one()
    assert str(accepted(imported).rm[2].sip[0]) == "udp:10.99.0.12:5060"
    assert any("rm.2.sip = 10.99.0.12:5060: assumed" in line for line in imported.report.changed)


def test_transports_with_an_address_and_tls() -> None:
    proxy = {
        "sip.transport.0": "transport0 udp:10.1.1.1:5070",
        "sip.transport.1": "transport1 tls:any:5071 cert=C:\\x.pem",
        "sip.transport.2": "nonsense",
    }
    imported = one(cluster={"mymemberid": "1"}, proxy=proxy)
    sip = [str(address) for address in accepted(imported).rm[1].sip]
    assert sip == ["udp:10.1.1.1:5070", "tls:10.99.0.11:5071"]


def test_members_that_differ() -> None:
    other = export(cluster={"mymemberid": "2", "heartbeattimer": "8000"})
    mine = export(cluster={"mymemberid": "1", "heartbeattimer": "2000"})
    imported = convert([("b", other), ("a", mine)])
    assert accepted(imported).cluster.heartbeattimer_ms == 2000
    assert any("heartbeattimer: the members differ" in line for line in imported.report.changed)


def test_a_value_that_is_not_accepted_is_left() -> None:
    imported = one(cluster={"electiontimer": "soon", "hotstandby": "maybe", "own": "x"})
    config = accepted(imported)
    assert (config.cluster.electiontimer_ms, config.cluster.hotstandby) == (3000, True)
    left = "\n".join(imported.report.left)
    for word in ("electiontimer = soon", "hotstandby = maybe", "cluster.own = x"):
        assert word in left


def test_a_bad_mac_beside_its_member() -> None:
    gvp = {"nic.eth0": "00-0F-1F", "nic.eth1": "00-0F-1F-6D-EB-CA", "nics": "1", "other": "x"}
    imported = convert([("a", export(cluster={"mymemberid": "1"}, gvp=gvp))], beside=1)
    assert accepted(imported).gvp.nic == {1: "00:0f:1f:6d:eb:ca"}
    assert any(line.startswith("gvp.nic.eth0") for line in imported.report.left)
    assert any(line.startswith("gvp.other = x: of the RM alone") for line in imported.report.left)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"virtual-ip": ""}, "no file has [cluster] virtual-ip"),
        ({"virtual-ip": "<virtual_ip_add>"}, "cluster.virtual-ip"),
        ({"member.2": ""}, "no file has [cluster] member.2"),
        ({"member.1": "<localhost_ip_add_1>:9801"}, "cluster.member.1"),
        ({"members": "one two"}, "cluster.members = one two"),
        ({"mymemberid": "x"}, "mymemberid = x is no member ID"),
    ],
)
def test_what_no_configuration_can_do_without(changes: dict[str, str], why: str) -> None:
    with pytest.raises(NotEnough) as caught:
        one(cluster=changes)
    assert why in str(caught.value)


def test_the_same_member_twice() -> None:
    mine = export(cluster={"mymemberid": "1"})
    with pytest.raises(NotEnough, match="give one file for each member"):
        convert([("a", mine), ("b", mine)])
    with pytest.raises(NotEnough, match="--beside 2"):
        convert([("a", mine)], beside=2)


def test_control_characters_in_a_name_leave_it_toml() -> None:
    name = "nic.e\x1ath0"
    imported = one(gvp={name: "00-0F-1F-6D-EB-CA"})
    accepted(imported)
    assert "# nic.e\\x1ath0 = " in imported.text
