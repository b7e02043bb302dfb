"""What each member carries: who may get one more initial request, and who has gone quiet.

Limits per member ([overload]): calls per second as a token bucket, and initial requests that
wait for a first answer, fixed or following the member's answer times. `now` is a parameter.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field

BURST_S = 0.1
"""A bucket holds the calls of a tenth of a second."""

LEAST_BURST = 5
"""But so many, or those of a second: calls come by chance, and some at once are no overload."""

LEAST_ADAPTIVE = 4.0
"""An adaptive limit never falls below this, so that a slow member can show that it recovered."""

START_ADAPTIVE = 64.0
SLOWER = 2.0
"""Answer times beyond twice the best seen, plus GRACE_S, call for fewer requests at a time."""

MOST_PATIENCE = 64
GRACE_S = 0.05

LEAST_TOOK_S = 0.001
"""The best that is told from better. Of a clock that counts milliseconds and one that counts
nanoseconds the difference may be less than nothing, and what is forgotten by factors stays that."""

BACK_OFF = 0.9


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """[overload]; 0 is no limit."""

    calls_per_second: int = 0
    requests_waiting: int = 0
    adaptive: bool = False


FIRST_ANSWER_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the buckets of times to a first answer: from a member on the same host to one
that callers give up; RFC 3261's T1 (0.5 s) is one of them."""


@dataclass(slots=True)
class FirstAnswers:
    """How long one member took to its first answers, since start."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(FIRST_ANSWER_BOUNDS_S) + 1))
    """Requests by bucket, not cumulative; a time equal to a bound is in the bucket below it, the
    last bucket is beyond all bounds."""
    sum_s: float = 0.0

    def observe(self, took_s: float) -> None:
        self.counts[bisect_left(FIRST_ANSWER_BOUNDS_S, took_s)] += 1
        self.sum_s += took_s


@dataclass(slots=True)
class Load:
    """One member."""

    waiting: int = 0
    """Requests without any answer that count for the limits."""
    tokens: float | None = None
    filled_at: float = 0.0
    asked_at: float | None = None
    """When the oldest request since its last answer was sent; None: it owes none."""
    patience: int = 1
    """Its silence is looked at later each time it answered a probe in spite of it."""
    refusals: int = 0
    """Initial requests answered with 503 in a row."""
    limit: float = START_ADAPTIVE
    best_s: float | None = None
    """Shortest time to a first answer, slowly forgotten."""
    first_answers: FirstAnswers = field(default_factory=FirstAnswers)


class Loads:
    """All members' loads."""

    def __init__(self, limits: LoadLimits) -> None:
        self.limits = limits
        self._of: defaultdict[int, Load] = defaultdict(Load)

    def of(self, member: int) -> Load:
        return self._of[member]

    def has_room(self, member: int, now: float) -> bool:
        """One more initial request may go there."""
        limits = self.limits
        load = self._of[member]
        if limits.calls_per_second:
            self._fill(load, now)
            if load.tokens is not None and load.tokens < 1.0:
                return False
        if limits.adaptive and load.waiting >= load.limit:
            return False
        return not (limits.requests_waiting and load.waiting >= limits.requests_waiting)

    def sent(self, member: int, now: float, *, limited: bool) -> None:
        """A request was sent to the member for the first time.

        `limited`: it counts for the limits, and waits until `first_answer` or `gave_up`.
        """
        load = self._of[member]
        if load.asked_at is None:
            load.asked_at = now
        if limited:
            load.waiting += 1
            if self.limits.calls_per_second:
                self._fill(load, now)
                load.tokens = (load.tokens or 0.0) - 1.0

    def heard(self, member: int) -> None:
        """Any response of the member arrived: it is alive."""
        load = self._of[member]
        load.asked_at = None
        load.patience = 1

    def first_answer(self, member: int, took_s: float) -> None:
        """A request that was waiting got its first answer."""
        load = self._of[member]
        load.waiting -= 1
        load.first_answers.observe(max(took_s, 0.0))
        if not self.limits.adaptive:
            return
        took_s = max(took_s, LEAST_TOOK_S)
        best = load.best_s = took_s if load.best_s is None else min(load.best_s * 1.001, took_s)
        if took_s > best * SLOWER + GRACE_S:
            load.limit = max(LEAST_ADAPTIVE, load.limit * BACK_OFF)
        else:
            most = self.limits.requests_waiting or float("inf")
            load.limit = min(load.limit + 1.0 / load.limit, most)

    def gave_up(self, member: int, requests: int = 1) -> None:
        """No answer of the member to so many requests is awaited any more."""
        self._of[member].waiting -= requests

    def unanswered_for(self, member: int, now: float) -> float:
        """Seconds since the oldest request that the member's silence began with; 0 if none."""
        asked_at = self._of[member].asked_at
        return 0.0 if asked_at is None else now - asked_at

    def forget_silence(self, member: int) -> None:
        """Start anew: the member is known to be out."""
        self._of[member].asked_at = None

    def forgive_silence(self, member: int) -> None:
        """It answers probes, only no calls: do not look again so soon."""
        load = self._of[member]
        load.asked_at = None
        load.patience = min(load.patience * 2, MOST_PATIENCE)

    def _fill(self, load: Load, now: float) -> None:
        rate = self.limits.calls_per_second
        most = max(float(min(rate, LEAST_BURST)), rate * BURST_S)
        if load.tokens is None:
            load.tokens = most
        else:
            load.tokens = min(most, load.tokens + (now - load.filled_at) * rate)
        load.filled_at = now
