"""Active-standby: which member gets everything, and who still keeps dialogs of his time. Pure.

Every input returns a `Change` of the active member, or None; `now` is a parameter.

    no member chosen yet   the highest ID in service, once every member has been heard of, or
                           after SETTLE_S ("if both are running, memberid 2 will be active")
    active lost, refusing  the highest in service, at once
    or draining
    former comes back      stays passive, unless `preempt`
    switch-over            the other member gets every new call, the former drains
    told (`rmlb active`)   the member that the RMs' own election chose, while it is in service

A former active member that is not lost *retires*: its marks and bindings still count, until
`retired` is called. Knows nothing of calls, timers, sockets or of who asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Final

from rmlb.routing.member import AdminState, Health, Member

SETTLE_S: Final = 3.0
"""How long a member that has not answered yet holds up the first choice: the RMs' own election
timer (seed: electiontimer 3000)."""


@dataclass(frozen=True, slots=True)
class Change:
    """Another member gets the calls. `before` is None for the first choice."""

    before: int | None
    after: int
    why: str


class ActivityError(ValueError):
    """What was asked for cannot be done; the text is one line for an operator."""


class Activity:
    """The active member of a pool and those that retire."""

    def __init__(
        self,
        *,
        preempt: bool = False,
        active: int | None = None,
        elected: int | None = None,
        retiring: Set[int] = frozenset(),
    ) -> None:
        """`active`, `elected` and `retiring` are what was kept over a restart."""
        self._preempt = preempt
        self.active = active
        self.elected = elected
        """The member that the RMs' own election chose, when we were told."""
        self.retiring = frozenset(retiring) - {active}
        self._ordered: int | None = None
        """The operator's choice, for as long as that member can serve."""
        self._members: Mapping[int, Member] = {}
        self._unheard: Set[int] = frozenset()
        self._settle_by: float | None = None

    def on_members(
        self,
        members: Mapping[int, Member],
        unheard: Set[int],
        now: float,
        *,
        follow: bool = False,
    ) -> Change | None:
        """The members as they are now; `unheard` have had no outcome of a probe yet.

        `follow`: another balancer decides (`adopt`).
        """
        self._members = members
        self.retiring = frozenset(m for m in self.retiring if m in members and not members[m].lost)
        if self._ordered is not None and not self._can_serve(self._ordered):
            self._ordered = None
        self._unheard = frozenset(
            m for m in unheard if members[m].admin_state is AdminState.ENABLED
        )
        if self._settle_by is None:
            self._settle_by = now + SETTLE_S
        return None if follow or self._is_settling(now) else self._decide()

    def adopt(self, active: int, elected: int | None) -> None:
        """What the balancer that decides has decided."""
        former = self._members.get(self.active) if self.active not in (None, active) else None
        if former is not None and not former.lost:
            self.retiring |= {former.id}
        self.active, self.elected = active, elected
        if self._ordered != active:
            self._ordered = None
        self.retiring -= {active}

    def on_time(self, now: float) -> Change | None:
        """To be called some times a second: the first choice waits no longer than it may."""
        if self.active is not None or not self._unheard or self._is_settling(now):
            return None
        return self._decide()

    def on_told(self, member: int) -> Change | None:
        """The RMs' own election chose this member.

        It becomes active as soon as it is in service. Raises ActivityError where the operator's
        word stands against it.
        """
        state = self._members[member].admin_state
        if state is not AdminState.ENABLED:
            raise ActivityError(f"member {member} is {state}: enable it first")
        self.elected, self._ordered = member, None
        return self._decide()

    def on_switchover(self, to: int | None = None) -> Change | None:
        """The operator wants another member active: `to`, or the highest of the others.

        Raises ActivityError when it cannot take calls.
        """
        if to is None:
            others = [m for m in self._members if m != self.active and self._in_service(m)]
            if not others:
                raise ActivityError("no other member is in service and enabled")
            to = max(others)
        elif to != self.active and not self._in_service(to):
            member = self._members[to]
            state = member.admin_state
            words = member.health if state is AdminState.ENABLED else state
            raise ActivityError(f"member {to} is {words}: it cannot take the calls")
        self.elected, self._ordered = None, to
        return self._decide()

    def on_shared(
        self, active: int | None, elected: int | None, retiring: Set[int]
    ) -> Change | None:
        """Another balancer decided; its choice counts unless that member cannot serve from here."""
        member = self._members.get(active) if active is not None else None
        if active is None or (self._members and member is None):
            return None
        if member is not None and not member.takes_new_calls:
            return None
        before, self.active, self.elected = self.active, active, elected
        self._ordered = None
        self.retiring = frozenset(retiring) - {active}
        return Change(before, active, "another balancer's choice") if before != active else None

    def on_taken_away(self, member: int) -> None:
        """The operator drained or disabled a member: his word is newer than the RMs'."""
        if self.elected == member:
            self.elected = None

    def retired(self, member: int) -> None:
        """The member has no calls of its time left, or they are to move now."""
        self.retiring -= {member}

    def _is_settling(self, now: float) -> bool:
        """Nobody was chosen yet, and somebody with a higher ID may still answer."""
        if self.active is not None or not self._unheard:
            return False
        return self._settle_by is None or now < self._settle_by

    def _decide(self) -> Change | None:
        wanted, why = self._wanted()
        if wanted is None or wanted == self.active:
            return None
        change = Change(self.active, wanted, why)
        former = self._members.get(self.active) if self.active is not None else None
        if former is not None and not former.lost:
            self.retiring |= {former.id}
        self.retiring -= {wanted}
        self.active = wanted
        return change

    def _wanted(self) -> tuple[int | None, str]:
        """Who should be active and why; the present one where nothing speaks against it."""
        if self.elected is not None and self._can_serve(self.elected):
            return self.elected, "the Resource Managers' own election chose it"
        if self._ordered is not None:
            return self._ordered, "switch-over"
        serving = [m for m in self._members if self._in_service(m)]
        current = self._members.get(self.active) if self.active is not None else None
        if current is not None and self._can_serve(current.id):
            if self._preempt and serving and max(serving) > current.id:
                return max(serving), "the preferred member is back (vip.preempt)"
            return current.id, ""
        why = _why_not(current)
        if serving:
            return max(serving), why
        if current is None or current.lost:
            doubtful = [m.id for m in self._members.values() if m.takes_new_calls]
            if doubtful:
                return max(doubtful), f"{why}; nobody else is in service"
        return self.active, ""

    def _in_service(self, member_id: int) -> bool:
        member = self._members.get(member_id)
        return (
            member is not None
            and member.health is Health.IN_SERVICE
            and member.admin_state is AdminState.ENABLED
        )

    def _can_serve(self, member_id: int) -> bool:
        """In service, or active and only suspect: a suspicion moves nobody."""
        member = self._members.get(member_id)
        if member is None or member.admin_state is not AdminState.ENABLED:
            return False
        if member_id == self.active and member.health is Health.SUSPECT:
            return True
        return member.health is Health.IN_SERVICE


def _why_not(member: Member | None) -> str:
    """What speaks against the active member."""
    if member is None:
        return "the highest member ID in service"
    if member.admin_state is not AdminState.ENABLED:
        return f"member {member.id} is {member.admin_state}"
    return f"member {member.id} is {member.health}"
