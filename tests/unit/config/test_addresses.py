from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmlb.config.addresses import (
    HostPort,
    ListenAddress,
    VirtualAddress,
    host_alias,
    host_port,
    ip,
    listen_address,
    mac,
    member_addresses,
    moving_address,
    network,
    own_host,
    places,
    status_codes,
)
from rmlb.config.kinds import Kind
from rmlb.sip.address import SipAddress, Transport

UDP, TCP, TLS = Transport.UDP, Transport.TCP, Transport.TLS


@pytest.mark.parametrize(
    ("given", "addresses"),
    [
        ("10.0.0.11:5060", [(UDP, "10.0.0.11", 5060), (TCP, "10.0.0.11", 5060)]),
        ("udp:10.0.0.11:5060", [(UDP, "10.0.0.11", 5060)]),
        ("TLS:RM1.Example.com:5061", [(TLS, "rm1.example.com", 5061)]),
        ("[2001:DB8::0:11]:5060", [(UDP, "2001:db8::11", 5060), (TCP, "2001:db8::11", 5060)]),
        ("tcp:[::1]:5060", [(TCP, "::1", 5060)]),
        (["udp:h:1", "tcp:h:2"], [(UDP, "h", 1), (TCP, "h", 2)]),
    ],
)
def test_member_addresses(given: object, addresses: list[tuple[Transport, str, int]]) -> None:
    assert member_addresses.read(given) == tuple(SipAddress(*each) for each in addresses)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("10.0.0.11", "has no port"),
        ("tcp:7001", "has no port"),
        ("sctp:10.0.0.11:5060", "more than one colon"),
        ("2001:db8::11", "IPv6 needs brackets"),
        ("[2001:db8::11]", "has no port"),
        ("[2001:db8::11]5060", "not an IPv6 address in brackets and a port"),
        ("[10.0.0.300]:5060", "not an IPv6 address in brackets and a port"),
        ("10.0.0.300:5060", "neither an IP address nor a host name"),
        ("10.0.0:5060", "neither an IP address nor a host name"),
        ("rm_1:5060", "neither an IP address nor a host name"),
        (":5060", "neither an IP address nor a host name"),
        ("-rm:5060", "neither an IP address nor a host name"),
        ("rm:0", "not a port"),
        ("rm:65536", "not a port"),
        ("rm:٣", "not a port"),
        ("rm:x", "not a port"),
        ("0.0.0.0:5060", "not the address of one host"),
        ("[::]:5060", "not the address of one host"),
        ("224.0.0.1:5060", "not the address of one host"),
        ("255.255.255.255:5060", "not the address of one host"),
        ("[fe80::1%eth0]:5060", "address with a zone"),
        (["udp:h:1", "h:1"], "the same address is given twice"),
        ([], "the list is empty"),
        (5060, "not text in quotes"),
        ({}, "a table is not text"),
    ],
)
def test_what_is_no_member_address(given: object, message: str) -> None:
    (fault,) = member_addresses.faults(given)
    assert message in fault.message
    assert "udp:10.0.0.11:5060" in fault.allowed


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("udp:5060", ListenAddress(UDP, "", 5060)),
        ("TLS:5061", ListenAddress(TLS, "", 5061)),
        ("udp:10.0.0.1:5060", ListenAddress(UDP, "10.0.0.1", 5060)),
        ("tcp:[::1]:5060", ListenAddress(TCP, "::1", 5060)),
    ],
)
def test_listen_addresses(given: str, address: ListenAddress) -> None:
    assert listen_address.read(given) == address
    assert listen_address.read(str(address)) == address


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("5060", "does not begin with udp:, tcp: or tls:"),
        ("10.0.0.1:5060", "does not begin with"),
        ("udp:", "has no port"),
        ("udp:0", "not a port"),
        ("udp:99999", "not a port"),
        ("udp:rm.example.com:5060", "names a host"),
        ("udp:0.0.0.0:5060", "not the address of one host"),
        ("udp:::1:5060", "IPv6 needs brackets"),
        (5060, "not text in quotes"),
    ],
)
def test_what_is_no_listen_address(given: object, message: str) -> None:
    (fault,) = listen_address.faults(given)
    assert message in fault.message


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (host_port("h:1"), "Rm.Example.com:80", HostPort("rm.example.com", 80)),
        (host_port("h:1", 9811), "10.0.0.1", HostPort("10.0.0.1", 9811)),
        (host_port("h:1", 9811), "[::1]", HostPort("::1", 9811)),
        (places(host_port("h:1", 9811)), "h", (HostPort("h", 9811),)),
        (places(host_port("h:1", 9811)), ["a:1", "b"], (HostPort("a", 1), HostPort("b", 9811))),
        (places(host_port("h:1")), "", ()),
        (places(host_port("h:1")), [], ()),
        (host_alias, "RM.example.com", "rm.example.com"),
        (host_alias, "rm.example.com:5060", "rm.example.com:5060"),
        (host_alias, "[2001:DB8::1]:5060", "[2001:db8::1]:5060"),
        (host_alias, "[2001:DB8::1]", "2001:db8::1"),
        (own_host, "", ""),
        (own_host, "SIP.example.com", "sip.example.com"),
        (ip, "2001:0DB8::1", "2001:db8::1"),
        (moving_address, "10.99.0.100/24", VirtualAddress("10.99.0.100", 24)),
        (moving_address, "10.99.0.100", VirtualAddress("10.99.0.100", None)),
        (moving_address, "2001:DB8::64/64", VirtualAddress("2001:db8::64", 64)),
    ],
)
def test_accepted(kind: Kind, given: object, value: object) -> None:
    assert kind.read(given) == value
    assert kind.read(kind.show(value)) == value, "what is shown reads back"


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (ip, "rm.example.com", "not an IP address"),
        (ip, 10.1, "10.1 is not text in quotes"),
        (moving_address, "10.99.0.100/33", "prefix that is not 1 to 32"),
        (moving_address, "10.99.0.100/0", "prefix that is not 1 to 32"),
        (moving_address, "10.99.0.100/", "prefix that is not 1 to 32"),
        (moving_address, "::1/129", "prefix that is not 1 to 128"),
        (moving_address, "rm.example.com", "not an IP address"),
        (moving_address, "0.0.0.0", "not the address of one host"),
        (network, "10.0.0.5/8", 'has bits outside its prefix: write "10.0.0.0/8"'),
        (network, "everybody", "neither an IP address nor a network"),
        (network, "10.0.0.0/40", "neither an IP address nor a network"),
        (mac, "00-0F-1F-6D-EB", "not a MAC address"),
        (mac, "00-0F:1F-6D-EB-CA", "not a MAC address"),
        (mac, "00-0F-1F-6D-EB-CG", "not a MAC address"),
        (mac, 7, "not text"),
    ],
)
def test_refused(kind: Kind, given: object, message: str) -> None:
    (fault,) = kind.faults(given)
    assert message in fault.message


@pytest.mark.parametrize(
    "given",
    [
        "00-0F-1F-6D-EB-CA",
        "00:0f:1f:6d:eb:ca",
        "00:0F:1f:6D:eb:CA",
        "000F1F6DEBCA",
        "000f.1f6d.ebca",
    ],
)
def test_every_form_of_a_mac_becomes_one(given: str) -> None:
    assert mac.read(given) == "00:0f:1f:6d:eb:ca"


def test_networks() -> None:
    assert str(network.read("10.1.2.0/24")) == "10.1.2.0/24"
    assert str(network.read("10.1.2.3")) == "10.1.2.3/32"
    assert str(network.read("2001:db8::/32")) == "2001:db8::/32"


def test_status_codes() -> None:
    ranges = status_codes.read([200, "400-407", "503"])
    assert ranges == ((200, 200), (400, 407), (503, 503))
    assert status_codes.show(ranges) == [200, "400-407", 503]


@pytest.mark.parametrize("given", ["100-499", 100, "499-200", 700, "20", True, "200-", [[200]], {}])
def test_what_is_no_status_code(given: object) -> None:
    (fault,) = status_codes.faults(given)
    assert "final SIP status codes" in fault.allowed


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_explained(value: str) -> None:
    for kind in (member_addresses, listen_address, moving_address, host_alias, network, mac, ip):
        assert kind.faults(value) or kind.read(value)
