"""What is to be looked at again, and when: few things, each a remembered request in trouble."""

from __future__ import annotations

import heapq
from enum import StrEnum
from typing import NamedTuple

T1 = 0.5
"""RFC 3261's estimate of the round trip, seconds (17.1.1.1)."""

GIVE_UP_S = 64 * T1


class Task(StrEnum):
    """What to do then."""

    REPEAT = "repeat"
    CANCEL = "cancel"
    DEADLINE = "deadline"


class Due(NamedTuple):
    """One appointment."""

    at: float
    number: int
    task: Task
    key: int
    """The remembered request."""
    member: int
    interval_s: float
    until: float


class Timers:
    """A heap; what has become pointless meanwhile is dropped when its time comes."""

    def __init__(self) -> None:
        self._heap: list[Due] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, at: float, task: Task, key: int) -> None:
        """Once, at that time."""
        self._push(Due(at, self._next(), task, key, 0, 0.0, 0.0))

    def repeat(self, task: Task, key: int, member: int, now: float) -> None:
        """First after T1, then at doubling intervals until 64 T1 (17.1.1.2)."""
        self._push(Due(now + T1, self._next(), task, key, member, T1, now + GIVE_UP_S))

    def again(self, due: Due, now: float, longest_s: float = GIVE_UP_S) -> None:
        """The next repetition, twice as far away (17.1.1.2), until its time is over.

        After a pause of the process those that it missed are not made up for.
        """
        interval = min(due.interval_s * 2, longest_s)
        at = due.at + interval
        if at <= now:
            at = now + interval
        if at < due.until:
            self._push(due._replace(at=at, number=self._next(), interval_s=interval))

    def due(self, now: float) -> list[Due]:
        found = []
        while self._heap and self._heap[0].at <= now:
            found.append(heapq.heappop(self._heap))
        return found

    def _push(self, due: Due) -> None:
        heapq.heappush(self._heap, due)

    def _next(self) -> int:
        """Tells equal times apart, so that no two appointments compare further."""
        self._number += 1
        return self._number
