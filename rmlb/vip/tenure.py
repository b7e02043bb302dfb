"""How long the owner may forward: the deadline, and on what it rests. PURE.

Rests on the newest heartbeat that the witness or every other balancer confirmed (rule 1), on
nobody being left to confirm (4), or on a record that says that the peers are gone (6). Knows
nothing of how the VIP came here or where it goes.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmlb.vip import rules
from rmlb.vip.ballot import Record, Renew, Renewed
from rmlb.vip.knowledge import Knowledge


@dataclass(slots=True)
class Tenure:
    """One balancer's; all at rest while it is a standby."""

    known: Knowledge
    deadline: float = 0.0
    """It may forward until then."""
    free_until: float = 0.0
    """The deadline as far as it needed no confirmation: as VRRP, alone, nobody else votes."""
    alone: bool = False
    """Owner without peer and witness, by `alone = keep`."""
    _lone_since: float | None = None
    """The lone record was first written at."""
    _lone_asked: bool = False

    def begin(self, sent_at: float, alone: bool) -> None:
        """By a claim that was sent then."""
        self.alone = alone
        self.deadline = sent_at + self._hold_s

    def end(self) -> None:
        self.alone = False
        self.deadline = 0.0
        self._lone_since, self._lone_asked = None, False

    def renewal(self, now: float) -> Renew:
        """What the witness is told with the heartbeat just counted."""
        lone = self.known.is_lone(now)
        if self._lone_asked and not lone:  # from here on others may claim after 3 I again
            self.deadline = min(self.deadline, now + self._hold_s)
        if not lone:
            self._lone_since = None
        self._lone_asked = lone
        return Renew(self.known.epoch, self.known.n, lone)

    def renewed(self, event: Renewed, now: float) -> None:
        """The witness took it."""
        self.alone = False
        if event.n not in self.known.sent:
            return
        span = self._hold_s
        if self._lone_asked and event.record is not None and event.record.lone:
            span = max(span, rules.LONE_SHARE * self.known.settings.lone_s)
            self._lone_since = self._lone_since or now
        self.deadline = max(self.deadline, self.known.sent[event.n] + span)

    def confirm(self, now: float) -> None:
        """Move the deadline as far as the newest confirmed heartbeat allows."""
        known = self.known
        if self._confirms_itself(now):
            self.deadline = max(self.deadline, known.sent[known.n] + self._hold_s)
            self.free_until = self.deadline
            return
        voters = known.voters
        if not known.all_met or not voters:
            return
        confirmed = min(peer.confirmed for peer in voters)
        if confirmed in known.sent:
            self.deadline = max(self.deadline, known.sent[confirmed] + self._hold_s)

    def end_solitude(self, record: Record | None, before: Record | None, now: float) -> bool:
        """The witness is back. False: somebody else's lease moves, an owner by the rules."""
        known = self.known
        if record is None or record.owner == known.settings.id:
            self.alone = False
        elif before is not None and record != before:
            return False
        elif known.is_record_still(now):
            self.alone = False
            known.epoch = max(known.epoch, record.epoch + 1)
        return True

    def _confirms_itself(self, now: float) -> bool:
        """Nobody is left to confirm: all said goodbye, as VRRP, or alone by configuration."""
        known = self.known
        if not known.settings.witness or (known.all_met and not known.voters):
            return True
        if not known.is_blind(now):
            return False
        if self.alone or known.is_agreed(now):
            return True
        lone = self._lone_since is not None and known.settings.alone_keep
        self.alone = lone and now >= self.deadline - 2 * known.settings.interval_s
        return self.alone

    @property
    def _hold_s(self) -> float:
        return rules.HOLD * self.known.settings.interval_s
