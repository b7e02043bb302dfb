"""When a standby may own, and whether it has to ask: every rule by which one comes to own. PURE.

A fresh release is the one way past it (rule 7). Knows nothing of deadlines, of commands or of how
an owner gives way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from rmlb.vip import rules
from rmlb.vip.ballot import CheckStrangers, Claim, Record
from rmlb.vip.knowledge import Evidence, Knowledge


class Accede(NamedTuple):
    """Own at once, without asking the witness."""

    why: str
    alone: bool = False
    """With neither peer nor witness."""


Step = Accede | Claim | CheckStrangers


@dataclass(slots=True)
class Candidacy:
    """One balancer's."""

    known: Knowledge
    told_to: bool
    """May claim: started, or told to."""
    stopping: bool = False
    claiming: bool = False
    """The witness has been asked."""
    _clear_since: float | None = None
    _checking: bool = False
    _clean_at: float | None = None

    @property
    def stands(self) -> bool:
        """It could own, if it came to that."""
        known = self.known
        return known.health.ready and not self.stopping and (self.told_to or known.seen_owner)

    def begin_anew(self) -> None:
        """Somebody may own after all: the others' silence counts from here."""
        self._clear_since = None

    def checked(self, clean: bool, now: float) -> None:
        """The end of a stranger check."""
        self._checking = False
        self._clean_at = now if clean else None

    def wait_s(self, evidence: Evidence, now: float) -> float:
        """How old the evidence must be before anybody may own after it."""
        known = self.known
        claim_s = rules.CLAIM * known.settings.interval_s
        own = evidence.owner == known.settings.id
        if evidence.released:
            heir = evidence.heir == known.settings.id or not (evidence.heir or own)
            return 0.0 if heir and self._has_listened(now) else claim_s
        if evidence.lapsed and known.record is not None and not known.is_blind(now):
            return 0.0  # compare-and-set tells whether anybody has followed
        return known.settings.lone_s if evidence.lone and not own else claim_s

    def step(self, now: float) -> Step | None:
        """For a standby: what it may do now to own."""
        if not self.stands or self.claiming:
            return None
        known, evidence = self.known, self.known.evidence
        if evidence is not None and now - evidence.at < self.wait_s(evidence, now):
            self._clear_since = None
            return None
        if known.owner_heard(now) is not None:
            return None
        asks = not known.is_blind(now) and known.record_known
        if asks and known.record is not None:
            same = evidence is not None and known.record[:2] == (evidence.owner, evidence.epoch)
            return self._claim(known.record, now) if same or known.is_record_still(now) else None
        if evidence is not None and self._is_as_vrrp(evidence, now):
            return Accede("the owner is silent, no witness")
        return self._step_unrecorded(asks, now)

    def _step_unrecorded(self, asks: bool, now: float) -> Step | None:
        """No record says who owns (rule 5)."""
        known, settings = self.known, self.known.settings
        if not self._is_free(now, ignore_blind=asks or not settings.witness):
            self._clear_since = None
            return None
        if self._clear_since is None:
            self._clear_since = now
        best = self._is_best(now) or now - self._clear_since > rules.PATIENCE * settings.interval_s
        listened = (
            now - known.started_at >= rules.CLAIM * settings.interval_s or not settings.others
        )
        if not (listened and best):
            return None
        if not self._is_clean(now):
            if self._checking:
                return None
            self._checking = True
            return CheckStrangers()
        if asks:
            return self._claim(None, now)
        if settings.others and not known.heard(now):
            return Accede("nobody else is there", alone=settings.witness)
        return Accede("nobody owns it")

    def _has_listened(self, now: float) -> bool:
        """Long enough that an owner whom this balancer never confirmed has heard it, or lets go."""
        known = self.known
        return now - known.started_at >= rules.CLAIM * known.settings.interval_s

    def _claim(self, record: Record | None, now: float) -> Claim:
        """Ask the witness. What was seen counts only for the epoch it was seen in."""
        known, evidence = self.known, self.known.evidence
        expected = record
        if record is not None and evidence is not None and record.epoch == evidence.epoch:
            expected = record._replace(n=max(record.n, evidence.n))
        known.count(now)
        self.claiming = True
        seen = (each.epoch for each in (evidence, record) if each is not None)
        return Claim(expected, max(known.epoch, *seen, 0) + 1, known.n)

    def _is_as_vrrp(self, evidence: Evidence, now: float) -> bool:
        """Without a witness: agreed with the owner while it was heard."""
        known = self.known
        owner = known.peers.get(evidence.owner)
        if owner is None or not known.settings.others or not known.is_blind(now):
            return False
        silent = not known.hears(owner, now) or evidence.released or not owner.votes
        return silent and known.is_agreed(now) and self._is_best(now)

    def _is_free(self, now: float, ignore_blind: bool) -> bool:
        """Nobody can own: the others are heard, have said goodbye or are silent for `lone`."""
        known, settings = self.known, self.known.settings
        lone = not known.all_met
        heard_at, evidence = known.started_at, known.evidence
        if evidence is not None and evidence.owner != settings.id and not evidence.released:
            heard_at = max(heard_at, evidence.at)  # the witness has shown it
        for peer in known.peers.values():
            if known.hears(peer, now):
                if not ignore_blind and not peer.agreed:
                    return False
            elif peer.votes:
                lone, heard_at = True, max(heard_at, peer.heard_at)
        if not lone:
            return True
        may_stay = settings.alone_keep or not known.is_blind(now)
        return may_stay and now - heard_at >= settings.lone_s

    def _is_best(self, now: float) -> bool:
        """Of those who could own."""
        blind = self.known.is_blind(now)
        return all(
            peer.id < self.known.settings.id
            for peer in self.known.heard(now)
            if peer.beat.ready and (blind or not peer.beat.blind)
        )

    def _is_clean(self, now: float) -> bool:
        """No stranger has it: an owner was known, or a check was just clean."""
        known = self.known
        if known.evidence is not None and known.heard(now):
            return True
        fresh_s = 2 * known.settings.interval_s
        return self._clean_at is not None and now - self._clean_at < fresh_s
