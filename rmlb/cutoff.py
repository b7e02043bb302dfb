"""Members that only seem to be lost, because this host's own way to them is cut. Pure.

A pulled cable silences every member at once. They are out of service all the same, as nothing
reaches them; but they have not stopped, so nobody is to be called for them: the event says what is
to blame. One that is still silent some time after its way is whole again has stopped after all.
While the ways to all are cut there is nobody either who could take a member's dialogs: it is
excused, and stays their holder (decision 23).

Knows nothing of health checking; what is wrong with a way is handed in. Times are monotonic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

MENDED_S: Final = 35.0
"""A way is whole again only so long after the interface is up: a switch port may carry nothing for
30 s (spanning tree), and probes take a few."""


class CutOff:
    """All members."""

    def __init__(self, fault: Callable[[str], str | None]) -> None:
        """`fault` says what is wrong with our own way to an address; None: nothing."""
        self._fault = fault
        self._seen: dict[int, tuple[float, str]] = {}
        self._blamed: set[int] = set()
        self._excused: set[int] = set()
        self._answered_at: float | None = None
        """When the first one did that had been blamed like the excused ones."""

    def look(self, member: int, hosts: Iterable[str], now: float) -> None:
        """At the ways to its addresses, now and then: are all of them cut?"""
        faults = [self._fault(host) for host in hosts]
        if faults and all(faults):
            self._seen[member] = now, str(faults[0])

    def blame(self, member: int, pool: Iterable[int], now: float) -> str | None:
        """It goes out of service: what is to blame here; None: nothing. `pool`: all members."""
        if not self._is_cut(member, now):
            return None
        self._blamed.add(member)
        if all(self._is_cut(each, now) for each in pool):
            self._excused.add(member)
            self._answered_at = None
        return self._seen[member][1]

    def acquit(self, member: int, now: float) -> None:
        """It answers: its way is whole, and so may be the others'."""
        self._seen.pop(member, None)
        if member in self._blamed:
            self._blamed.discard(member)
            self._excused.discard(member)
            self._answered_at = self._answered_at or now

    def excused(self, patience_s: float, now: float) -> frozenset[int]:
        """Out of service, and no loss. Who has not answered `patience_s` after the first of the
        others did is excused no more."""
        if self._answered_at is not None and now - self._answered_at > patience_s:
            self._excused.clear()
        return frozenset(self._excused)

    def overdue(self, now: float) -> list[int]:
        """Still silent though their way is whole again; each is named once."""
        found = [each for each in self._blamed if not self._is_cut(each, now)]
        self._blamed.difference_update(found)
        self._excused.difference_update(found)
        return sorted(found)

    def _is_cut(self, member: int, now: float) -> bool:
        return member in self._seen and now - self._seen[member][0] <= MENDED_S
