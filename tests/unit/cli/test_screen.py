"""The screen of `rmlb top`, as text."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

import pytest
from rich.console import Console

from rmlb.admin import views
from rmlb.admin.views import ListenerView, MemberView, NodeView, PeerView, StateView, VipView
from rmlb.cli.top import Screen
from rmlb.routing.counters import Counters, MemberCounters
from rmlb.routing.member import AdminState, Health


def snapshot(at: float, offered: int, **changes: Any) -> dict[str, Any]:
    members = tuple(
        MemberView(
            n, (f"192.0.2.{n}:5060",), Health.IN_SERVICE, AdminState.ENABLED, calls=n,
            counters=MemberCounters(offered * 4, offered),
        )
        for n in (1, 2)
    )  # fmt: skip
    fields: dict[str, Any] = {
        "version": "0.1.0", "engine": "python", "ha_mode": "active-active", "started_at": 0.0,
        "uptime_s": 60.0, "vip": VipView("192.0.2.100", owner=True, provider="netlink"),
        "listeners": (ListenerView("udp:192.0.2.100:5060", open=True),), "members": members,
        "state": StateView("memory", connected=True),
    }  # fmt: skip
    view = NodeView(**fields | changes)
    return {"kind": "snapshot", "at": at, "status": views.status_json(view, Counters())}


def shown(screen: Screen, width: int = 140, height: int = 40) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height)
    console.print(screen.render(width, height), height=height)
    return out.getvalue()


def test_before_anything_is_known() -> None:
    screen = Screen("http://127.0.0.1:8560")
    assert "connecting" in shown(screen)
    screen.lost("no balancer answers")
    assert "no balancer answers" in shown(screen)


def test_members_rates_and_events() -> None:
    screen = Screen("http://127.0.0.1:8560")
    screen.take({"kind": "events", "events": []})
    screen.take(snapshot(100.0, 0))
    screen.take(snapshot(101.0, 5))
    screen.take(
        {
            "kind": "event",
            "number": 1,
            "name": "ready",
            "at": 101.0,
            "severity": "info",
            "fields": {},
        }
    )
    text = shown(screen)
    assert "new calls/s 10" in text
    assert text.count("in service") == 2
    assert "192.0.2.100  held here  provider netlink" in text
    assert "no other balancer" in text
    assert "ready" in text
    assert "live" in text


def test_peers_and_a_lost_balancer() -> None:
    screen = Screen("http://127.0.0.1:8560")
    peers = (
        PeerView(2, "10.99.0.2:9811", alive=True, owner=True),
        PeerView(3, "x:1", False, False),
    )
    screen.take(snapshot(100.0, 0, vip=VipView("192.0.2.100", False, "netlink"), peers=peers))
    screen.lost("the balancer has stopped")
    text = shown(screen)
    assert "10.99.0.2:9811  owner" in text
    assert "silent" in text
    assert "the balancer has stopped" in text


def test_a_narrow_terminal_has_the_columns_that_matter() -> None:
    screen = Screen("http://127.0.0.1:8560")
    screen.take(snapshot(100.0, 0))
    text = shown(screen, 80)
    assert "NEW CALLS" not in text
    for head in ("RM", "HEALTH", "OPERATOR", "CALLS", "NEW/S", "REQ/S", "4-6XX", "LATENCY"):
        assert head in text
    assert text.count("in service") == 2


EVENT = {
    "kind": "event", "number": 1, "name": "member-out-of-service", "at": 101.0,
    "severity": "error",
    "fields": {"member": 2, "from": "in service", "to": "out of service", "why": "x" * 80},
}  # fmt: skip


def narrow() -> Screen:
    screen = Screen("http://127.0.0.1:8560")
    screen.take({"kind": "events", "events": []})
    screen.take(snapshot(100.0, 0))
    screen.take(EVENT)
    return screen


def test_a_usual_terminal_shows_every_time_and_reason() -> None:
    text = shown(narrow(), 80, 24)
    at = datetime.fromtimestamp(101.0).astimezone().strftime("%H:%M:%S")
    assert f"{at}  member-out-of-service" in text
    assert "REQ/S" in text
    assert text.rstrip().splitlines()[-1].startswith(" q quit   live")


def test_a_narrow_terminal_shows_what_matters() -> None:
    text = shown(narrow(), 60, 20)
    assert "REQ/S" not in text
    for word in ("ready", "in service", "enabled", "calls 3", "CALLS", "member-out-of-service"):
        assert word in text
    assert all(len(line) <= 60 for line in text.splitlines())


@pytest.mark.parametrize("height", [5, 8, 12, 16, 20])
def test_a_low_terminal_keeps_the_head_and_the_foot(height: int) -> None:
    lines = shown(narrow(), 80, height).splitlines()
    assert len(lines) <= height
    assert "ready" in lines[1]
    assert lines[-1].startswith(" q quit")


def test_without_connection_it_says_that_figures_are_old() -> None:
    screen = narrow()
    screen.lost("no balancer answers")
    assert shown(screen).rstrip().splitlines()[-1].startswith(" q quit   not live: no balancer")
