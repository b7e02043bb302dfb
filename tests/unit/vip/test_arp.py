"""Frames octet by octet, and who is seen in them."""

from __future__ import annotations

import pytest

from rmlb.vip.arp import Sighting, announcements, probe, sighting

MAC = bytes.fromhex("021122334455")


def test_arp_announcements() -> None:
    request, reply = announcements(MAC, "10.99.0.100")
    head = "ffffffffffff" + MAC.hex() + "0806" + "0001080006040001"
    assert request.hex() == head + MAC.hex() + "0a630064" + "00" * 6 + "0a630064"
    assert reply.hex() == head[:-1] + "2" + (MAC.hex() + "0a630064") * 2


def test_arp_probe_claims_nothing() -> None:
    frame = probe(MAC, "10.99.0.100")
    assert frame.hex()[44:] == MAC.hex() + "00000000" + "00" * 6 + "0a630064"
    assert sighting(frame) is None


def test_advertisement() -> None:
    (frame,) = announcements(MAC, "fd00::100")
    assert frame.hex().startswith(
        "333300000001" + MAC.hex() + "86dd" + "60000000" + "0020" + "3aff"
    )
    assert frame[54] == 136
    assert frame[58] == 0x20, "override"
    assert _sum(frame) == 0xFFFF


def test_solicitation() -> None:
    frame = probe(MAC, "fd00::1:100")
    assert frame.hex().startswith("3333ff010100")
    assert frame[22:38] == bytes(16), "from nobody"
    assert frame[54] == 135
    assert _sum(frame) == 0xFFFF
    assert sighting(frame) is None


@pytest.mark.parametrize("address", ["10.99.0.100", "fd00::100"])
def test_sighting(address: str) -> None:
    for frame in announcements(MAC, address):
        assert sighting(frame) == Sighting(address, MAC)
        assert all(sighting(frame[:length]) is None for length in range(42))


def _sum(frame: bytes) -> int:
    body = frame[54:]
    pseudo = frame[22:54] + len(body).to_bytes(4, "big") + b"\0\0\0\x3a" + body
    total = sum(int.from_bytes(pseudo[i : i + 2], "big") for i in range(0, len(pseudo), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
