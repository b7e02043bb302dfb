"""The judge of chaos: it must find what was broken, and blame nobody for the rest."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.history import Fault, both_at, judge


def call(name: str, begun: float, ended: float, outcome: str = "completed") -> dict[str, Any]:
    return {"call": name, "begun": begun, "ended": ended, "outcome": outcome}


def request(name: str, at: float, member: int, tag: str, method: str = "BYE") -> dict[str, Any]:
    return {"call": name, "at": at, "member": member, "tag": tag, "method": method}


KILLED = Fault("member killed", "member 1", 10.0, 12.0, 13.0, member=1)
PARTITION = Fault("partition", "both balancers", 10.0, 12.0, 13.0)
BLIND = Fault("Redis killed", "Redis", 10.0, 12.0, 13.0, witness_lost=True)


def judged(faults: list[Fault], **found: Any) -> Any:
    given: dict[str, Any] = {"calls": [], "requests": [], "two_owners_at": []} | found
    return judge(faults, **given, sample_ms=20.0, limit_s=15.0)


def test_all_is_well() -> None:
    found = judged(
        [KILLED],
        calls=[call("a", 1.0, 5.0)],
        requests=[request("a", 1.0, 1, "", "INVITE"), request("a", 5.0, 1, "m1-a")],
    )
    assert found.holds
    assert (found.calls, found.completed, found.in_dialog, found.moved) == (1, 1, 1, 0)
    assert found.slowest_s == {"member killed": 1.0}


def test_a_dialog_at_the_wrong_member_is_misrouted() -> None:
    found = judged(
        [PARTITION], calls=[call("a", 9.0, 12.0)], requests=[request("a", 12.0, 2, "m1-a")]
    )
    assert not found.holds
    assert found.misrouted == ["a: BYE of member 1's dialog at member 2, 3.0 s after its INVITE"]


@pytest.mark.parametrize(
    ("begun", "at", "moved"),
    [
        (5.0, 11.0, True),
        (5.0, 14.0, True),
        (11.0, 30.0, True),
        (5.0, 9.0, False),  # before the fault
        (20.0, 30.0, False),  # begun when all was normal again
    ],
)
def test_a_dialog_moves_with_its_lost_member(begun: float, at: float, moved: bool) -> None:
    found = judged([KILLED], calls=[call("a", begun, at)], requests=[request("a", at, 2, "m1-a")])
    assert (found.moved, len(found.misrouted)) == ((1, 0) if moved else (0, 1))


def test_the_other_members_dialogs_stay() -> None:
    found = judged([KILLED], calls=[call("a", 9.0, 12.0)], requests=[request("a", 12.0, 1, "m2-a")])
    assert len(found.misrouted) == 1


def test_a_failed_call_names_what_went_on() -> None:
    found = judged([PARTITION], calls=[call("a", 9.0, 11.0, "no answer")])
    assert not found.holds
    assert found.failed == ["a: no answer during partition of both balancers"]
    found = judged([PARTITION], calls=[call("a", 1.0, 2.0, "503")])
    assert found.failed == ["a: 503 during no fault"]


def test_a_rule_may_allow_a_failure() -> None:
    fault = Fault("f", "t", 10.0, 12.0, 13.0, may_fail="SIP-RULES 5: both members are out")
    found = judged([fault], calls=[call("a", 9.0, 11.0, "503"), call("b", 1.0, 2.0, "503")])
    assert found.allowed == {"SIP-RULES 5: both members are out": 1}
    assert len(found.failed) == 1


def test_two_owners_count_while_there_is_a_witness() -> None:
    assert judged([PARTITION], two_owners_at=[11.0, 11.02]).two_owners_ms == 40.0
    blind = judged([BLIND], two_owners_at=[11.0, 11.02, 30.0])
    assert (blind.two_owners_blind_ms, blind.two_owners_ms) == (40.0, 20.0)


def test_too_late_or_never() -> None:
    never = Fault("f", "t", 1.0, 2.0, 0.0)
    late = Fault("g", "t", 1.0, 2.0, 17.1)
    assert judged([never, late]).late == ["f of t", "g of t"]


def test_when_both_answered() -> None:
    first = [0.0, 0.02, 0.04, 0.06]
    assert both_at(first, [0.065, 0.085, 0.105], 0.02) == []
    assert both_at(first, [0.03, 0.05, 0.07], 0.02) == [0.04, 0.06]
    assert both_at(first, [], 0.02) == []
