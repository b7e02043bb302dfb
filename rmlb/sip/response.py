"""Answers that the balancer makes itself (RFC 3261 8.2.6)."""

from __future__ import annotations

import re

from rmlb.sip.message import Message, SipError, tag_of
from rmlb.sip.via import Via

_TAG = re.compile(rb"(?i);\s*+tag\b")

REASONS = {
    200: b"OK",
    400: b"Bad Request",
    403: b"Forbidden",
    416: b"Unsupported URI Scheme",
    420: b"Bad Extension",
    481: b"Call/Transaction Does Not Exist",
    482: b"Loop Detected",
    483: b"Too Many Hops",
    487: b"Request Terminated",
    500: b"Server Internal Error",
    501: b"Not Implemented",
    503: b"Service Unavailable",
    505: b"Version Not Supported",
    513: b"Message Too Large",
}
"""The answers of SIP-RULES 7, with RFC 3261 section 21's reason phrases."""


def build_response(
    request: Message,
    via: Via,
    status: int,
    source: tuple[str, int],
    to_tag: bytes,
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes | None:
    """A response to `request`, addressed by its Via values; None if it cannot be addressed.

    `source` is where the request came from and is stamped into the top Via (18.2.1); `to_tag`
    is added where the request's To has none (8.2.6.2); `extra` are further header fields.
    """
    data = request.data
    lines = [b"SIP/2.0 %d %s" % (status, REASONS[status])]
    for index, field in enumerate(request.fields):
        if field.name == b"via":
            if index == via.field:
                lines.append(data[field.start : via.start] + _stamped(data, via, source)
                             + data[via.end : field.end])  # fmt: skip
            else:
                lines.append(data[field.start : field.end])
    for name in (b"from", b"to", b"call-id", b"cseq"):
        found = request.field(name)
        if found is None:
            return None
        line = data[found.start : found.end]
        if name == b"to" and to_tag and not _has_tag(data[found.value : found.end]):
            line += b";tag=" + to_tag
        lines.append(line)
    lines.extend(name + b": " + value for name, value in extra)
    lines.append(b"Content-Length: 0\r\n\r\n")
    return b"\r\n".join(lines)


def stamp_edits(via: Via, source: tuple[str, int]) -> list[tuple[int, int, bytes]]:
    """Cuts that put `received`, and the port where `rport` asks for it, into a Via (3581 4)."""
    host, port = source
    received = b";received=" + host.encode()
    edits = []
    if via.received_at is not None:
        edits.append((*via.received_at, received))
    else:
        edits.append((via.end, via.end, received))
    if via.rport_at is not None:
        edits.append((*via.rport_at, b";rport=%d" % port))
    return edits


def apply_edits(data: bytes, start: int, end: int, edits: list[tuple[int, int, bytes]]) -> bytes:
    """`data[start:end]` with cuts replaced. Cuts do not overlap; of those that begin at one place
    insertions come first, in their order.
    """
    parts = []
    at = start
    for first, last, text in sorted(edits, key=_place):
        parts.append(data[at:first])
        parts.append(text)
        at = last
    parts.append(data[at:end])
    return b"".join(parts)


def refusal(error: SipError) -> int:
    """The status for a malformed request; those we have no phrase for become 400."""
    return error.status if error.status in REASONS else 400


def _has_tag(to: bytes) -> bool:
    """The To value has a tag; a refused message may not have been read as far as that."""
    try:
        return bool(tag_of(to))
    except SipError:
        return _TAG.search(to) is not None


def _place(edit: tuple[int, int, bytes]) -> tuple[int, int]:
    return edit[:2]


def _stamped(data: bytes, via: Via, source: tuple[str, int]) -> bytes:
    return apply_edits(data, via.start, via.end, stamp_edits(via, source))
