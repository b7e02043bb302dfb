"""A request taken apart for routing: top Via, Request-URI, Route; ours popped, mark verified."""

from __future__ import annotations

from dataclasses import dataclass

from rmlb.routing.forwarding import Leaving
from rmlb.routing.mark import PARAM, Mark, read_mark
from rmlb.routing.table import RoutingTable
from rmlb.routing.verdict import Origin
from rmlb.sip.message import Message, SipError
from rmlb.sip.uri import Route, Uri, parse_uri, routes
from rmlb.sip.via import Via, top_via

_MOST_MARKS = 8
"""Looked at for one that verifies: a route set has two of ours, four after a spiral. Each costs
a hash over the Call-ID, and somebody may have written thousands."""

DATANODES = b"gvp.rm.datanodes"
"""The RM's URI parameter that names the members of its session."""


@dataclass(slots=True)
class Request:
    """One request on its way, as the guards find it."""

    message: Message
    via: Via
    origin: Origin
    uri: Uri
    raw_uri: bytes
    leaving: Leaving
    routes: list[Route]
    """Those that remain after popping ours."""
    popped: bool
    """At least one Route entry, or the Request-URI of a strict router, was ours."""
    marked: bool
    """Among these was one with our mark."""
    mark: Mark | None
    """Our verified mark, wherever in the Route it stands."""
    loss: int
    """The loss number for the mark of a dialog that it starts; a retransmission keeps its own."""

    @property
    def next_route(self) -> Uri | None:
        return self.routes[0].uri if self.routes else None

    @property
    def ways(self) -> bytes:
        """All Route URIs as they came, for the loop hash."""
        return b",".join(route.raw_uri for route in self.leaving.routes)


def read_request(message: Message, origin: Origin, table: RoutingTable) -> Request:
    """Take a scanned request apart. Raises SipError(400), the message as its `partial`."""
    try:
        return _read(message, origin, table)
    except SipError as error:
        error.partial = message
        raise


def _read(message: Message, origin: Origin, table: RoutingTable) -> Request:
    via = top_via(message)
    raw_uri = message.uri
    uri = parse_uri(raw_uri)
    all_routes = routes(message)
    leaving = Leaving(message, via, (origin.host, origin.port), all_routes)
    values = [r.uri.param(PARAM) for r in all_routes if table.names_us(r.uri)]
    first, last = 0, len(all_routes)
    popped = marked = False
    if all_routes and uri.param(PARAM) is not None and table.names_us(uri):
        # 16.4: a strict router put our Record-Route entry into the Request-URI
        popped = marked = True
        values.append(uri.param(PARAM))
        last -= 1
        leaving.removed.add(last)
        raw_uri = leaving.uri = all_routes[last].raw_uri
        uri = parse_uri(raw_uri)
    while first < last and _is_poppable(all_routes[first].uri, table):
        popped = True
        marked = marked or all_routes[first].uri.param(PARAM) is not None
        leaving.removed.add(first)
        first += 1
    mark = None
    for value in values[:_MOST_MARKS]:
        if value and mark is None:
            mark = read_mark(table.keys, value, message.call_id, message.from_tag)
    remaining = all_routes[first:last]
    loss = table.losses.number
    return Request(
        message, via, origin, uri, raw_uri, leaving, remaining, popped, marked, mark, loss
    )


def _is_poppable(uri: Uri, table: RoutingTable) -> bool:
    """Ours: marked, or the VIP or an alias without datanodes. Never the RM's (SIP-RULES 4)."""
    return table.names_us(uri) and (uri.param(PARAM) is not None or uri.param(DATANODES) is None)
