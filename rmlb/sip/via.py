"""Via values (RFC 3261 20.42, 18.2; RFC 3581): the trail by which responses return."""

from __future__ import annotations

import re
from typing import NamedTuple

from rmlb.sip.message import LWS, TOKEN, Field, Message, SipError, params
from rmlb.sip.uri import HOST, canonical_host

COOKIE = b"z9hG4bK"
"""Branches that begin with it are unique per transaction (8.1.1.7)."""

OWN_PARAM = b"rmlb"
"""Our Via parameter: instance, channel, loop hash and their MAC."""

_SENT = re.compile(
    LWS + TOKEN + LWS + rb"/" + LWS + TOKEN + LWS + rb"/" + LWS + rb"(" + TOKEN + rb")"
    + rb"[ \t\r\n]++(" + HOST + rb")(?:" + LWS + rb":" + LWS + rb"(\d{1,5}))?" + LWS
)  # fmt: skip
_VALUE_END = re.compile(rb'(?:"(?:[^"\\]|\\.)*+"|[^,"])*+')


class Via(NamedTuple):
    """One Via value and where its parts stand in the message."""

    field: int
    """Index into `Message.fields`."""
    start: int
    end: int
    """After the value, trailing white space excluded."""
    next: int
    """Where the next value of the same field begins, 0 if this is its last."""
    transport: bytes
    """Upper case."""
    raw_host: bytes
    host: str
    port: int | None
    branch: bytes
    received: bytes | None
    rport: bytes | None
    """None: not asked for; empty: asked for; else the port that was filled in."""
    own: bytes | None
    """The value of our own parameter."""
    received_at: tuple[int, int] | None
    """Octets of `;received=...`, to be replaced."""
    rport_at: tuple[int, int] | None

    @property
    def sent_by(self) -> bytes:
        """Host and port as RFC 3261 17.2.3 compares them, in lower case."""
        return b"%s:%d" % (self.host.encode(), self.port or 0)

    @property
    def has_cookie(self) -> bool:
        """An RFC 3261 branch: the magic cookie and something behind it."""
        return self.branch.startswith(COOKIE) and len(self.branch) > len(COOKIE)


def top_via(message: Message) -> Via:
    """The first Via value. Raises SipError(400) if there is none or it is malformed."""
    for index, field in enumerate(message.fields):
        if field.name == b"via":
            return parse_via(message.data, field, index, field.value)
    raise SipError(400, "no Via")


def via_after(message: Message, via: Via) -> Via | None:
    """The value below `via`, in the same field or the next one. Raises SipError(400)."""
    if via.next:
        return parse_via(message.data, message.fields[via.field], via.field, via.next)
    for index in range(via.field + 1, len(message.fields)):
        field = message.fields[index]
        if field.name == b"via":
            return parse_via(message.data, field, index, field.value)
    return None


def parse_via(data: bytes, field: Field, index: int, start: int) -> Via:
    """The Via value that begins at `start` in `field`. Raises SipError(400)."""
    sent = _SENT.match(data, start, field.end)
    whole = _VALUE_END.match(data, start, field.end)
    if sent is None or whole is None or sent.end() > whole.end():
        raise SipError(400, "malformed Via")
    stop = whole.end()
    if stop < field.end and data[stop] != ord(","):
        raise SipError(400, "malformed Via")
    port = int(sent[3]) if sent[3] is not None else None
    if port is not None and not 0 < port < 65536:
        raise SipError(400, "port out of range in Via")
    branch = b""
    received = rport = own = None
    received_at = rport_at = None
    for name, value, first, last in params(data, sent.end(), stop):
        if name == b"branch":
            branch = value or b""
        elif name == b"received":
            received, received_at = value or b"", (first, _rstrip(data, first, last))
        elif name == b"rport":
            rport, rport_at = value or b"", (first, _rstrip(data, first, last))
        elif name == OWN_PARAM:
            own = value or b""
    return Via(
        index,
        start,
        _rstrip(data, start, stop),
        stop + 1 if stop < field.end else 0,
        sent[1].upper(),
        sent[2],
        canonical_host(sent[2]),
        port,
        branch,
        received,
        rport,
        own,
        received_at,
        rport_at,
    )


def _rstrip(data: bytes, start: int, end: int) -> int:
    while end > start and data[end - 1] in b" \t\r\n":
        end -= 1
    return end
