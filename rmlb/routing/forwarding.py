"""The octets that leave: what a proxy changes in a message, and nothing else (16.6, 16.7).

Edits are cuts into the received octets, so that bytes without a reason to change leave as they
came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rmlb.routing.mark import PARAM
from rmlb.routing.table import Listener
from rmlb.sip.address import Transport, bracketed
from rmlb.sip.message import Message
from rmlb.sip.response import apply_edits, stamp_edits
from rmlb.sip.uri import Route
from rmlb.sip.via import Via

DEFAULT_MAX_FORWARDS = 70
"""Added where a request has none (16.6 step 3)."""


@dataclass(slots=True)
class Leaving:
    """How one request will leave."""

    request: Message
    via: Via
    """Its top Via as received."""
    source: tuple[str, int]
    routes: list[Route]
    removed: set[int] = field(default_factory=set)
    """Indices of routes that are taken out."""
    uri: bytes | None = None
    """A new Request-URI."""
    rewritten: dict[int, bytes] = field(default_factory=dict)
    """New URIs of routes, by index."""
    added_route: bytes | None = None
    """A Route value put last (16.6 step 6, strict routing)."""
    record_route: bytes = b""
    """Record-Route lines, topmost first, each ended by CRLF."""

    def octets(self, own_via: bytes, *, stream: bool) -> bytes:
        """The request as it leaves, with `own_via` (a header value) on top.

        `stream`: it leaves by TCP or TLS, where Content-Length is a must (18.3).
        """
        request = self.request
        top = request.fields[self.via.field].start
        added = b""
        edits = [(top, top, b"Via: " + own_via + b"\r\n")]
        edits += stamp_edits(self.via, self.source)
        edits += self._route_edits()
        hops = request.field(b"max-forwards")
        if hops is None:
            added += b"Max-Forwards: %d\r\n" % DEFAULT_MAX_FORWARDS
        else:
            left = min((request.max_forwards or 1) - 1, 255)
            edits.append((hops.value, hops.end, b" %d" % left))
        if stream and request.content_length is None:
            added += b"Content-Length: %d\r\n" % len(request.body)
        if self.record_route:
            recorded = request.field(b"record-route")
            if recorded is not None:
                edits.append((recorded.start, recorded.start, self.record_route))
            else:
                added = self.record_route + added
        if added:
            below = self._below_vias()
            edits.append((below, below, added))
        if self.uri is not None:
            start = len(request.method) + 1
            edits.append((start, start + len(request.uri), self.uri))
        return apply_edits(request.data, 0, len(request.data), edits)

    def _below_vias(self) -> int:
        """Where the first header field after the topmost Vias begins."""
        fields = self.request.fields
        for line in fields[self.via.field :]:
            if line.name != b"via":
                return line.start
        return fields[-1].end + 2

    def _route_edits(self) -> list[tuple[int, int, bytes]]:
        fields = self.request.fields
        edits: list[tuple[int, int, bytes]] = []
        by_field: dict[int, list[int]] = {}
        for index, route in enumerate(self.routes):
            by_field.setdefault(route.field, []).append(index)
        for place, indices in by_field.items():
            kept = [i for i in indices if i not in self.removed]
            line = fields[place]
            if not kept:
                edits.append((line.start, line.end + 2, b""))
            elif len(kept) < len(indices):
                first, last = self.routes[kept[0]], self.routes[kept[-1]]
                if kept[0] != indices[0]:
                    edits.append((self.routes[indices[0]].start, first.start, b""))
                if kept[-1] != indices[-1]:
                    edits.append((last.end, self.routes[indices[-1]].end, b""))
        for index, uri in self.rewritten.items():
            route = self.routes[index]
            edits.append((route.uri_start, route.uri_start + len(route.raw_uri), uri))
        if self.added_route is not None:
            line = fields[self.routes[-1].field]
            edits.append((line.end + 2, line.end + 2, b"Route: " + self.added_route + b"\r\n"))
        return edits


def via_value(transport: Transport, listener: Listener, branch: bytes, own: bytes) -> bytes:
    """Our Via value; `own` is our parameter with its semicolon. The port is always named."""
    host = bracketed(listener.sent_by).encode()
    return b"SIP/2.0/%b %b:%d;branch=%b%b" % (
        transport.via_name,
        host,
        listener.port,
        branch,
        own,
    )


def record_route_line(listener: Listener, mark: bytes, *, sips: bool) -> bytes:
    """One Record-Route line with our mark; a sips request is recorded as sips (16.6 step 4)."""
    transport = listener.transport
    how = b"" if transport is Transport.UDP or sips else b";transport=" + transport.encode()
    return b"Record-Route: <%b:%b:%d%b;lr;%b=%b>\r\n" % (
        b"sips" if sips else b"sip",
        bracketed(listener.sent_by).encode(),
        listener.port,
        how,
        PARAM,
        mark,
    )


def without_vias(
    response: Message, first: Via, last: Via, more: Sequence[tuple[int, int, bytes]] = ()
) -> bytes:
    """A response with its topmost Via values from `first` to `last` taken out (16.7 step 3).

    `more` are further cuts.
    """
    fields = response.fields
    edits = list(more)
    for index in range(first.field, last.field + 1):
        line = fields[index]
        if line.name != b"via":
            continue
        if index == last.field and last.next:
            edits.append((line.value, _skip_space(response.data, last.next), b" "))
        else:
            edits.append((line.start, line.end + 2, b""))
    return apply_edits(response.data, 0, len(response.data), edits)


def _skip_space(data: bytes, at: int) -> int:
    while data[at] in b" \t\r\n":
        at += 1
    return at
