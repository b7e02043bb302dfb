"""Does the worker turn? Its stamps in the shared page move at least every I/2. PURE.

A worker that stands still is no owner; one that does so for long is to be killed.
"""

from __future__ import annotations

from typing import Final

STILL_S: Final = 0.05
"""A worker is not taken to stand still before that, however short the interval (decision 22)."""

ALONE_STILL_S: Final = 2.0
"""The same while nobody else is there who could serve calls: letting go would help no caller."""

LATE_S: Final = 0.025
"""A keeper that comes so late itself does not judge."""

FROZEN_S: Final = 5.0
"""A worker that stands still for so long is killed and started again."""


class Pulse:
    """One worker after the other."""

    def __init__(self, interval_s: float, now: float) -> None:
        self._limit_s = max(2 * interval_s, STILL_S)
        self._since = now
        self._looked_at = now
        self.still = True
        """It stands still, or there is none."""

    def begin(self, now: float) -> None:
        """Another worker is being started."""
        self.still, self._since = True, now

    def end(self) -> None:
        """The worker is dead."""
        self.still = True

    def was_held_up(self, now: float, pause_s: float) -> bool:
        """Since the last look, `pause_s` ago by plan, this process got no time itself."""
        late_s = now - self._looked_at - pause_s
        self._looked_at = now
        return late_s > LATE_S

    def judge(self, stamped_at: float, up: bool, alone: bool, now: float) -> bool:
        """`up`: it lives and has started; `alone`: nobody else could serve calls.

        True if `still` has changed.
        """
        limit_s = ALONE_STILL_S if alone and not self.still else self._limit_s
        still = not up or now - stamped_at > limit_s
        if still is self.still:
            return False
        self.still, self._since = still, now
        return True

    def is_frozen(self, now: float) -> bool:
        """It has stood still for so long that it is to be killed; counts anew then."""
        if not self.still or now - self._since <= FROZEN_S:
            return False
        self._since = now
        return True
