"""Members on their way out: how long they have been draining, when to tell. Pure.

Owns the clock of each draining member: empty is told once, and once when `drain.member-limit` is
over with calls left. Knows nothing of why a member has calls or of what follows: `left` says how
many there are, the reports go to whoever asked. One `DrainWatch` for the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Who made the member drain."""

    OPERATOR = "operator"
    SWITCHOVER = "switch-over"


class Outcome(StrEnum):
    """What is told of a draining member."""

    EMPTY = "empty"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Drained:
    """A draining member is empty, or its time is over with calls `left`."""

    member: int
    cause: Cause
    outcome: Outcome
    left: int
    after_s: float


@dataclass(slots=True)
class Draining:
    """One member under watch. `since` is monotonic."""

    cause: Cause
    since: float
    unknown_calls: bool = False
    """It drained already when this process began, which has never heard of its older calls:
    nobody can say that it is empty."""
    told_empty: bool = False
    told_limit: bool = False


class DrainWatch:
    """Every draining member, from the moment it is named until it no longer is."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.members: dict[int, Draining] = {}

    def resume(self, causes: Mapping[int, Cause], now: float) -> None:
        """These were draining before this process began; their clocks start anew."""
        for member, cause in causes.items():
            self.members[member] = Draining(cause, now, unknown_calls=True)

    def forget(self, member: int) -> None:
        """It drains no longer."""
        self.members.pop(member, None)

    def look(
        self, causes: Mapping[int, Cause], left: Callable[[int], int], now: float
    ) -> list[Drained]:
        """Who drains now, and how many calls each has left; what there is to tell of them."""
        for member in self.members.keys() - causes.keys():
            del self.members[member]
        reports = []
        for member, cause in causes.items():
            drain = self.members.get(member)
            if drain is None or drain.cause is not cause:
                drain = self.members[member] = Draining(cause, now)
            outcome = self._outcome(drain, calls := left(member), now)
            if outcome is not None:
                reports.append(Drained(member, cause, outcome, calls, now - drain.since))
        return reports

    def _outcome(self, drain: Draining, calls: int, now: float) -> Outcome | None:
        if drain.told_empty:
            return None
        if calls <= 0 and not drain.unknown_calls:
            drain.told_empty = True
            return Outcome.EMPTY
        if now - drain.since >= self.limit_s and not drain.told_limit:
            drain.told_limit = True
            return Outcome.LIMIT
        return None
