"""The snapshot: what is ours, whose address that is, and by which way to leave."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_network

import pytest
from packets import RM, TCP, TLS, UDP, VIP, listeners, member, table

from rmlb.routing.member import AdminState, Health
from rmlb.sip.address import SipAddress, Transport
from rmlb.sip.uri import parse_uri

SIX = "2001:db8::100"


@pytest.mark.parametrize(
    ("uri", "ours"),
    [
        (f"sip:{VIP}", True), (f"sip:{VIP}:5060", True), (f"sip:x@{VIP}:5061", False),
        (f"sips:{VIP}", True), (f"sip:[::ffff:{VIP}]", True), ("sip:10.0.0.101", False),
        ("sip:lb.example.com:7777", True), ("sip:LB.Example.COM.", True),
        ("sip:gvp.example.com:5080", True), ("sip:gvp.example.com", False),
        ("sip:sub.lb.example.com", False), (f"sip:[{SIX}]", True), ("sip:[2001:DB8:0::100]", True),
    ],
)  # fmt: skip
def test_names_us(uri: str, ours: bool) -> None:
    aliases = frozenset({("lb.example.com", None), ("gvp.example.com", 5080)})
    found = table(aliases=aliases, vips=frozenset({VIP, SIX}))
    assert found.names_us(parse_uri(uri.encode())) is ours


@pytest.mark.parametrize(
    ("uri", "number"),
    [
        (f"sip:{RM[1]}", 1), (f"sip:{RM[2]}:5060", 2), (f"sip:{RM[2]}:5062", None),
        (f"sips:{RM[1]}", None), ("sip:rm1.example.com", None),
    ],
)  # fmt: skip
def test_names_member(uri: str, number: int | None) -> None:
    found = table().names_member(parse_uri(uri.encode()))
    assert (found.id if found is not None else None) == number


def test_own_endpoints() -> None:
    found = table(listeners=listeners(VIP, tls=True))
    assert found.is_own_endpoint(VIP, 5060)
    assert found.is_own_endpoint(VIP, 5061)
    assert not found.is_own_endpoint(VIP, 5062)
    assert not found.is_own_endpoint(RM[1], 5060)


def test_a_wildcard_listener_listens_on_the_vip() -> None:
    wild = listeners("0.0.0.0")
    assert table(listeners=wild).is_own_endpoint(VIP, 5060)


@pytest.mark.parametrize(
    ("arrived", "members", "expected"),
    [
        (UDP, (UDP, TCP), UDP), (TCP, (UDP, TCP), TCP), (TLS, (UDP, TLS), TLS),
        (UDP, (TCP,), TCP), (TCP, (UDP,), UDP), (TLS, (UDP, TCP), TCP), (UDP, (TLS,), TLS),
        (UDP, (TLS, TCP), TCP), (TCP, (UDP, TLS), TLS),
    ],
)  # fmt: skip
def test_the_way_to_a_member(
    arrived: Transport, members: tuple[Transport, ...], expected: Transport
) -> None:
    one = member(1, *(SipAddress(t, RM[1], 5060) for t in members))
    found = table().address_of(one, arrived, secure=False)
    assert found is not None
    assert found.transport is expected


def test_sips_only_over_tls() -> None:
    assert table().address_of(member(1), UDP, secure=True) is None


def test_trust() -> None:
    assert table().trusts("203.0.113.1")
    found = table(trusted=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))
    for host, trusted in (("192.0.2.7", True), ("192.0.3.7", False), ("2001:db8::7", True),
                          ("2001:db9::7", False)):  # fmt: skip
        assert found.trusts(host) is trusted


def test_listeners_by_family_and_transport() -> None:
    found = table(listeners=listeners(VIP, SIX))
    six = found.listener_for(UDP, "2001:db8::5")
    four = found.listener_for(UDP, "192.0.2.5", prefer=2)
    assert six is not None
    assert four is not None
    assert (six.host, four.host) == (SIX, VIP)
    assert table().listener_for(UDP, "2001:db8::5") is None
    stream = table().listener_for(TLS, "192.0.2.5")
    assert stream is not None  # no TLS listener: any address of the family to leave from
    assert table(listeners=listeners()[1:]).listener_for(UDP, "192.0.2.5") is None


@pytest.mark.parametrize("health", list(Health))
@pytest.mark.parametrize("state", list(AdminState))
def test_who_takes_calls(health: Health, state: AdminState) -> None:
    one = member(1, health=health, admin_state=state)
    takes = health in (Health.IN_SERVICE, Health.SUSPECT) and state is AdminState.ENABLED
    assert one.takes_new_calls is takes
    assert one.lost is (health is Health.OUT_OF_SERVICE or state is AdminState.DISABLED)
    assert (one in table(members=[one]).taking) is takes


def test_a_snapshot_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        table().hotstandby = False  # type: ignore[misc]
