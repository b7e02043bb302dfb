"""What happens when a member fails a remembered request (SIP-RULES 5). Pure.

Three things bring a request to another member: its member goes out of service, answers with a
retry code, or stays silent while suspect. The attempt given up is *abandoned*: a late 2xx of it is
a fork and passes, everything else of it ends here. Own messages (re-sends, ACK, CANCEL, late
answers) go into `memory.outbox`.
"""

from __future__ import annotations

from rmlb.routing import signature
from rmlb.routing.affinity import Choice, Inquiry, Moment, choose, choose_new
from rmlb.routing.bindings import Phase
from rmlb.routing.delivery import own_request, to_line_of, to_member
from rmlb.routing.incoming import Request, read_request
from rmlb.routing.keys import affinity_hash
from rmlb.routing.member import Health, Member
from rmlb.routing.pending import MAX_TAGS, Attempt, Failure, Remembered
from rmlb.routing.replies import RETRY_AFTER_S, reply, reply_address
from rmlb.routing.timers import GIVE_UP_S, T1, Due, Task
from rmlb.routing.verdict import (
    Absorb,
    Destination,
    Drop,
    Hint,
    Kind,
    Origin,
    Own,
    Reason,
    Reply,
    Report,
    Step,
    Verdict,
)
from rmlb.sip.address import Transport
from rmlb.sip.message import Message, scan_again
from rmlb.sip.via import top_via

SILENCE_S = 0.4
"""A member that answers nothing for so long while requests go out is reported (DESIGN 5: out of
service within 1 s: 0.4 s of silence, then two confirming probes)."""

_LAST_WORD_S = 1.0
"""So long before timer C forgets a request, the caller hears of its end."""

_T2 = 4.0
"""The longest interval between repetitions of a non-INVITE (RFC 3261 17.1.2.2)."""

_AUTHORITATIVE = (401, 407, 415, 420, 484)
"""Preferred among 4xx answers (16.7 step 6)."""


# requests


def repeated_request(entry: Remembered, request: Request, moment: Moment) -> Verdict | None:
    """A request of a remembered transaction: retransmission, CANCEL or ACK. None: as usual."""
    message, origin = request.message, request.origin
    if message.method == b"ACK":
        return Absorb(Kind.OWN_ACK, Reason.OWN_ACK) if entry.answer else None
    if message.method == b"CANCEL" and entry.method == b"INVITE":
        return _cancelled(entry, request, moment)
    if message.method != entry.method:
        return None
    if entry.answer:
        if origin.host != entry.origin.host:  # somebody else's packets are not for the caller
            return Absorb(Kind.OTHER, Reason.REPEATED)
        to = reply_address(request.via, origin)
        return Reply(Kind.OTHER, Reason.REPEATED, entry.final, entry.answer, to)
    newest = entry.newest
    resent = len(entry.attempts) > 1 and not newest.provisional and not newest.final
    if resent and moment.now - newest.sent_at < T1:
        return Absorb(Kind.TO_MEMBER, Reason.REPEATED)
    member = moment.table.members.get(newest.member)
    if member is None or member.reachable or entry.final:
        return None
    # Its member is out, and there was nobody else then: is there now?
    entry.origin = origin
    if _resend(entry, moment):
        return Absorb(Kind.TO_MEMBER, Reason.REPEATED)
    return None


def early_dialog(inquiry: Inquiry, moment: Moment) -> Choice | None:
    """PRACK, UPDATE ... inside an early dialog go to the attempt that made it, or get 481."""
    request = inquiry.request
    if not request.to_tag or request.method in (b"ACK", b"CANCEL"):
        return None
    binding = moment.memory.bindings.find(inquiry.key)
    if binding is None or binding.phase is not Phase.TRYING:
        return None
    entry = moment.memory.pending.find(binding.transaction)
    if entry is None:
        return None
    for attempt in entry.attempts:
        if request.to_tag in attempt.tags:
            member = moment.table.members.get(attempt.member)
            if member is not None and member.reachable and attempt.alive:
                return Choice(member, Step.TRANSACTION)
            if attempt.abandoned:
                return Choice(None, Step.TRANSACTION, Reason.EARLY_DIALOG_GONE)
    return None


def _cancelled(entry: Remembered, request: Request, moment: Moment) -> Verdict | None:
    """The caller's CANCEL: its INVITE is never sent again."""
    entry.cancel = (request.message.data, request.origin)
    member = moment.table.members.get(entry.current.member)
    if entry.final and not entry.answer:
        return None
    if not entry.answer and member is not None and member.reachable:
        return None
    if not entry.answer:
        _answer(entry, 487, moment)
    message, via, origin = request.message, request.via, request.origin
    return reply(message, via, origin, moment.table, 200, Reason.CANCELLED, kind=Kind.TO_MEMBER)


# responses


def judge_response(
    entry: Remembered, attempt: Attempt, message: Message, failure: Failure, moment: Moment
) -> Verdict | None:
    """An answer of a member to a remembered request; None: it passes to the caller.

    `failure` is the answer as it would leave, kept if it is a failure that is swallowed.
    """
    status = message.status
    if entry.initial and not attempt.provisional and not attempt.final:
        moment.memory.loads.first_answer(attempt.member, moment.now - attempt.sent_at)
    if status < 200:
        return _provisional(entry, attempt, message, moment)
    if status >= 300 and (attempt.abandoned or entry.answer):
        return _late_failure(entry, attempt, message, failure, moment)
    if entry.final and entry.method != b"INVITE" and entry.final_by != attempt.member:
        return Drop(Kind.RESPONSE, Reason.LATE_FINAL)
    if attempt.final:
        return None  # the member's retransmission
    attempt.final = status
    _report_outcome(entry, attempt.member, message, moment)
    if status < 300:
        moment.memory.pending.answered(entry, status, moment.now, by=attempt.member)
        _cancel_rest(entry, moment)
        return None
    return _failed(entry, attempt, message, failure, moment)


def _provisional(
    entry: Remembered, attempt: Attempt, message: Message, moment: Moment
) -> Verdict | None:
    attempt.provisional = True
    attempt.rings = attempt.rings or message.status > 100
    if message.to_tag and len(attempt.tags) < MAX_TAGS:
        attempt.tags.add(message.to_tag)
    if entry.final or entry.newest.rings:
        for owed in entry.attempts:
            if owed.cancel_owed and owed.provisional and owed.alive:
                _cancel(entry, owed, moment)
    if attempt.abandoned or entry.answer:
        return Absorb(Kind.RESPONSE, Reason.ABANDONED)
    moment.memory.pending.provisional(entry, message.status, moment.now)
    return None


def _late_failure(
    entry: Remembered, attempt: Attempt, message: Message, failure: Failure, moment: Moment
) -> Verdict | None:
    """A 300-699 of an attempt that was given up, or after our own answer: swallowed.

    Unless it was the last hope: then it, or a better one before it, is the answer.
    """
    first = not attempt.final
    attempt.final = message.status
    last_word = not entry.final and not any(a.alive for a in entry.attempts)
    if first and last_word and entry.method == b"INVITE":
        if entry.best is None or _rank(failure.status) <= _rank(entry.best.status):
            attempt.abandoned = False
            moment.memory.pending.answered(entry, failure.status, moment.now, by=attempt.member)
            return None
        _answer_best(entry, moment)
    _acknowledge(entry, attempt, message, moment)
    reason = Reason.ABANDONED if attempt.abandoned else Reason.LATE_FINAL
    return Absorb(Kind.RESPONSE, reason) if attempt.abandoned else Drop(Kind.RESPONSE, reason)


def _failed(
    entry: Remembered, attempt: Attempt, message: Message, failure: Failure, moment: Moment
) -> Verdict | None:
    """The newest attempt failed: ask another member, hold, or let the best failure out."""
    table = moment.table
    may_retry = entry.initial and entry.cancel is None and message.status in table.retry_codes
    if may_retry and _resend(entry, moment):
        if entry.best is None or _rank(failure.status) < _rank(entry.best.status):
            entry.best = failure
        return _held(entry, attempt, message, moment)
    if message.status == 482 and len(entry.attempts) > 1 and entry.method == b"INVITE":
        # 8.2.2.2: both members proxied to one user agent, which still has the first request
        verdict = _held(entry, attempt, message, moment)
        hope = next((a for a in reversed(entry.attempts) if a.alive), None)
        if hope is None:
            _answer(entry, 500, moment)
        else:
            hope.abandoned = hope.cancel_owed = hope.cancelled = False
        return verdict
    if entry.best is not None and _rank(entry.best.status) < _rank(failure.status):
        _answer_best(entry, moment)
        return _held(entry, attempt, message, moment)
    moment.memory.pending.answered(entry, failure.status, moment.now, by=attempt.member)
    _cancel_rest(entry, moment)
    return None


def _held(entry: Remembered, attempt: Attempt, message: Message, moment: Moment) -> Verdict:
    """Swallow a failure, acknowledge it, and see to it that the caller hears in time."""
    attempt.abandoned = True
    _acknowledge(entry, attempt, message, moment)
    if not entry.final:
        since = attempt.sent_at if message.status == 482 else entry.begun
        moment.memory.timers.put(since + moment.table.deadline_s, Task.DEADLINE, entry.key)
    return Absorb(Kind.RESPONSE, Reason.RETRIED)


def _report_outcome(entry: Remembered, member: int, message: Message, moment: Moment) -> None:
    """What an answer to an initial request says of its member: refusing or not."""
    if not entry.initial:
        return
    load = moment.memory.loads.of(member)
    if message.status != 503:
        load.refusals = 0
        return
    load.refusals += 1
    seconds = message.header("Retry-After")
    digits = (seconds or b"").partition(b"(")[0].partition(b";")[0].strip()
    if digits.isdigit() and len(digits) < 10:
        moment.memory.reports.append(Report(member, Hint.RETRY_AFTER, float(digits)))
    if load.refusals >= moment.table.refusals:
        load.refusals = 0
        moment.memory.reports.append(Report(member, Hint.REFUSES_CALLS))


# a member fails


def member_out(member_id: int, moment: Moment) -> None:
    """The member is out of service: everything remembered for it goes elsewhere."""
    moment.memory.loads.forget_silence(member_id)
    for entry in moment.memory.pending.waiting_for(member_id):
        if entry.cancel is not None:
            _answer_cancelled(entry, moment)
        elif entry.method != b"INVITE" and entry.newest.provisional:
            continue
        elif not _resend(entry, moment):
            _without_heir(entry, moment)


def send_again(member_id: int, moment: Moment) -> None:
    """A connection to the member broke, but the member lives: what it may have lost is repeated.

    The same octets under the same branch, so that the member takes them for retransmissions.
    """
    for entry in moment.memory.pending.waiting_for(member_id):
        if entry.newest.provisional:
            continue
        sent = _sent(entry, entry.newest, moment)
        if sent is not None and sent[0].transport.is_stream:
            moment.memory.outbox.append(Own("resend", *sent))


def look(moment: Moment) -> None:
    """To be called some twenty times a second: repetitions, deadlines, silence."""
    for due in moment.memory.timers.due(moment.now):
        entry = moment.memory.pending.find(due.key)
        if entry is not None:
            _attend(entry, due, moment)
    for member in moment.table.members.values():
        silent = moment.memory.loads.unanswered_for(member.id, moment.now)
        if silent >= SILENCE_S * moment.memory.loads.of(member.id).patience and member.reachable:
            moment.memory.reports.append(Report(member.id, Hint.UNANSWERED, silent))
        if member.health is Health.SUSPECT:
            _retry_silent(member.id, moment)


def _retry_silent(member_id: int, moment: Moment) -> None:
    """INVITEs without any response while their member is suspect."""
    for entry in moment.memory.pending.waiting_for(member_id):
        newest = entry.newest
        if (
            entry.method == b"INVITE"
            and entry.cancel is None
            and not newest.provisional
            and moment.now - newest.sent_at >= T1
        ):
            _resend(entry, moment)


def _without_heir(entry: Remembered, moment: Moment) -> None:
    """Nobody can take it. What rings may still be answered when its member comes back."""
    if entry.best is not None:
        _answer_best(entry, moment)
    elif not entry.initial and not moment.table.hotstandby:
        _answer(entry, 481, moment)
    elif entry.initial and not entry.newest.provisional:
        extra = ((b"Retry-After", b"%d" % RETRY_AFTER_S),)
        _answer(entry, 503, moment, extra)


def _resend(entry: Remembered, moment: Moment) -> bool:
    """Send to the next candidate, once per member; False if there is none."""
    if entry.final or not entry.data:
        return False
    if entry.ringing and entry.initial and not moment.table.after_provisional:
        return False
    request = read_request(scan_again(entry.data), entry.origin, moment.table)
    member = _next_candidate(entry, request, moment)
    if member is None:
        return False
    transaction = signature.transaction(
        moment.table.keys, request.message, request.via, moment.memory.pending.find
    )
    forward = to_member(request, member, transaction, Step.TRANSACTION, moment.table)
    if isinstance(forward, Reason):
        return False
    before = entry.newest
    moment.memory.pending.add_attempt(
        entry,
        Attempt(member.id, moment.now, forward.to.transport, sent=forward.data, to=forward.to),
    )
    if entry.initial:
        if not before.provisional and not before.final:
            moment.memory.loads.gave_up(before.member)
        moment.memory.loads.sent(member.id, moment.now, initial=True)
    # Not cancelled yet: if this one is merged (8.2.2.2), the one before is the only hope.
    before.cancel_owed = before.alive and entry.method == b"INVITE"
    key = affinity_hash(moment.table.affinity_key, request.message.call_id)
    binding = moment.memory.bindings.find(key)
    if binding is not None and entry.initial and binding.transaction == entry.key:
        moment.memory.bindings.moved(binding, member.id, moment.table.losses.number)
    moment.memory.outbox.append(Own("resend", forward.to, forward.data))
    quiet_caller = entry.ringing or entry.origin.transport.is_stream
    if forward.to.transport is Transport.UDP and quiet_caller:
        # the caller retransmits no more (17.1.1.2), so we do
        moment.memory.timers.repeat(Task.REPEAT, entry.key, member.id, moment.now)
    return True


def _next_candidate(entry: Remembered, request: Request, moment: Moment) -> Member | None:
    """Who is asked next: for an initial request whoever may take new calls and was not asked."""
    asked = {attempt.member for attempt in entry.attempts}
    key = affinity_hash(moment.table.affinity_key, request.message.call_id)
    if entry.initial:
        taking = tuple(m for m in moment.table.taking if m.id not in asked)
        return choose_new(key, key, taking, moment)
    inquiry = Inquiry(
        request=request.message,
        source=entry.origin.host,
        key=key,
        mark=request.mark,
        next_route=request.next_route,
        transaction=None,
    )
    member = choose(inquiry, moment).member
    return member if member is not None and member.id not in asked else None


def _attend(entry: Remembered, due: Due, moment: Moment) -> None:
    """One appointment."""
    attempt = entry.attempt_of(due.member)
    if due.task is Task.DEADLINE:
        _at_deadline(entry, moment)
    elif attempt is None or attempt.final:
        return
    elif due.task is Task.REPEAT:
        if not attempt.provisional and not attempt.abandoned and attempt.to is not None:
            moment.memory.outbox.append(Own("resend", attempt.to, attempt.sent))
            moment.memory.timers.again(due, GIVE_UP_S if entry.method == b"INVITE" else _T2)
    elif attempt.cancelled:
        _send_cancel(entry, attempt, moment)
        moment.memory.timers.again(due, _T2)


def _at_deadline(entry: Remembered, moment: Moment) -> None:
    """The caller hears a failure now, unless its call rings where the answer can come from."""
    if entry.final:
        return
    last = entry.expires - _LAST_WORD_S
    current = entry.current
    if moment.now < last and current.alive and current.provisional:
        member = moment.table.members.get(current.member)
        if current.by_vip or (member is not None and member.reachable):
            if current is not entry.newest:  # nobody else will look after it
                again = min(moment.now + moment.table.deadline_s, last)
                moment.memory.timers.put(again, Task.DEADLINE, entry.key)
            return
    if entry.best is not None:
        _answer_best(entry, moment)
    else:
        _answer(entry, 500, moment)


# own messages


def cancel_answered(entry: Remembered, member: int) -> None:
    """The member answered our CANCEL: it is not repeated any more."""
    attempt = entry.attempt_of(member)
    if attempt is not None:
        attempt.cancelled = False


def _cancel_rest(entry: Remembered, moment: Moment) -> None:
    """The caller has its final answer: what may still ring ends (16.7 step 10)."""
    if entry.method != b"INVITE":
        return
    for attempt in entry.attempts:
        if attempt.alive and not attempt.cancelled:
            if attempt.provisional:
                _cancel(entry, attempt, moment)
            else:
                attempt.cancel_owed = True


def _cancel(entry: Remembered, attempt: Attempt, moment: Moment) -> None:
    """Send the CANCEL that we owe an attempt."""
    attempt.cancel_owed = False
    attempt.cancelled = True
    to = _send_cancel(entry, attempt, moment)
    if to is not None and to.transport is Transport.UDP:
        moment.memory.timers.repeat(Task.CANCEL, entry.key, attempt.member, moment.now)


def _send_cancel(entry: Remembered, attempt: Attempt, moment: Moment) -> Destination | None:
    sent = _sent(entry, attempt, moment)
    if sent is None:
        return None
    to, data = sent
    cancel = own_request(data, b"CANCEL", None, entry.origin, moment.table)
    moment.memory.outbox.append(Own("cancel", to, cancel))
    return to


def _acknowledge(entry: Remembered, attempt: Attempt, response: Message, moment: Moment) -> None:
    """ACK a non-2xx answer to an INVITE that the caller does not see (17.1.1.3)."""
    if entry.method != b"INVITE":
        return
    sent = _sent(entry, attempt, moment)
    if sent is not None:
        to, data = sent
        ack = own_request(data, b"ACK", to_line_of(response), entry.origin, moment.table)
        moment.memory.outbox.append(Own("ack", to, ack))


def _sent(entry: Remembered, attempt: Attempt, moment: Moment) -> tuple[Destination, bytes] | None:
    """Where an attempt went and its octets; the first one is rendered anew."""
    if attempt.to is not None:
        return attempt.to, attempt.sent
    member = moment.table.members.get(attempt.member)
    if member is None or not entry.data:
        return None
    request = read_request(scan_again(entry.data), entry.origin, moment.table)
    transaction = signature.transaction(
        moment.table.keys, request.message, request.via, moment.memory.pending.find
    )
    forward = to_member(
        request, member, transaction, Step.TRANSACTION, moment.table, over=attempt.over
    )
    return None if isinstance(forward, Reason) else (forward.to, forward.data)


def _answer_cancelled(entry: Remembered, moment: Moment) -> None:
    """Its member died with the CANCEL under way: 200 to the CANCEL, 487 to the INVITE."""
    assert entry.cancel is not None
    data, origin = entry.cancel
    _answer_message(data, origin, 200, moment)
    _answer(entry, 487, moment)


def _answer(
    entry: Remembered,
    status: int,
    moment: Moment,
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    """Our own final answer to a remembered request."""
    if entry.final:
        return
    made = _answer_message(entry.data, entry.origin, status, moment, extra)
    if made is not None:
        entry.answer = made.data
        _close(entry, status, moment)


def _answer_best(entry: Remembered, moment: Moment) -> None:
    """The best failure of all members, as the last word."""
    best = entry.best
    if entry.final or best is None:
        return
    entry.answer = best.data
    moment.memory.outbox.append(Own("answer", best.to, best.data))
    _close(entry, best.status, moment)


def _close(entry: Remembered, status: int, moment: Moment) -> None:
    """The caller has a final answer that is ours: what may still ring is cancelled."""
    newest = entry.newest
    if entry.initial and newest.alive and not newest.provisional:
        moment.memory.loads.gave_up(newest.member)
    _cancel_rest(entry, moment)
    if entry.initial and entry.data:
        key = affinity_hash(moment.table.affinity_key, scan_again(entry.data).call_id)
        binding = moment.memory.bindings.find(key)
        if binding is not None and binding.transaction == entry.key:
            moment.memory.bindings.failed(key, binding, moment.now)
    moment.memory.pending.answered(entry, status, moment.now, by=0)


def _answer_message(
    data: bytes,
    origin: Origin,
    status: int,
    moment: Moment,
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> Reply | None:
    """Answer a kept request ourselves, from the outbox."""
    message = scan_again(data)
    via = top_via(message)
    made = reply(message, via, origin, moment.table, status, Reason.CANCELLED, extra=extra)
    if not isinstance(made, Reply):
        return None
    moment.memory.outbox.append(Own("answer", made.to, made.data))
    return made


def _rank(status: int) -> tuple[int, int]:
    """Order of failures (16.7 step 6): 6xx first, then the lowest class; lower is better."""
    order = {6: 0, 3: 1, 4: 2, 5: 3}
    return order.get(status // 100, 4), 0 if status in _AUTHORITATIVE else 1
