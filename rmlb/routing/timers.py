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

    TAKE_OVER = "take over"
    """Its member went out of service: another one is asked."""
    SEND_AGAIN = "send again"
    """A connection broke, by which it may have been lost."""
    REPEAT = "repeat"
    CANCEL = "cancel"
    ANSWER = "answer"
    DEADLINE = "deadline"


class Due(NamedTuple):
    """One appointment."""

    at: float
    number: int
    task: Task
    key: int
    """The remembered request."""
    member: int
    """The member that it concerns; 0: none in particular."""
    interval_s: float
    until: float


class Timers:
    """A heap; what has become pointless meanwhile is dropped when its time comes."""

    def __init__(self) -> None:
        self._heap: list[Due] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, at: float, task: Task, key: int, member: int = 0) -> None:
        """Once, at that time."""
        self._push(Due(at, self._next(), task, key, member, 0.0, 0.0))

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
