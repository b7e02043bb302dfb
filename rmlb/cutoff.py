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

NEIGHBOUR_S: Final = 3.0
"""Members come back so far apart: with the carrier the kernel has lost the addresses of its
neighbours, and asks for each once a second."""


class CutOff:
    """All members."""

    def __init__(self, fault: Callable[[str], str | None]) -> None:
        """`fault` says what is wrong with our own way to an address; None: nothing."""
        self._fault = fault
        self._seen: dict[int, tuple[float, str]] = {}
        self._blamed: set[int] = set()
        self._answering: set[int] = set()
        """Of these, who answers again and is not in service yet."""
        self._excused: set[int] = set()
        self._excused_at = 0.0
        """When the newest one was."""
        self._answered_at: float | None = None
        """When the first member of all did since."""

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
        self._answering.discard(member)
        if all(self._is_cut(each, now) for each in pool):
            self._excused.add(member)
            self._excused_at, self._answered_at = now, None
        return self._seen[member][1]

    def answered(self, member: int, sent_at: float, now: float, *, serves: bool) -> None:
        """Its newest probe, sent then, was: its way is whole, and so may be the others'. One that
        was sent before the cut says nothing. `serves`: it is not out of service."""
        if sent_at > self._excused_at:
            self._answered_at = self._answered_at or now
        if member in self._seen and sent_at <= self._seen[member][0]:
            return
        self._seen.pop(member, None)
        if serves:
            for each in (self._blamed, self._answering, self._excused):
                each.discard(member)
        elif member in self._blamed:
            self._answering.add(member)

    def silent(self, member: int) -> None:
        """Its newest probe was not answered."""
        self._answering.discard(member)

    def excused(self, patience_s: float, now: float) -> frozenset[int]:
        """Out of service, and no loss. Who has not answered `patience_s` after the first of all
        members did is excused no more."""
        patience_s = max(patience_s, NEIGHBOUR_S)
        if self._answered_at is not None and now - self._answered_at > patience_s:
            self._excused &= self._answering
        return frozenset(self._excused)

    def overdue(self, now: float) -> list[int]:
        """Still silent though their way is whole again; each is named once."""
        silent = self._blamed - self._answering
        found = [each for each in silent if not self._is_cut(each, now)]
        self._blamed.difference_update(found)
        self._excused.difference_update(found)
        return sorted(found)

    def _is_cut(self, member: int, now: float) -> bool:
        return member in self._seen and now - self._seen[member][0] <= MENDED_S
