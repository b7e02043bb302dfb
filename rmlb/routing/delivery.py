"""A request made ready for one member or for the way outward: the last step before it leaves.

The same octets come out whether a request is sent for the first time, passes again as the
caller's retransmission, or is sent to another member because the first one failed.
"""

from __future__ import annotations

from contextlib import suppress

from rmlb.routing import signature
from rmlb.routing.forwarding import record_route_line, via_value
from rmlb.routing.incoming import Request
from rmlb.routing.mark import make_mark
from rmlb.routing.member import Member
from rmlb.routing.signature import Transaction
from rmlb.routing.table import MAX_DATAGRAM, Listener, RoutingTable
from rmlb.routing.verdict import Destination, Forward, Kind, Origin, Reason, Step
from rmlb.sip.address import SipAddress, Transport, is_ip_literal, is_unicast
from rmlb.sip.message import Message, SipError, scan_again
from rmlb.sip.uri import Uri, with_host
from rmlb.sip.via import OWN_PARAM, Via, top_via, via_after

DIALOG_METHODS = frozenset((b"INVITE", b"SUBSCRIBE", b"REFER"))
"""Methods whose initial request begins a dialog: they are bound and recorded (12.1, 6665, 3515)."""


def to_member(
    request: Request,
    member: Member,
    transaction: Transaction,
    step: Step,
    table: RoutingTable,
    *,
    over: Transport | None = None,
) -> Forward | Reason:
    """The request as it goes to a member; the reason if there is no way to it.

    `over`: the transport of the INVITE that a CANCEL or ACK belongs to (9.1, 17.1.1.3).
    """
    secure = request.uri.scheme == b"sips"
    address = member.address_for(over) if over is not None else None
    address = address or table.address_of(member, request.origin.transport, secure=secure)
    if address is None:
        return Reason.SIPS_NEEDS_TLS if secure else Reason.UNREACHABLE
    _rehome(request, member, table)
    forward = _over(address, request, member, transaction, step, table)
    if isinstance(forward, Reason) or over is not None:
        return forward
    if address.transport is not Transport.UDP or len(forward.data) <= table.datagram_limit:
        return forward
    stream = member.address_for(Transport.TCP) or member.address_for(Transport.TLS)
    if stream is not None:  # 18.1.1
        return _over(stream, request, member, transaction, step, table)
    return forward if len(forward.data) <= MAX_DATAGRAM else Reason.TOO_LARGE


def _over(
    address: SipAddress,
    request: Request,
    member: Member,
    transaction: Transaction,
    step: Step,
    table: RoutingTable,
) -> Forward | Reason:
    """The request as it goes to one address of a member."""
    message = request.message
    listener = table.listener_for(address.transport, address.host, prefer=request.origin.listener)
    if listener is None:
        return Reason.UNREACHABLE
    if table.record_route and message.is_initial and message.method in DIALOG_METHODS:
        request.leaving.record_route = _record_route(request, member, listener, table)
    data = _signed(request, transaction, address.transport, listener, member.id, table)
    to = Destination(
        address.transport, address.host, address.port, listener.index, member=member.id
    )
    return Forward(Kind.TO_MEMBER, data, to, step, initial=message.is_initial)


def outward(request: Request, table: RoutingTable) -> Forward | Reason:
    """Kind D: along the rest of the route set, or to the Request-URI (16.6 step 6)."""
    leaving = request.leaving
    target = request.next_route or request.uri
    if request.next_route is not None and not request.next_route.lr:
        leaving.removed.add(leaving.routes.index(request.routes[0]))  # a strict router is next
        leaving.added_route = b"<" + request.raw_uri + b">"
        leaving.uri = request.routes[0].raw_uri
    to = _outward_destination(target, request.origin, table)
    if isinstance(to, Reason):
        return to
    if is_ip_literal(to.host) and not is_unicast(to.host):
        return Reason.FORBIDDEN_DESTINATION
    if table.is_own_endpoint(to.host, to.port) or table.names_us(target):
        return Reason.TO_OURSELVES
    transaction = signature.transaction(table.keys, request.message, request.via, _forgotten)
    listener = table.listeners[to.listener]
    data = _signed(request, transaction, to.transport, listener, 0, table)
    if to.transport is Transport.UDP and len(data) > MAX_DATAGRAM:
        return Reason.TOO_LARGE
    return Forward(Kind.OUTWARD, data, to)


def own_request(
    sent: bytes, method: bytes, to_line: bytes | None, origin: Origin, table: RoutingTable
) -> bytes:
    """Our own CANCEL (9.1) or ACK to a non-2xx (17.1.1.3) for a request that we sent.

    `sent` are the octets of that request. The Via is ours alone, with the same branch; `to_line`
    is the To header field of the answer that an ACK acknowledges.
    """
    message = scan_again(sent)
    via = top_via(message)
    own = signature.make_lone_param(table.keys, table.instance, origin, via.branch)
    start = message.data[via.start : via.end].partition(b";")[0].strip()
    lines = [
        b"%b %b SIP/2.0" % (method, message.uri),
        b"Via: %b;branch=%b%b" % (start, via.branch, own),
        b"Max-Forwards: 70",
    ]
    copied = {b"route", b"from", b"call-id"} | ({b"to"} if to_line is None else set())
    lines += [message.data[f.start : f.end] for f in message.fields if f.name in copied]
    if to_line is not None:
        lines.append(to_line)
    lines.append(b"CSeq: %d %b" % (message.cseq, method))
    lines.append(b"Content-Length: 0\r\n\r\n")
    return b"\r\n".join(lines)


def to_line_of(response: Message) -> bytes:
    """The To header field of a response, as it stands there."""
    field = response.field(b"to")
    return b"" if field is None else response.data[field.start : field.end]


def is_loop(request: Request, member_id: int, table: RoutingTable) -> bool:
    """A Via of ours below says that it went the same way before (16.3 step 4)."""
    hashes: dict[bytes, bytes] = {}
    for via in _own_vias(request):
        seen = signature.read_loop_hash(via)
        key = table.keys.find(seen[0]) if seen is not None else None
        if seen is None or key is None:
            continue
        if key.id not in hashes:  # once per secret, however many Vias somebody wrote
            uri = request.message.uri
            hashes[key.id] = signature.loop_hash(key, uri, request.ways, member_id)
        if hashes[key.id] == seen[1]:
            return True
    return False


def _own_vias(request: Request) -> list[Via]:
    message = request.message
    if OWN_PARAM + b"=" not in message.data[: message.body_start]:
        return []
    found = []
    via: Via | None = request.via
    with suppress(SipError):  # what stands below is others' affair: only ours are looked for
        while via is not None:
            if via.own is not None:
                found.append(via)
            via = via_after(message, via)
    return found


def _rehome(request: Request, member: Member, table: RoutingTable) -> None:
    """What names a lost member names its survivor instead, or that would forward to the dead.

    One that is back does not know the dialog any more.
    """
    target = request.next_route or request.uri
    named = table.names_member(target)
    if named is None or named.id == member.id:
        return
    if not named.lost and (request.mark is None or request.mark.member != named.id):
        return
    wanted = Transport(target.transport.decode()) if target.transport in _TRANSPORTS else None
    address = (member.address_for(wanted) if wanted else None) or member.addresses[0]
    if request.routes:
        route = request.routes[0]
        index = request.leaving.routes.index(route)
        request.leaving.rewritten[index] = with_host(route.raw_uri, address.host, address.port)
    else:
        request.leaving.uri = with_host(request.raw_uri, address.host, address.port)


_TRANSPORTS = frozenset(t.value.encode() for t in Transport)


def _record_route(
    request: Request, member: Member, listener: Listener, table: RoutingTable
) -> bytes:
    """Our Record-Route: two entries where transport, family or listener changes (RFC 5658)."""
    message = request.message
    mark = make_mark(table.keys, member.id, request.loss, message.call_id, message.from_tag)
    sips = request.uri.scheme == b"sips"
    arrived = table.listeners[request.origin.listener]
    line = record_route_line(arrived, mark, sips=sips)
    if arrived.index == listener.index:
        return line
    return record_route_line(listener, mark, sips=sips) + line


def _signed(
    request: Request,
    transaction: Transaction,
    transport: Transport,
    listener: Listener,
    member_id: int,
    table: RoutingTable,
) -> bytes:
    """The octets that leave, under our Via."""
    signer = transaction.signer
    branch = signature.make_branch(transaction, member_id)
    loop = signature.loop_hash(signer, request.message.uri, request.ways, member_id)
    own = signature.make_own_param(
        signer, table.instance, request.origin, loop, branch, request.via
    )
    value = via_value(transport, listener, branch, own)
    return request.leaving.octets(value, stream=transport.is_stream)


def _forgotten(_: int) -> bool:
    """What goes outward is not remembered."""
    return False


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
    host = target.host
    family_host = host if is_ip_literal(host) else table.listeners[origin.listener].host
    listener = table.listener_for(transport, family_host, prefer=origin.listener)
    if listener is None or (transport is Transport.TLS and not table.speaks_tls):
        return Reason.SIPS_NEEDS_TLS if transport is Transport.TLS else Reason.UNREACHABLE
    return Destination(transport, host, target.port or transport.default_port, listener.index)
