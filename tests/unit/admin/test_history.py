"""Ten minutes of the dashboard, second by second."""

from __future__ import annotations

from admin_samples import member, node

from rmlb.admin.history import History
from rmlb.routing.counters import Counters
from rmlb.routing.member import AdminState, Health


def test_columns() -> None:
    history = History()
    for second in range(2):
        view = node(members=(member(1), member(2, health=Health.OUT_OF_SERVICE)))
        history.add(view, Counters(), at=100.0 + second)
    shown = history.as_json()
    assert shown["at"] == [100.0, 101.0]
    assert shown["members"]["1"] == {
        "health": "ii",
        "admin": "ee",
        "calls": [10, 10],
        "requests": [100, 100],
        "offered": [40, 40],
        "answered": [60, 60],
        "failed": [0, 0],
        "latency_ms": [200.0, 200.0],
    }
    assert shown["members"]["2"]["health"] == "oo"


def test_every_state_has_its_letter() -> None:
    history = History()
    for health in Health:
        history.add(node(members=(member(1, health=health),)), Counters(), at=0.0)
    for state in AdminState:
        history.add(node(members=(member(1, admin_state=state),)), Counters(), at=0.0)
    shown = history.as_json()["members"]["1"]
    assert set(shown["health"]) == set("isro")
    assert set(shown["admin"]) == set("edx")


def test_it_is_bounded() -> None:
    history = History(most=3)
    for second in range(10):
        history.add(node(members=(member(1),)), Counters(), at=float(second))
    shown = history.as_json()
    assert shown["at"] == [7.0, 8.0, 9.0]
    assert len(shown["members"]["1"]["calls"]) == 3


def test_members_come_and_go() -> None:
    history = History()
    history.add(node(members=(member(1),)), Counters(), at=0.0)
    history.add(node(members=(member(1), member(2))), Counters(), at=1.0)
    shown = history.as_json()["members"]
    assert shown["2"]["health"] == "-i"
    assert shown["2"]["calls"] == [None, 20]
    history.add(node(members=(member(2),)), Counters(), at=2.0)
    assert history.as_json()["members"].keys() == {"2"}
