"""A SIP message as the simulators hold it: a start line, headers and a body, as text.

Owns reading what a user agent needs (tags, branch, route set, where a URI points) and building
answers. Knows nothing of sockets, transactions or members; is lenient where the balancer's
own scanner (rmlb.sip) is strict, and shares no code with it on purpose: what judges the
balancer should not have its bugs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from rmlb.sip.address import SipAddress, Transport

Headers = tuple[tuple[str, str], ...]

SDP: Final = (
    "v=0\r\no=- 1 {version} IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    "m=audio 6000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)
"""Something to carry; no media flows."""

REASONS: Final = {
    100: "Trying",
    180: "Ringing",
    200: "OK",
    404: "Not Found",
    405: "Method Not Allowed",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    486: "Busy Here",
    487: "Request Terminated",
    500: "Server Internal Error",
    503: "Service Unavailable",
    603: "Decline",
}
"""Reason phrases (RFC 3261 21); others get "Simulated"."""

_LISTS = frozenset(("via", "route", "record-route"))
_TAG = re.compile(r";\s*tag\s*=\s*([^;,\s]+)", re.IGNORECASE)
_BRANCH = re.compile(r";\s*branch\s*=\s*([^;,\s]+)", re.IGNORECASE)
_URI = re.compile(r"sips?:(?:[^@<>]*@)?(\[[^\]]+\]|[^:;?>]+)(?::(\d+))?([^?>]*)", re.IGNORECASE)
_SENT_BY = re.compile(r"SIP\s*/\s*2\.0\s*/\s*(\w+)\s+(\[[^\]]+\]|[^:;\s]+)(?:\s*:\s*(\d+))?")
_TRANSPORT = re.compile(r";\s*transport\s*=\s*(\w+)", re.IGNORECASE)
_RPORT = re.compile(r";\s*rport\s*(?=;|$)", re.IGNORECASE)
_MEMBER = re.compile(r"m(\d+)-")


@dataclass(frozen=True, slots=True)
class SipText:
    """One message. Header names keep their spelling; they are compared without case."""

    start_line: str
    headers: Headers
    body: str = ""

    @property
    def is_request(self) -> bool:
        return not self.start_line.startswith("SIP/2.0 ")

    @property
    def method(self) -> str:
        """The request's method; of a response, the method it answers."""
        if self.is_request:
            return self.start_line.partition(" ")[0]
        return self.header("CSeq").rpartition(" ")[2]

    @property
    def uri(self) -> str:
        """The Request-URI."""
        return self.start_line.split(" ")[1]

    @property
    def status(self) -> int:
        """The status code; 0 for a request."""
        return 0 if self.is_request else int(self.start_line[8:11])

    @property
    def call_id(self) -> str:
        return self.header("Call-ID")

    @property
    def cseq(self) -> int:
        return int(self.header("CSeq").split()[0])

    @property
    def from_tag(self) -> str:
        return tag_of(self.header("From"))

    @property
    def to_tag(self) -> str:
        return tag_of(self.header("To"))

    @property
    def branch(self) -> str:
        """The branch of the top Via; empty without one."""
        vias = self.all("Via")
        match = _BRANCH.search(vias[0]) if vias else None
        return match[1] if match else ""

    def header(self, name: str) -> str:
        """The first value of that name, empty if absent."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), "")

    def all(self, name: str) -> list[str]:
        """Every value of that name; Via, Route and Record-Route are split at their commas."""
        wanted = name.lower()
        values = [value for key, value in self.headers if key.lower() == wanted]
        if wanted in _LISTS:
            return [part for value in values for part in split_list(value)]
        return values

    def encode(self) -> bytes:
        """As it goes over the wire; Content-Length is set here."""
        body = self.body.encode()
        lines = [self.start_line, *(f"{name}: {value}" for name, value in self.headers)]
        lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def request(method: str, uri: str, headers: Iterable[tuple[str, str]], body: str = "") -> SipText:
    return SipText(f"{method} {uri} SIP/2.0", _with_type(headers, body), body)


def respond(
    to: SipText,
    status: int,
    *,
    source: tuple[str, int],
    tag: str = "",
    headers: Iterable[tuple[str, str]] = (),
    body: str = "",
) -> SipText:
    """The answer to a request (RFC 3261 8.2.6). `tag` is added to a To without one; the top
    Via gets received and rport from the packet's `source` (18.2.1, RFC 3581 4)."""
    vias = to.all("Via")
    vias[0] = _stamped(vias[0], source)
    callee = to.header("To")
    if tag and not to.to_tag:
        callee += f";tag={tag}"
    copied = [
        *(("Via", via) for via in vias),
        ("From", to.header("From")),
        ("To", callee),
        ("Call-ID", to.call_id),
        ("CSeq", to.header("CSeq")),
        *headers,
    ]
    reason = REASONS.get(status, "Simulated")
    return SipText(f"SIP/2.0 {status} {reason}", _with_type(copied, body), body)


def _with_type(headers: Iterable[tuple[str, str]], body: str) -> Headers:
    return (*headers, ("Content-Type", "application/sdp")) if body else tuple(headers)


def _stamped(via: str, source: tuple[str, int]) -> str:
    host, port = source
    if _RPORT.search(via):
        return _RPORT.sub(f";rport={port}", via, count=1) + f";received={host}"
    match = _SENT_BY.match(via)
    return via if match and match[2].strip("[]") == host else f"{via};received={host}"


def answer_port(via: str, source_port: int) -> int:
    """Where a UDP answer goes at the source address: rport if asked for, else the sent-by port."""
    if _RPORT.search(via):
        return source_port
    match = _SENT_BY.match(via)
    return int(match[3]) if match and match[3] else 5060


def split_list(value: str) -> list[str]:
    """Comma-joined values apart; commas in quotes and angle brackets do not count."""
    parts, start, quoted, nested = [], 0, False, False
    for at, char in enumerate(value):
        if char == '"' and not (quoted and value[at - 1] == "\\"):
            quoted = not quoted
        elif not quoted and char in "<>":
            nested = char == "<"
        elif char == "," and not quoted and not nested:
            parts.append(value[start:at].strip())
            start = at + 1
    return [*parts, value[start:].strip()]


def tag_of(value: str) -> str:
    """The tag of a From or To value, empty if none."""
    match = _TAG.search(value, value.rfind(">") + 1)
    return match[1] if match else ""


def uri_of(value: str) -> str:
    """The URI of a Contact, Route or To value."""
    _, opened, rest = value.partition("<")
    return rest.partition(">")[0] if opened else value.partition(";")[0].strip()


def address_of(uri: str) -> SipAddress:
    """Where a SIP URI with an address points (RFC 3263 without DNS). ValueError for others."""
    match = _URI.match(uri)
    if match is None:
        raise ValueError(f"not a SIP URI: {uri}")
    named = _TRANSPORT.search(match[3])
    transport = Transport(named[1].lower()) if named else Transport.UDP
    port = int(match[2]) if match[2] else transport.default_port
    return SipAddress(transport, match[1].strip("[]"), port)


def member_of(tag: str) -> int | None:
    """The member that a tag names (m1-...), if it names one."""
    match = _MEMBER.match(tag)
    return int(match[1]) if match else None
