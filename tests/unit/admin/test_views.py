"""The JSON that people and scripts read, and the answer to "can it carry calls?"."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from admin_samples import counters, member, node

from rmlb.admin.views import CallView as Call
from rmlb.admin.views import (
    DrainingView,
    ListenerView,
    NodeView,
    PeerView,
    StateView,
    VipView,
    activity_json,
    call_json,
    calls_json,
    event_json,
    member_json,
    members_json,
    readiness,
    state_json,
    status_json,
)
from rmlb.events import EventLog, member_health_changed
from rmlb.routing.member import AdminState, Health, Member
from rmlb.sip.address import SipAddress, Transport


def test_status_has_what_the_interface_promises() -> None:
    status: dict[str, Any] = json.loads(orjson.dumps(status_json(node(), counters())))
    assert status["version"] == "0.1.0"
    assert status["engine"] == "python"
    assert status["ha_mode"] == "active-active"
    assert status["vip"] == {"address": "127.0.0.1", "owner": True, "provider": "none"}
    assert status["state"] == {
        "backend": "redis",
        "connected": True,
        "why": "",
        "backlog": 3,
        "to_repeat": 4,
        "written_total": 500,
        "lost_total": 1,
        "asked_total": {"found": 7, "missing": 2, "timeout": 1, "not_held": 0},
        "failures_total": 2,
    }
    assert state_json(StateView("memory", True)) == {"backend": "memory", "connected": True}
    assert status["peers"] == []
    assert status["listeners"][0] == {"address": "udp:127.0.0.1:5060", "open": True}
    assert status["uptime_s"] == 12.346
    assert (status["ready"], status["reason"]) == (True, None)
    assert [each["id"] for each in status["members"]] == [1, 2]


def test_messages_balance() -> None:
    messages = status_json(node(), counters())["messages"]
    parts = ("forwarded", "answered", "absorbed", "dropped", "held")
    assert messages["received"] == 100 == sum(messages[part] for part in parts)
    assert messages["imbalance"] == 0
    assert messages["answered_by_code"] == {"404": 3, "483": 2}
    assert messages["dropped_by_reason"] == {"no-via": 3}


def test_an_imbalance_shows() -> None:
    broken = counters()
    broken.forwarded -= 4
    assert status_json(node(), broken)["messages"]["imbalance"] == 4


@pytest.mark.parametrize("health", list(Health))
@pytest.mark.parametrize("state", list(AdminState))
def test_a_member_speaks_the_words_of_the_design(health: Health, state: AdminState) -> None:
    found = member_json(member(1, health=health, admin_state=state))
    assert found["health"] in ("in service", "suspect", "refusing", "out of service")
    assert found["admin_state"] in ("enabled", "draining", "disabled")
    assert (found["calls"], found["requests_total"]) == (10, 100)
    assert found["responses_total"] == {"1xx": 30, "2xx": 60}


@pytest.mark.parametrize("health", list(Health))
@pytest.mark.parametrize("state", list(AdminState))
@pytest.mark.parametrize("weight", [0, 10, 100])
def test_takes_new_calls_is_what_routing_says(
    health: Health, state: AdminState, weight: int
) -> None:
    address = SipAddress(Transport.UDP, "127.0.0.1", 7001)
    routed = Member(1, (address,), health, state, weight)
    shown = member(1, health=health, admin_state=state, weight=weight)
    assert shown.takes_new_calls is routed.takes_new_calls


def test_addresses_show_as_configured() -> None:
    first, second = members_json(node())["members"]
    assert first["sip"] == "127.0.0.1:7001"
    assert second["sip"] == ["udp:10.0.0.12:5060", "tls:10.0.0.12:5061"]


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (node(), None),
        (node(vip=VipView("10.9.9.9", owner=False, provider="netlink")), None),
        (node(stopping=True), "stopping"),
        (node(can_own=False), "does not hold the virtual IP and could not take it over"),
        (
            node(listeners=(ListenerView("udp:127.0.0.1:5060", open=False),)),
            "not listening on udp:127.0.0.1:5060",
        ),
        (
            node(members=(member(1, health=Health.OUT_OF_SERVICE), member(2, weight=0))),
            "no member takes new calls",
        ),
        (
            node(
                members=(
                    member(1, health=Health.REFUSING),
                    member(2, admin_state=AdminState.DRAINING),
                )
            ),
            "no member takes new calls",
        ),
        (
            node(members=(member(1, active=False), member(2, active=False))),
            "no member takes new calls",
        ),
        (node(members=(member(1, health=Health.OUT_OF_SERVICE), member(2))), None),
        (node(members=(member(1, health=Health.SUSPECT),)), None),
    ],
)
def test_readiness(view: NodeView, reason: str | None) -> None:
    assert readiness(view) == (reason is None, reason)
    status = status_json(view, counters())
    assert (status["ready"], status["reason"]) == (reason is None, reason)


def test_active_standby_shows_who_gets_the_calls() -> None:
    draining = DrainingView(1_700_000_000.0, 4, 900.0, "switch-over")
    view = node(
        ha_mode="active-standby",
        active=2,
        members=(member(1, active=False, draining=draining), member(2, active=True)),
    )
    status = status_json(view, counters())
    assert status["active"] == 2
    first, second = status["members"]
    assert (first["active"], first["takes_new_calls"]) == (False, False)
    assert (second["active"], second["takes_new_calls"]) == (True, True)
    assert first["draining"] == {
        "since": 1_700_000_000.0,
        "left": 4,
        "limit_s": 900.0,
        "cause": "switch-over",
    }
    assert second["draining"] is None
    assert activity_json(view) == {"active": 2, **members_json(view)}


def test_in_active_active_mode_nobody_is_the_active_one() -> None:
    status = status_json(node(), counters())
    assert status["active"] is None
    assert [each["active"] for each in status["members"]] == [None, None]


def test_unknown_members_are_key_errors() -> None:
    assert node().member(2).id == 2
    with pytest.raises(KeyError):
        node().member(3)


def test_peers_calls_and_events() -> None:
    peer = PeerView(2, "10.99.0.2:9811", alive=True, owner=False)
    assert status_json(node(peers=(peer,)), counters())["peers"] == [
        {"id": 2, "address": "10.99.0.2:9811", "alive": True, "owner": False}
    ]
    assert calls_json(node()) == {
        "calls": 30,
        "bindings": 31,
        "members": [{"id": 1, "calls": 10}, {"id": 2, "calls": 20}],
    }
    assert call_json(Call("a@b", 2, "answered", 1.5, 60.0))["member"] == 2
    log = EventLog(sink=lambda event: None)
    entry = log.add(member_health_changed(1, "suspect", "in service", "answered 200", 5.0))
    assert event_json(entry) == {
        "number": 1,
        "name": "member-in-service",
        "at": 5.0,
        "severity": "info",
        "fields": {"member": 1, "from": "suspect", "to": "in service", "why": "answered 200"},
    }
