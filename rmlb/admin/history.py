"""The last ten minutes, second by second: what a dashboard that is opened now draws first. Pure.

Totals are kept as they are counted; who draws them makes rates of their differences.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from rmlb.admin.views import Json, MemberView, NodeView
from rmlb.routing.counters import Counters
from rmlb.routing.member import AdminState, Health

MOST_SECONDS: Final = 600
"""Ten minutes: some 200 KiB for two members."""

_HEALTH: Final = {
    Health.IN_SERVICE: "i",
    Health.SUSPECT: "s",
    Health.REFUSING: "r",
    Health.OUT_OF_SERVICE: "o",
}
_ADMIN: Final = {AdminState.ENABLED: "e", AdminState.DRAINING: "d", AdminState.DISABLED: "x"}


class _Sample(NamedTuple):
    health: str
    admin: str
    calls: int
    requests: int
    offered: int
    answered: int
    """2xx."""
    failed: int
    """4xx to 6xx."""
    latency_ms: float | None
    """Of the last health probe."""


class History:
    """Of one balancer."""

    def __init__(self, most: int = MOST_SECONDS) -> None:
        self._most = most
        self._at: deque[float] = deque(maxlen=most)
        self._received: deque[int] = deque(maxlen=most)
        self._members: dict[int, deque[_Sample | None]] = {}

    def add(self, view: NodeView, counters: Counters, at: float) -> None:
        """One second more. `at`: wall clock. A member that has gone is forgotten."""
        before = len(self._at)
        self._at.append(at)
        self._received.append(counters.received.total())
        members = self._members
        self._members = {}
        for each in view.members:
            samples = members.get(each.id)
            if samples is None:
                samples = deque([None] * before, maxlen=self._most)
            samples.append(_sample(each))
            self._members[each.id] = samples

    def as_json(self) -> Json:
        """Columns, oldest first; `null` where a member was not there yet."""
        return {
            "at": [round(at, 1) for at in self._at],
            "received": list(self._received),
            "members": {
                str(number): {
                    "health": "".join("-" if s is None else s.health for s in samples),
                    "admin": "".join("-" if s is None else s.admin for s in samples),
                    **{
                        name: [None if s is None else getattr(s, name) for s in samples]
                        for name in _Sample._fields[2:]
                    },
                }
                for number, samples in self._members.items()
            },
        }


def _sample(member: MemberView) -> _Sample:
    counters = member.counters
    latency = member.probes.last_latency_s
    return _Sample(
        health=_HEALTH[member.health],
        admin=_ADMIN[member.admin_state],
        calls=member.calls,
        requests=counters.requests,
        offered=counters.initial_requests,
        answered=counters.responses[2],
        failed=sum(counters.responses[each] for each in (4, 5, 6)),
        latency_ms=None if latency is None else round(latency * 1000, 3),
    )
