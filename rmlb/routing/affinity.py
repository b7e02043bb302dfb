"""Which member a request belongs to: the steps of SIP-RULES 3, in order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rmlb.routing.bindings import Binding, BindingLimits, Bindings, Phase
from rmlb.routing.incoming import DATANODES
from rmlb.routing.keys import affinity_hash
from rmlb.routing.mark import Mark
from rmlb.routing.member import AdminState, Health, Member
from rmlb.routing.overload import LoadLimits, Loads
from rmlb.routing.pending import PendingLimits, PendingRequests, Remembered
from rmlb.routing.selection import Algorithm, least_calls, rendezvous, round_robin
from rmlb.routing.sources import SourceLimits, Sources
from rmlb.routing.table import RoutingTable
from rmlb.routing.timers import Timers
from rmlb.routing.verdict import Own, Reason, Report, Step
from rmlb.sip.message import Message
from rmlb.sip.uri import Uri

SESSION_HEADER = b"x-genesys-gvp-session-id"

_SESSION_DATANODES = re.compile(rb";\s*+(?i:gvp\.rm\.datanodes)\s*+=\s*+([0-9|%A-Fa-f]++)")


@dataclass(slots=True)
class Memory:
    """What the packet path has learnt from traffic, and loses with the process."""

    bindings: Bindings = field(default_factory=lambda: Bindings(BindingLimits()))
    pending: PendingRequests = field(default_factory=lambda: PendingRequests(PendingLimits()))
    loads: Loads = field(default_factory=lambda: Loads(LoadLimits()))
    sources: Sources = field(default_factory=lambda: Sources(SourceLimits()))
    timers: Timers = field(default_factory=Timers)
    outbox: list[Own] = field(default_factory=list)
    """Messages of our own that wait to leave; the shell takes them after every call."""
    reports: list[Report] = field(default_factory=list)
    """What health checking should hear of; taken likewise."""
    turn: int = 0
    """Round-robin's place."""


class Moment(NamedTuple):
    """What one decision sees: the snapshot, the memory, and the time."""

    table: RoutingTable
    memory: Memory
    now: float


class Choice(NamedTuple):
    """The member for a request and the step that named it, or why there is none."""

    member: Member | None
    step: Step
    refusal: Reason | None = None


@dataclass(slots=True)
class Inquiry:
    """What the steps look at. `key` is the affinity hash of the Call-ID."""

    request: Message
    source: str
    key: int
    mark: Mark | None
    next_route: Uri | None
    """The top Route after popping ours."""
    transaction: Remembered | None


def choose(inquiry: Inquiry, moment: Moment) -> Choice:
    """Run the steps. A step that names an unknown, disabled or lost member is passed over."""
    request, table = inquiry.request, moment.table
    known = _early_dialog(inquiry, moment) or _forked_dialog(inquiry, moment)
    if known is not None:
        return known
    if inquiry.transaction is not None:
        member = table.members.get(_holding(inquiry.transaction))
        if member is not None and member.reachable:
            return Choice(member, Step.TRANSACTION)
    for step, member_id in _named(inquiry, table, moment.memory):
        member = table.members.get(member_id)
        if member is None:
            continue
        if member.lost:
            if not table.hotstandby and request.to_tag:
                return Choice(None, step, Reason.MEMBER_LOST)
            continue
        if _is_passive(member, table):
            continue
        return _within_limits(Choice(member, step), inquiry, moment)
    member = _by_algorithm(inquiry, moment)
    if member is not None:
        return _within_limits(Choice(member, Step.ALGORITHM), inquiry, moment)
    full = request.is_initial and bool(table.taking)
    return Choice(None, Step.ALGORITHM, Reason.OVERLOAD if full else Reason.NO_MEMBER)


def is_limited(inquiry: Inquiry, choice: Choice, table: RoutingTable) -> bool:
    """The request counts for the limits of its member ([overload]).

    Of those inside a dialog, where nothing but the To tag vouches for it (SIP-RULES 5).
    """
    return inquiry.request.is_initial or not _is_vouched(inquiry, choice.step, table)


def is_guess(inquiry: Inquiry, choice: Choice, moment: Moment) -> bool:
    """A request inside a dialog of which nothing here speaks: another balancer may have bound it.

    ACK to a 2xx too. A CANCEL and an initial request have no dialog to be found (HA-RULES 5).
    """
    return (
        bool(inquiry.request.to_tag)
        and inquiry.request.method != b"CANCEL"
        and inquiry.mark is None
        and inquiry.transaction is None
        and choice.refusal in (None, Reason.OVERLOAD)
        and not (
            choice.step in (Step.DATANODES, Step.SESSION_HEADER)
            and moment.table.trusts(inquiry.source)
        )
        and moment.memory.bindings.find(inquiry.key) is None
    )


def loss_of(entry: Remembered, moment: Moment) -> int:
    """The loss number that the transaction began with: retransmissions are equal to the octet."""
    binding = moment.memory.bindings.find(entry.call)
    if binding is None or binding.transaction != entry.key:
        return moment.table.losses.number
    return binding.loss


def _within_limits(choice: Choice, inquiry: Inquiry, moment: Moment) -> Choice:
    """Refused for load is what comes with a To tag that nothing else vouches for."""
    request, (table, memory, now) = inquiry.request, moment
    if (
        not request.to_tag
        or request.method in (b"ACK", b"CANCEL")
        or inquiry.transaction is not None
        or _is_vouched(inquiry, choice.step, table)
        or choice.member is None
        or memory.loads.has_room(choice.member.id, now)
    ):
        return choice
    return Choice(None, choice.step, Reason.OVERLOAD)


def _is_vouched(inquiry: Inquiry, step: Step, table: RoutingTable) -> bool:
    """Mark, binding or trusted datanodes say that it belongs to a dialog of that member."""
    if step in (Step.TRANSACTION, Step.MARK, Step.BINDING):
        return True
    return step is not Step.ALGORITHM and table.trusts(inquiry.source)


def _early_dialog(inquiry: Inquiry, moment: Moment) -> Choice | None:
    """PRACK, UPDATE ... inside an early dialog go to the attempt that made it, or get 481."""
    request, (table, memory, _) = inquiry.request, moment
    if not request.to_tag or request.method in (b"ACK", b"CANCEL"):
        return None
    binding = memory.bindings.find(inquiry.key)
    if binding is None or binding.phase is not Phase.TRYING:
        return None
    entry = memory.pending.find(binding.transaction)
    for attempt in entry.attempts if entry is not None else ():
        if request.to_tag in attempt.tags:
            member = table.members.get(attempt.member)
            if member is not None and member.reachable and attempt.alive:
                return Choice(member, Step.TRANSACTION)
            if attempt.abandoned:
                return Choice(None, Step.TRANSACTION, Reason.EARLY_DIALOG_GONE)
    return None


def _forked_dialog(inquiry: Inquiry, moment: Moment) -> Choice | None:
    """The dialog of a 2xx that came from a member given up before: nobody else has it.

    So it goes there even while health says that it is out: it has answered since.
    """
    request, (table, memory, _) = inquiry.request, moment
    binding = memory.bindings.find(inquiry.key)
    if binding is None or not binding.callees or request.to_tag not in binding.callees:
        return None
    answered, loss = binding.callees[request.to_tag]
    member = table.members.get(answered)
    if member is None or _holder(answered, loss, inquiry.key, table) != answered:
        return None
    if _is_passive(member, table):
        return None
    if member.admin_state is AdminState.DISABLED:  # since before it answered: what it had to finish
        return Choice(member, Step.BINDING) if member.reachable else None
    return Choice(member, Step.BINDING) if table.hotstandby or not member.lost else None


def _holding(entry: Remembered) -> int:
    """The member of a transaction: the one that answered it, or that was asked last."""
    return entry.final_by or entry.newest.member


def header_keys(request: Message, table: RoutingTable) -> list[int]:
    """Hashes of the configured headers that the request has, in the configured order."""
    found = []
    for name in table.header_keys:
        one = request.field(name)
        if one is not None:
            value = name + b"\n" + request.value(one)
            found.append(affinity_hash(table.affinity_key, value))
    return found


def parse_datanodes(value: bytes) -> list[int]:
    """Member ids of a datanodes list, primary first: `2|1`, also `2%7C1`."""
    parts = value.replace(b"%7C", b"|").replace(b"%7c", b"|").split(b"|")
    return [int(part) for part in parts if part.isdigit() and len(part) < 10]


def _named(inquiry: Inquiry, table: RoutingTable, memory: Memory) -> Iterator[tuple[Step, int]]:
    """Steps 1 to 5: who is named by the request or by memory, best witness first."""
    request = inquiry.request
    initial = not request.to_tag  # a CANCEL is led where its INVITE was
    believed = not initial or table.trusts(inquiry.source)
    binding = memory.bindings.find(inquiry.key)

    if binding is not None and binding.callees and request.to_tag in binding.callees:
        member, loss = binding.callees[request.to_tag]  # one of two that answered
        yield Step.BINDING, _holder(member, loss, inquiry.key, table)

    if inquiry.mark is not None:
        mark = inquiry.mark
        yield Step.MARK, _holder(mark.member, mark.loss, inquiry.key, table)

    if believed and inquiry.next_route is not None:
        nodes = inquiry.next_route.param(DATANODES)
        for member_id in parse_datanodes(nodes or b""):
            yield Step.DATANODES, member_id

    if binding is not None and not (initial and _is_over(binding, table)):
        yield Step.BINDING, _holder(binding.member, binding.loss, inquiry.key, table)

    if not believed:
        return
    session = request.field(SESSION_HEADER)
    if session is not None:
        match = _SESSION_DATANODES.search(request.value(session))
        for member_id in parse_datanodes(match[1] if match else b""):
            yield Step.SESSION_HEADER, member_id

    for key in header_keys(request, table):
        bound = memory.bindings.find(key)
        if bound is not None:
            yield Step.HEADER_KEY, _holder(bound.member, bound.loss, key, table)


def _by_algorithm(inquiry: Inquiry, moment: Moment) -> Member | None:
    """Step 6. A request inside a dialog may go where no new call may, a CANCEL may not."""
    request, table = inquiry.request, moment.table
    if request.to_tag:
        chosen = rendezvous(
            _hash_input(inquiry, table),
            (
                (m.id, m.share)
                for m in table.members.values()
                if not m.lost and not _is_passive(m, table)
            ),
            table.affinity_key,
        )
        return None if chosen is None else table.members[chosen]
    value = _hash_input(inquiry, table)
    if request.method == b"CANCEL":  # room and turn are no matter any more
        chosen = rendezvous(value, ((m.id, m.weight) for m in table.taking), table.affinity_key)
        return None if chosen is None else table.members[chosen]
    return choose_new(value, inquiry.key, table.taking, moment)


def choose_new(
    value: int,
    key: int,
    candidates: tuple[Member, ...],
    moment: Moment,
    *,
    at_any_load: bool = False,
) -> Member | None:
    """The member for a new call among candidates that have room, by the algorithm.

    `value` is the hash input, `key` the affinity hash of the Call-ID. A suspect member gets
    no new call while another can take it.
    """
    table, memory = moment.table, moment.memory
    roomy = tuple(m for m in candidates if at_any_load or memory.loads.has_room(m.id, moment.now))
    roomy = tuple(m for m in roomy if m.health is Health.IN_SERVICE) or roomy
    if table.algorithm is Algorithm.ROUND_ROBIN:
        chosen = round_robin(memory.turn, roomy)
        memory.turn += 1
    elif table.algorithm is Algorithm.LEAST_CALLS:
        calls: Mapping[int, int] = memory.bindings.calls
        if table.ask_store:
            calls = {m.id: memory.bindings.load(m.id) for m in roomy}
        chosen = least_calls(key, roomy, calls, table.affinity_key)
    else:
        chosen = rendezvous(value, ((m.id, m.weight) for m in roomy), table.affinity_key)
    return None if chosen is None else table.members[chosen]


def _hash_input(inquiry: Inquiry, table: RoutingTable) -> int:
    """A configured header where there is one, so that both dialogs of a call hash alike."""
    if table.header_keys and (inquiry.request.to_tag or table.trusts(inquiry.source)):
        for key in header_keys(inquiry.request, table):
            return key
    return inquiry.key


def _holder(member: int, loss: int, key: int, table: RoutingTable) -> int:
    """Where a dialog lives; with hotstandby off it is never anyone else's."""
    if not table.hotstandby:
        return member
    return table.losses.holder(member, loss, key, table.affinity_key)


def _is_over(binding: Binding, table: RoutingTable) -> bool:
    """An earlier call of that Call-ID has ended or failed, and its member takes no new one."""
    if not binding.is_over:
        return False
    member = table.members.get(binding.member)
    return member is None or not member.takes_new_calls


def _is_passive(member: Member, table: RoutingTable) -> bool:
    """Active-standby: only the active member counts, and a former one while it drains."""
    return (
        table.active is not None and member.id != table.active and member.id not in table.retiring
    )
