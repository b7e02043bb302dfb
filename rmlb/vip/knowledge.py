"""What a balancer knows: of the others, of the owner, of the witness, of its own heartbeats. PURE.

Facts, and what follows from them at a moment. Decides nothing: what is done about it is in
vip.tenure, vip.candidacy, vip.yielding and vip.election.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from rmlb.vip import rules
from rmlb.vip.ballot import Beat, Health, Record, Settings

_KEPT: Final = 64
"""Send times kept: more heartbeats than can be under way."""

_UNFIT: Final = Health(False, 0)
"""Until the worker has started."""


@dataclass(slots=True)
class Peer:
    """Another balancer as its heartbeats tell it."""

    id: int
    heard_at: float
    beat: Beat
    agreed: bool = False
    """It is blind and has heard that we are, and the other way round."""
    confirmed: int = 0
    """Our newest n that it has got."""
    better: int = 0
    """Heartbeats in a row with a better score than ours; below 0: with the same one."""
    lost: bool = False
    """Silent without goodbye, and told."""

    @property
    def votes(self) -> bool:
        return not self.beat.goodbye


@dataclass(slots=True)
class Evidence:
    """The newest that is known of the present owner."""

    owner: int
    epoch: int
    n: int
    at: float
    lone: bool = False
    released: bool = False
    heir: int = 0
    lapsed: bool = False
    """Our own, and its deadline passed: we gave it to nobody."""


@dataclass(slots=True)
class Knowledge:
    """One balancer's."""

    settings: Settings
    started_at: float
    health: Health = _UNFIT
    """Our own."""
    epoch: int = 0
    """The newest one known; the owner's own."""
    n: int = 0
    """Of the newest heartbeat sent."""
    sent: dict[int, float] = field(default_factory=dict)
    """When each of the newest heartbeats was sent."""
    peers: dict[int, Peer] = field(default_factory=dict)
    evidence: Evidence | None = None
    seen_owner: bool = False
    record: Record | None = None
    record_known: bool = False
    record_at: float = 0.0
    """When the record was seen to change."""
    answered_at: float = 0.0
    """Send time of the newest request that the witness answered."""

    def __post_init__(self) -> None:
        self.answered_at = self.started_at

    # own heartbeats

    def count(self, now: float) -> None:
        """One more is sent."""
        self.n += 1
        self.sent[self.n] = now
        if len(self.sent) > _KEPT:
            del self.sent[next(iter(self.sent))]

    def was_away(self, now: float) -> None:
        """Held up ourselves, we take nobody for silent."""
        for peer in self.peers.values():
            if not peer.lost:
                peer.heard_at = now
        if self.evidence is not None:
            self.evidence.at = now

    # the others

    @property
    def all_met(self) -> bool:
        """Every other balancer has been heard once."""
        return len(self.peers) >= self.settings.others

    @property
    def voters(self) -> list[Peer]:
        return [peer for peer in self.peers.values() if peer.votes]

    def hears(self, peer: Peer, now: float) -> bool:
        """It was heard just now, and has not said goodbye."""
        return peer.votes and now - peer.heard_at <= rules.HEARD * self.settings.interval_s

    def heard(self, now: float) -> list[Peer]:
        """All that are heard now."""
        return [peer for peer in self.peers.values() if self.hears(peer, now)]

    def owner_heard(self, now: float) -> Peer | None:
        """One that is heard now and says that it owns."""
        return next((peer for peer in self.heard(now) if peer.beat.owner), None)

    def is_lone(self, now: float) -> bool:
        """Some other balancer has not said goodbye, and all such have been silent for `lone`."""
        since = [peer.heard_at for peer in self.voters]
        if not self.all_met:
            since.append(self.started_at)
        return bool(since) and now - max(since) >= self.settings.lone_s

    def compare_score(self, peer: Peer, beat: Beat) -> None:
        own = self.health
        if not beat.ready:
            peer.better = 0
        elif beat.score > own.score or not own.ready:
            peer.better = max(1, peer.better + 1)
        else:
            peer.better = min(-1, peer.better - 1) if beat.score == own.score else 0

    # the owner

    def learn_owner(self, beat: Beat, now: float) -> bool:
        """An owner's heartbeat; True if it is new evidence."""
        self.seen_owner = True
        known = self.evidence
        if known is not None and (beat.epoch, beat.n) <= (known.epoch, known.n):
            return False
        same = known is not None and (known.owner, known.epoch) == (beat.sender, beat.epoch)
        lone = known is not None and same and known.lone
        self.evidence = Evidence(beat.sender, beat.epoch, beat.n, now, lone)
        return True

    def learn_no_owner(self, beat: Beat) -> None:
        """The owner lives and does not own: its deadline has passed, it is no evidence any more."""
        known = self.evidence
        if known is None or known.owner != beat.sender or beat.claiming:
            return
        if beat.epoch >= known.epoch and beat.n > known.n:
            known.released, known.n = True, beat.n

    def learn_release(self, beat: Beat, now: float) -> bool:
        """Its owner has let go; False if somebody else is known to have owned since."""
        known = self.evidence
        if known is not None and beat.epoch < known.epoch:
            return False
        if known is not None and known.owner != beat.sender and beat.epoch == known.epoch:
            return False
        self.seen_owner = True
        self.evidence = Evidence(
            beat.sender, beat.epoch, beat.n, now, released=True, heir=beat.heir
        )
        self.epoch = max(self.epoch, beat.epoch)
        return True

    def is_fresh(self, beat: Beat, now: float) -> bool:
        """It echoes a heartbeat of ours that was sent less than 2.5 I ago."""
        sent_at = self.sent.get(beat.heard)
        return sent_at is not None and now - sent_at <= rules.HOLD * self.settings.interval_s

    # the witness

    def learn_answer(self, record: Record | None, asked_at: float, now: float) -> None:
        """The witness has answered, and holds this record."""
        self.answered_at = max(self.answered_at, asked_at)
        if record != self.record or not self.record_known:
            self.record_at = now
        self.record, self.record_known = record, True

    def learn_record(self, record: Record | None, now: float) -> None:
        """A record with more than is known is new evidence."""
        known = self.evidence
        if record is None:
            return
        if known is None or (record.epoch, record.n) > (known.epoch, known.n):
            self.evidence = Evidence(*record[:3], now, record.lone, record.released)
            if record.owner != self.settings.id and not record.released:
                self.seen_owner |= known is not None and record.epoch == known.epoch
        elif (record.owner, record.epoch) == (known.owner, known.epoch):
            known.lone = record.lone
            known.released |= record.released and record.n == known.n

    def is_record_still(self, now: float) -> bool:
        """It has not changed for 3 I."""
        return now - self.record_at >= rules.CLAIM * self.settings.interval_s

    def is_blind(self, now: float) -> bool:
        """No witness, for 3 I."""
        if not self.settings.witness:
            return True
        patience_s = max(rules.CLAIM * self.settings.interval_s, self.settings.blind_s)
        return now - self.answered_at > patience_s

    def is_agreed(self, now: float) -> bool:
        """All that vote are without a witness, and each knows it of the other."""
        if not self.settings.witness:
            return True
        voters = self.voters
        if self.settings.others > 1:  # one that is gone does not keep two from agreeing
            voters = [peer for peer in voters if now - peer.heard_at < self.settings.lone_s]
        return self.all_met and bool(voters) and all(peer.agreed for peer in voters)
