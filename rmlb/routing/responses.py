"""Responses: kinds B and C of SIP-RULES 1 (RFC 3261 16.7, 18.1.2, 18.2.2)."""

from __future__ import annotations

from typing import NamedTuple

from rmlb.routing import failover, own
from rmlb.routing.affinity import Moment
from rmlb.routing.bindings import Binding
from rmlb.routing.forwarding import without_vias
from rmlb.routing.keys import affinity_hash
from rmlb.routing.member import Member
from rmlb.routing.pending import Attempt, Failure, Remembered
from rmlb.routing.replies import seen_outside
from rmlb.routing.signature import Branch, ReturnPath, read_branch, verify_response
from rmlb.routing.table import RoutingTable
from rmlb.routing.verdict import (
    Absorb,
    Destination,
    Drop,
    Forward,
    Kind,
    Origin,
    Reason,
    Verdict,
)
from rmlb.sip.address import Transport, is_ip_literal, is_unicast
from rmlb.sip.message import Message
from rmlb.sip.response import apply_edits
from rmlb.sip.uri import canonical_host
from rmlb.sip.via import Via, top_via, via_after

REFER_LIFETIME_S = 600.0
"""A REFER's implicit subscription without Expires (RFC 3515 2.4.4 leaves it to the agent)."""

_TRANSPORTS = {b"TCP": Transport.TCP, b"TLS": Transport.TLS}

DEFAULT_EXPIRES_S = 3600.0
"""A SUBSCRIBE's 2xx without Expires: the usual default of event packages (RFC 6665 4.2.1.1)."""


def route_response(message: Message, origin: Origin, moment: Moment) -> Verdict:
    """The verdict on a scanned response. Raises SipError where scanning goes on and fails."""
    table, memory = moment.table, moment.memory
    via = top_via(message)
    branch = read_branch(via.branch)
    if via.own is None and branch is None:
        return _to_member(message, via, None, origin, moment)
    below = via_after(message, via)
    way = verify_response(table.keys, message, via, below)
    if branch is None or way is None:
        return Drop(Kind.RESPONSE, Reason.UNVERIFIED_RESPONSE)
    if below is None:
        entry = memory.pending.find(branch.key)
        memory.loads.heard(branch.member)
        if entry is not None and message.cseq_method == b"CANCEL":
            own.cancel_answered(entry, branch.member)
        return Absorb(Kind.RESPONSE, Reason.OWN_REQUEST)
    to = _return_address(below, way, table)
    if isinstance(to, Reason):
        return Drop(Kind.RESPONSE, to)
    if _is_us(to, table):
        return _to_member(message, below, via, origin, moment)
    if branch.member:
        memory.loads.heard(branch.member)
    return _onward(message, via, via, branch, to, Kind.RESPONSE, moment)


def _onward(
    message: Message,
    first: Via,
    ours: Via,
    branch: Branch,
    to: Destination,
    kind: Kind,
    moment: Moment,
) -> Verdict:
    """Back by Via without those from `first` to `ours`, unless the request's memory objects."""
    table, memory = moment.table, moment.memory
    entry = memory.pending.find(branch.key)
    data = without_vias(message, first, ours, _length_edits(message, to))
    attempt = entry.attempt_of(branch.member) if entry is not None else None
    repeated = attempt is not None and not attempt.alive
    if entry is not None and attempt is not None and message.cseq_method == entry.method:
        failure = Failure(message.status, branch.member, to, data)
        verdict = failover.judge_response(entry, attempt, message, failure, moment)
        if verdict is not None:
            return verdict
    elif entry is not None and entry.answer and message.cseq_method == b"CANCEL":
        return Drop(Kind.RESPONSE, Reason.LATE_FINAL)
    past = kind is Kind.MEMBER_RESPONSE
    fork = not past and not repeated and _is_fork(entry, attempt, moment)
    _learn(message, branch, entry, moment, fork=fork, past=past)
    if message.status == 503 and branch.member:
        _, data = seen_outside(data, branch.member, table)
    return Forward(kind, data, to, status=message.status, answered_by=branch.member)


def _length_edits(message: Message, to: Destination) -> list[tuple[int, int, bytes]]:
    """Content-Length, a must on a stream (18.3), where UDP brought none."""
    if message.content_length is not None or not to.transport.is_stream:
        return []
    blank = message.body_start - 2
    return [(blank, blank, b"Content-Length: %d\r\n" % len(message.body))]


def _is_us(to: Destination, table: RoutingTable) -> bool:
    """It would be sent to ourselves, not over somebody's connection."""
    return not to.channel and table.is_own_endpoint(to.host, to.port)


def _return_address(below: Via, way: ReturnPath, table: RoutingTable) -> Destination | Reason:
    """Where the next Via leads (18.2.2): the connection it came by, else received and its port."""
    host = below.received.decode("latin-1") if below.received else below.host
    if not is_ip_literal(host) or not is_unicast(host):
        return Reason.FORBIDDEN_DESTINATION
    transport = way.transport
    port = below.port or transport.default_port
    if transport is Transport.UDP:
        if below.rport:
            port = int(below.rport) if below.rport.isdigit() and len(below.rport) < 6 else 0
        if not 0 < port < 65536:
            return Reason.FORBIDDEN_DESTINATION
        listener = table.listener_for(transport, host, prefer=way.channel)
        return (
            Destination(transport, host, port, listener.index)
            if listener is not None
            else Reason.UNREACHABLE
        )
    listener = table.listener_for(transport, host)
    channel = way.channel if way.instance == table.instance else 0
    if listener is None:
        return Reason.UNREACHABLE
    return Destination(transport, host, port, listener.index, channel)


def _to_member(
    message: Message,
    via: Via,
    popped: Via | None,
    origin: Origin,
    moment: Moment,
) -> Verdict:
    """Kind C: the Via that now tops is a member's that names the VIP; `popped` was above it.

    If that member is lost and our Via comes next, both are popped and the response goes on as
    kind B, so that a call ringing behind a dead member still completes.
    """
    table = moment.table
    if via.host not in table.vips:
        return Drop(Kind.OTHER, Reason.FOREIGN_RESPONSE)
    received = canonical_host(via.received) if via.received else ""
    ours = _ours_after(message, via, table)
    member = _signer(message, via, received, ours, moment)
    if member is None:
        return Drop(Kind.MEMBER_RESPONSE, Reason.NO_SUCH_MEMBER)
    if ours is not None:
        if member.lost:
            return _past_member(message, popped or via, ours, moment)
        entry = moment.memory.pending.find(ours.branch.key)
        attempt = entry.attempt_of(member.id) if entry is not None else None
        if attempt is not None:
            attempt.by_vip = True
    if table.member_at(origin.host, origin.port) is member:
        return Drop(Kind.MEMBER_RESPONSE, Reason.BACK_TO_SENDER)
    transport = _TRANSPORTS.get(via.transport, Transport.UDP)
    known = [a for a in member.addresses if a.host == received] or member.addresses
    place = next((a for p in _ports_of(via, transport) for a in known if a.port == p), None)
    if place is None:
        return Drop(Kind.MEMBER_RESPONSE, Reason.NO_SUCH_MEMBER)
    listener = table.listener_for(transport, place.host, prefer=origin.listener)
    if listener is None:
        return Drop(Kind.MEMBER_RESPONSE, Reason.UNREACHABLE)
    to = Destination(transport, place.host, place.port, listener.index, member=member.id)
    edits = _length_edits(message, to)
    if popped is not None:
        data = without_vias(message, popped, popped, edits)
    else:
        data = apply_edits(message.data, 0, len(message.data), edits)
    return Forward(Kind.MEMBER_RESPONSE, data, to, status=message.status)


class _Ours(NamedTuple):
    """Our Via right below a member's, verified."""

    via: Via
    branch: Branch
    below: Via
    way: ReturnPath


def _ours_after(message: Message, via: Via, table: RoutingTable) -> _Ours | None:
    """None if the next Via is not ours, or nothing is below it."""
    ours = via_after(message, via)
    branch = read_branch(ours.branch) if ours is not None else None
    below = via_after(message, ours) if ours is not None else None
    if ours is None or branch is None or below is None:
        return None
    way = verify_response(table.keys, message, ours, below)
    return None if way is None else _Ours(ours, branch, below, way)


def _past_member(message: Message, first: Via, ours: _Ours, moment: Moment) -> Verdict:
    """The response sent on past a lost member's Via."""
    to = _return_address(ours.below, ours.way, moment.table)
    if isinstance(to, Reason):
        return Drop(Kind.MEMBER_RESPONSE, to)
    if _is_us(to, moment.table):
        return Drop(Kind.MEMBER_RESPONSE, Reason.TO_OURSELVES)
    return _onward(message, first, ours.via, ours.branch, to, Kind.MEMBER_RESPONSE, moment)


def _ports_of(via: Via, transport: Transport) -> list[int]:
    """The ports a member's Via may mean: rport, else sent-by's."""
    ports = [via.port or transport.default_port]
    if via.rport and via.rport.isdigit() and len(via.rport) < 6:
        ports.insert(0, int(via.rport))
    return ports


def _signer(
    message: Message, via: Via, host: str, ours: _Ours | None, moment: Moment
) -> Member | None:
    """The member that made this Via: by `host`, what was received; else the one to which our
    Via below says that we sent it; else by the binding.
    """
    table = moment.table
    if host:
        found = table.members_on(host)
        if len(found) > 1:
            for port in _ports_of(via, Transport.UDP):
                member = table.member_at(host, port)
                if member is not None:
                    return member
        elif found:
            return found[0]
    if ours is not None and ours.branch.member in table.members:
        return table.members[ours.branch.member]
    key = affinity_hash(table.affinity_key, message.call_id)
    binding = moment.memory.bindings.find(key)
    if binding is None:
        return None
    holder = table.losses.holder(binding.member, binding.loss, key, table.affinity_key)
    return table.members.get(holder)


def _learn(
    message: Message,
    branch: Branch,
    entry: Remembered | None,
    moment: Moment,
    *,
    fork: bool,
    past: bool,
) -> None:
    """What a verified response teaches of its dialog (SIP-RULES 3 and 6).

    `past`: it came past its member, which is lost, so that its dialog is the holder's at once.
    """
    table, memory, now = moment
    status, method, bindings = message.status, message.cseq_method, memory.bindings
    member = branch.member
    key = affinity_hash(table.affinity_key, message.call_id)
    binding = bindings.find(key)
    if method == b"INVITE" and member and 100 < status < 300 and binding is None:
        binding = bindings.bind(key, member, table.losses.number, now, redundant=table.record_route)
        if entry is not None and not entry.initial:
            bindings.resumed(key, binding, now)
    if binding is None:
        if method == b"BYE" and 200 <= status < 300 and member:
            bindings.ended_unknown(member)
            if table.ask_store:
                bindings.ended_elsewhere(key, member, table.losses.number, now)
        return
    if status < 200:
        bindings.touch(binding, now)
    elif status >= 300:
        if entry is not None and entry.initial and binding.transaction == entry.key:
            bindings.failed(key, binding, now)
    elif method == b"INVITE":
        bindings.answered(
            key,
            binding,
            now,
            member=binding.member if past else member or binding.member,
            loss=table.losses.number,
            tag=message.to_tag,
            fork=fork,
        )
    elif method == b"BYE" and not _ends_second_dialog(message, binding):
        bindings.ended(key, binding, now)
    elif method in (b"SUBSCRIBE", b"REFER") and binding.phase.value in ("trying", "failed"):
        bindings.subscribed(key, binding, now, _expires_s(message))
    else:
        bindings.touch(binding, now)


def _ends_second_dialog(message: Message, binding: Binding) -> bool:
    """Of two dialogs of one INVITE the one that does not make the call: that goes on."""
    callees = binding.callees or {}
    named = callees.get(message.to_tag) or callees.get(message.from_tag)
    return named is not None and named[0] != binding.member


def _is_fork(entry: Remembered | None, attempt: Attempt | None, moment: Moment) -> bool:
    """It answers an initial request for a member that is not, or no more, the one to hold it."""
    if entry is None or attempt is None or not entry.initial:
        return False
    table = moment.table
    binding = moment.memory.bindings.find(entry.call)
    if binding is None or attempt.abandoned:
        return attempt.abandoned
    holder = table.losses.holder(binding.member, binding.loss, entry.call, table.affinity_key)
    return holder != attempt.member


def _expires_s(message: Message) -> float:
    text = message.header("Expires")
    if text is not None and text.isdigit() and len(text) < 10:
        return float(text)
    return REFER_LIFETIME_S if message.cseq_method == b"REFER" else DEFAULT_EXPIRES_S
