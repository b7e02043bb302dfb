"""HEP3 packets, chunk by chunk; what Homer's capture module reads in
them stands in integration/test_hep3.py."""

from __future__ import annotations

from struct import unpack

import pytest
from trace_samples import UUID, received, request, sent, traced

from rmlb.trace.copies import Copy, Direction
from rmlb.trace.hep import HepNode, encode


def chunks(packet: bytes) -> dict[int, bytes]:
    """Vendor-0 chunks of a packet."""
    magic, length = unpack("!4sH", packet[:6])
    assert (magic, length) == (b"HEP3", len(packet))
    found = {}
    at = 6
    while at < len(packet):
        vendor, kind, size = unpack("!HHH", packet[at : at + 6])
        assert vendor == 0
        assert size >= 6
        found[kind] = packet[at + 6 : at + size]
        at += size
    assert at == len(packet)
    return found


def test_a_message_received_over_udp() -> None:
    data = request("INVITE", uuid=UUID)
    (one,) = traced(received(data, at=1_700_000_000.25))
    found = chunks(encode(one, HepNode(7, "lb1", "secret")))
    assert found == {
        1: b"\x02",
        2: b"\x11",
        3: bytes([192, 0, 2, 1]),
        4: bytes([192, 0, 2, 100]),
        7: (5070).to_bytes(2, "big"),
        8: (5060).to_bytes(2, "big"),
        9: (1_700_000_000).to_bytes(4, "big"),
        10: (250_000).to_bytes(4, "big"),
        11: b"\x01",
        12: (7).to_bytes(4, "big"),
        14: b"secret",
        15: data,
        17: UUID.encode(),
        19: b"lb1",
    }


def test_without_uuid_key_and_name() -> None:
    (one,) = traced(sent(request("BYE", "x@y")))
    found = chunks(encode(one, HepNode()))
    assert found[17] == b"x@y"
    assert not {14, 19} & found.keys()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_ipv6_over_a_stream(transport: str) -> None:
    copy = Copy(1.0, Direction.IN, transport, "2001:db8::1", 1, "2001:db8::2", 2, b"x")
    (one,) = traced(copy)
    found = chunks(encode(one, HepNode()))
    assert (found[1], found[2]) == (b"\x0a", b"\x06")
    assert (len(found[5]), len(found[6])) == (16, 16)
    assert 17 not in found  # no Call-ID


def test_the_largest_message_is_cut() -> None:
    (one,) = traced(received(b"x" * 65_535))
    packet = encode(one, HepNode())
    assert len(packet) < 65_536
    assert len(chunks(packet)[15]) > 64_000


@pytest.mark.parametrize(("at", "seconds"), [(2.0**32, 0), (2.0**32 + 7.5, 7), (-0.5, 2**32 - 1)])
def test_a_clock_beyond_32_bits_wraps(at: float, seconds: int) -> None:
    (one,) = traced(received(request("INVITE"), at=at))
    assert chunks(encode(one, HepNode()))[9] == seconds.to_bytes(4, "big")
