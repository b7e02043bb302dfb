"""Requests: kinds A, D, E and G of SIP-RULES 1, in the order of RFC 3261 16.3 to 16.6.

`route_request` is a flat list of guards; each names its reason. What passes is forwarded to a
member (A) or outward along a dialog of ours (D).
"""

from __future__ import annotations

from dataclasses import dataclass

from rmlb.routing import signature
from rmlb.routing.affinity import DATANODES, Choice, Inquiry, Memory, choose, header_keys
from rmlb.routing.forwarding import Leaving, record_route_line, via_value
from rmlb.routing.keys import affinity_hash
from rmlb.routing.mark import PARAM, Mark, make_mark, read_mark
from rmlb.routing.member import Member
from rmlb.routing.replies import reply, unavailable
from rmlb.routing.selection import Algorithm
from rmlb.routing.table import Listener, RoutingTable
from rmlb.routing.verdict import (
    Absorb,
    Destination,
    Forward,
    Kind,
    Origin,
    Reason,
    Step,
    Verdict,
)
from rmlb.sip.address import Transport, is_ip_literal, is_unicast
from rmlb.sip.message import Message, SipError
from rmlb.sip.uri import Route, Uri, parse_uri, routes
from rmlb.sip.via import OWN_PARAM, Via, top_via, via_after

DIALOG_METHODS = frozenset((b"INVITE", b"SUBSCRIBE", b"REFER"))
"""Methods whose initial request begins a dialog: they are bound and recorded (12.1, 6665, 3515)."""

_KNOWN_SCHEMES = (b"sip", b"sips", b"tel")


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

    @property
    def next_route(self) -> Uri | None:
        return self.routes[0].uri if self.routes else None


def route_request(
    message: Message, origin: Origin, table: RoutingTable, memory: Memory, now: float
) -> Verdict:
    """The verdict on a scanned request. Raises SipError where scanning goes on and fails."""
    try:
        request = _read(message, origin, table)
    except SipError as error:
        error.partial = message
        raise
    via = request.via

    if message.method == b"ACK" and signature.is_own_to_tag(table.keys, message):
        return Absorb(Kind.OWN_ACK, Reason.OWN_ACK)
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
    branch_mac, carried = signature.transaction(table.keys, message, via)
    transaction = int(branch_mac, 16)
    inquiry = Inquiry(
        request=message,
        source=origin.host,
        key=affinity_hash(table.affinity_key, message.call_id),
        mark=request.mark,
        next_route=request.next_route,
        transaction=memory.pending.find(transaction),
    )
    choice = choose(inquiry, table, memory)
    member = choice.member
    if choice.refusal is Reason.MEMBER_LOST:
        return reply(message, via, origin, table, 481, Reason.MEMBER_LOST)
    if member is None:
        return unavailable(message, via, origin, table, Kind.OTHER, Reason.NO_MEMBER)
    if _is_from(request, member, table):
        return reply(message, via, origin, table, 482, Reason.BACK_TO_SENDER)
    if _is_loop(request, table, member.id):  # 16.3 (4)
        return reply(message, via, origin, table, 482, Reason.LOOP)
    secure = request.uri.scheme == b"sips"
    address = table.address_of(member, origin.transport, secure=secure, size=len(message.data))
    if address is None:
        reason = Reason.SIPS_NEEDS_TLS if secure else Reason.UNREACHABLE
        return reply(message, via, origin, table, 416 if secure else 500, reason)
    listener = table.listener_for(address.transport, address.host, prefer=origin.listener)
    if listener is None:
        return reply(message, via, origin, table, 500, Reason.UNREACHABLE)

    first_time = inquiry.transaction is None
    _remember(inquiry, choice, member, table, memory, now, transaction)
    if table.record_route and message.is_initial and message.method in DIALOG_METHODS:
        request.leaving.record_route = _record_route(request, member, listener, table)
    branch = signature.make_branch(table.keys, member.id, carried, branch_mac)
    data = _signed(request, table, address.transport, listener, branch, member.id)
    to = Destination(
        address.transport, address.host, address.port, listener.index, member=member.id
    )
    initial = message.is_initial and first_time
    return Forward(Kind.TO_MEMBER, data, to, choice.step, initial=initial)


def _read(message: Message, origin: Origin, table: RoutingTable) -> Request:
    """Take the request apart: top Via, Request-URI, Route; pop ours; verify our mark."""
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
    for value in values:
        if value and mark is None:
            mark = read_mark(table.keys, value, message.call_id, message.from_tag)
    remaining = all_routes[first:last]
    return Request(message, via, origin, uri, raw_uri, leaving, remaining, popped, marked, mark)


def _is_poppable(uri: Uri, table: RoutingTable) -> bool:
    """Ours: marked, or the VIP or an alias without datanodes. Never the RM's (SIP-RULES 4)."""
    return table.names_us(uri) and (uri.param(PARAM) is not None or uri.param(DATANODES) is None)


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
        and bool(table.members_on(request.origin.host))
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
    if table.members_on(request.origin.host):
        return False
    return request.popped or (request.message.is_initial and following.lr)


def _is_from(request: Request, member: Member, table: RoutingTable) -> bool:
    """The request came from that member: by its source, or by its Via from its host."""
    origin, via = request.origin, request.via
    sender = table.member_at(origin.host, origin.port)
    if sender is not None:
        return sender.id == member.id
    if member not in table.members_on(origin.host):
        return False
    port = via.port or origin.transport.default_port
    named_itself = via.host == origin.host or via.host in table.vips
    return named_itself and any(a.host == origin.host and a.port == port for a in member.addresses)


def _is_loop(request: Request, table: RoutingTable, member_id: int) -> bool:
    """A Via of ours below says that it went the same way before."""
    message = request.message
    if OWN_PARAM + b"=" not in message.data[: message.body_start]:
        return False
    via: Via | None = request.via
    while via is not None:
        seen = signature.read_loop_hash(via)
        key = table.keys.find(seen[0]) if seen is not None else None
        if seen is not None and key is not None:
            ways = _ways(request)
            if signature.loop_hash(key, message.uri, ways, member_id) == seen[1]:
                return True
        via = via_after(message, via)
    return False


def _ways(request: Request) -> bytes:
    return b",".join(route.raw_uri for route in request.leaving.routes)


def _remember(
    inquiry: Inquiry,
    choice: Choice,
    member: Member,
    table: RoutingTable,
    memory: Memory,
    now: float,
    transaction: int,
) -> None:
    """Binding and remembered request."""
    message = inquiry.request
    if message.method != b"ACK":
        initial = message.is_initial
        memory.pending.remember(transaction, message.method, member.id, now, initial=initial)
    binding = memory.bindings.find(inquiry.key)
    begins = message.is_initial and message.method in DIALOG_METHODS
    if not begins or inquiry.transaction is not None:
        if binding is not None:
            memory.bindings.touch(binding, now)
        return
    if binding is not None and not binding.is_over and binding.member == member.id:
        memory.bindings.touch(binding, now)
    else:
        by_hash = choice.step is Step.ALGORITHM and table.algorithm is Algorithm.HASH
        memory.bindings.bind(
            inquiry.key,
            member.id,
            table.losses.number,
            now,
            redundant=table.record_route or by_hash,
        )
    for key in header_keys(message, table):
        memory.bindings.bind_header(key, member.id, table.losses.number, now)


def _record_route(
    request: Request, member: Member, listener: Listener, table: RoutingTable
) -> bytes:  # fmt: skip
    """Our Record-Route: two entries where transport, family or listener changes (RFC 5658)."""
    message = request.message
    mark = make_mark(table.keys, member.id, table.losses.number, message.call_id, message.from_tag)
    sips = request.uri.scheme == b"sips"
    arrived = table.listeners[request.origin.listener]
    line = record_route_line(arrived, mark, sips=sips)
    if arrived.index == listener.index:
        return line
    return record_route_line(listener, mark, sips=sips) + line


def _signed(
    request: Request,
    table: RoutingTable,
    transport: Transport,
    listener: Listener,
    branch: bytes,
    member_id: int,
) -> bytes:
    """The octets that leave, under our Via."""
    loop = signature.loop_hash(table.keys.signing, request.message.uri, _ways(request), member_id)
    own = signature.make_own_param(
        table.keys, table.instance, request.origin, loop, branch, request.via
    )
    value = via_value(transport, listener, branch, own)
    return request.leaving.octets(value, stream=transport.is_stream)


def _send_outward(request: Request, table: RoutingTable) -> Verdict:
    """Kind D: along the rest of the route set, or to the Request-URI (16.6 step 6)."""
    message, via, origin = request.message, request.via, request.origin
    target = request.next_route or request.uri
    if request.next_route is not None and not request.next_route.lr:
        # 16.6 step 6: the next hop is a strict router
        index = request.leaving.routes.index(request.routes[0])
        request.leaving.removed.add(index)
        request.leaving.added_route = b"<" + request.raw_uri + b">"
        request.leaving.uri = request.routes[0].raw_uri
    to = _outward_destination(target, origin, table)
    if isinstance(to, Reason):
        status = 416 if to is Reason.SIPS_NEEDS_TLS else 500
        return reply(message, via, origin, table, status, to, kind=Kind.OUTWARD)
    if is_ip_literal(to.host) and not is_unicast(to.host):
        reason = Reason.FORBIDDEN_DESTINATION
        return reply(message, via, origin, table, 403, reason, kind=Kind.OUTWARD)
    if table.is_own_endpoint(to.host, to.port) or table.names_us(target):
        return reply(message, via, origin, table, 482, Reason.TO_OURSELVES, kind=Kind.OUTWARD)
    if _is_loop(request, table, 0):
        return reply(message, via, origin, table, 482, Reason.LOOP, kind=Kind.OUTWARD)
    branch_mac, carried = signature.transaction(table.keys, message, via)
    branch = signature.make_branch(table.keys, 0, carried, branch_mac)
    listener = table.listeners[to.listener]
    data = _signed(request, table, to.transport, listener, branch, 0)
    return Forward(Kind.OUTWARD, data, to)


def _outward_destination(target: Uri, origin: Origin, table: RoutingTable) -> Destination | Reason:
    """Where a URI leads (RFC 3263 without DNS for literals; names are resolved by the shell)."""
    if target.scheme not in (b"sip", b"sips"):
        return Reason.UNREACHABLE
    wanted = target.transport
    if target.scheme == b"sips" or wanted == b"tls":
        transport = Transport.TLS
    elif wanted == b"tcp":
        transport = Transport.TCP
    elif wanted in (b"", b"udp"):
        transport = Transport.UDP
    else:
        return Reason.UNREACHABLE
    port = target.port or transport.default_port
    host = target.host
    family_host = host if is_ip_literal(host) else table.listeners[origin.listener].host
    listener = table.listener_for(transport, family_host, prefer=origin.listener)
    if listener is None:
        return Reason.SIPS_NEEDS_TLS if transport is Transport.TLS else Reason.UNREACHABLE
    return Destination(transport, host, port, listener.index)
