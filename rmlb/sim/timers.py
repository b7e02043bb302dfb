"""Timers of SIP transactions (RFC 3261 17, appendix A), on whatever scheduler is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol

T1_S: Final = 0.5
T2_S: Final = 4.0
LIFE: Final = 64
"""Transactions live for so many T1: 32 s."""


class Timer(Protocol):
    def cancel(self) -> None: ...


class Scheduler(Protocol):
    """The part of an event loop that timers need."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer: ...


class Repeater:
    """Calls `again` after T1, 2 T1, ... until stopped, `give_up` once `life` T1 are over.

    `cap_s`: the longest time between two, None: no cap.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        t1_s: float,
        again: Callable[[], None],
        give_up: Callable[[], None],
        *,
        cap_s: float | None,
        life: int = LIFE,
    ) -> None:
        self._scheduler = scheduler
        self._again = again
        self._give_up = give_up
        self._cap_s = math.inf if cap_s is None else cap_s
        self._left_s = life * t1_s
        self._interval_s = t1_s
        self._timer = self._scheduler.call_later(self._interval_s, self._due)

    def stop(self) -> None:
        self._timer.cancel()

    def _due(self) -> None:
        self._left_s -= self._interval_s
        if self._left_s <= 0:
            self._give_up()
            return
        self._again()
        self._interval_s = min(2 * self._interval_s, self._cap_s, self._left_s)
        self._timer = self._scheduler.call_later(self._interval_s, self._due)
