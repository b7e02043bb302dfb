"""HEP3 packets: a copied message as Homer, heplify and sngrep take it. Pure.

A packet is "HEP3", its length, and chunks of vendor, type, length (6 octets of head included)
and content; numbers are in network order. The generic chunks have vendor 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from struct import Struct
from typing import Final

from rmlb.trace.reading import Traced

MOST_PAYLOAD: Final = 65_000
"""Octets of the message that are sent; the length of a packet is a 16-bit number."""

_HEAD: Final = Struct("!4sH")
_CHUNK: Final = Struct("!HHH")
_U8: Final = Struct("!HHHB")
_U16: Final = Struct("!HHHH")
_U32: Final = Struct("!HHHI")

_FAMILY, _PROTOCOL = 1, 2
_SOURCE4, _TARGET4, _SOURCE6, _TARGET6 = 3, 4, 5, 6
_SOURCE_PORT, _TARGET_PORT = 7, 8
_SECONDS, _MICROSECONDS = 9, 10
_WHAT, _CAPTURE_ID = 11, 12
_KEY, _PAYLOAD, _CORRELATION, _NODE = 14, 15, 17, 19

_INET, _INET6 = 2, 10
_TCP, _UDP = 6, 17
_SIP = 1


@dataclass(frozen=True, slots=True)
class HepNode:
    """Who sends: what a collector tells its capture nodes apart by."""

    capture_id: int = 1
    name: str = ""
    key: str = ""
    """The collector's authentication key; empty for none."""


def encode(traced: Traced, node: HepNode) -> bytes:
    """One packet."""
    copy = traced.copy
    family, source = _address(copy.source)
    _, target = _address(copy.destination)
    seconds = int(copy.at // 1)
    is_v6 = family == _INET6
    parts = [
        _U8.pack(0, _FAMILY, 7, family),
        _U8.pack(0, _PROTOCOL, 7, _UDP if copy.transport == "udp" else _TCP),
        _chunk(_SOURCE6 if is_v6 else _SOURCE4, source),
        _chunk(_TARGET6 if is_v6 else _TARGET4, target),
        _U16.pack(0, _SOURCE_PORT, 8, copy.source_port),
        _U16.pack(0, _TARGET_PORT, 8, copy.destination_port),
        _U32.pack(0, _SECONDS, 10, seconds & 0xFFFFFFFF),  # till 2106
        _U32.pack(0, _MICROSECONDS, 10, int((copy.at - seconds) * 1e6)),
        _U8.pack(0, _WHAT, 7, _SIP),
        _U32.pack(0, _CAPTURE_ID, 10, node.capture_id),
    ]
    if node.key:
        parts.append(_chunk(_KEY, node.key.encode()))
    if node.name:
        parts.append(_chunk(_NODE, node.name.encode()))
    if traced.correlation:
        parts.append(_chunk(_CORRELATION, traced.correlation.encode()[:1024]))
    room = MOST_PAYLOAD - sum(map(len, parts))
    parts.append(_chunk(_PAYLOAD, copy.data[:room]))
    body = b"".join(parts)
    return _HEAD.pack(b"HEP3", _HEAD.size + len(body)) + body


@lru_cache(maxsize=4096)
def _address(host: str) -> tuple[int, bytes]:
    address = ip_address(host)
    return (_INET if address.version == 4 else _INET6), address.packed


def _chunk(kind: int, content: bytes) -> bytes:
    return _CHUNK.pack(0, kind, _CHUNK.size + len(content)) + content
