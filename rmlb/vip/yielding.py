"""To whom the owner gives the VIP up, and when of its own accord. PURE.

Only a balancer that is heard now and is ready inherits. It is told one more heartbeat; its answer
within a round trip is its yes. Who carries that out is vip.election.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rmlb.vip import rules
from rmlb.vip.ballot import Beat
from rmlb.vip.knowledge import Knowledge, Peer

LEAST_S: Final = 0.1
"""A heir has so long to answer, however short the interval."""


@dataclass(frozen=True, slots=True)
class Handing:
    """A hand-over that waits for the heir's yes."""

    to: int
    n: int
    """Of the heartbeat that it has to echo."""
    until: float
    asked: bool
    """Somebody waits for an answer."""
    why: str

    def is_confirmed_by(self, beat: Beat) -> bool:
        return beat.sender == self.to and beat.heard >= self.n


def begin(known: Knowledge, to: int, asked: bool, why: str, now: float) -> Handing:
    """With a heartbeat of its own, still to be sent to the heir."""
    known.count(now)
    until = now + max(rules.CLAIM * known.settings.interval_s, LEAST_S)
    return Handing(to, known.n, until, asked, why)


def heir(known: Knowledge, now: float) -> Peer | None:
    """The best one to hand over to."""
    return max(_ready(known, now), key=lambda peer: (peer.beat.score, peer.id), default=None)


def better(known: Knowledge, now: float) -> tuple[Peer, str] | None:
    """One that a healthy owner yields to, and why: its score has been higher, or `preempt`."""
    settings = known.settings
    for peer in _ready(known, now):
        preferred = settings.preempt and peer.id > settings.id
        if peer.better >= rules.TICKS or (preferred and peer.better <= -int(rules.PATIENCE)):
            return peer, "its score is higher" if peer.better > 0 else "preempt"
    return None


def _ready(known: Knowledge, now: float) -> list[Peer]:
    return [peer for peer in known.heard(now) if peer.beat.ready]
