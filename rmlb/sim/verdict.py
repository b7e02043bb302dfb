"""Judges the calls of a demonstration: a member was drained, one was killed, the owner was. Pure.

Promised is that no call is lost, that each dialog stays with its member while that lives, and
that a draining member gets no new calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rmlb.sim.tally import CallRecord


@dataclass(frozen=True, slots=True)
class Killing:
    """When a member was killed and was found out of service (event loop time, s)."""

    member: int
    killed_at: float
    out_at: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement in figures and in words."""

    moved: int
    """Calls of the killed member that another one carried on."""
    lost: int
    misrouted: int
    """Answers from a wrong member that no killing explains."""
    broken: tuple[str, ...]
    """What was promised and not kept."""

    @property
    def as_promised(self) -> bool:
        return not self.broken

    @property
    def words(self) -> tuple[str, ...]:
        if self.broken:
            return tuple(f"NOT AS IT SHOULD BE: {each}" for each in self.broken)
        return ("No call was lost, and the draining member got no new one.",)


def judge(records: Iterable[CallRecord], killing: Killing, drained_calls: int) -> Verdict:
    """`drained_calls`: new calls that the drained member got while it was draining."""
    moved = misrouted = 0
    reasons: Counter[str] = Counter()
    for record in records:
        if record.misrouted and _is_touched(record, killing):
            moved += record.failure is None
        else:
            misrouted += record.misrouted
        if record.failure is not None:
            reasons[record.failure] += 1
    lost = reasons.total()
    broken = [f"{count} of the calls lost: {why}" for why, count in reasons.most_common()]
    if misrouted:
        broken.append(f"{misrouted} answers came from a wrong member")
    if drained_calls:
        broken.append(f"the draining member got {drained_calls} new calls")
    return Verdict(moved, lost, misrouted, tuple(broken))


def _is_touched(record: CallRecord, killing: Killing) -> bool:
    """It was under way when the member was killed, or began before that was noticed, and was
    the killed member's or nobody's yet."""
    under_way = record.started_at <= killing.out_at and record.ended_at >= killing.killed_at
    return under_way and record.member in (killing.member, None)
