"""Judges the calls of a demonstration in which a member was drained and one was killed. Pure.

Tells what this version promises from what it does not: the calls of other members and new
calls must not suffer; what a killed member took with it is counted and said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rmlb.sim.tally import CallRecord


@dataclass(frozen=True, slots=True)
class Killing:
    """When a member was killed, was found out of service, and was back (event loop time, s)."""

    member: int
    killed_at: float
    out_at: float
    back_at: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement in figures and in words."""

    moved: int
    """Calls of the killed member that another one carried on."""
    lost: int
    """Calls that were with the killed member, or being offered to it, and failed."""
    misrouted: int
    """Answers from a wrong member that no killing explains."""
    broken: tuple[str, ...]
    """What was promised and not kept."""
    words: tuple[str, ...]

    @property
    def as_promised(self) -> bool:
        return not self.broken


def judge(records: Iterable[CallRecord], killing: Killing, drained_calls: int) -> Verdict:
    """`drained_calls`: new calls that the drained member got while it was draining."""
    moved = lost = misrouted = 0
    reasons: Counter[str] = Counter()
    unexplained: Counter[str] = Counter()
    for record in records:
        touched = _is_touched(record, killing)
        if record.misrouted and touched:
            moved += record.failure is None
        else:
            misrouted += record.misrouted
        if record.failure is not None and touched:
            lost += 1
            reasons[record.failure] += 1
        elif record.failure is not None:
            unexplained[record.failure] += 1
    broken = [
        f"{count} calls failed that had nothing to do with the killed member: {why}"
        for why, count in unexplained.most_common()
    ]
    if misrouted:
        broken.append(f"{misrouted} answers came from a wrong member")
    if drained_calls:
        broken.append(f"the drained member got {drained_calls} new calls")
    words = [
        *_about_losses(lost, moved, reasons, killing),
        *(f"NOT AS IT SHOULD: {b}" for b in broken),
    ]
    if not broken:
        words.append("Every other call was completed; the drained member got no new call.")
    return Verdict(moved, lost, misrouted, tuple(broken), tuple(words))


def _is_touched(record: CallRecord, killing: Killing) -> bool:
    """It was under way when the member was killed, or began before that was noticed, and was
    the killed member's or nobody's yet."""
    under_way = record.started_at <= killing.out_at and record.ended_at >= killing.killed_at
    return under_way and record.member in (killing.member, None)


def _about_losses(lost: int, moved: int, reasons: Counter[str], killing: Killing) -> list[str]:
    if not lost:
        return [f"No call was lost; {moved} were carried on by the other member."]
    named = ", ".join(f"{count} x {why}" for why, count in reasons.most_common())
    return [
        f"{lost} calls were lost with member {killing.member}: {named}.",
        "They were being set up or changed when it died, or had not yet been moved.",
    ]
