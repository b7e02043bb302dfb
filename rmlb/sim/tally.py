"""What became of simulated calls, counted and put into words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

QUANTILES: Final = (0.5, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call that is over. Times are the event loop's, in seconds."""

    started_at: float
    ended_at: float
    member: int | None
    """Who answered it; None if nobody did."""
    failure: str | None
    """Why it failed; None if it was completed."""
    misrouted: int
    """Answers in its dialog by a member that the To tag does not name."""


@dataclass(slots=True)
class CallTally:
    """What became of the calls."""

    placed: int = 0
    completed: int = 0
    failed: int = 0
    misrouted: int = 0
    """Answers in a dialog by a member that its To tag does not name."""
    forked: int = 0
    """Further 2xx with another To tag; each was acknowledged and ended."""
    hung_up: int = 0
    """Calls that the other side ended; they count as completed."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why calls failed."""
    members: Counter[int] = field(default_factory=Counter)
    """Calls by the member that answered."""
    setup_s: list[float] = field(default_factory=list)
    """INVITE to 200 of each answered call, seconds."""

    def add(self, record: CallRecord) -> None:
        """Count a call that is over."""
        self.misrouted += record.misrouted
        if record.failure is None:
            self.completed += 1
        else:
            self.failed += 1
            self.reasons[record.failure] += 1

    @property
    def under_way(self) -> int:
        return self.placed - self.completed - self.failed

    @property
    def all_completed(self) -> bool:
        """Every call that was placed was completed, every answer came from its member."""
        return self.completed == self.placed and self.misrouted == 0

    @property
    def progress(self) -> str:
        """Where things stand, in one line."""
        return (
            f"{self.placed} placed, {self.under_way} under way, {self.completed} completed, "
            f"{self.failed} failed, {self.misrouted} misrouted"
        )

    def setup_quantiles(self) -> dict[float, float]:
        """Setup latency in seconds by quantile (1.0 is the maximum); empty before an answer."""
        ordered = sorted(self.setup_s)
        if not ordered:
            return {}
        return {q: ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in QUANTILES}

    def __str__(self) -> str:
        lines = [
            f"calls: {self.placed} placed, {self.completed} completed, {self.failed} failed, "
            f"{self.misrouted} answers misrouted"
        ]
        if self.members:
            shares = (
                f"member {member} {count} ({count / self.members.total():.0%})"
                for member, count in sorted(self.members.items())
            )
            lines.append("answered by: " + ", ".join(shares))
        if self.setup_s:
            times = (
                f"{'max' if q == 1 else f'p{q * 100:g}'} {value * 1000:.1f} ms"
                for q, value in self.setup_quantiles().items()
            )
            lines.append("INVITE to 200: " + ", ".join(times))
        lines += (f"failed: {count} x {why}" for why, count in self.reasons.most_common())
        return "\n".join(lines)
