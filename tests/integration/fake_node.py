"""A balancer without SIP, for tests of what is around it: the `Node` of the admin API."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from rmlb.admin.api import Conflict
from rmlb.admin.views import (
    CallView,
    DrainingView,
    ListenerView,
    MemberView,
    NodeView,
    StateView,
    VipView,
)
from rmlb.events import EventLog, admin_state_changed
from rmlb.routing.counters import Counters
from rmlb.routing.member import AdminState, Health
from rmlb.trace.copies import CopyRing
from rmlb.trace.ladder import Parties
from rmlb.trace.tracing import Tracing


class FakeNode:
    def __init__(self) -> None:
        self.shown = NodeView(
            version="0.1.0",
            engine="python",
            ha_mode="active-active",
            started_at=1_700_000_000.0,
            uptime_s=75.0,
            vip=VipView("127.0.0.1", owner=True, provider="none"),
            listeners=(ListenerView("udp:127.0.0.1:5060", open=True),),
            members=tuple(
                MemberView(n, (f"127.0.0.1:700{n}",), Health.IN_SERVICE, AdminState.ENABLED)
                for n in (1, 2)
            ),
            state=StateView("memory", connected=True),
        )
        self.log = EventLog(sink=lambda event: None)
        self.copies = CopyRing()
        self.parties = Parties(
            frozenset([("127.0.0.1", 5060)]), {("127.0.0.1", 7001): 1, ("127.0.0.1", 7002): 2}
        )
        self.traces = Tracing(self.copies, lambda: self.parties)
        self.broken = False
        self.said: list[tuple[int, AdminState, str]] = []
        self.asked: list[tuple[str, int | None]] = []
        """Switch-overs and elections."""

    def view(self) -> NodeView:
        if self.broken:
            raise RuntimeError("no view today")
        return self.shown

    def counters(self) -> Counters:
        return Counters(received=Counter(udp=3), forwarded=2, dropped=Counter({"no-via": 1}))

    def events(self) -> EventLog:
        return self.log

    def tracing(self) -> Tracing:
        return self.traces

    def find_call(self, call_id: str) -> CallView | None:
        return CallView(call_id, 2, "answered", 1.5, 60.0) if call_id == "a b@c" else None

    def stand_by(self, active: int) -> None:
        """Active-standby from now on."""
        members = tuple(replace(each, active=each.id == active) for each in self.shown.members)
        self.shown = replace(self.shown, ha_mode="active-standby", active=active, members=members)

    def drain(self, member_id: int) -> None:
        """It retires with three calls."""
        draining = DrainingView(self.shown.started_at, 3, 900.0, "switch-over")
        members = tuple(
            replace(each, draining=draining) if each.id == member_id else each
            for each in self.shown.members
        )
        self.shown = replace(self.shown, members=members)

    async def switchover(self, member_id: int | None) -> None:
        self.asked.append(("switchover", member_id))
        self._activate(member_id or (2 if self.shown.active == 1 else 1))

    async def told_active(self, member_id: int) -> None:
        self.asked.append(("active", member_id))
        self._activate(member_id)

    async def take_over(self) -> None:
        self.shown = replace(self.shown, vip=replace(self.shown.vip, owner=True))

    async def release(self, force: bool) -> None:
        if not force:
            raise Conflict("no other balancer is ready to take over")
        self.shown = replace(self.shown, vip=replace(self.shown.vip, owner=False))

    def _activate(self, member_id: int) -> None:
        if self.shown.active is None:
            raise Conflict("ha-mode is active-active: every member in service is active")
        self.stand_by(member_id)

    async def set_admin_state(self, member_id: int, state: AdminState, why: str) -> None:
        before = self.shown.member(member_id).admin_state
        members = tuple(
            replace(member, admin_state=state) if member.id == member_id else member
            for member in self.shown.members
        )
        self.shown = replace(self.shown, members=members)
        self.said.append((member_id, state, why))
        self.log.add(admin_state_changed(member_id, before, state, why, 1_700_000_100.0))
