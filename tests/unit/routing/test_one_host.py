"""Balancer, members and callers on one host, as in a trial on loopback: nobody gets more rights."""

from __future__ import annotations

import pytest
from packets import TCP, UDP, Bench, listeners, member

from rmlb.routing.verdict import Forward, Kind, Reason, Reply, Verdict
from rmlb.sip.address import SipAddress
from rmlb.sip.message import scan

HOST = "127.0.0.1"
CALLER_PORT, SINK_PORT = 6000, 9999
PORTS = {1: 7001, 2: 7002}


@pytest.fixture
def bench() -> Bench:
    return Bench(
        members=[
            member(n, SipAddress(UDP, HOST, port), SipAddress(TCP, HOST, port))
            for n, port in PORTS.items()
        ],
        listeners=listeners(HOST),
        vips=frozenset((HOST,)),
    )


def request(
    method: str, *, uri: str, via_port: int, from_tag: str, to_tag: str = "", route: str = ""
) -> bytes:
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {HOST}:{via_port};branch=z9hG4bK-{method}-{via_port}-{from_tag}",
        "Max-Forwards: 70",
        *([f"Route: {route}"] if route else []),
        f"From: <sip:one@{HOST}>;tag={from_tag}",
        f"To: <sip:two@{HOST}>" + (f";tag={to_tag}" if to_tag else ""),
        "Call-ID: one-host",
        f"CSeq: 1 {method}",
        "Content-Length: 0",
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


def invite(bench: Bench, route: str = "") -> Verdict:
    uri = f"sip:ivr@{HOST}:5060"
    data = request("INVITE", uri=uri, via_port=CALLER_PORT, from_tag="caller", route=route)
    return bench.receive(data, HOST, CALLER_PORT)


def begun(bench: Bench) -> tuple[int, str]:
    """The member that got the call, and our Record-Route entry with the mark."""
    verdict = invite(bench)
    assert isinstance(verdict, Forward)
    recorded = scan(verdict.data).header("Record-Route")
    assert recorded is not None
    return verdict.to.member, recorded.decode()


def test_a_callers_route_to_a_third_port_is_refused(bench: Bench) -> None:
    verdict = invite(bench, route=f"<sip:{HOST}:{SINK_PORT};lr>")
    assert isinstance(verdict, Reply)
    assert (verdict.status, verdict.reason) == (403, Reason.FOREIGN_ROUTE)


def test_a_caller_cannot_use_its_mark_to_relay(bench: Bench) -> None:
    """It knows the mark of its own dialog, and may write any From tag."""
    number, mark = begun(bench)
    data = request(
        "BYE", uri=f"sip:x@{HOST}:{SINK_PORT}", via_port=CALLER_PORT,
        from_tag="forged", to_tag="caller", route=mark,
    )  # fmt: skip
    verdict = bench.receive(data, HOST, CALLER_PORT)
    assert isinstance(verdict, Forward)
    assert verdict.kind is Kind.TO_MEMBER
    assert verdict.to.port == PORTS[number]


@pytest.mark.parametrize(("port", "transport"), [(None, UDP), (40_000, TCP)])
def test_a_member_sends_outward(bench: Bench, port: int | None, transport: object) -> None:
    """By UDP from its own port; by TCP from any, its Via names it."""
    number, mark = begun(bench)
    data = request(
        "BYE", uri=f"sip:caller@{HOST}:{CALLER_PORT}", via_port=PORTS[number],
        from_tag="callee", to_tag="caller", route=mark,
    )  # fmt: skip
    verdict = bench.receive(data, HOST, port or PORTS[number], UDP if transport is UDP else TCP)
    assert isinstance(verdict, Forward)
    assert verdict.kind is Kind.OUTWARD
    assert verdict.to.port == CALLER_PORT
