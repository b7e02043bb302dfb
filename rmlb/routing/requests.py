"""Requests: kinds A, D, E and G of SIP-RULES 1, in the order of RFC 3261 16.3 to 16.6.

`route_request` is a flat list of guards; each names its reason. What passes is forwarded to a
member (A) or outward along a dialog of ours (D).
"""

from __future__ import annotations

from rmlb.routing import failover, signature
from rmlb.routing.affinity import (
    Choice,
    Inquiry,
    Moment,
    choose,
    header_keys,
    is_guess,
    is_limited,
    loss_of,
)
from rmlb.routing.delivery import DIALOG_METHODS, is_loop, outward, to_member
from rmlb.routing.incoming import DATANODES, Request, read_request
from rmlb.routing.keys import affinity_hash
from rmlb.routing.member import Member
from rmlb.routing.pending import Attempt
from rmlb.routing.replies import reply, unavailable
from rmlb.routing.selection import Algorithm
from rmlb.routing.table import RoutingTable
from rmlb.routing.verdict import Absorb, Hold, Kind, Origin, Reason, Step, Verdict
from rmlb.sip.address import Transport, is_loopback
from rmlb.sip.message import Message

_KNOWN_SCHEMES = (b"sip", b"sips", b"tel")

_REHOMING = (Step.MARK, Step.BINDING)
"""Steps that name a dialog's holder: if that is not its binding's member, it has moved."""

_STATUS = {
    Reason.SIPS_NEEDS_TLS: 416,
    Reason.UNREACHABLE: 500,
    Reason.FORBIDDEN_DESTINATION: 403,
    Reason.TO_OURSELVES: 482,
    Reason.TOO_LARGE: 513,
}


def route_request(
    message: Message, origin: Origin, moment: Moment, *, may_hold: bool = False
) -> Verdict:
    """The verdict on a scanned request. Raises SipError where reading goes on and fails.

    `may_hold`: the store can be asked for what is not known here.
    """
    table = moment.table
    request = read_request(message, origin, table)
    via = request.via

    if message.method == b"ACK" and signature.is_own_to_tag(table.keys, message):
        return _acknowledged(request, moment)
    if request.uri.scheme not in _KNOWN_SCHEMES:  # 16.3 (2)
        return reply(message, via, origin, table, 416, Reason.UNKNOWN_SCHEME)
    if request.uri.headers:  # 19.1.1: not allowed in a Request-URI
        return reply(message, via, origin, table, 400, Reason.MALFORMED_URI)
    if _is_for_us(request, table):
        if table.taking:
            return reply(message, via, origin, table, 200, Reason.OPTIONS, kind=Kind.OPTIONS)
        return unavailable(message, via, origin, table, Kind.OPTIONS, Reason.OPTIONS)
    if message.max_forwards == 0:  # 16.3 (3)
        return reply(message, via, origin, table, 483, Reason.TOO_MANY_HOPS)
    required = message.field(b"proxy-require")
    if required is not None and message.method not in (b"ACK", b"CANCEL"):  # 16.3 (5)
        extra = ((b"Unsupported", b", ".join(message.headers("Proxy-Require"))),)
        return reply(message, via, origin, table, 420, Reason.PROXY_REQUIRE, extra=extra)

    if _is_outward(request, table):
        return _send_outward(request, table)
    if _asks_to_relay(request, table):  # SIP-RULES 4
        return reply(message, via, origin, table, 403, Reason.FOREIGN_ROUTE)
    return _send_to_member(request, moment, may_hold=may_hold)


def _send_to_member(request: Request, moment: Moment, *, may_hold: bool) -> Verdict:
    """Kind A."""
    table, memory = moment.table, moment.memory
    message, via, origin = request.message, request.via, request.origin
    transaction = signature.transaction(table.keys, message, via, memory.pending.knows)
    key = transaction.number
    entry = memory.pending.find(key)
    if entry is not None:
        request.loss = loss_of(entry, moment)
        repeated = failover.repeated_request(entry, request, moment)
        if repeated is not None:
            return repeated
    inquiry = Inquiry(
        request=message,
        source=origin.host,
        key=affinity_hash(table.affinity_key, message.call_id),
        mark=request.mark,
        next_route=request.next_route,
        transaction=entry,
    )
    choice = choose(inquiry, moment)
    if may_hold and is_guess(inquiry, choice, moment):
        return Hold(inquiry.key)
    member = choice.member
    if member is None:
        return _refused(request, choice, table)
    if _sender(request, table) is member:
        return reply(message, via, origin, table, 482, Reason.BACK_TO_SENDER)
    if is_loop(request, member.id, table):  # 16.3 (4)
        return reply(message, via, origin, table, 482, Reason.LOOP)
    attempt = entry.attempt_of(member.id) if entry is not None else None
    over = attempt.over if attempt is not None else None
    forward = to_member(request, member, transaction, choice.step, table, over=over)
    if isinstance(forward, Reason):
        return reply(message, via, origin, table, _STATUS[forward], forward)
    if entry is not None:
        forward.initial = False  # a retransmission
    _remember(inquiry, choice, member, key, request, forward.to.transport, moment)
    return forward


def _acknowledged(request: Request, moment: Moment) -> Verdict:
    """Kind G: our own answer is repeated no more, if it was."""
    pending = moment.memory.pending
    keys, message, via = moment.table.keys, request.message, request.via
    entry = pending.find(signature.transaction(keys, message, via, pending.knows).number)
    if entry is not None and entry.answer:  # else it is for a refusal before that
        entry.acknowledged = True
    return Absorb(Kind.OWN_ACK, Reason.OWN_ACK)


def _refused(request: Request, choice: Choice, table: RoutingTable) -> Verdict:
    message, via, origin = request.message, request.via, request.origin
    if choice.refusal in (Reason.MEMBER_LOST, Reason.EARLY_DIALOG_GONE):
        return reply(message, via, origin, table, 481, choice.refusal)
    if choice.refusal is Reason.OVERLOAD:
        return reply(message, via, origin, table, 503, Reason.OVERLOAD)
    return unavailable(message, via, origin, table, Kind.OTHER, Reason.NO_MEMBER)


def _send_outward(request: Request, table: RoutingTable) -> Verdict:
    """Kind D."""
    message, via, origin = request.message, request.via, request.origin
    if is_loop(request, 0, table):
        return reply(message, via, origin, table, 482, Reason.LOOP, kind=Kind.OUTWARD)
    forward = outward(request, table)
    if isinstance(forward, Reason):
        status = _STATUS[forward]
        return reply(message, via, origin, table, status, forward, kind=Kind.OUTWARD)
    member = table.member_at(forward.to.host, forward.to.port)
    if member is not None and _sender(request, table) is member:
        return reply(message, via, origin, table, 482, Reason.BACK_TO_SENDER, kind=Kind.OUTWARD)
    return forward


def _is_for_us(request: Request, table: RoutingTable) -> bool:
    """Kind E: OPTIONS for the balancer itself."""
    uri = request.uri
    return (
        request.message.method == b"OPTIONS"
        and not request.message.to_tag
        and not request.routes
        and table.names_us(uri)
        and (uri.user is None or uri.user in table.options_users)
    )


def _is_outward(request: Request, table: RoutingTable) -> bool:
    """Kind D: our mark on top vouches for a dialog, it goes outward, and a member sends it."""
    return (
        request.mark is not None
        and request.mark.outward
        and request.marked
        and _is_from_a_member(request, table)
    )


def _asks_to_relay(request: Request, table: RoutingTable) -> bool:
    """A Route beyond us to a third party, or a loose one past us in an initial request.

    A Route in which we do not stand at all is otherwise left as it is, and not followed: the
    request goes to a member (RFC 4475 3.1.1.1 and 3.1.1.11).
    """
    following = request.next_route
    if following is None or table.names_us(following) or table.names_member(following):
        return False
    if following.host in table.vips and following.param(DATANODES) is not None:
        return False
    if table.members_on(following.host) and not _is_shared(following.host, table):
        return False  # a member's own host: it may record itself with another port
    if _is_from_a_member(request, table):
        return False
    return request.popped or (request.message.is_initial and following.lr)


def _is_from_a_member(request: Request, table: RoutingTable) -> bool:
    """The source address is a member's; where others share its host, the port has to be, too."""
    host = request.origin.host
    if _is_shared(host, table):
        return _sender(request, table) is not None
    return bool(table.members_on(host))


def _is_shared(host: str, table: RoutingTable) -> bool:
    """Callers and members may have that address alike: the VIP's, or loopback."""
    return host in table.vips or is_loopback(host)


def _sender(request: Request, table: RoutingTable) -> Member | None:
    """The member that sent the request: by its source, or by its Via from its host."""
    origin, via = request.origin, request.via
    sender = table.member_at(origin.host, origin.port)
    if sender is not None:
        return sender
    port = via.port or origin.transport.default_port
    if via.host == origin.host or via.host in table.vips:
        return table.member_at(origin.host, port)
    return None


def _remember(
    inquiry: Inquiry,
    choice: Choice,
    member: Member,
    key: int,
    request: Request,
    over: Transport,
    moment: Moment,
) -> None:
    """Remembered request, load and binding."""
    message = inquiry.request
    table, memory, now = moment
    bindings = memory.bindings
    binding = bindings.find(inquiry.key)
    begins = message.is_initial and message.method in DIALOG_METHODS
    if message.method not in (b"ACK", b"CANCEL") and inquiry.transaction is None:
        limited = is_limited(inquiry, choice, table)
        memory.pending.remember(
            key,
            call=inquiry.key,
            method=message.method,
            initial=message.is_initial,
            data=message.data,
            origin=request.origin,
            attempt=Attempt(member.id, now, over, waiting=limited),
            now=now,
        )
        memory.loads.sent(member.id, now, limited=limited)
    if not begins or inquiry.transaction is not None:
        if binding is not None:
            if choice.step in _REHOMING and binding.member != member.id and not binding.callees:
                bindings.moved(binding, member.id, table.losses.number)
            bindings.touch(binding, now)
        return
    if binding is not None and not binding.is_over and binding.member == member.id:
        bindings.touch(binding, now)
    else:
        by_hash = choice.step is Step.ALGORITHM and table.algorithm is Algorithm.HASH
        binding = bindings.bind(
            inquiry.key,
            member.id,
            table.losses.number,
            now,
            redundant=table.record_route or by_hash,
        )
    binding.transaction = key
    for header_key in header_keys(message, table):
        bindings.bind_header(header_key, member.id, table.losses.number, now)
