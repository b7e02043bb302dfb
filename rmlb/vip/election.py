"""The election: who of two or more balancers owns the VIP. PURE: `handle(event, now)` -> actions.

Rules
-----
I is the heartbeat interval. `now` is seconds of CLOCK_BOOTTIME. Everybody counts own heartbeats
(n). An ownership has an epoch; each claim makes a larger one.

1.  The owner sends heartbeat n to all, then renews the lease with n. It may forward until 2.5 I
    after the *send* time of the newest n that the witness, or every other balancer, confirmed.
2.  A standby whose newest evidence of the owner is n, seen at t, claims at t + 3 I by
    compare-and-set in the witness: same owner, same epoch, stored n not larger than seen n.
3.  A balancer that said goodbye neither votes nor claims.
4.  Without a witness (none configured, or both sides have heard each other say so for 3 I):
    as VRRP. The owner confirms itself, a standby claims at t + 3 I without asking. A partition
    may give two owners; when they hear each other the lower epoch, then the lower ID, lets go.
5.  A missing record is written at once by the owner alone; by others when every other balancer is
    heard (none owns), has said goodbye or has been silent for `lone`.
6.  An owner whose peers have been silent for `lone` records that. Such a record is claimed after
    `lone` instead of 3 I; the owner may forward for 0.8 `lone` on it, and then, with
    `alone = keep`, goes on alone.
7.  A release names the heir. Where there are two balancers a fresh one is as good as a claim.

Theory
------
Why not two owners while the witness is reachable: let a standby claim with seen n. Had the
witness confirmed a larger n, its stored n is larger and the claim fails. Had every other balancer
confirmed a larger n, this one has seen it. So the owner's newest confirmed heartbeat is at most n,
sent before t, and its deadline lies before t + 2.5 I. Half an interval is left for drift
(200 ppm of 3 I is nothing), for the owner's own page and for the frames under way.

A release is fresh if it echoes a heartbeat of ours sent less than 2.5 I ago; who released claims
again at the earliest 3 I later. A balancer that was held up itself takes nobody for silent: its
clock of evidence starts anew; its deadline as an owner does not, that is looked at first.

Where the table ends
--------------------
The election knows no sockets, keys, addresses or Redis. vip.advert writes the `Beat`, vip.lease
does compare-and-set, the keeper carries out actions and puts `deadline` where the packet path
reads it. Whoever changes a factor here (2.5, 3, 0.8) changes the theory above.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rmlb.vip.ballot import (
    Action,
    Announce,
    Answer,
    Beat,
    CheckStrangers,
    Claim,
    Claimed,
    Event,
    Farewell,
    GiveBack,
    Health,
    Heard,
    LetGo,
    Own,
    Read,
    ReadRecord,
    Record,
    Release,
    Renew,
    Renewed,
    Send,
    Settings,
    Stop,
    Strangers,
    Takeover,
    Tell,
    Tick,
    Unanswered,
)

HOLD: Final = 2.5
"""Intervals that the owner may forward after a confirmed heartbeat was sent."""

CLAIM: Final = 3.0
"""Intervals without new evidence after which a standby claims."""

LONE_SHARE: Final = 0.8
"""Part of `lone` for which a record that says so is relied on: HOLD to CLAIM, about."""

HEARD: Final = 2.5
"""Intervals after which a balancer is not heard "now" any more."""

TICKS: Final = 3
"""Heartbeats in a row with a better score upon which the owner yields."""

PATIENCE: Final = 10.0
"""Intervals that the best candidate has before the next one claims; and for `preempt`."""

_KEPT: Final = 64
"""Send times kept: more heartbeats than can be under way."""


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
    """Heartbeats in a row with a better score than ours."""
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
class _Handing:
    """A hand-over that waits for the heir's yes."""

    to: int
    n: int
    until: float
    asked: bool
    """Somebody waits for an answer."""
    why: str


@dataclass(slots=True)
class Election:
    """One balancer's part in it."""

    settings: Settings
    now: float
    """Time of the newest event."""
    owner: bool = False
    epoch: int = 0
    """The newest epoch known; the owner's own."""
    n: int = 0
    """Of the newest heartbeat sent."""
    deadline: float = 0.0
    """The owner may forward until then."""
    ready: bool = False
    score: int = 0
    free_until: float = 0.0
    """The deadline as far as it needed no confirmation: as VRRP, alone, nobody else votes."""
    alone: bool = False
    """Owner without peer and witness, by `alone = keep`."""
    peers: dict[int, Peer] = field(default_factory=dict)
    evidence: Evidence | None = None
    record: Record | None = None
    sent: dict[int, float] = field(default_factory=dict)
    _beat_at: float = 0.0
    _read_at: float = 0.0
    _started_at: float = 0.0
    _told_to: bool = True
    """May claim: started, told to, or has seen an owner."""
    _seen_owner: bool = False
    _stopping: bool = False
    _left: bool = False
    _answered_at: float = 0.0
    """Send time of the newest request that the witness answered."""
    _record_known: bool = False
    _record_at: float = 0.0
    """When the record was seen to change."""
    _witness_told: bool = True
    _lone_since: float | None = None
    """The lone record was first written at."""
    _lone_asked: bool = False
    _claiming: float | None = None
    _handing: _Handing | None = None
    _wanted_until: float | None = None
    _clear_since: float | None = None
    _checking: bool = False
    _clean_at: float | None = None
    _out: list[Action] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._started_at = self._beat_at = self._read_at = self.now
        self._answered_at = self.now
        self._told_to = self.settings.started

    # -- what it says ---------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take an event in; what is to be done. Never raises."""
        self._out = []
        self._look_at_deadline(now)
        if isinstance(event, Tick):
            self._on_tick(now)
        elif isinstance(event, Heard):
            self._on_heard(event.beat, event.verified, now)
        elif isinstance(event, Renewed):
            self._on_renewed(event, now)
        elif isinstance(event, Read):
            self._on_read(event, now)
        elif isinstance(event, Claimed):
            self._on_claimed(event, now)
        elif isinstance(event, Unanswered):
            self._claiming = None
        elif isinstance(event, Health):
            self._on_health(event, now)
        elif isinstance(event, Strangers):
            self._on_strangers(event.clean, now)
        else:
            self._on_command(event, now)
        return self._out

    def beat_for(self, receiver: int, send: Send, now: float) -> Beat:
        """The heartbeat to that balancer (0: not heard yet)."""
        peer = self.peers.get(receiver)
        blind = self.blind(now)
        return Beat(
            sender=self.settings.id,
            epoch=self.epoch,
            n=self.n,
            heard=peer.beat.n if peer is not None else 0,
            owner=self.owner,
            ready=self.candidate,
            score=self.score,
            blind=blind,
            both_blind=blind and peer is not None and peer.beat.blind,
            alone=self.alone,
            claiming=self._claiming is not None,
            goodbye=send.goodbye or self._left,
            wants=send.wants,
            release=send.release,
            heir=send.heir,
        )

    def last_will(self) -> tuple[int, Send] | None:
        """The release that the worker sends should this process die: heir and what; or None."""
        if not self.owner:
            return None
        heir = self._heir(self.now)
        to = heir.id if heir is not None else 0
        return to, Send(to or None, release=True, heir=to)

    @property
    def candidate(self) -> bool:
        """Could own, if it came to that."""
        return self.ready and not self._stopping and (self._told_to or self._seen_owner)

    def wake_at(self, now: float) -> float:
        """When the next `Tick` is due."""
        at = min(self._beat_at, self.deadline) if self.owner else min(self._beat_at, self._read_at)
        known = self.evidence
        if not self.owner and known is not None and self.candidate:
            due = known.at + self._wait(known)
            if due > now:
                at = min(at, due)
        return at

    def blind(self, now: float) -> bool:
        """No witness, for 3 I."""
        if not self.settings.witness:
            return True
        return now - self._answered_at > max(
            CLAIM * self.settings.interval_s, self.settings.blind_s
        )

    def hears(self, peer: Peer, now: float) -> bool:
        """It was heard just now, and has not said goodbye."""
        return peer.votes and now - peer.heard_at <= HEARD * self.settings.interval_s

    # -- time -----------------------------------------------------------------------------------

    def _look_at_deadline(self, now: float) -> None:
        """First of all, whatever happened: is it still ours? And were we away ourselves?"""
        gap, self.now = now - self.now, now
        if self.owner and now >= self.deadline:
            self._lose("nobody confirmed it in time", now)
        if gap > 2 * self.settings.interval_s:
            for peer in self.peers.values():
                if not peer.lost:
                    peer.heard_at = now
            if self.evidence is not None:
                self.evidence.at = now
            self._clear_since = None

    def _on_tick(self, now: float) -> None:
        interval = self.settings.interval_s
        if now >= self._beat_at:
            self._beat_at = max(self._beat_at + interval, now + interval / 2)
            self._beat(now)
            self._look_at_peers(now)
        if now >= self._read_at:
            self._read_at = max(self._read_at + interval, now + interval / 2)
            if self.settings.witness and not self.owner:
                self._out.append(ReadRecord())
        self._look_at_witness(now)
        self._look_at_commands(now)
        if self.owner:
            self._consider_yielding(now)
        else:
            self._consider_claiming(now)

    def _beat(self, now: float) -> None:
        """One more heartbeat to all; the owner renews the lease with it."""
        self._count(now)
        self._out.append(Send())
        if not self.owner:
            return
        if self.alone:
            self._out.append(ReadRecord())
        elif self.settings.witness:
            lone = self._is_lone(now)
            if self._lone_asked and not lone:  # from here on others may claim after 3 I again
                self.deadline = min(self.deadline, now + HOLD * self.settings.interval_s)
            if not lone:
                self._lone_since = None
            self._lone_asked = lone
            self._out.append(Renew(self.epoch, self.n, lone))
        self._confirm(now)

    def _count(self, now: float) -> None:
        self.n += 1
        self.sent[self.n] = now
        if len(self.sent) > _KEPT:
            del self.sent[next(iter(self.sent))]

    def _look_at_peers(self, now: float) -> None:
        for peer in self.peers.values():
            silent = now - peer.heard_at > CLAIM * self.settings.interval_s
            if peer.votes and silent and not peer.lost:
                peer.lost = True
                self._tell("peer-lost", {"peer": peer.id}, grave=True)

    def _look_at_witness(self, now: float) -> None:
        seen = not self.blind(now)
        if self.settings.witness and seen is not self._witness_told:
            self._witness_told = seen
            self._tell("witness-back" if seen else "witness-lost", {}, grave=not seen)

    def _look_at_commands(self, now: float) -> None:
        handing = self._handing
        if handing is not None and now >= handing.until:
            self._handing = None
            if handing.asked:
                self._out.append(Answer(False, f"balancer {handing.to} does not confirm"))
        if self._wanted_until is not None and now >= self._wanted_until:
            self._wanted_until = None
            self._out.append(Answer(False, self._why_not(now)))

    # -- the owner ------------------------------------------------------------------------------

    def _confirm(self, now: float) -> None:
        """Move the deadline as far as the newest confirmed heartbeat allows."""
        hold = HOLD * self.settings.interval_s
        if self._confirms_itself(now):
            self.free_until = self.deadline = max(self.deadline, self.sent[self.n] + hold)
            return
        voters = [peer for peer in self.peers.values() if peer.votes]
        silent = self.settings.others - len(self.peers)
        if silent > 0 or not voters:
            return
        confirmed = min(peer.confirmed for peer in voters)
        if confirmed in self.sent:
            self.deadline = max(self.deadline, self.sent[confirmed] + hold)

    def _confirms_itself(self, now: float) -> bool:
        """Nobody is left to confirm: all said goodbye, as VRRP, or alone by configuration."""
        if not self.settings.witness:
            return True
        if len(self.peers) >= self.settings.others and not any(
            peer.votes for peer in self.peers.values()
        ):
            return True
        if not self.blind(now):
            return False
        if self.alone or self._agreed():
            return True
        lone = self._lone_since is not None and self.settings.alone_keep
        if lone and now >= self.deadline - 2 * self.settings.interval_s:
            self.alone = True
            self._tell("alone", {"why": "neither peer nor witness"}, grave=True)
            return True
        return False

    def _agreed(self) -> bool:
        """All that vote are without a witness, and each knows it of the other."""
        if not self.settings.witness:
            return True
        voters = [peer for peer in self.peers.values() if peer.votes]
        if self.settings.others > 1:  # one that is gone does not keep two from agreeing
            voters = [p for p in voters if self.now - p.heard_at < self.settings.lone_s]
        enough = len(self.peers) >= self.settings.others
        return enough and bool(voters) and all(peer.agreed for peer in voters)

    def _is_lone(self, now: float) -> bool:
        """Some other balancer has not said goodbye, and all such have been silent for `lone`."""
        since = [peer.heard_at for peer in self.peers.values() if peer.votes]
        if len(self.peers) < self.settings.others:
            since.append(self._started_at)
        return bool(since) and now - max(since) >= self.settings.lone_s

    def _on_renewed(self, event: Renewed, now: float) -> None:
        self._answered(event.record, event.asked_at)
        if not self.owner:
            self._learn(event.record, now)
            return
        if event.taken:
            self.alone = False
            if event.n in self.sent:
                interval, lone = self.settings.interval_s, event.record and event.record.lone
                span = HOLD * interval
                if lone and self._lone_asked:
                    span = max(span, LONE_SHARE * self.settings.lone_s)
                    self._lone_since = self._lone_since or now
                self.deadline = max(self.deadline, self.sent[event.n] + span)
        elif event.record is not None and event.record.epoch >= self.epoch:
            self._lose(f"balancer {event.record.owner} has claimed it", now)
            self._learn(event.record, now)

    def _consider_yielding(self, now: float) -> None:
        if self._handing is not None:
            return
        if not self.ready:
            heir = self._heir(now)
            if heir is not None:
                self._let_go(heir.id, "the worker stands still", now)
            return
        for peer in self.peers.values():
            if not (peer.beat.ready and self.hears(peer, now)):
                continue
            preferred = self.settings.preempt and peer.id > self.settings.id
            if peer.better >= TICKS or (preferred and peer.better <= -int(PATIENCE)):
                why = "its score is higher" if peer.better > 0 else "preempt"
                self._hand_over(peer.id, False, f"{why}: {peer.beat.score}", now)
                return

    def _heir(self, now: float) -> Peer | None:
        """The best one to hand over to."""
        fit = [p for p in self.peers.values() if p.beat.ready and self.hears(p, now)]
        return max(fit, key=lambda peer: (peer.beat.score, peer.id), default=None)

    def _hand_over(self, to: int, asked: bool, why: str, now: float) -> None:
        """Tell the heir one more heartbeat: its answer within a round trip is its yes."""
        self._count(now)
        until = now + max(CLAIM * self.settings.interval_s, 0.1)
        self._handing = _Handing(to, self.n, until, asked, why)
        self._out.append(Send(to))

    def _let_go(self, heir: int, why: str, now: float) -> None:
        """Let go for somebody; the release is sent after the VIP is gone."""
        epoch, n = self.epoch, self.n
        self._lose(why, now, finish=True)
        evidence = self.evidence
        assert evidence is not None
        evidence.released, evidence.heir = True, heir
        self._out.append(Send(None, release=True, heir=heir))
        if self.settings.witness:
            self._out.append(GiveBack(epoch, n))

    def _lose(self, why: str, now: float, finish: bool = False) -> None:
        self.owner = self.alone = False
        self.deadline = 0.0
        self._lone_since, self._lone_asked = None, False
        self._clear_since = None
        handing, self._handing = self._handing, None
        self.evidence = Evidence(self.settings.id, self.epoch, self.n, now, lapsed=not finish)
        self._out.append(LetGo(why, finish))
        if handing is not None and handing.asked and not finish:
            self._out.append(Answer(False, why))

    # -- the others -----------------------------------------------------------------------------

    def _on_heard(self, beat: Beat, verified: bool, now: float) -> None:
        if beat.sender == self.settings.id:
            return
        peer = self.peers.get(beat.sender)
        if not verified:
            # Maybe a replay: it proves nothing, but while it comes nobody claims past it.
            if peer is None and beat.owner and self.evidence is None and not self.owner:
                self._clear_since = None
            return
        if peer is None:
            peer = self.peers[beat.sender] = Peer(beat.sender, now, beat)
            self._tell("peer-back", {"peer": peer.id})
        elif peer.lost or (peer.beat.goodbye and not beat.goodbye):
            self._tell("peer-back", {"peer": peer.id})
        peer.lost = False
        if beat.goodbye and not peer.beat.goodbye:
            self._tell("peer-left", {"peer": peer.id})
        peer.beat, peer.heard_at = beat, now
        peer.confirmed = beat.heard
        peer.agreed = beat.both_blind and self.blind(now)
        self._compare_scores(peer, beat)
        if beat.release:
            self._on_release(beat, now)
        elif beat.owner:
            self._on_owner(peer, beat, now)
        if beat.heard in self.sent:
            self.alone = False
        if self.owner:
            self._confirm(now)
            self._on_request(peer, beat, now)
            if self._handing is None:
                self._consider_yielding(now)
        elif not beat.owner and self.evidence is not None and self.evidence.owner == peer.id:
            self._not_owner_any_more(beat)
        if not self.owner:
            self.epoch = max(self.epoch, beat.epoch)

    def _compare_scores(self, peer: Peer, beat: Beat) -> None:
        if not beat.ready:
            peer.better = 0
        elif beat.score > self.score or not self.ready:
            peer.better = max(1, peer.better + 1)
        else:
            peer.better = min(-1, peer.better - 1) if beat.score == self.score else 0

    def _on_request(self, peer: Peer, beat: Beat, now: float) -> None:
        handing = self._handing
        if handing is not None and handing.to == peer.id and beat.heard >= handing.n:
            if beat.ready:
                if handing.asked:
                    self._out.append(Answer(True))
                self._let_go(peer.id, handing.why, now)
            return
        if beat.wants and beat.ready and handing is None:
            self._hand_over(peer.id, False, "it was told to take over", now)

    def _on_owner(self, peer: Peer, beat: Beat, now: float) -> None:
        if self.owner:
            theirs = (not beat.alone, beat.epoch, beat.sender)
            if theirs > (not self.alone, self.epoch, self.settings.id):
                self._lose(f"balancer {beat.sender} owns it by a better claim", now)
                self.evidence = None
            else:
                self._out += (Announce(), Send(peer.id))
                self._tell("two-owners", {"peer": peer.id}, grave=True)
                return
        self._seen_owner = True
        known = self.evidence
        if known is None or (beat.epoch, beat.n) > (known.epoch, known.n):
            if known is None or known.owner != beat.sender:
                self._tell("owner-known", {"owner": beat.sender})
            same = known is not None and (known.owner, known.epoch) == (beat.sender, beat.epoch)
            lone = known is not None and same and known.lone
            self.evidence = Evidence(beat.sender, beat.epoch, beat.n, now, lone)
            self._claiming = None
            # answered at once: the owner is confirmed within a round trip
            self._count(now)
            self._beat_at = now + 1.2 * self.settings.interval_s
            self._out.append(Send())
            self._look_at_peers(now)

    def _not_owner_any_more(self, beat: Beat) -> None:
        """It lives and does not own: its deadline has passed, and it is no evidence any more."""
        known = self.evidence
        if beat.claiming:
            return
        if known is not None and beat.epoch >= known.epoch and beat.n > known.n:
            known.released, known.n = True, beat.n

    def _on_release(self, beat: Beat, now: float) -> None:
        known = self.evidence
        if self.owner or (known is not None and beat.epoch < known.epoch):
            return
        if known is not None and known.owner != beat.sender and beat.epoch == known.epoch:
            return
        self._seen_owner = True
        fresh = now - self.sent.get(beat.heard, -1e9) <= HOLD * self.settings.interval_s
        self.evidence = Evidence(
            beat.sender, beat.epoch, beat.n, now, released=True, heir=beat.heir
        )
        self.epoch = max(self.epoch, beat.epoch)
        mine = beat.heir == self.settings.id
        if mine and fresh and self.settings.others == 1 and self.candidate:
            self._become(self.epoch + 1, now, f"balancer {beat.sender} released it")
        else:
            self._consider_claiming(now)

    # -- the witness ----------------------------------------------------------------------------

    def _answered(self, record: Record | None, asked_at: float) -> None:
        self._answered_at = max(self._answered_at, asked_at)
        if record != self.record or not self._record_known:
            self._record_at = self.now
        self.record, self._record_known = record, True
        if record is not None:
            self.epoch = max(self.epoch, record.epoch) if not self.owner else self.epoch

    def _on_read(self, event: Read, now: float) -> None:
        before, known = self.record, self._record_known
        self._answered(event.record, event.asked_at)
        if not self.owner:
            self._learn(event.record, now)
            self._consider_claiming(now)
        elif self.alone:
            self._end_solitude(event.record, before if known else None, now)

    def _end_solitude(self, record: Record | None, before: Record | None, now: float) -> None:
        """The witness is back: somebody else's lease that moves is an owner by the rules."""
        if record is None or record.owner == self.settings.id:
            self.alone = False
        elif before is not None and record != before:
            self._lose(f"balancer {record.owner} holds the lease", now)
            self.evidence = None
            self._learn(record, now)
        elif now - self._record_at >= CLAIM * self.settings.interval_s:
            self.alone = False
            self.epoch = max(self.epoch, record.epoch + 1)

    def _learn(self, record: Record | None, now: float) -> None:
        """A record with more than is known is new evidence."""
        known = self.evidence
        if record is None:
            return
        if known is None or (record.epoch, record.n) > (known.epoch, known.n):
            self.evidence = Evidence(*record[:3], now, record.lone, record.released)
            if record.owner != self.settings.id and not record.released:
                self._seen_owner |= known is not None and record.epoch == known.epoch
        elif (record.owner, record.epoch) == (known.owner, known.epoch):
            known.lone = record.lone
            known.released |= record.released and record.n == known.n

    def _on_claimed(self, event: Claimed, now: float) -> None:
        self._answered(event.record, event.asked_at)
        self._claiming = None
        if self.owner:
            return
        hold = HOLD * self.settings.interval_s
        known = self.evidence
        newest = (known.epoch, known.owner) if known is not None else (0, 0)
        if event.taken and (event.epoch, self.settings.id) >= newest:
            if now < event.asked_at + hold and self.candidate:
                self._become(event.epoch, event.asked_at, "claimed in the witness", now)
                return
            self.evidence = Evidence(self.settings.id, event.epoch, self.n, now)
        self._learn(event.record, now)

    # -- claiming -------------------------------------------------------------------------------

    def _consider_claiming(self, now: float) -> None:
        """Every rule by which a balancer may come to own."""
        if not self.candidate or self.owner or self._claiming is not None:
            return
        known = self.evidence
        interval = self.settings.interval_s
        if known is not None and now - known.at < self._wait(known):
            self._clear_since = None
            return
        seen = not self.blind(now) and self._record_known
        if next(self.owners_heard(now), None) is not None:
            return
        if seen and self.record is not None:
            same = known is not None and self.record[:2] == (known.owner, known.epoch)
            if same or now - self._record_at >= CLAIM * interval:
                self._claim(self.record, known, now)
            return
        if known is not None and self._as_vrrp(known, now):
            self._become(self.epoch + 1, now, "the owner is silent, no witness")
            return
        clear = self._is_clear(now, ignore_blind=seen or not self.settings.witness)
        if clear is None:
            self._clear_since = None
            return
        if self._clear_since is None:
            self._clear_since = now
        listened = now - self._started_at >= CLAIM * interval or not self.settings.others
        best = clear or now - self._clear_since > PATIENCE * interval
        if not (listened and best and self._is_clean(known, now)):
            return
        if seen:
            self._claim(None, known, now)
        else:
            lonely = self.settings.others and not any(
                self.hears(peer, now) for peer in self.peers.values()
            )
            self.alone = bool(lonely and self.settings.witness)
            why = "nobody else is there" if lonely else "nobody owns it"
            self._become(self.epoch + 1, now, why)
            if self.alone:
                self._tell("alone", {"why": "neither peer nor witness"}, grave=True)

    def _wait(self, known: Evidence) -> float:
        """How old the evidence must be before anybody may own after it."""
        own = known.owner == self.settings.id
        if known.released:
            heir = known.heir == self.settings.id or not (known.heir or own)
            return 0.0 if heir else CLAIM * self.settings.interval_s
        if known.lapsed and self.record is not None and not self.blind(self.now):
            return 0.0  # compare-and-set tells whether anybody has followed
        lone = known.lone and not own
        return self.settings.lone_s if lone else CLAIM * self.settings.interval_s

    def _as_vrrp(self, known: Evidence, now: float) -> bool:
        """Without a witness: agreed with the owner while it was heard."""
        if not self.blind(now) or not self.settings.others:
            return False
        owner = self.peers.get(known.owner)
        if owner is None:
            return False
        if any(self.hears(peer, now) and peer.beat.owner for peer in self.peers.values()):
            return False
        silent = not self.hears(owner, now) or known.released or not owner.votes
        return silent and self._agreed() and self._is_best(now)

    def _is_clear(self, now: float, ignore_blind: bool) -> bool | None:
        """None: somebody may own. Else whether this balancer is the best candidate."""
        settings = self.settings
        unknown = settings.others - len(self.peers)
        lone = unknown > 0
        heard_at, known = self._started_at, self.evidence
        if known is not None and known.owner != settings.id and not known.released:
            heard_at = max(heard_at, known.at)  # the witness has shown it
        for peer in self.peers.values():
            if self.hears(peer, now):
                if peer.beat.owner:
                    return None
                if not ignore_blind and not peer.agreed:
                    return None
            elif peer.votes:
                lone, heard_at = True, max(heard_at, peer.heard_at)
        if lone and now - heard_at < settings.lone_s:
            return None
        if lone and not (settings.alone_keep or not self.blind(now)):
            return None
        return self._is_best(now)

    def _is_best(self, now: float) -> bool:
        blind = self.blind(now)
        return all(
            peer.id < self.settings.id
            for peer in self.peers.values()
            if self.hears(peer, now) and peer.beat.ready and (blind or not peer.beat.blind)
        )

    def _is_clean(self, known: Evidence | None, now: float) -> bool:
        """At a cold start, and before going it alone: a stranger check that was just clean."""
        if known is not None and self.hears_any(now):
            return True
        if self._clean_at is not None and now - self._clean_at < 2 * self.settings.interval_s:
            return True
        if not self._checking:
            self._checking = True
            self._out.append(CheckStrangers())
        return False

    def hears_any(self, now: float) -> bool:
        return any(self.hears(peer, now) for peer in self.peers.values())

    def _on_strangers(self, clean: bool, now: float) -> None:
        self._checking = False
        self._clean_at = now if clean else None
        if not clean:
            self._tell("stranger-on-vip", {"why": "somebody else answers for it"}, grave=True)
        elif not self.owner:
            self._consider_claiming(now)

    def _claim(self, record: Record | None, known: Evidence | None, now: float) -> None:
        """Ask the witness. What was seen counts only for the epoch it was seen in."""
        expected = record
        if record is not None and known is not None and record.epoch == known.epoch:
            expected = record._replace(n=max(record.n, known.n))
        self._count(now)
        self._claiming = now
        epoch = max(self.epoch, known.epoch if known else 0, record.epoch if record else 0) + 1
        self._out.append(Claim(expected, epoch, self.n))

    def _become(self, epoch: int, sent_at: float, why: str, now: float | None = None) -> None:
        """Own from now on; the first deadline counts from the claim's send time."""
        now = sent_at if now is None else now
        self.owner, self.epoch = True, epoch
        self._claiming = self._clear_since = None
        self._seen_owner = True
        self.evidence = None
        for peer in self.peers.values():
            peer.better = 0
            peer.confirmed = 0
        self.deadline = sent_at + HOLD * self.settings.interval_s
        self._out.append(Own(epoch, why))
        self._beat_at = now + self.settings.interval_s
        self._beat(now)
        if self._wanted_until is not None:
            self._wanted_until = None
            self._out.append(Answer(True))

    # -- health and commands --------------------------------------------------------------------

    def _on_health(self, event: Health, now: float) -> None:
        worse = self.ready and not event.ready
        better = event.ready and not self.ready
        self.ready, self.score = event.ready, event.score
        if better:  # the others must know before they need us
            self._beat(now)
        if self.owner and worse:
            self._consider_yielding(now)
        elif not self.owner and better:
            self._consider_claiming(now)

    def _on_command(self, event: Takeover | Release | Stop | Farewell, now: float) -> None:
        if isinstance(event, Farewell):
            self._left = self._stopping = True
            if self.owner:
                self._let_go(0, "it stops", now)
            self._count(now)
            self._out.append(Send(goodbye=True))
        elif isinstance(event, Takeover):
            self._take_over(now)
        elif not self.owner:
            self._stopping |= isinstance(event, Stop)
            self._out.append(Answer(False, "this balancer does not own it"))
        else:
            self._give_up(event, now)

    def _take_over(self, now: float) -> None:
        self._told_to = True
        if self.owner:
            self._out.append(Answer(True))
            return
        if not self.candidate:
            self._out.append(Answer(False, "this balancer is not ready"))
            return
        self._wanted_until = now + max(PATIENCE * self.settings.interval_s, 1.0)
        owner = self._owner_heard(now)
        if owner is not None:
            self._count(now)
            self._out.append(Send(owner.id, wants=True))
        else:
            self._consider_claiming(now)

    def _give_up(self, event: Release | Stop, now: float) -> None:
        heir = self._heir(now)
        if isinstance(event, Stop):
            self._stopping = True
        if heir is not None:
            why = "it stops" if isinstance(event, Stop) else "it was told to release it"
            self._hand_over(heir.id, True, why, now)
        elif isinstance(event, Release) and event.force:
            self._told_to = self._seen_owner = False
            self._let_go(0, "it was told to release it, forced", now)
            self._out.append(Answer(True))
        else:
            self._out.append(Answer(False, "no other balancer is ready to take over"))

    def _owner_heard(self, now: float) -> Peer | None:
        heard = (p for p in self.peers.values() if p.beat.owner and self.hears(p, now))
        return next(heard, None)

    def _why_not(self, now: float) -> str:
        owner = self._owner_heard(now)
        if owner is not None:
            return f"balancer {owner.id} does not hand over"
        if self.blind(now) and self.settings.witness:
            return "no witness, and the others have not agreed to do without"
        return "waits until it is certain that nobody else owns it"

    def owners_heard(self, now: float) -> Iterator[int]:
        """Balancers heard now that say they own."""
        return (p.id for p in self.peers.values() if p.beat.owner and self.hears(p, now))

    def _tell(self, what: str, fields: dict[str, int | float | str], grave: bool = False) -> None:
        self._out.append(Tell(what, fields, grave))
