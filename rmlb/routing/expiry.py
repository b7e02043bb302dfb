"""When remembered things are due, in buckets of one second. `now` is a parameter.

A refresh that moves a time later costs nothing: the thing is looked at when its old bucket
comes up, and put into a later one then. So traffic can refresh on every message.
"""

from __future__ import annotations

from collections import defaultdict


class ExpiryBuckets:
    """Integer keys by the second in which to look at them."""

    __slots__ = ("_buckets", "_next")

    def __init__(self) -> None:
        self._buckets: defaultdict[int, list[int]] = defaultdict(list)
        self._next: int | None = None

    def put(self, key: int, at: float) -> int:
        """Look at `key` in the second after `at`; returns that second."""
        second = int(at) + 1
        if self._next is not None and second < self._next:
            second = self._next
        self._buckets[second].append(key)
        return second

    def due(self, now: float) -> list[tuple[int, int]]:
        """Every (key, second) whose second has come; each is given once."""
        last = int(now)
        first = self._next if self._next is not None else min(self._buckets, default=last)
        self._next = last + 1
        if last < first:
            return []
        if last - first > len(self._buckets):  # a long pause: visit what exists, not each second
            seconds = sorted(s for s in self._buckets if s <= last)
        else:
            seconds = [s for s in range(first, last + 1) if s in self._buckets]
        return [(key, second) for second in seconds for key in self._buckets.pop(second)]
