from __future__ import annotations

import pytest
from config_samples import FILE, HOME, WORKING, config

from rmlb.config import expected_takeover, parse, warnings

SECRET = 'secret = "at least sixteen characters"\ntrusted = ["10.0.0.0/8"]'
SECOND = 'sip = "10.99.0.12:5060"'
PEERS = 'listen = "10.99.0.1:9811"\npeers = "10.99.0.2:9811"\nid = 1'
NETLINK = 'provider = "netlink"\ninterface = "eth0"'

WARNED: list[tuple[dict[str, str], str]] = [
    ({"security": 'secret = "at least sixteen characters"'},
     "security.trusted: empty: the datanodes and session headers of initial requests are believed"),
    ({"security": 'trusted = ["10.0.0.0/8"]'},
     "security.secret: not set: one is generated and kept in /home/operator/"),
    ({"sip": "record-route = false"}, "sip.record-route: false: dialogs are found by bindings"),
    ({"heartbeat": PEERS}, "state.url: memory:// with peers: the balancers share no bindings"),
    ({"heartbeat": PEERS}, "vip.provider: none: there are peers, but nobody moves"),
    ({"heartbeat": 'interval = "rm"'}, "heartbeat.interval: 2s: a takeover takes three"),
    ({"state": 'url = "redis://localhost"'},
     "state.url: Redis (localhost:6379) is on this balancer's host"),
    ({"state": 'url = "redis://127.0.0.1:6380"'}, "state.url: Redis (127.0.0.1:6380) is on this"),
    ({"state": 'url = "redis://10.99.0.1"', "heartbeat": PEERS},
     "state.url: Redis (10.99.0.1:6379) is on this"),
    ({"state": 'url = "redis+sentinel://10.99.0.50/rm"', "vip": NETLINK, "heartbeat": PEERS},
     "vip.witness: none: Sentinel may lose a lease and cannot be the witness"),
    ({"state": 'url = "redis+cluster://10.99.0.50"', "vip": NETLINK, "heartbeat": PEERS},
     "vip.witness: none: Cluster may lose a lease"),
    ({"health": 'codes = ["200-699"]'}, "health.codes: accepts answers of 500 and above"),
    ({"retry": 'timer-c = "180s"'}, "retry.timer-c: RFC 3261 16.6 wants more than 3 minutes"),
    ({"security": 'source-rate = 1000'}, "security.source-rate: with no trusted networks"),
    ({"sip": "listen = []"}, "sip.listen: empty, and [vip] provider is none: this balancer does"),
    ({"cluster": "ha-mode = 'active-standby'\nfailoverscript = 'C:\\NLB.bat'"},
     "cluster.failoverscript: C:\\NLB.bat is a Windows command: it cannot run here"),
]  # fmt: skip


@pytest.mark.parametrize(("tables", "said"), WARNED)
def test_what_is_warned_about(tables: dict[str, str], said: str) -> None:
    found = warnings(config(**{"security": SECRET, "rm_2": SECOND, **tables}))
    assert [text for text in found if text.startswith(said)]


def test_one_member_only() -> None:
    assert "rm: one member only: nothing takes its calls when it fails" in warnings(config())


def test_a_careful_configuration_is_not_warned_about() -> None:
    assert warnings(config(security=SECRET, rm_2=SECOND)) == ()


@pytest.mark.parametrize(
    "tables",
    [
        {"state": 'url = "redis://10.99.0.50"', "vip": NETLINK, "heartbeat": PEERS},
        {"state": 'url = "redis+cluster://10.99.0.50"', "vip": NETLINK + '\nwitness = "redis://b"',
         "heartbeat": PEERS},
        {"sip": "listen = []", "vip": NETLINK},
        {"cluster": "failoverscript = 'C:\\NLB.bat'"},
        {"health": 'codes = ["200-499"]'},
    ],
)  # fmt: skip
def test_what_needs_no_warning(tables: dict[str, str]) -> None:
    found = warnings(config(**{"security": SECRET, "rm_2": SECOND, **tables}))
    assert found == ()


def test_the_working_file_is_warned_about_trust_and_secret_alone() -> None:
    found = warnings(parse(WORKING, FILE, environ=HOME))
    assert [text.partition(":")[0] for text in found] == ["security.trusted", "security.secret"]


# -- expected takeover ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({}, "none: there is no other balancer"),
        ({"heartbeat": PEERS}, "none: nobody moves the virtual IP"),
        ({"vip": 'provider = "external"'}, "that of whatever moves the virtual IP"),
        ({"heartbeat": PEERS, "vip": NETLINK}, "200ms to 300ms (2 to 3 heartbeats); keeper"),
        ({"heartbeat": PEERS + '\ninterval = "10ms"', "vip": NETLINK}, "20ms to 30ms"),
        ({"heartbeat": PEERS + '\ninterval = "rm"', "vip": NETLINK}, "4s to 6s"),
        ({"heartbeat": PEERS, "vip": 'provider = "script"',
          "cluster": 'failoverscript = "/bin/true"'}, "then the time of the script"),
    ],
)  # fmt: skip
def test_expected_takeover(
    tables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said in expected_takeover(config(**{"security": SECRET, **tables}))
