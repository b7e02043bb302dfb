"""SIP URIs (RFC 3261 19.1) and the values of Route and Record-Route.

Reads what routing needs and keeps every octet; nothing is unescaped or normalised on the wire.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple

from rmlb.sip.address import bracketed
from rmlb.sip.message import LWS, QUOTED, Message, SipError, params

HOST = rb"\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9_\-.]++"
SIP_SCHEMES = (b"sip", b"sips")

_LONGEST_KEPT = 256
"""Longer URIs are parsed anew each time: 4096 of them remembered would be some 700 MB."""

_LONGEST_HOST = 257
"""A domain name has 253 octets at most (RFC 1035 2.3.4), a final dot and brackets aside."""

_SIP_URI = re.compile(
    rb'(?i:(sips?)):(?:([^@\s<>"]++)@)?+(' + HOST + rb")(?::(\d{1,5}))?"
    rb'((?:;[^;?\s<>"]++)*+)(\?[^\s<>"]*+)?\Z'
)
_SCHEME = re.compile(rb'([A-Za-z][A-Za-z0-9+.\-]*+):[^\s<>"]*+\Z')
_ROUTE = re.compile(LWS + rb"(?:" + QUOTED + rb'|[^<>",;])*+<([^<>]++)>' + LWS)
_COMMA = re.compile(LWS + rb"(,|\Z)")


class Uri(NamedTuple):
    """A URI taken apart. For schemes other than sip and sips only `scheme` is filled."""

    scheme: bytes
    """Lower case."""
    user: bytes | None = None
    host: str = ""
    """Lower case, without brackets, IPv6 in canonical form."""
    port: int | None = None
    params: bytes = b""
    """As they came, from the first semicolon on."""
    headers: bytes = b""

    def param(self, name: bytes) -> bytes | None:
        """A parameter's value; empty for one without a value, None where it is absent."""
        for part in self.params.split(b";"):
            key, _, value = part.partition(b"=")
            if key.lower() == name:
                return value
        return None

    @property
    def transport(self) -> bytes:
        """The transport parameter in lower case; empty if absent."""
        return (self.param(b"transport") or b"").lower()

    @property
    def lr(self) -> bool:
        """Loose routing (RFC 3261 16.12)."""
        return self.param(b"lr") is not None


class Route(NamedTuple):
    """One value of a Route header: its URI and where it stands in the message."""

    uri: Uri
    raw_uri: bytes
    field: int
    """Index into `Message.fields`."""
    start: int
    """First octet of the value, leading white space included."""
    end: int
    """After the value; a comma or the field's end follows."""
    uri_start: int
    """First octet of the URI between the angle brackets."""


def parse_uri(raw: bytes) -> Uri:
    """Take a URI apart. Raises SipError(400) if it is malformed, whatever its scheme."""
    return _parse_known(raw) if len(raw) <= _LONGEST_KEPT else _parse(raw)


def _parse(raw: bytes) -> Uri:
    match = _SIP_URI.match(raw)
    if match is not None:
        scheme, user, host, port, parameters, headers = match.groups()
        number = int(port) if port is not None else None
        if number is not None and not 0 < number < 65536:
            raise SipError(400, "port out of range in URI")
        return Uri(scheme.lower(), user, canonical_host(host), number, parameters, headers or b"")
    match = _SCHEME.match(raw)
    if match is None or match[1].lower() in SIP_SCHEMES:
        raise SipError(400, "malformed URI")
    return Uri(match[1].lower())


_parse_known = lru_cache(maxsize=4096)(_parse)  # 4096 x ~1 KB: hosts repeat, calls do not


def with_host(raw: bytes, host: str, port: int) -> bytes:
    """A SIP URI with another host and port, everything else as it was."""
    match = _SIP_URI.match(raw)
    if match is None:
        raise SipError(400, "malformed URI")
    end = match.end(4) if match[4] is not None else match.end(3)
    place = b"%b:%d" % (bracketed(host).encode(), port)
    return raw[: match.start(3)] + place + raw[end:]


def canonical_host(host: bytes) -> str:
    """What hosts are compared by: lower case, no brackets, no final dot, IPv6 compressed.

    An IPv4-mapped IPv6 address is the IPv4 address it stands for: there is one name for one
    place. Raises SipError(400).
    """
    if len(host) > _LONGEST_HOST:
        raise SipError(400, "host name too long")
    return _canonical_host(host)


@lru_cache(maxsize=4096)
def _canonical_host(host: bytes) -> str:
    text = host.decode("latin-1").lower()
    if text.startswith("[") or ":" in text:
        try:
            address = IPv6Address(text.strip("[]"))
        except ValueError:
            raise SipError(400, "malformed IPv6 address") from None
        mapped = address.ipv4_mapped
        return address.compressed if mapped is None else str(mapped)
    if not text.strip("."):
        raise SipError(400, "a host of dots alone")
    return text.removesuffix(".")


def routes(message: Message) -> list[Route]:
    """Every Route value, top first. Raises SipError(400)."""
    found: list[Route] = []
    data = message.data
    for index, field in enumerate(message.fields):
        if field.name != b"route":
            continue
        at = field.value
        while True:
            match = _ROUTE.match(data, at, field.end)
            if match is None:
                raise SipError(400, "malformed Route")
            end = match.end()
            if data[end : end + 1] == b";":
                end = _skip_params(data, end, field.end)
            comma = _COMMA.match(data, end, field.end)
            if comma is None:
                raise SipError(400, "malformed Route")
            found.append(Route(parse_uri(match[1]), match[1], index, at, end, match.start(1)))
            if not comma[1]:
                break
            at = comma.end()
    return found


_ROUTE_PARAMS = re.compile(rb"(?:;(?:" + QUOTED + rb'|[^,"])*+)?+')


def _skip_params(data: bytes, start: int, end: int) -> int:
    match = _ROUTE_PARAMS.match(data, start, end)
    stop = match.end() if match is not None else start
    params(data, start, stop)
    return stop
