"""The packet thread's work is linear in octets, whatever somebody writes into them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from rmlb.fastpath.engine import CompiledRouter
from rmlb.routing.affinity import Memory
from rmlb.routing.bindings import BindingLimits, Bindings
from rmlb.routing.keys import Keyring, affinity_key
from rmlb.routing.member import Health, Member
from rmlb.routing.table import Listener, RoutingTable
from rmlb.routing.verdict import Origin
from rmlb.sip.address import SipAddress, Transport

UDP = Transport.UDP
ORIGIN = Origin(UDP, 0, 0, "192.0.2.10", 5060)
MARK = b"<sip:10.0.0.100;lr;rmlb=0000.1.0.00000000.0000000000000000>"


def message(method: bytes = b"INVITE", top: bytes = b"", extra: bytes = b"") -> bytes:
    return (
        b"%b sip:ivr@10.0.0.100 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKx%b\r\n"
        b"From: <sip:a@b>;tag=f\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 %b\r\n%b"
        b"Content-Length: 0\r\n\r\n"
    ) % (method, top, method, extra)


WORST: dict[str, Callable[[int], bytes]] = {
    "one long value": lambda n: message(extra=b"Subject: " + b"x" * n + b"\r\n"),
    "many fields": lambda n: message(extra=b"S: y\r\n" * (n // 6)),
    "many fields of known initials": lambda n: message(extra=b"Ci: y\r\nX-G: z\r\n" * (n // 15)),
    "Via parameters": lambda n: message(top=b";p=q" * (n // 4)),
    "joined Vias": lambda n: message(top=b",SIP/2.0/UDP h;branch=z9hG4bKy" * (n // 30)),
    "Vias": lambda n: message(extra=b"Via: SIP/2.0/UDP h;branch=z9hG4bKy\r\n" * (n // 36)),
    "nearly our parameter": lambda n: message(top=b";" + b"rmlrm" * (n // 5)),
    "marks in one line": lambda n: message(
        extra=b"Route: " + MARK + (b"," + MARK) * (n // 58) + b"\r\n"
    ),
    "marks": lambda n: message(extra=(b"Route: " + MARK + b"\r\n") * (n // 65)),
    "URI parameters of a Route": lambda n: message(
        extra=b"Route: <sip:10.0.0.100" + b";a=b" * (n // 4) + b";lr>\r\n"
    ),
    "quoted string": lambda n: message().replace(b"<sip:a", b'"' + b"\\a" * (n // 2) + b'" <sip:a'),
    "tag parameters": lambda n: message().replace(b";tag=f", b";a=b" * (n // 4) + b";tag=f"),
    "Call-ID": lambda n: message().replace(b"Call-ID: x", b"Call-ID: " + b"x" * n),
    "method": lambda n: message(b"M" * (n // 2)),
    "no end": lambda n: message()[:-2] + b"S: x\r\n" * (n // 6),
    "carriage returns": lambda n: message(extra=b"S: " + b"\r" * n + b"\r\n"),
    "white space": lambda n: message(extra=b"CSeq:" + b" " * n + b"1 INVITE\r\n"),
    "body": lambda n: message().replace(b"Content-Length: 0", b"Content-Length: %d" % n) + b"b" * n,
}  # fmt: skip


@pytest.fixture(scope="module")
def router() -> CompiledRouter:
    members = {
        n: Member(n, (SipAddress(UDP, f"10.0.0.1{n}", 5060),), Health.IN_SERVICE) for n in (1, 2)
    }
    table = RoutingTable(
        members=members,
        listeners=(Listener(0, UDP, "10.0.0.100", 5060, "10.0.0.100"),),
        keys=Keyring(["a secret of sixteen", "another of sixteen"]),
        affinity_key=affinity_key("linear"),
        vips=frozenset(("10.0.0.100",)),
        instance=b"0000000a",
        max_headers=100_000,
    )
    return CompiledRouter(table, Memory(Bindings(BindingLimits(max_bindings=1000))))


@pytest.mark.parametrize("name", WORST)
def test_twice_the_octets_take_twice_the_time(router: CompiledRouter, name: str) -> None:
    """Or less than four times, for the machine's sake; the largest datagram takes 10 ms at most."""

    def seconds(data: bytes) -> float:
        taken = []
        for _ in range(15):
            begun = time.perf_counter()
            router.core.decide(data, ORIGIN, 1.0)
            taken.append(time.perf_counter() - begun)
        return min(taken)

    small, large = seconds(WORST[name](32_000)), seconds(WORST[name](64_000))
    assert large < 4 * small + 0.0005
    assert large < 0.010
