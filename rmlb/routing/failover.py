"""What a remembered request's repetitions and answers come to (SIP-RULES 5). Pure.

A retransmission, CANCEL or ACK finds its transaction here. Of an *abandoned* attempt a late 2xx is
a fork and passes; everything else of it ends here. A failure upon which another member is asked is
swallowed, and the best of them is kept for the end (RFC 3261 16.7 step 6).
"""

from __future__ import annotations

from rmlb.routing import handover, own
from rmlb.routing.affinity import Moment
from rmlb.routing.incoming import Request
from rmlb.routing.pending import MAX_TAGS, Attempt, Failure, Remembered
from rmlb.routing.replies import reply, reply_address
from rmlb.routing.resending import send_elsewhere, without_heir
from rmlb.routing.timers import T1, Task
from rmlb.routing.verdict import Absorb, Drop, Hint, Kind, Reason, Reply, Report, Verdict
from rmlb.sip.message import Message

_AUTHORITATIVE = (401, 407, 415, 420, 484)
"""Preferred among 4xx answers (16.7 step 6)."""


# requests


def repeated_request(entry: Remembered, request: Request, moment: Moment) -> Verdict | None:
    """A request of a remembered transaction: retransmission, CANCEL or ACK. None: as usual."""
    message, origin = request.message, request.origin
    if message.method == b"ACK":
        if entry.inherited and not entry.final:
            handover.close(entry, moment)
        if not entry.answer:
            return None
        entry.acknowledged = True
        return Absorb(Kind.OWN_ACK, Reason.OWN_ACK)
    if message.method == b"CANCEL" and entry.method == b"INVITE":
        return _cancelled(entry, request, moment)
    if message.method != entry.method:
        return None
    if entry.answer:
        if origin.host != entry.origin.host:  # somebody else's packets are not for the caller
            return Absorb(Kind.OTHER, Reason.REPEATED)
        to = reply_address(request.via, origin)
        return Reply(Kind.OTHER, Reason.REPEATED, entry.final, entry.answer, to)
    if entry.final:
        return None
    newest = entry.newest
    unheard = entry.resent and not newest.provisional
    if unheard and moment.now - newest.sent_at < T1:
        return Absorb(Kind.TO_MEMBER, Reason.REPEATED)
    member = moment.table.members.get(newest.member)
    if member is not None and member.reachable:
        return None
    # Its member is out, and there was nobody else then: is there now?
    entry.origin = origin
    refusal = send_elsewhere(entry, moment)
    if refusal is not None:
        without_heir(entry, refusal, moment)
    return Absorb(Kind.TO_MEMBER, Reason.REPEATED)


def _cancelled(entry: Remembered, request: Request, moment: Moment) -> Verdict | None:
    """The caller's CANCEL: its INVITE is never sent again.

    It passes to a member that may act on it; else 200 to it and 487 to the INVITE are ours, and
    a member that has not answered what we sent it is owed a CANCEL (9.1).
    """
    message, via, origin = request.message, request.via, request.origin
    if not entry.final:
        newest = entry.newest
        member = moment.table.members.get(newest.member)
        knows = newest.provisional or not entry.resent
        if knows and member is not None and member.reachable:
            entry.cancel = (message.data, origin)
            moment.memory.pending.weigh(entry)
            return None
        own.answer(entry, 487, moment)
    if not entry.answer:
        return None
    return reply(message, via, origin, moment.table, 200, Reason.CANCELLED, kind=Kind.TO_MEMBER)


# responses


def judge_response(
    entry: Remembered, attempt: Attempt, message: Message, failure: Failure, moment: Moment
) -> Verdict | None:
    """An answer of a member to a remembered request; None: it passes to the caller.

    `failure` is the answer as it would leave, kept if it is a failure that is swallowed.
    """
    if attempt.waiting:
        attempt.waiting = False
        moment.memory.loads.first_answer(attempt.member, moment.now - attempt.sent_at)
    if message.status < 200:
        return _provisional(entry, attempt, message, moment)
    too_late = entry.answered_by_another(attempt)
    if message.status >= 300 and (attempt.abandoned or too_late):
        return _late_failure(entry, attempt, message, moment)
    if too_late and not _may_fork(entry):
        return Drop(Kind.RESPONSE, Reason.LATE_FINAL)
    if attempt.final:
        return None  # the member's retransmission
    attempt.final = message.status
    if entry.initial:
        _report_outcome(attempt.member, message, moment)
    if message.status >= 300:
        return _failed(entry, attempt, message, failure, moment)
    own.cancel_rest(entry, moment)
    moment.memory.pending.answered(entry, message.status, moment.now, by=attempt.member)
    return None


def _provisional(
    entry: Remembered, attempt: Attempt, message: Message, moment: Moment
) -> Verdict | None:
    attempt.provisional = True
    attempt.rings = attempt.rings or message.status > 100
    if message.to_tag and message.to_tag not in attempt.tags and len(attempt.tags) < MAX_TAGS:
        attempt.tags.add(message.to_tag)
        moment.memory.pending.weigh(entry)
    if entry.final or entry.newest.rings:
        own.cancel_owed(entry, moment)
    if attempt.abandoned or entry.answered_by_another(attempt):
        return Absorb(Kind.RESPONSE, Reason.ABANDONED)
    moment.memory.pending.provisional(entry, message.status, moment.now)
    return None


def _may_fork(entry: Remembered) -> bool:
    """A second 2xx is news: a dialog of its own, or a re-INVITE's that was taken for failed.

    Within one dialog the caller would take it for the first one repeated, and acknowledge that
    to a member that waits for no ACK (13.2.2.4).
    """
    return entry.method == b"INVITE" and (entry.initial or entry.final >= 300)


def _late_failure(entry: Remembered, attempt: Attempt, message: Message, moment: Moment) -> Verdict:
    """A 300-699 of an attempt that was given up, or after another's answer: swallowed."""
    attempt.final = message.status
    own.acknowledge(entry, attempt, message, moment)
    if attempt.abandoned:
        return Absorb(Kind.RESPONSE, Reason.ABANDONED)
    return Drop(Kind.RESPONSE, Reason.LATE_FINAL)


def _failed(
    entry: Remembered, attempt: Attempt, message: Message, failure: Failure, moment: Moment
) -> Verdict | None:
    """The newest attempt failed: ask another member, hold, or let the best failure out."""
    may_retry = entry.initial and message.status in moment.table.retry_codes
    in_time = _deadline(entry, moment) > moment.now
    if may_retry and in_time and send_elsewhere(entry, moment) is None:
        if _is_best(failure, entry):
            entry.best = failure
            moment.memory.pending.weigh(entry)
        return _swallowed(entry, attempt, message, moment)
    if message.status == 482 and entry.resent and entry.method == b"INVITE":
        return _merged(entry, attempt, message, moment)
    no_news = message.status == 487 and attempt.was_cancelled
    if no_news or not _is_best(failure, entry):
        own.last_word(entry, moment)
        return _swallowed(entry, attempt, message, moment)
    own.cancel_rest(entry, moment)
    moment.memory.pending.answered(entry, message.status, moment.now, by=attempt.member)
    return None


def _merged(entry: Remembered, attempt: Attempt, message: Message, moment: Moment) -> Verdict:
    """482: both members proxied to one user agent, which has the first request (8.2.2.2).

    So the earlier attempt is the only hope, and the one that the caller waits for.
    """
    hope = next((a for a in reversed(entry.attempts) if a.alive), None)
    if hope is None:
        own.last_word(entry, moment)
    else:
        moment.memory.pending.revive(entry, hope)
    return _swallowed(entry, attempt, message, moment)


def _swallowed(entry: Remembered, attempt: Attempt, message: Message, moment: Moment) -> Verdict:
    """Acknowledge a failure that the caller does not see, and see to it that it hears in time."""
    attempt.abandoned = True
    own.acknowledge(entry, attempt, message, moment)
    if not entry.final:
        moment.memory.timers.put(_deadline(entry, moment), Task.DEADLINE, entry.key)
    return Absorb(Kind.RESPONSE, Reason.RETRIED)


def _deadline(entry: Remembered, moment: Moment) -> float:
    """When the caller has to hear: it counts from its request, until a 1xx made it patient."""
    return (moment.now if entry.quiet else entry.begun) + moment.table.deadline_s


def _report_outcome(member: int, message: Message, moment: Moment) -> None:
    """What an answer to an initial request says of its member: refusing or not."""
    load = moment.memory.loads.of(member)
    if message.status != 503:
        load.refusals = 0
        return
    load.refusals += 1
    seconds = message.header("Retry-After")
    digits = (seconds or b"").partition(b"(")[0].partition(b";")[0].strip()
    if digits.isdigit() and len(digits) < 10 and int(digits):
        moment.memory.reports.append(Report(member, Hint.RETRY_AFTER, float(digits)))
    if load.refusals >= moment.table.refusals:
        load.refusals = 0
        moment.memory.reports.append(Report(member, Hint.REFUSES_CALLS))


def _is_best(failure: Failure, entry: Remembered) -> bool:
    """No failure before it goes before it."""
    return entry.best is None or _rank(failure.status) <= _rank(entry.best.status)


def _rank(status: int) -> tuple[int, int]:
    """Order of failures (16.7 step 6): 6xx first, then the lowest class; lower is better."""
    order = {6: 0, 3: 1, 4: 2, 5: 3}
    return order.get(status // 100, 4), 0 if status in _AUTHORITATIVE else 1
