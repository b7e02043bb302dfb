"""A balancer as the admin tests see it: two members, some traffic."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rmlb.admin.views import (
    ListenerView,
    MemberView,
    NodeView,
    ProbesView,
    StateView,
    StoreView,
    VipView,
)
from rmlb.metrics import Histogram
from rmlb.routing.counters import Counters, MemberCounters
from rmlb.routing.member import AdminState, Health


def durations(*seconds: float) -> Histogram:
    histogram = Histogram()
    for value in seconds:
        histogram.observe(value)
    return histogram


def member(member_id: int, **changes: Any) -> MemberView:
    fields: dict[str, Any] = {
        "id": member_id,
        "sip": (f"127.0.0.1:700{member_id}",),
        "health": Health.IN_SERVICE,
        "admin_state": AdminState.ENABLED,
        "calls": 10 * member_id,
        "transitions": 1,
        "why": "answered 200",
        "since": 1_700_000_000.0,
        "counters": MemberCounters(100, 40, Counter({1: 30, 2: 60})),
        "probes": ProbesView({"answered": 2}, durations(0.0007, 0.2), "answered 200", 0.2),
    }
    return MemberView(**fields | changes)


def store() -> StoreView:
    return StoreView(
        backlog=3,
        to_repeat=4,
        written=500,
        lost=1,
        asked={"found": 7, "missing": 2, "timeout": 1, "not_held": 0},
        failures=2,
        durations={"write": durations(0.0007), "find": durations(), "look": durations(0.2)},
    )


def node(**changes: Any) -> NodeView:
    fields: dict[str, Any] = {
        "version": "0.1.0",
        "engine": "python",
        "ha_mode": "active-active",
        "started_at": 1_700_000_000.0,
        "uptime_s": 12.3456,
        "vip": VipView("127.0.0.1", owner=True, provider="none"),
        "listeners": (
            ListenerView("udp:127.0.0.1:5060", open=True),
            ListenerView("tcp:127.0.0.1:5060", open=True),
        ),
        "members": (member(1), member(2, sip=("udp:10.0.0.12:5060", "tls:10.0.0.12:5061"))),
        "state": StateView("redis", connected=True, store=store()),
        "bindings": 31,
        "pending_requests": 2,
        "connections": {"tcp": 3},
    }
    return NodeView(**fields | changes)


def counters() -> Counters:
    return Counters(
        received=Counter({"udp": 100}),
        forwarded=90,
        answered=Counter({404: 3, 483: 2}),
        absorbed=Counter({"ack-to-us": 1}),
        dropped=Counter({"no-via": 3}),
        held=1,
        kinds=Counter({"A": 50, "B": 50}),
        affinity=Counter({"hash": 40}),
        keepalives=7,
        send_errors=Counter({"refused": 1}),
    )
