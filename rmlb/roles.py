"""Who does what in the pool: who is active, who drains, where the dialogs of the lost ones live.

SHELL around three pure parts: the active member (health.activity), draining (health.draining) and
the loss log (routing.losses). Tells what they decide, keeps it on disk and has the
failoverscript run. Knows the members only as they are handed in; decides nothing about SIP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from typing import NamedTuple

from rmlb.config import Config, HaMode, VipProvider
from rmlb.events import Event, EventName, Severity, Value
from rmlb.health.activity import Activity, ActivityError, Change
from rmlb.health.draining import Cause, Drained, Draining, DrainWatch, Outcome
from rmlb.routing.losses import Loss, LossLog
from rmlb.routing.member import AdminState, Member
from rmlb.script import FailoverScript, ScriptEnd
from rmlb.snapshot import NOBODY, Standing
from rmlb.state.agreement import ONE_LOSS_S, Active, Losses
from rmlb.state.succession import KeptLoss, Succession, SuccessionFile

MOST_SHARED = 2000
"""Losses told to the peers, the newest: 60 octets each as they go to the keeper, half its buffer.
One every 90 s for two days."""


class Shared(NamedTuple):
    """What balancers tell each other of the pool."""

    number: int
    losses: list[tuple[int, int, tuple[int, ...], float]]
    """Number, member, survivors, seconds since 1970; oldest first."""
    active: int = 0
    elected: int = 0


class Roles:
    """One pool."""

    def __init__(
        self,
        config: Config,
        report: Callable[[Event], object],
        left: Callable[[int], int],
    ) -> None:
        """`report` gets the events; `left` says how many calls a member has."""
        self.on_keep: Callable[[], None] = lambda: None
        """Called when there is something new to keep, and to tell others."""
        self._config = config
        self._report = report
        self._left = left
        self._file = SuccessionFile(config.state.directory, report)
        self._drains = DrainWatch(config.drain.member_limit_s)
        self._losses = LossLog()
        self._lost: Set[int] = frozenset()
        self._adopted: dict[int, float] = {}  # of these, what others recorded just now, since when
        self._turn = 0
        self._decided: tuple[int | None, int | None, Set[int]] = (None, None, frozenset())
        self._members: Mapping[int, Member] = {}
        self._activity: Activity | None = None
        self._script = self._make_script(None)
        self.knows_calls: Callable[[], bool] = lambda: False
        """`left` counts what other balancers carried, too."""
        self._owned = True
        self.is_owner = True
        """Only the owner records losses and chooses who is active; a standby follows."""

    # start and stop

    def load(self, admin_states: Mapping[int, AdminState], now: float) -> None:
        """Take up what was kept; blocks for one read. `now` is monotonic."""
        config = self._config
        kept = self._file.load()
        self._losses = LossLog(_ages(kept.losses, config.affinity.ttl_s, now), kept.number)
        self._lost = kept.lost & set(config.rm)
        causes = {n: Cause.OPERATOR for n, s in admin_states.items() if s is AdminState.DRAINING}
        if config.cluster.ha_mode is HaMode.ACTIVE_STANDBY:
            known = set(config.rm)
            self._activity = Activity(
                preempt=config.vip.preempt,
                active=kept.active if kept.active in known else None,
                elected=kept.elected if kept.elected in known else None,
                retiring=kept.retiring & known,
            )
            self._script = self._make_script(self._activity.active)
            causes = dict.fromkeys(self._activity.retiring, Cause.SWITCHOVER) | causes
        self._turn, self._decided = kept.turn, self._decision()
        self._drains.resume(causes, now)

    async def close(self) -> None:
        """Let a script end, and what is to be kept reach the disk."""
        await self._script.close()
        await self.kept()

    async def kept(self) -> None:
        """Wait until the disk has what was decided, or has refused it."""
        await self._file.flush()

    def configure(self, config: Config) -> None:
        """Go on under a new configuration; the mode stays."""
        self._config = config
        self._drains.limit_s = config.drain.member_limit_s
        self._script.configure(_command(config), config.vip.script_timeout_s)

    # what is going on

    @property
    def standing(self) -> Standing:
        activity = self._activity
        if activity is None:
            return Standing(self._losses, None, frozenset())
        return Standing(self._losses, activity.active or NOBODY, activity.retiring)

    @property
    def lost(self) -> Set[int]:
        """Members whose loss is in the log and that have not come back."""
        return self._lost

    def draining(self, member: int) -> Draining | None:
        """How long the member has been draining, None if it is not."""
        return self._drains.members.get(member)

    def update(self, members: Mapping[int, Member], unheard: Set[int], now: float) -> None:
        """The members as they are now: who is active, and who is newly lost.

        `unheard` members have had no outcome of a probe yet: they are neither lost nor back.
        """
        self._members = members
        if self._activity is not None:
            change = self._activity.on_members(members, unheard, now, follow=not self.is_owner)
            self._follow(change)
        if self.is_owner and not self._owned and not self.knows_calls():
            self._drains.resume(self._causes(), now)
        self._owned = self.is_owner
        self._look_at_drains(now)
        back = {m.id for m in members.values() if not m.lost} - unheard - self._adopted.keys()
        if not back.isdisjoint(self._lost):  # on a standby, too: its next loss is another one
            self._lost -= back
            self._keep()
        if not self.is_owner:
            return
        survivors = self._survivors()
        for member in members.values():
            if member.lost:
                self._adopted.pop(member.id, None)
            if member.lost and member.id not in self._lost:
                self._losses = self._losses.record(member.id, survivors, now)
                self._lost |= {member.id}
                self._keep()

    def look(self, now: float) -> bool:
        """What is due by time; some twenty times a second. True: publish a new snapshot."""
        before = self.standing
        if self._activity is not None and self.is_owner:
            self._follow(self._activity.on_time(now))
        self._look_at_drains(now)
        for member, since in list(self._adopted.items()):
            if now - since >= ONE_LOSS_S:  # never lost here, or back: its next loss is another one
                del self._adopted[member]
                known = self._members.get(member)
                if known is None or not known.lost:
                    self._lost -= {member}
                    self._keep()
        pruned = self._losses.pruned(now - self._config.affinity.ttl_s)
        if pruned is not self._losses:
            self._losses = pruned
            self._keep()
        return self.standing != before

    # what other balancers know

    @property
    def losses(self) -> Losses:
        """The loss log, in the time of the wall clock."""
        return Losses(self._losses.number, self._kept_losses())

    @property
    def active(self) -> Active:
        """Active-standby: who gets the calls, as it was decided last."""
        return Active(self._turn, *self._decision())

    def learn_losses(self, losses: Losses, now: float) -> None:
        """Take up a log merged with others'; publish afterwards. `now` is monotonic.

        A member that somebody else found lost just now is not recorded here once more.
        """
        known = {(x.number, x.member): x for x in self._losses.losses}
        learnt = _ages(losses.losses, self._config.affinity.ttl_s, now)
        for loss in learnt:
            there = (loss.number, loss.member) in known
            if not there and now - loss.at < ONE_LOSS_S and loss.member in self._members:
                if loss.member not in self._lost:
                    self._adopted[loss.member] = now
                self._lost |= {loss.member}
        merged = tuple(known.get((x.number, x.member), x) for x in learnt)
        self._losses = LossLog(merged, max(losses.number, self._losses.number))
        self._keep()

    def learn_active(self, active: Active) -> None:
        """Another balancer's newer decision; publish afterwards."""
        if self._activity is None:
            return
        change = self._activity.on_shared(active.active, active.elected, active.retiring)
        self._turn, self._decided = active.turn, self._decision()
        self._follow(change)
        self._keep()

    # what people and the RMs say

    def switchover(self, to: int | None) -> None:
        """Another member is to be active. Raises ActivityError; publish afterwards."""
        self._follow(self._decider().on_switchover(to))
        self._keep()

    def told_active(self, member: int) -> None:
        """The RMs' own election chose this member. Raises ActivityError; publish afterwards."""
        self._follow(self._decider().on_told(member))
        self._keep()

    def on_admin_state(self, member: int, state: AdminState) -> None:
        """The operator said something of a member."""
        if self._activity is not None and state is not AdminState.ENABLED:
            self._activity.on_taken_away(member)
            self._keep()

    # what travels between balancers

    def shared(self) -> Shared:
        """The loss log and who is active, in wall clock time."""
        offset = time.time() - time.monotonic()
        activity = self._activity
        return Shared(
            number=self._losses.number,
            losses=[
                (x.number, x.member, x.survivors, x.at + offset)
                for x in self._losses.losses[-MOST_SHARED:]
            ],
            active=(activity.active or 0) if activity is not None else 0,
            elected=(activity.elected or 0) if activity is not None else 0,
        )

    def adopt(self, told: Shared, owner: bool, now: float) -> None:
        """The owner's word on losses and on who is active counts; publish afterwards.

        Losses of our own behind those that it tells without a gap up to its newest were recorded
        when we were cut off. Of what lies before them it may not have told all yet.
        """
        if not owner or self.is_owner:
            return
        theirs = _ages(
            tuple(KeptLoss(*each) for each in told.losses), self._config.affinity.ttl_s, now
        )
        known = {(loss.number, loss.member) for loss in self._losses.losses}
        news = {loss.member for loss in theirs if (loss.number, loss.member) not in known}
        if news or told.number != self._losses.number:
            newest = {loss.member: loss.number for loss in self._losses.losses}
            self._losses = self._losses.follow(theirs, told.number)
            left = {(loss.number, loss.member) for loss in self._losses.losses}
            still = {member for member in self._lost if (newest.get(member), member) in left}
            self._lost = {
                number
                for number in still | news
                if (member := self._members.get(number)) is not None and member.lost
            }
            self._keep()
        if self._activity is not None and told.active:
            self._activity.adopt(told.active, told.elected or None)
            self._script.assume(told.active)
            self._keep()

    def _decider(self) -> Activity:
        if self._activity is None:
            raise ActivityError("ha-mode is active-active: every member in service is active")
        if not self.is_owner:
            raise ActivityError("this balancer does not own the virtual IP: tell the one that does")
        return self._activity

    # consequences

    def _follow(self, change: Change | None) -> None:
        if change is None:
            return
        self._tell(
            EventName.ACTIVE_MEMBER_CHANGED,
            Severity.INFO if change.before is None else Severity.WARNING,
            {"member": change.after, "from": change.before, "why": change.why},
        )
        if self.is_owner:
            self._script.follow(change.after)
        else:
            self._script.assume(change.after)
        self._keep()

    def _tell(self, name: EventName, severity: Severity, fields: Mapping[str, Value]) -> None:
        self._report(Event(name, time.time(), severity, fields))

    def _causes(self) -> dict[int, Cause]:
        """Who drains and why; a lost member has nothing left to drain."""
        members = [m for m in self._members.values() if not m.lost]
        causes = {m.id: Cause.OPERATOR for m in members if m.admin_state is AdminState.DRAINING}
        return dict.fromkeys(self.standing.retiring, Cause.SWITCHOVER) | causes

    def _look_at_drains(self, now: float) -> None:
        """A standby ends nothing, and without a store it knows nothing of who is empty."""
        for report in self._drains.look(self._causes(), self._left, now):
            told = report.cause is Cause.OPERATOR and self.knows_calls()
            if self.is_owner or told:
                self._on_drained(report, now)
            else:
                self._drains.forget(report.member)

    def _on_drained(self, report: Drained, now: float) -> None:
        """Tell it; a member that retired is passive from now on, and what it still has moves."""
        retires = report.cause is Cause.SWITCHOVER and self._activity is not None
        fields: dict[str, Value] = {
            "member": report.member,
            "calls": report.left,
            "after_s": round(report.after_s, 3),
        }
        if report.outcome is Outcome.EMPTY:
            fields["why"] = str(report.cause)
            self._tell(EventName.MEMBER_DRAINED, Severity.INFO, fields)
        else:
            fields["why"] = "they move to the active member" if retires else "they stay"
            self._tell(EventName.MEMBER_NOT_DRAINED, Severity.WARNING, fields)
        if retires and self._activity is not None:
            self._activity.retired(report.member)
            self._drains.forget(report.member)
            self._losses = self._losses.record(report.member, self._survivors(), now)
            self._keep()

    def _survivors(self) -> tuple[int, ...]:
        """Who takes the dialogs of a member that is lost now."""
        left = tuple(m.id for m in self._members.values() if not m.lost)
        if self._activity is None:
            return left
        return tuple(m for m in left if m == self._activity.active)

    def _keep(self) -> None:
        active, elected, retiring = decision = self._decision()
        if decision != self._decided:
            # a standby repeats what it was told, perhaps late: that is no decision
            self._turn, self._decided = self._turn + self.is_owner, decision
        self._file.put(
            Succession(
                number=self._losses.number,
                losses=self._kept_losses(),
                lost=frozenset(self._lost),
                active=active,
                elected=elected,
                retiring=retiring,
                turn=self._turn,
            )
        )
        self.on_keep()

    def _decision(self) -> tuple[int | None, int | None, frozenset[int]]:
        activity = self._activity
        if activity is None:
            return None, None, frozenset()
        return activity.active, activity.elected, activity.retiring

    def _kept_losses(self) -> tuple[KeptLoss, ...]:
        offset = time.time() - time.monotonic()
        return tuple(
            KeptLoss(x.number, x.member, x.survivors, x.at + offset) for x in self._losses.losses
        )

    def _make_script(self, enabled: int | None) -> FailoverScript:
        config = self._config
        return FailoverScript(
            _command(config),
            config.vip.script_timeout_s,
            self._on_script_end,
            enabled,
        )

    def _on_script_end(self, end: ScriptEnd) -> None:
        good = end.fault is None
        fields: dict[str, Value] = {
            "member": end.member,
            "action": end.action,
            "status": end.status,
            "took_s": round(end.took_s, 3),
            "output": end.output,
        }
        self._tell(
            EventName.FAILOVERSCRIPT_ENDED if good else EventName.FAILOVERSCRIPT_FAILED,
            Severity.INFO if good else Severity.ERROR,
            fields if good else {**fields, "why": end.fault},
        )


def _command(config: Config) -> str:
    """Upon a change of the active member; none where the script has the virtual IP to move."""
    moves_vip = config.vip.provider is VipProvider.SCRIPT
    return "" if moves_vip else config.cluster.failoverscript


def _ages(losses: tuple[KeptLoss, ...], ttl_s: float, now: float) -> tuple[Loss, ...]:
    """Kept losses in monotonic time; a clock that was set back makes none of them future."""
    today = time.time()
    kept = []
    for loss in losses:
        age_s = max(0.0, today - loss.at)
        if age_s <= ttl_s:
            kept.append(Loss(loss.number, loss.member, loss.survivors, now - age_s))
    return tuple(kept)
