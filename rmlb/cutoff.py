"""Members that only seem to be lost, because this host's own way to them is cut. Pure.

A pulled cable silences every member at once. They are out of service all the same, as nothing
reaches them; but they have not stopped, so nobody is to be called for them: the event says what is
to blame. One that is still silent some time after its way is whole again has stopped after all.
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

    def look(self, member: int, hosts: Iterable[str], now: float) -> None:
        """At the ways to its addresses, now and then: are all of them cut?"""
        faults = [self._fault(host) for host in hosts]
        if faults and all(faults):
            self._seen[member] = now, str(faults[0])

    def blame(self, member: int, now: float) -> str | None:
        """It goes out of service: what is to blame here; None: nothing."""
        if not self._is_cut(member, now):
            return None
        self._blamed.add(member)
        return self._seen[member][1]

    def acquit(self, member: int) -> None:
        """It answers: its way is whole."""
        self._blamed.discard(member)
        self._seen.pop(member, None)

    def overdue(self, now: float) -> list[int]:
        """Still silent though their way is whole again; each is named once."""
        found = [each for each in self._blamed if not self._is_cut(each, now)]
        self._blamed.difference_update(found)
        return sorted(found)

    def _is_cut(self, member: int, now: float) -> bool:
        return member in self._seen and now - self._seen[member][0] <= MENDED_S
