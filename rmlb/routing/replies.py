"""The balancer's own answers (SIP-RULES 7), addressed where a response may go (18.2.2)."""

from __future__ import annotations

from rmlb.routing.signature import make_to_tag
from rmlb.routing.table import RoutingTable
from rmlb.routing.verdict import Destination, Drop, Kind, Origin, Reason, Reply
from rmlb.sip.message import Message, SipError, scan_again
from rmlb.sip.response import REASONS, apply_edits, build_response, refusal
from rmlb.sip.via import Via, top_via

RETRY_AFTER_S = 2
"""In our own 503: short, so that a recovered pool is used again at once (SIP-RULES 5)."""

_REASONS = {
    501: Reason.BAD_METHOD,
    505: Reason.BAD_VERSION,
    513: Reason.TOO_LARGE,
}


def reply(
    request: Message,
    via: Via,
    origin: Origin,
    table: RoutingTable,
    status: int,
    reason: Reason,
    *,
    kind: Kind = Kind.OTHER,
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> Reply | Drop:
    """Answer a request ourselves; an ACK is never answered, and nothing goes to ourselves."""
    if request.method == b"ACK":
        return Drop(kind, Reason.ACK_UNROUTABLE)
    to = reply_address(via, origin)
    if table.is_own_endpoint(to.host, to.port):
        return Drop(kind, Reason.TO_OURSELVES)
    tag = make_to_tag(table.keys, request)
    data = build_response(request, via, status, (origin.host, origin.port), tag, extra)
    if data is None:
        return Drop(kind, reason)
    return Reply(kind, reason, status, data, to)


def unavailable(
    request: Message, via: Via, origin: Origin, table: RoutingTable, kind: Kind, reason: Reason
) -> Reply | Drop:
    """503 with a short Retry-After."""
    extra = ((b"Retry-After", b"%d" % RETRY_AFTER_S),)
    return reply(request, via, origin, table, 503, reason, kind=kind, extra=extra)


def refuse(error: SipError, origin: Origin, table: RoutingTable) -> Reply | Drop:
    """Answer a malformed request, as far as it tells to whom; drop it otherwise."""
    status = refusal(error)
    reason = _REASONS.get(status, Reason.MALFORMED)
    request = error.partial
    if request is None or not request.is_request:
        return Drop(Kind.OTHER, reason)
    try:
        via = top_via(request)
    except SipError:
        return Drop(Kind.OTHER, reason)
    return reply(request, via, origin, table, status, reason)


def reply_address(via: Via, origin: Origin) -> Destination:
    """Back by the socket that received: to the source port with rport, else to sent-by's."""
    if origin.transport.is_stream or via.rport is not None:
        port = origin.port
    else:
        port = via.port or origin.transport.default_port
    return Destination(origin.transport, origin.host, port, origin.listener, origin.channel)


def seen_outside(data: bytes, member: int, table: RoutingTable) -> tuple[int, bytes]:
    """A member's response as the caller sees it, its status first.

    A 503 is 500 while another member takes calls (16.7 step 6), without the Retry-After that
    would park the whole VIP.
    """
    message = scan_again(data)
    status = message.status
    if status != 503 or not any(m.id != member for m in table.taking):
        return status, data
    line = b"SIP/2.0 500 %b" % REASONS[500]
    parked = message.fields_named(b"retry-after")
    edits = [(0, message.start_line_end, line), *((f.start, f.end + 2, b"") for f in parked)]
    return 500, apply_edits(data, 0, len(data), edits)
