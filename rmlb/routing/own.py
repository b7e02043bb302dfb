"""Own messages for a remembered request: CANCEL and ACK to members, final answers to the caller.

They go into `memory.outbox`. CANCEL and ACK carry our Via alone (SIP-RULES 5). Pure; knows
nothing of when a request is given up or to whom it is sent next.
"""

from __future__ import annotations

from rmlb.routing import signature
from rmlb.routing.affinity import Moment, loss_of
from rmlb.routing.delivery import own_request, to_line_of, to_member
from rmlb.routing.incoming import Request, read_request
from rmlb.routing.pending import Attempt, OwnCancel, Remembered
from rmlb.routing.replies import reply, reply_address, seen_outside
from rmlb.routing.table import RoutingTable
from rmlb.routing.timers import Task
from rmlb.routing.verdict import Destination, Origin, Own, Reason, Reply, Step
from rmlb.sip.address import Transport
from rmlb.sip.message import Message, scan_again
from rmlb.sip.via import top_via

Extra = tuple[tuple[bytes, bytes], ...]


def request_of(entry: Remembered, table: RoutingTable) -> Request:
    """The request as received, taken apart anew."""
    return read_request(scan_again(entry.data), entry.origin, table)


def as_sent(
    entry: Remembered, attempt: Attempt, moment: Moment
) -> tuple[Destination, bytes] | None:
    """Where an attempt went and its octets; the first one is rendered anew."""
    if attempt.to is not None:
        return attempt.to, attempt.sent
    table = moment.table
    member = table.members.get(attempt.member)
    if member is None:
        return None
    request = request_of(entry, table)
    request.loss = loss_of(entry, moment)
    transaction = signature.transaction(
        table.keys, request.message, request.via, moment.memory.pending.knows
    )
    forward = to_member(request, member, transaction, Step.TRANSACTION, table, over=attempt.over)
    return None if isinstance(forward, Reason) else (forward.to, forward.data)


# to members


def acknowledge(entry: Remembered, attempt: Attempt, response: Message, moment: Moment) -> None:
    """ACK a non-2xx answer to an INVITE that the caller does not see (17.1.1.3)."""
    sent = as_sent(entry, attempt, moment) if entry.method == b"INVITE" else None
    if sent is not None:
        to, data = sent
        ack = own_request(data, b"ACK", to_line_of(response), entry.origin, moment.table)
        moment.memory.outbox.append(Own("ack", to, ack))


def send_cancel(entry: Remembered, attempt: Attempt, moment: Moment) -> Destination | None:
    """The CANCEL itself; None if there is no way to the member any more."""
    sent = as_sent(entry, attempt, moment)
    if sent is None:
        return None
    to, data = sent
    octets = own_request(data, b"CANCEL", None, entry.origin, moment.table)
    moment.memory.outbox.append(Own("cancel", to, octets))
    return to


def cancel_answered(entry: Remembered, member: int) -> None:
    """The member answered our CANCEL: it is not repeated any more."""
    attempt = entry.attempt_of(member)
    if attempt is not None and attempt.cancel is OwnCancel.SENT:
        attempt.cancel = OwnCancel.ANSWERED


def cancel_rest(entry: Remembered, moment: Moment) -> None:
    """The caller has its final answer: what may still ring ends (16.7 step 10)."""
    if entry.method != b"INVITE":
        return
    for attempt in entry.attempts:
        if attempt.alive and attempt.cancel is OwnCancel.NONE:
            attempt.cancel = OwnCancel.OWED
    cancel_owed(entry, moment)


def cancel_owed(entry: Remembered, moment: Moment) -> None:
    """The CANCELs that we owe leave, each as soon as a 1xx allows (9.1)."""
    for attempt in entry.attempts:
        if attempt.cancel is OwnCancel.OWED and attempt.alive and attempt.provisional:
            attempt.cancel = OwnCancel.SENT
            to = send_cancel(entry, attempt, moment)
            if to is not None and to.transport is Transport.UDP:
                moment.memory.timers.repeat(Task.CANCEL, entry.key, attempt.member, moment.now)


# to the caller


def answer(entry: Remembered, status: int, moment: Moment, extra: Extra = ()) -> None:
    """Our own final answer to a remembered request."""
    if entry.final:
        return
    made = _answer_message(entry.data, entry.origin, status, moment, extra)
    if made is not None:
        entry.answer = made.data
        _close(entry, status, moment)


def answer_best(entry: Remembered, moment: Moment) -> None:
    """The best failure of all members, as the last word."""
    best = entry.best
    if entry.final or best is None:
        return
    status, entry.answer = seen_outside(best.data, best.member, moment.table)
    moment.memory.outbox.append(Own("answer", best.to, entry.answer))
    _close(entry, status, moment)


def answer_again(entry: Remembered, moment: Moment) -> None:
    """Our own final answer once more: there was no ACK yet."""
    to = reply_address(top_via(scan_again(entry.data)), entry.origin)
    moment.memory.outbox.append(Own("answer", to, entry.answer))


def last_word(entry: Remembered, moment: Moment) -> None:
    """All have failed: the best of what was swallowed, else 500."""
    if entry.best is not None:
        answer_best(entry, moment)
    else:
        answer(entry, 500, moment)


def answer_cancelled(entry: Remembered, moment: Moment) -> None:
    """Nobody answers the caller's CANCEL but us: 200 to it, and 487 to the INVITE."""
    if entry.cancel is not None:
        data, origin = entry.cancel
        _answer_message(data, origin, 200, moment)
    answer(entry, 487, moment)


def stop_waiting(attempt: Attempt, moment: Moment) -> None:
    """The member's answer is not awaited any more: its load is less by one."""
    if attempt.waiting:
        attempt.waiting = False
        moment.memory.loads.gave_up(attempt.member)


def _close(entry: Remembered, status: int, moment: Moment) -> None:
    """The caller has a final answer that is ours: what may still ring is cancelled."""
    stop_waiting(entry.newest, moment)
    cancel_rest(entry, moment)
    binding = moment.memory.bindings.find(entry.call)
    if entry.initial and binding is not None and binding.transaction == entry.key:
        moment.memory.bindings.failed(entry.call, binding, moment.now)
    moment.memory.pending.answered(entry, status, moment.now, by=0)
    if entry.quiet and entry.origin.transport is Transport.UDP:
        # the caller repeats its INVITE no more, so our answer is repeated (17.2.1)
        moment.memory.timers.repeat(Task.ANSWER, entry.key, 0, moment.now)


def _answer_message(
    data: bytes, origin: Origin, status: int, moment: Moment, extra: Extra = ()
) -> Reply | None:
    """Answer a kept request from the outbox."""
    message = scan_again(data)
    via = top_via(message)
    made = reply(message, via, origin, moment.table, status, Reason.CANCELLED, extra=extra)
    if not isinstance(made, Reply):
        return None
    moment.memory.outbox.append(Own("answer", made.to, made.data))
    return made
