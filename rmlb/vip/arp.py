"""Frames that say or ask who has an address: ARP for IPv4, neighbour discovery for IPv6. PURE.

RFC 5227 (probe, announcement), RFC 4861 (unsolicited advertisement). Whole Ethernet frames, for a
packet socket of the interface. Knows no sockets.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

BROADCAST: Final = b"\xff" * 6
ETHERTYPE_ARP: Final = 0x0806
ETHERTYPE_IPV6: Final = 0x86DD

_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
_REQUEST, _REPLY = 1, 2
_SOLICITATION, _ADVERTISEMENT = 135, 136
_OVERRIDE: Final = 0x20000000
_ALL_NODES: Final = IPv6Address("ff02::1")
_NO_ONE: Final = IPv6Address("::")


class Sighting(NamedTuple):
    """A frame in which somebody claims an address."""

    address: str
    mac: bytes


def announcements(mac: bytes, address: str) -> tuple[bytes, ...]:
    """Both ARP forms, as caches differ in which they believe; or the advertisement."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        return (advertisement(mac, ip),)
    return (
        arp(_REQUEST, BROADCAST, mac, ip.packed, bytes(6), ip.packed),
        arp(_REPLY, BROADCAST, mac, ip.packed, mac, ip.packed),
    )


def probe(mac: bytes, address: str) -> bytes:
    """Asks who has the address without claiming it (RFC 5227 2.1.1, RFC 4862 5.4.2)."""
    ip = ip_address(address)
    if isinstance(ip, IPv4Address):
        return arp(_REQUEST, BROADCAST, mac, bytes(4), bytes(6), ip.packed)
    group = IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | int(ip) & 0xFFFFFF)
    body = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + ip.packed
    return _icmpv6(_multicast(group), mac, _NO_ONE, group, body)


def arp(operation: int, to: bytes, sha: bytes, spa: bytes, tha: bytes, tpa: bytes) -> bytes:
    """An Ethernet frame with an ARP packet (RFC 826)."""
    packet = _ARP.pack(1, 0x0800, 6, 4, operation, sha, spa, tha, tpa)
    return to + sha + ETHERTYPE_ARP.to_bytes(2, "big") + packet


def advertisement(mac: bytes, ip: IPv6Address) -> bytes:
    """An unsolicited neighbour advertisement to all nodes, override set (RFC 4861 7.2.6)."""
    option = b"\x02\x01" + mac
    body = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE) + ip.packed + option
    return _icmpv6(_multicast(_ALL_NODES), mac, ip, _ALL_NODES, body)


def sighting(frame: bytes) -> Sighting | None:
    """Who claims which address in this frame; None where nobody does."""
    if len(frame) < 42:
        return None
    ethertype = int.from_bytes(frame[12:14], "big")
    if ethertype == ETHERTYPE_ARP:
        kind, protocol, hlen, plen, _, sha, spa, _, _ = _ARP.unpack_from(frame, 14)
        if (kind, protocol, hlen, plen) != (1, 0x0800, 6, 4) or not any(spa):
            return None
        return Sighting(str(IPv4Address(spa)), sha)
    if ethertype == ETHERTYPE_IPV6 and len(frame) >= 78:
        if frame[20] != 58 or frame[54] != _ADVERTISEMENT:
            return None
        return Sighting(str(IPv6Address(frame[62:78])), _link_address(frame[78:]) or frame[6:12])
    return None


def _link_address(options: bytes) -> bytes | None:
    """The target link-layer address among the options (RFC 4861 4.6.1)."""
    while len(options) >= 8 and options[1]:
        if options[0] == 2:
            return options[2:8]
        options = options[options[1] * 8 :]
    return None


def _multicast(group: IPv6Address) -> bytes:
    return b"\x33\x33" + group.packed[-4:]


def _icmpv6(to: bytes, mac: bytes, source: IPv6Address, target: IPv6Address, body: bytes) -> bytes:
    pseudo = source.packed + target.packed + struct.pack("!I3xB", len(body), 58)
    checksum = _checksum(pseudo + body)
    body = body[:2] + checksum.to_bytes(2, "big") + body[4:]
    header = struct.pack("!IHBB", 0x60000000, len(body), 58, 255) + source.packed + target.packed
    return to + mac + ETHERTYPE_IPV6.to_bytes(2, "big") + header + body


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
