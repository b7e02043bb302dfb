"""When a member fails, its remembered requests go to another one (SIP-RULES 5). Pure.

A member that goes out of service, stays silent while suspect, or loses a connection; and what is
repeated or answered at its time. The attempt given up is *abandoned*: it is cancelled, and
failover.py judges what still comes of it.
"""

from __future__ import annotations

from collections.abc import Collection

from rmlb.routing import own, signature
from rmlb.routing.affinity import Inquiry, Moment, choose, choose_new, header_keys
from rmlb.routing.delivery import to_member
from rmlb.routing.incoming import Request
from rmlb.routing.member import Health, Member
from rmlb.routing.pending import Attempt, OwnCancel, Remembered
from rmlb.routing.replies import RETRY_AFTER_S
from rmlb.routing.timers import GIVE_UP_S, T1, Due, Task
from rmlb.routing.verdict import Forward, Hint, Own, Reason, Report, Step
from rmlb.sip.address import Transport

SILENCE_S = 0.4
"""A member that answers nothing for so long while requests go out is reported (DESIGN 5: out of
service within 1 s: 0.4 s of silence, then two confirming probes)."""

AT_ONCE = 500
"""So many requests are seen to in one go when their member fails: some 50 ms of work, and half a
megabyte for the survivor's socket. The others follow at once, PAUSE_S apart."""

PAUSE_S = 0.05

_LAST_WORD_S = 1.0
"""So long before timer C forgets a request, the caller hears of its end."""

_T2 = 4.0
"""The longest interval between repetitions of a non-INVITE, and of a final answer to an INVITE
(RFC 3261 17.1.2.2, 17.2.1)."""

_NO_DIALOG = (Reason.MEMBER_LOST, Reason.EARLY_DIALOG_GONE)
"""Why a request is sent to nobody else: its dialog is gone, 481."""


def take_over(members: Collection[int], moment: Moment) -> None:
    """Everything remembered for these members, which are out of service, goes elsewhere."""
    for member_id in members:
        moment.memory.loads.forget_silence(member_id)
    _plan(Task.TAKE_OVER, members, moment)
    _attend_due(moment)


def send_again(member_id: int, moment: Moment) -> None:
    """A connection to the member broke, but the member lives: what it may have lost is repeated."""
    _plan(Task.SEND_AGAIN, (member_id,), moment)
    _attend_due(moment)


def look(moment: Moment) -> None:
    """To be called some twenty times a second: repetitions, deadlines, silence."""
    _attend_due(moment)
    for member in moment.table.members.values():
        silent = moment.memory.loads.unanswered_for(member.id, moment.now)
        if silent >= SILENCE_S * moment.memory.loads.of(member.id).patience and member.reachable:
            moment.memory.reports.append(Report(member.id, Hint.UNANSWERED, silent))
        if member.health is Health.SUSPECT or member.excused:
            _retry_silent(member.id, moment)


def send_elsewhere(entry: Remembered, moment: Moment) -> Reason | None:
    """Send a request to the next candidate, once per member. The reason if it was not sent."""
    table = moment.table
    if entry.final or entry.cancel is not None:
        return Reason.CANCELLED
    member = _next_candidate(entry, moment)
    if isinstance(member, Reason):
        return member
    request = own.request_of(entry, table)
    transaction = signature.transaction(
        table.keys, request.message, request.via, moment.memory.pending.knows
    )
    forward = to_member(request, member, transaction, Step.TRANSACTION, table)
    if isinstance(forward, Reason):
        return forward
    _add_attempt(entry, forward, moment)
    if entry.initial:
        _move_binding(entry, member, request, moment)
    return None


def without_heir(entry: Remembered, refusal: Reason, moment: Moment) -> None:
    """Nobody can take it. What rings may still be answered when its member comes back; what has
    only a 100 has until `retry.deadline` for that."""
    if entry.best is not None:
        own.answer_best(entry, moment)
    elif refusal in _NO_DIALOG:
        own.answer(entry, 481, moment)
    elif not entry.newest.provisional:
        _nobody(entry, moment)
    else:
        last = entry.expires - _LAST_WORD_S
        due = last if entry.ringing else min(moment.now + moment.table.deadline_s, last)
        moment.memory.timers.put(due, Task.DEADLINE, entry.key)


def _plan(task: Task, members: Collection[int], moment: Moment) -> None:
    """Everything that waits for these members is seen to, so many at a time, oldest first."""
    pending = moment.memory.pending
    waiting = ((entry.key, number) for number in members for entry in pending.waiting_for(number))
    for place, (key, number) in enumerate(waiting):
        moment.memory.timers.put(moment.now + place // AT_ONCE * PAUSE_S, task, key, number)


def _retry_silent(member_id: int, moment: Moment) -> None:
    """Initial INVITEs without any response while their member is suspect.

    Requests inside a dialog have nobody else to go to while their member is not lost.
    """
    pending = moment.memory.pending
    sent = 0
    for entry in pending.waiting_for(member_id):
        newest = entry.newest
        silent = not newest.provisional and moment.now - newest.sent_at >= T1
        if not (silent and entry.initial and entry.method == b"INVITE"):
            continue
        remembered = pending.find(entry.key) is entry  # not forgotten to make room for others
        if remembered and send_elsewhere(entry, moment) is None:
            sent += 1
            if sent == AT_ONCE:
                return


def _next_candidate(entry: Remembered, moment: Moment) -> Member | Reason:
    """Who is asked next: for an initial request whoever may take new calls and was not asked."""
    if entry.initial:
        if entry.ringing and not moment.table.after_provisional:
            return Reason.NO_MEMBER
        return _one_more(entry, moment) or Reason.NO_MEMBER
    request = own.request_of(entry, moment.table)
    inquiry = Inquiry(
        request=request.message,
        source=entry.origin.host,
        key=entry.call,
        mark=request.mark,
        next_route=request.next_route,
        transaction=None,
    )
    choice = choose(inquiry, moment)
    if choice.member is None:
        return choice.refusal or Reason.NO_MEMBER
    return choice.member if entry.attempt_of(choice.member.id) is None else Reason.NO_MEMBER


def _one_more(entry: Remembered, moment: Moment) -> Member | None:
    """A member for an initial request; what was accepted once is not refused for load when its
    member is lost.
    """
    table = moment.table
    left = tuple(m for m in table.taking if entry.attempt_of(m.id) is None)
    if not left:
        return None
    asked = table.members.get(entry.newest.member)
    lost = asked is None or not asked.reachable
    member = choose_new(entry.call, entry.call, left, moment)
    if member is None and lost:
        member = choose_new(entry.call, entry.call, left, moment, at_any_load=True)
    return member


def _move_binding(entry: Remembered, member: Member, request: Request, moment: Moment) -> None:
    """Its Call-ID and its configured headers are that member's from now on."""
    table, bindings = moment.table, moment.memory.bindings
    binding = bindings.find(entry.call)
    if binding is None or binding.transaction != entry.key:
        return
    bindings.moved(binding, member.id, table.losses.number)
    for key in header_keys(request.message, table):
        bindings.bind_header(key, member.id, table.losses.number, moment.now)


def _add_attempt(entry: Remembered, forward: Forward, moment: Moment) -> None:
    """The request leaves for another member; the attempt before is abandoned."""
    memory, to = moment.memory, forward.to
    before = entry.newest
    limited = entry.initial or before.waiting
    own.stop_waiting(before, moment)
    attempt = Attempt(
        to.member, moment.now, to.transport, sent=forward.data, to=to, waiting=limited
    )
    memory.pending.add_attempt(entry, attempt)
    memory.loads.sent(to.member, moment.now, limited=limited)
    if entry.method == b"INVITE" and before.alive and before.cancel is OwnCancel.NONE:
        # not sent yet: if this one is merged (8.2.2.2), the one before is the only hope
        before.cancel = OwnCancel.OWED
    memory.outbox.append(Own("resend", to, forward.data))
    alone = entry.quiet or entry.origin.transport.is_stream
    if to.transport is Transport.UDP and alone:
        # the caller retransmits no more (17.1.1.2), so we do
        memory.timers.repeat(Task.REPEAT, entry.key, to.member, moment.now)


def _attend_due(moment: Moment) -> None:
    """All appointments that have come."""
    for due in moment.memory.timers.due(moment.now):
        entry = moment.memory.pending.find(due.key)
        if entry is not None and not (due.task in _FOR_THE_NEWEST and _has_moved(entry, due)):
            _ATTEND[due.task](entry, due, moment)


def _has_moved(entry: Remembered, due: Due) -> bool:
    return bool(entry.final) or entry.newest.member != due.member


def _take_over(entry: Remembered, due: Due, moment: Moment) -> None:
    if entry.cancel is not None:
        own.answer_cancelled(entry, moment)
    elif entry.method == b"INVITE" or not entry.newest.provisional:
        refusal = send_elsewhere(entry, moment)
        if refusal is not None:
            without_heir(entry, refusal, moment)


def _send_again(entry: Remembered, due: Due, moment: Moment) -> None:
    """The same octets under the same branch, so that the member takes it for a retransmission."""
    newest = entry.newest
    sent = None if newest.provisional else own.as_sent(entry, newest, moment)
    if sent is None or not sent[0].transport.is_stream:
        return
    if entry.cancel is not None:
        own.answer_cancelled(entry, moment)
    else:
        moment.memory.outbox.append(Own("resend", *sent))


def _repeat(entry: Remembered, due: Due, moment: Moment) -> None:
    newest = entry.newest
    if entry.cancel is None and not newest.provisional and newest.to is not None:
        moment.memory.outbox.append(Own("resend", newest.to, newest.sent))
        longest_s = GIVE_UP_S if entry.method == b"INVITE" else _T2
        moment.memory.timers.again(due, moment.now, longest_s)


def _repeat_cancel(entry: Remembered, due: Due, moment: Moment) -> None:
    attempt = entry.attempt_of(due.member)
    if attempt is not None and attempt.alive and attempt.cancel is OwnCancel.SENT:
        own.send_cancel(entry, attempt, moment)
        moment.memory.timers.again(due, moment.now, _T2)


def _repeat_answer(entry: Remembered, due: Due, moment: Moment) -> None:
    if not entry.acknowledged:
        own.answer_again(entry, moment)
        moment.memory.timers.again(due, moment.now, _T2)


def _at_deadline(entry: Remembered, due: Due, moment: Moment) -> None:
    """The caller hears a failure now, unless its call rings where the answer can come from."""
    if entry.final:
        return
    newest = entry.newest
    last = entry.expires - _LAST_WORD_S
    if moment.now < last and newest.provisional:
        member = moment.table.members.get(newest.member)
        if newest.by_vip or (member is not None and member.reachable):
            again = min(moment.now + moment.table.deadline_s, last)
            moment.memory.timers.put(again, Task.DEADLINE, entry.key)
            return
    if entry.best is None and not moment.table.taking:
        _nobody(entry, moment)
    else:
        own.last_word(entry, moment)


def _nobody(entry: Remembered, moment: Moment) -> None:
    """All members are out: the caller may come again soon."""
    own.answer(entry, 503, moment, ((b"Retry-After", b"%d" % RETRY_AFTER_S),))


_ATTEND = {
    Task.TAKE_OVER: _take_over,
    Task.SEND_AGAIN: _send_again,
    Task.REPEAT: _repeat,
    Task.CANCEL: _repeat_cancel,
    Task.ANSWER: _repeat_answer,
    Task.DEADLINE: _at_deadline,
}

_FOR_THE_NEWEST = (Task.TAKE_OVER, Task.SEND_AGAIN, Task.REPEAT)
"""What concerns an attempt only while the caller waits for that one."""
