"""The election: who of two or more balancers owns the VIP. PURE: `handle(event, now)` -> actions.

The rules, their theory and where each is carried out: vip.rules. Here events come in and actions
go out; what is known, how long the owner may forward, when a standby may own and to whom an owner
yields are modules of their own. Knows no sockets, keys, addresses or Redis: vip.advert writes the
`Beat`, vip.lease does compare-and-set, vip.holding carries out actions and puts `deadline` where
the packet path reads it.
"""

from __future__ import annotations

from typing import Final

from rmlb.vip import rules, yielding
from rmlb.vip.ballot import (
    Action,
    Announce,
    Answer,
    Beat,
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
from rmlb.vip.candidacy import Accede, Candidacy
from rmlb.vip.knowledge import Evidence, Knowledge, Peer
from rmlb.vip.tenure import Tenure
from rmlb.vip.yielding import Handing

TOLD_S: Final = 1.0
"""A takeover that was asked for has so long, or rules.PATIENCE intervals."""


class Election:
    """One balancer's part in it."""

    def __init__(self, settings: Settings, now: float) -> None:
        self.settings = settings
        self.now = now
        """Time of the newest event."""
        self.owner = False
        self.known = Knowledge(settings, now)
        self._tenure = Tenure(self.known)
        self._candidacy = Candidacy(self.known, told_to=settings.started)
        self._beat_at = now
        self._read_at = now
        self._left = False
        self._witness_told = True
        """What was told last: it is seen."""
        self._handing: Handing | None = None
        self._wanted_until: float | None = None
        """A takeover that was asked for fails then."""
        self._out: list[Action] = []

    @property
    def n(self) -> int:
        """Of the newest heartbeat sent."""
        return self.known.n

    @property
    def deadline(self) -> float:
        """The owner may forward until then."""
        return self._tenure.deadline

    @property
    def free_until(self) -> float:
        """The deadline as far as it needed no confirmation."""
        return self._tenure.free_until

    @property
    def candidate(self) -> bool:
        """Could own, if it came to that."""
        return self._candidacy.stands

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
            self._candidacy.claiming = False
        elif isinstance(event, Health):
            self._on_health(event, now)
        elif isinstance(event, Strangers):
            self._on_strangers(event.clean, now)
        else:
            self._on_command(event, now)
        return self._out

    def beat_for(self, receiver: int, send: Send, now: float) -> Beat:
        """The heartbeat to that balancer (0: not heard yet)."""
        known = self.known
        peer = known.peers.get(receiver)
        blind = known.is_blind(now)
        return Beat(
            sender=self.settings.id,
            epoch=known.epoch,
            n=known.n,
            heard=peer.beat.n if peer is not None else 0,
            owner=self.owner,
            ready=self.candidate,
            score=known.health.score,
            blind=blind,
            both_blind=blind and peer is not None and peer.beat.blind,
            alone=self._tenure.alone,
            claiming=self._candidacy.claiming,
            goodbye=send.goodbye or self._left,
            wants=send.wants,
            release=send.release,
            heir=send.heir,
        )

    def last_will(self) -> tuple[int, Send] | None:
        """The release that the worker sends should this process die: heir and what; or None."""
        if not self.owner:
            return None
        heir = yielding.heir(self.known, self.now)
        to = heir.id if heir is not None else 0
        return to, Send(to or None, release=True, heir=to)

    def wake_at(self, now: float) -> float:
        """When the next `Tick` is due."""
        if self.owner:
            return min(self._beat_at, self.deadline)
        at = min(self._beat_at, self._read_at)
        evidence = self.known.evidence
        if evidence is not None and self.candidate:
            due = evidence.at + self._candidacy.wait_s(evidence, now)
            if due > now:
                at = min(at, due)
        return at

    # -- time -----------------------------------------------------------------------------------

    def _look_at_deadline(self, now: float) -> None:
        """First of all, whatever happened: is it still ours? And were we away ourselves?"""
        gap, self.now = now - self.now, now
        if self.owner and now >= self.deadline:
            self._lose("nobody confirmed it in time", now)
        if gap > 2 * self.settings.interval_s:
            self.known.was_away(now)
            self._candidacy.begin_anew()

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
        self._send(Send(), now)
        if not self.owner:
            return
        if self._tenure.alone:
            self._out.append(ReadRecord())
        elif self.settings.witness:
            self._out.append(self._tenure.renewal(now))
        self._confirm(now)

    def _send(self, what: Send, now: float) -> None:
        """With a heartbeat's number of its own."""
        self.known.count(now)
        self._out.append(what)

    def _look_at_peers(self, now: float) -> None:
        for peer in self.known.peers.values():
            silent = now - peer.heard_at > rules.CLAIM * self.settings.interval_s
            if peer.votes and silent and not peer.lost:
                peer.lost = True
                self._tell("peer-lost", {"peer": peer.id}, grave=True)

    def _look_at_witness(self, now: float) -> None:
        seen = not self.known.is_blind(now)
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

    # -- owning and letting go ------------------------------------------------------------------

    def _become(
        self, epoch: int, sent_at: float, why: str, now: float, alone: bool = False
    ) -> None:
        """Own from now on; the first deadline counts from the claim's send time."""
        known = self.known
        self.owner, known.epoch = True, epoch
        self._candidacy.claiming = False
        self._candidacy.begin_anew()
        known.seen_owner = True
        known.evidence = None
        for peer in known.peers.values():
            peer.better = 0
            peer.confirmed = 0
        self._tenure.begin(sent_at, alone)
        self._out.append(Own(epoch, why))
        self._beat_at = now + self.settings.interval_s
        self._beat(now)
        if self._wanted_until is not None:
            self._wanted_until = None
            self._out.append(Answer(True))

    def _confirm(self, now: float) -> None:
        """The owner may forward as long as what is confirmed allows."""
        alone = self._tenure.alone
        self._tenure.confirm(now)
        if self._tenure.alone and not alone:
            self._tell_alone()

    def _lose(self, why: str, now: float, finish: bool = False) -> None:
        known = self.known
        self.owner = False
        self._tenure.end()
        self._candidacy.begin_anew()
        handing, self._handing = self._handing, None
        known.evidence = Evidence(self.settings.id, known.epoch, known.n, now, lapsed=not finish)
        self._out.append(LetGo(why, finish))
        if handing is not None and handing.asked and not finish:
            self._out.append(Answer(False, why))

    def _let_go(self, heir: int, why: str, now: float) -> None:
        """Let go for somebody; the release is sent after the VIP is gone."""
        epoch, n = self.known.epoch, self.known.n
        self._lose(why, now, finish=True)
        evidence = self.known.evidence
        assert evidence is not None
        evidence.released, evidence.heir = True, heir
        self._out.append(Send(None, release=True, heir=heir))
        if self.settings.witness:
            self._out.append(GiveBack(epoch, n))

    def _consider_claiming(self, now: float) -> None:
        step = None if self.owner else self._candidacy.step(now)
        if isinstance(step, Accede):
            self._become(self.known.epoch + 1, now, step.why, now, step.alone)
            if step.alone:
                self._tell_alone()
        elif step is not None:
            self._out.append(step)

    def _consider_yielding(self, now: float) -> None:
        if self._handing is not None:
            return
        if not self.known.health.ready:
            heir = yielding.heir(self.known, now)
            if heir is not None:
                self._let_go(heir.id, "the worker stands still", now)
            return
        if self._candidacy.stopping:  # nobody was ready when it was told to
            heir = yielding.heir(self.known, now)
            if heir is not None:
                self._hand_over(heir.id, False, "it stops", now)
            return
        found = yielding.better(self.known, now)
        if found is not None:
            peer, why = found
            self._hand_over(peer.id, False, f"{why}: {peer.beat.score}", now)

    def _hand_over(self, to: int, asked: bool, why: str, now: float) -> None:
        self._handing = yielding.begin(self.known, to, asked, why, now)
        self._out.append(Send(to))

    # -- the others -----------------------------------------------------------------------------

    def _on_heard(self, beat: Beat, verified: bool, now: float) -> None:
        known = self.known
        if beat.sender == self.settings.id:
            return
        if not verified:
            # Maybe a replay: it proves nothing, but while it comes nobody claims past it.
            stranger = beat.sender not in known.peers
            if stranger and beat.owner and known.evidence is None and not self.owner:
                self._candidacy.begin_anew()
            return
        peer = self._meet(beat, now)
        if beat.release:
            self._on_release(beat, now)
        elif beat.owner:
            self._on_owner(peer, beat, now)
        if beat.heard in known.sent:
            self._tenure.alone = False
        if self.owner:
            self._confirm(now)
            self._on_request(peer, beat, now)
            if self._handing is None:
                self._consider_yielding(now)
        elif not beat.owner:
            known.learn_no_owner(beat)
        if not self.owner:
            known.epoch = max(known.epoch, beat.epoch)

    def _meet(self, beat: Beat, now: float) -> Peer:
        """The balancer whose heartbeat this is; that it came, returned or left is told."""
        known = self.known
        peer = known.peers.get(beat.sender)
        if peer is None:
            peer = known.peers[beat.sender] = Peer(beat.sender, now, beat)
            self._tell("peer-back", {"peer": peer.id})
        elif peer.lost or (peer.beat.goodbye and not beat.goodbye):
            self._tell("peer-back", {"peer": peer.id})
        if beat.goodbye and not peer.beat.goodbye:
            self._tell("peer-left", {"peer": peer.id})
        peer.lost = False
        peer.beat, peer.heard_at = beat, now
        peer.confirmed = beat.heard
        peer.agreed = beat.both_blind and known.is_blind(now)
        known.compare_score(peer, beat)
        return peer

    def _on_request(self, peer: Peer, beat: Beat, now: float) -> None:
        handing = self._handing
        if handing is not None and handing.is_confirmed_by(beat):
            if beat.ready:
                if handing.asked:
                    self._out.append(Answer(True))
                self._let_go(peer.id, handing.why, now)
        elif beat.wants and beat.ready and handing is None:
            self._hand_over(peer.id, False, "it was told to take over", now)

    def _on_owner(self, peer: Peer, beat: Beat, now: float) -> None:
        known = self.known
        if self.owner:
            theirs = (not beat.alone, beat.epoch, beat.sender)
            if theirs <= (not self._tenure.alone, known.epoch, self.settings.id):
                self._out += (Announce(), Send(peer.id))
                self._tell("two-owners", {"peer": peer.id}, grave=True)
                return
            self._lose(f"balancer {beat.sender} owns it by a better claim", now)
            known.evidence = None
        before = known.evidence
        if known.learn_owner(beat, now):
            if before is None or before.owner != beat.sender:
                self._tell("owner-known", {"owner": beat.sender})
            self._candidacy.claiming = False
            # answered at once: the owner is confirmed within a round trip
            self._beat_at = now + 1.2 * self.settings.interval_s
            self._send(Send(), now)
            self._look_at_peers(now)

    def _on_release(self, beat: Beat, now: float) -> None:
        known = self.known
        if self.owner or not known.learn_release(beat, now):
            return
        mine = beat.heir == self.settings.id and self.settings.others == 1
        if mine and known.is_fresh(beat, now) and self.candidate:
            self._become(known.epoch + 1, now, f"balancer {beat.sender} released it", now)
        else:
            self._consider_claiming(now)

    # -- the witness ----------------------------------------------------------------------------

    def _answered(self, record: Record | None, asked_at: float, now: float) -> None:
        self.known.learn_answer(record, asked_at, now)
        if record is not None and not self.owner:
            self.known.epoch = max(self.known.epoch, record.epoch)

    def _on_renewed(self, event: Renewed, now: float) -> None:
        record = event.record
        self._answered(record, event.asked_at, now)
        if not self.owner:
            self.known.learn_record(record, now)
        elif event.taken:
            self._tenure.renewed(event, now)
        elif record is not None and record.epoch >= self.known.epoch:
            self._lose(f"balancer {record.owner} has claimed it", now)
            self.known.learn_record(record, now)

    def _on_read(self, event: Read, now: float) -> None:
        known, record = self.known, event.record
        before = known.record if known.record_known else None
        self._answered(record, event.asked_at, now)
        if not self.owner:
            known.learn_record(record, now)
            self._consider_claiming(now)
        elif self._tenure.alone and not self._tenure.end_solitude(record, before, now):
            assert record is not None
            self._lose(f"balancer {record.owner} holds the lease", now)
            known.evidence = None
            known.learn_record(record, now)

    def _on_claimed(self, event: Claimed, now: float) -> None:
        known = self.known
        self._answered(event.record, event.asked_at, now)
        self._candidacy.claiming = False
        if self.owner:
            return
        evidence = known.evidence
        newest = (evidence.epoch, evidence.owner) if evidence is not None else (0, 0)
        if event.taken and (event.epoch, self.settings.id) >= newest:
            in_time = now < event.asked_at + rules.HOLD * self.settings.interval_s
            if in_time and self.candidate:
                self._become(event.epoch, event.asked_at, "claimed in the witness", now)
                return
            known.evidence = Evidence(self.settings.id, event.epoch, known.n, now)
        known.learn_record(event.record, now)

    # -- health, strangers and commands ---------------------------------------------------------

    def _on_health(self, event: Health, now: float) -> None:
        was_ready, self.known.health = self.known.health.ready, event
        better = event.ready and not was_ready
        if better:  # the others must know before they need us
            self._beat(now)
        if self.owner and was_ready and not event.ready:
            self._consider_yielding(now)
        elif not self.owner and better:
            self._consider_claiming(now)

    def _on_strangers(self, clean: bool, now: float) -> None:
        self._candidacy.checked(clean, now)
        if not clean:
            self._tell("stranger-on-vip", {"why": "somebody else answers for it"}, grave=True)
        elif not self.owner:
            self._consider_claiming(now)

    def _on_command(self, event: Takeover | Release | Stop | Farewell, now: float) -> None:
        if isinstance(event, Farewell):
            self._left = self._candidacy.stopping = True
            if self.owner:
                self._let_go(0, "it stops", now)
            self._send(Send(goodbye=True), now)
        elif isinstance(event, Takeover):
            self._take_over(now)
        elif not self.owner:
            self._candidacy.stopping |= isinstance(event, Stop)
            self._out.append(Answer(False, "this balancer does not own it"))
        else:
            self._give_up(event, now)

    def _take_over(self, now: float) -> None:
        self._candidacy.told_to = True
        if self.owner:
            self._out.append(Answer(True))
            return
        if not self.candidate:
            self._out.append(Answer(False, "this balancer is not ready"))
            return
        self._wanted_until = now + max(rules.PATIENCE * self.settings.interval_s, TOLD_S)
        owner = self.known.owner_heard(now)
        if owner is not None:
            self._send(Send(owner.id, wants=True), now)
        else:
            self._consider_claiming(now)

    def _give_up(self, event: Release | Stop, now: float) -> None:
        heir = yielding.heir(self.known, now)
        if isinstance(event, Stop):
            self._candidacy.stopping = True
        if heir is not None:
            why = "it stops" if isinstance(event, Stop) else "it was told to release it"
            self._hand_over(heir.id, True, why, now)
        elif isinstance(event, Release) and event.force:
            self._candidacy.told_to = self.known.seen_owner = False
            self._let_go(0, "it was told to release it, forced", now)
            self._out.append(Answer(True))
        else:
            self._out.append(Answer(False, "no other balancer is ready to take over"))

    def _why_not(self, now: float) -> str:
        owner = self.known.owner_heard(now)
        if owner is not None:
            return f"balancer {owner.id} does not hand over"
        if self.known.is_blind(now) and self.settings.witness:
            return "no witness, and the others have not agreed to do without"
        return "waits until it is certain that nobody else owns it"

    def _tell_alone(self) -> None:
        self._tell("alone", {"why": "neither peer nor witness"}, grave=True)

    def _tell(self, what: str, fields: dict[str, int | float | str], grave: bool = False) -> None:
        self._out.append(Tell(what, fields, grave))
