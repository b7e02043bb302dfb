"""A SIP message scanned once into offsets (RFC 3261 section 7).

`scan` finds the start line and the header fields, reads those that routing needs, and leaves
everything else as octets at known places: a message is changed by cutting at these offsets,
so that what has no reason to change leaves as it came. It raises `SipError` and nothing else
on any octets, and its work is linear in their number. Knows nothing of members or routing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LWS = rb"[ \t\r\n]*+"
TOKEN = rb"[A-Za-z0-9\-.!%*_+`'~]++"
QUOTED = rb'"(?:[^"\\]|\\.)*+"'

MAX_CSEQ = 2**32 - 1
"""The torture tests demand 400 above it (RFC 4475 3.1.2.4); RFC 3261 20.16 says 2**31 - 1."""

_COMPACT = {
    b"v": b"via",
    b"i": b"call-id",
    b"f": b"from",
    b"t": b"to",
    b"l": b"content-length",
    b"m": b"contact",
    b"k": b"supported",
    b"c": b"content-type",
    b"e": b"content-encoding",
    b"s": b"subject",
    b"o": b"event",
    b"u": b"allow-events",
    b"r": b"refer-to",
    b"b": b"referred-by",
    b"x": b"session-expires",
}
"""Compact header names (RFC 3261 7.3.3 and the IANA registry) -> long names."""

# The spellings that nearly all messages use, so that they need no lower-casing.
_SPELLINGS = {
    name: name.lower()
    for name in (
        *(b"Via", b"From", b"To", b"Call-ID", b"CSeq", b"Max-Forwards", b"Contact", b"Route"),
        *(b"Record-Route", b"Content-Length", b"Content-Type", b"Allow", b"Supported"),
        *(b"User-Agent", b"Server", b"Require", b"Expires", b"Event", b"Subject"),
    )
} | {letter.upper(): name for letter, name in _COMPACT.items()}
_SPELLINGS |= _COMPACT

_ONCE = frozenset((b"call-id", b"from", b"to", b"cseq", b"max-forwards", b"content-length"))
"""Fields of which two would let two elements read two different messages: 400."""

_REQUEST_LINE = re.compile(rb"([^ \t]++) ([^ \t]++) (?i:SIP)/(\d++)\.(\d++)\Z")
_STATUS_LINE = re.compile(rb"(?i:SIP)/(\d++)\.(\d++) (\d++)(?: (.*+))?\Z", re.DOTALL)
_METHOD = re.compile(TOKEN + rb"\Z")
_FIELD_NAME = re.compile(TOKEN + rb"[ \t]*+\Z")
_CSEQ = re.compile(LWS + rb"(\d++)[ \t\r\n]++(" + TOKEN + rb")" + LWS + rb"\Z")
_CALL_ID = re.compile(LWS + rb"([^\s\x00]++)" + LWS + rb"\Z")
_NUMBER = re.compile(LWS + rb"(\d++)" + LWS + rb"\Z")
_NAME_ADDR = re.compile(
    LWS
    + rb"(?:(?:" + QUOTED + rb'|[^<>",;])*+<([^<>]++)>|([^<>",; \t\r\n]++))'
    + LWS
)  # fmt: skip
_PARAM = re.compile(
    rb";" + LWS + rb"(" + TOKEN + rb")(?:" + LWS + rb"=" + LWS
    + rb"(" + QUOTED + rb'|[^;,"\s<>]*+))?+' + LWS
)  # fmt: skip


class SipError(Exception):
    """A message that breaks the protocol: the status to refuse it with, and why.

    `partial` holds what was scanned before, so that the refusal can be addressed.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.partial: Message | None = None


class Field(NamedTuple):
    """One header field: its lower-case long name and where it stands in the message."""

    name: bytes
    start: int
    """First octet of the line."""
    value: int
    """First octet after the colon."""
    end: int
    """After the last octet of the value, folded lines included; CRLF follows."""


class Message:
    """One scanned message. Offsets point into `data`, which ends where the body ends."""

    __slots__ = (
        "body_start",
        "call_id",
        "content_length",
        "cseq",
        "cseq_method",
        "data",
        "fields",
        "from_tag",
        "is_request",
        "max_forwards",
        "method",
        "reason",
        "start_line_end",
        "status",
        "to_tag",
        "uri",
    )

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.is_request = True
        self.method = b""
        """Of the start line; for a response, that of its CSeq."""
        self.uri = b""
        """Request-URI as it came; empty for a response."""
        self.status = 0
        self.reason = b""
        self.start_line_end = 0
        self.fields: list[Field] = []
        self.body_start = len(data)
        self.call_id = b""
        self.from_tag = b""
        self.to_tag = b""
        self.cseq = 0
        self.cseq_method = b""
        self.max_forwards: int | None = None
        self.content_length: int | None = None

    def field(self, name: bytes) -> Field | None:
        """The first field of that lower-case long name."""
        for field in self.fields:
            if field.name == name:
                return field
        return None

    def fields_named(self, name: bytes) -> list[Field]:
        return [field for field in self.fields if field.name == name]

    def value(self, field: Field) -> bytes:
        """A field's value, unfolded and stripped."""
        return unfold(self.data[field.value : field.end])

    def header(self, name: str) -> bytes | None:
        """The first value of that name (any case, compact or long), or None."""
        field = self.field(_canonical(name.encode()))
        return None if field is None else self.value(field)

    def headers(self, name: str) -> list[bytes]:
        """Every field value of that name, in order; comma-joined values stay joined."""
        return [self.value(field) for field in self.fields_named(_canonical(name.encode()))]

    @property
    def vias(self) -> list[bytes]:
        """Every Via field value, as `headers("Via")`."""
        return self.headers("via")

    @property
    def body(self) -> bytes:
        return self.data[self.body_start :]

    @property
    def is_initial(self) -> bool:
        """An initial request: no To tag, and neither CANCEL nor ACK (DESIGN 2)."""
        return not self.to_tag and self.method not in (b"CANCEL", b"ACK")


def scan(data: bytes, *, max_headers: int = 256) -> Message:
    """Scan one whole message. Octets after its body are cut off (18.3). Raises SipError."""
    skip = 0
    while data.startswith(b"\r\n", skip):  # 7.5: CRLFs before the start line are ignored
        skip += 2
    message = Message(data[skip:] if skip else data)
    try:
        _scan_head(message, max_headers)
        _read_fields(message)
        _cut_body(message)
    except SipError as error:
        error.partial = message
        raise
    return message


def scan_again(data: bytes) -> Message:
    """Scan what was accepted before, or made of that: no limit, so no SipError, can stop it."""
    return scan(data, max_headers=len(data))


def unfold(value: bytes) -> bytes:
    """A value with folding turned into spaces (7.3.1), stripped of white space."""
    if b"\r\n" in value:
        value = value.replace(b"\r\n", b" ")
    return value.strip(b" \t")


def params(data: bytes, start: int, end: int) -> list[tuple[bytes, bytes | None, int, int]]:
    """Parameters `;name=value` from `start` to `end`: (lower-case name, value, start, end).

    Value is None where there is no `=`. Raises SipError(400) if anything else stands there.
    """
    found = []
    while start < end:
        match = _PARAM.match(data, start, end)
        if match is None:
            raise SipError(400, "malformed header parameter")
        found.append((match[1].lower(), match[2], start, match.end()))
        start = match.end()
    return found


def tag_of(value: bytes) -> bytes:
    """The tag parameter of a From or To value, empty if none. Raises SipError(400)."""
    match = _NAME_ADDR.match(value)
    if match is None:
        raise SipError(400, "malformed From or To")
    tags = [v for name, v, _, _ in params(value, match.end(), len(value)) if name == b"tag"]
    if len(tags) > 1:
        raise SipError(400, "more than one tag")
    if not tags:
        return b""
    if not tags[0]:
        raise SipError(400, "empty tag")
    return tags[0]


def _canonical(name: bytes) -> bytes:
    lower = name.lower()
    return _COMPACT.get(lower, lower)


def _scan_head(message: Message, max_headers: int) -> None:
    """Start line and field offsets. Broken parts are noted, and raised after the last field."""
    data = message.data
    blank = data.find(b"\r\n\r\n")
    head_end = blank + 2 if blank >= 0 else len(data)
    message.body_start = blank + 4 if blank >= 0 else len(data)
    first = data.find(b"\r\n", 0, head_end)
    if first < 0:
        raise SipError(400, "no start line")
    message.start_line_end = first
    broken = _scan_start_line(message)
    fields = message.fields
    at = first + 2
    while at < head_end:
        eol = data.find(b"\r\n", at, head_end)
        if eol < 0:
            eol = head_end
        while eol + 2 < head_end and data[eol + 2] in b" \t":  # a folded line goes on
            eol = data.find(b"\r\n", eol + 2, head_end)
            if eol < 0:
                eol = head_end
        colon = data.find(b":", at, eol)
        if colon <= at:
            broken = broken or SipError(400, "header line without a name")
        else:
            name = data[at:colon]
            known = _SPELLINGS.get(name)
            if known is None:
                # A folded or indented name is a header to one element and none to another.
                if _FIELD_NAME.match(name) is None:
                    broken = broken or SipError(400, "header name is not a token")
                known = _canonical(name.rstrip(b" \t"))
            fields.append(Field(known, at, colon + 1, eol))
            if len(fields) > max_headers:
                raise SipError(513, "too many header fields")
        at = eol + 2
    if broken is not None:
        raise broken
    if blank < 0:
        raise SipError(400, "no empty line after the header")
    line_ends = data.count(b"\r\n", 0, head_end)
    if data.count(b"\n", 0, head_end) != line_ends or data.count(b"\r", 0, head_end) != line_ends:
        # Another element may take a lone CR or LF for a line end, and read other headers.
        raise SipError(400, "lone CR or LF in the header")


def _scan_start_line(message: Message) -> SipError | None:
    line = message.data[: message.start_line_end]
    if line[:4].upper() == b"SIP/":
        message.is_request = False
        match = _STATUS_LINE.match(line)
        if match is None or len(match[3]) != 3 or not b"100" <= match[3] <= b"699":
            return SipError(400, "malformed status line")
        message.status = int(match[3])
        message.reason = match[4] or b""
    else:
        match = _REQUEST_LINE.match(line)
        if match is None:
            message.method = line.partition(b" ")[0]
            return SipError(400, "malformed request line")
        message.method = match[1]
        message.uri = match[2]
        match_version = (match[3], match[4])
        if match_version != (b"2", b"0"):
            return SipError(505, "SIP version is not 2.0")
        if _METHOD.match(match[1]) is None:
            return SipError(501, "method is not a token")
        return None
    return None if (match[1], match[2]) == (b"2", b"0") else SipError(505, "SIP version is not 2.0")


def _read_fields(message: Message) -> None:
    data = message.data
    seen: dict[bytes, Field] = {}
    for field in message.fields:
        if field.name in _ONCE and seen.setdefault(field.name, field) is not field:
            raise SipError(400, f"more than one {field.name.decode()}")
    missing = [name for name in (b"call-id", b"cseq", b"from", b"to") if name not in seen]
    if missing:
        raise SipError(400, f"no {missing[0].decode()}")

    call_id = seen[b"call-id"]
    match = _CALL_ID.match(data, call_id.value, call_id.end)
    if match is None:
        raise SipError(400, "malformed Call-ID")
    message.call_id = match[1]

    cseq = seen[b"cseq"]
    match = _CSEQ.match(data, cseq.value, cseq.end)
    if match is None:
        raise SipError(400, "malformed CSeq")
    digits = match[1].lstrip(b"0") or b"0"
    if len(digits) > 10 or int(digits) > MAX_CSEQ:
        raise SipError(400, "CSeq number too large")
    message.cseq = int(digits)
    message.cseq_method = match[2]
    if not message.is_request:
        message.method = match[2]
    elif match[2] != message.method:
        raise SipError(400, "CSeq method is not the request's")

    message.from_tag = tag_of(data[seen[b"from"].value : seen[b"from"].end])
    message.to_tag = tag_of(data[seen[b"to"].value : seen[b"to"].end])

    hops = seen.get(b"max-forwards")
    if hops is not None:
        message.max_forwards = _number(data, hops, "Max-Forwards", most=10**9)
    length = seen.get(b"content-length")
    if length is not None:
        message.content_length = _number(data, length, "Content-Length", most=10**9)


def _number(data: bytes, field: Field, name: str, *, most: int) -> int:
    match = _NUMBER.match(data, field.value, field.end)
    digits = b"" if match is None else match[1].lstrip(b"0") or b"0"
    if not digits or len(digits) > 10 or int(digits) > most:
        raise SipError(400, f"malformed {name}")
    return int(digits)


def _cut_body(message: Message) -> None:
    length = message.content_length
    if length is None:
        return
    end = message.body_start + length
    if end > len(message.data):
        raise SipError(400, "Content-Length is larger than the message")
    if end < len(message.data):
        message.data = message.data[:end]
