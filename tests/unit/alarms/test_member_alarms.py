"""Alarms of members as traces: events in, alarms out, each stop told once."""

from __future__ import annotations

import pytest

from rmlb.alarms.members import MemberAlarms
from rmlb.events import Event, EventName, Severity, admin_state_changed, member_health_changed

UNEXPECTED, INTENTIONAL, BACK = "unexpectedly", "intentionally", "back"


def health(member: int, before: str, after: str) -> Event:
    return member_health_changed(member, before, after, "because", 5.0)


def operator(member: int, word: str) -> Event:
    return admin_state_changed(member, "enabled", word, "admin API", 5.0)


def drained(member: int, cause: str = "operator") -> Event:
    return Event(EventName.MEMBER_DRAINED, 5.0, fields={"member": member, "why": cause})


UP = health(1, "out of service", "in service")
SUSPECT = health(1, "in service", "suspect")
SPARED = health(1, "suspect", "in service")
OUT = health(1, "suspect", "out of service")
REFUSING = health(1, "in service", "refusing")
REFUSED_OUT = health(1, "refusing", "out of service")
CUT_OFF = member_health_changed(1, "suspect", "out of service", "no answer", 5.0, "eth0 is down")
NEVER_HEARD = health(1, "out of service", "out of service")
ENABLED, DRAINING, DISABLED = (operator(1, word) for word in ("enabled", "draining", "disabled"))


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        ([UP], []),
        ([UP, SUSPECT, SPARED], []),
        ([UP, SUSPECT, OUT], [UNEXPECTED]),
        ([UP, SUSPECT, OUT, UP], [UNEXPECTED, BACK]),
        ([UP, OUT, UP, OUT, UP], [UNEXPECTED, BACK, UNEXPECTED, BACK]),
        ([NEVER_HEARD], [UNEXPECTED]),
        ([UP, CUT_OFF, UP], []),
        ([UP, CUT_OFF, NEVER_HEARD, UP], [UNEXPECTED, BACK]),
        ([UP, DISABLED, CUT_OFF, UP, ENABLED], [INTENTIONAL, BACK]),
        ([UP, DISABLED], [INTENTIONAL]),
        ([UP, DISABLED, OUT, UP, ENABLED], [INTENTIONAL, BACK]),
        ([UP, DISABLED, OUT, ENABLED, UP], [INTENTIONAL, BACK]),
        ([UP, DRAINING], []),
        ([UP, DRAINING, drained(1)], [INTENTIONAL]),
        ([UP, drained(1), DRAINING, OUT], [INTENTIONAL]),
        ([UP, DRAINING, drained(1), OUT, UP], [INTENTIONAL]),
        ([UP, DRAINING, drained(1), ENABLED], [INTENTIONAL, BACK]),
        ([UP, DRAINING, SUSPECT, OUT], [INTENTIONAL]),
        ([UP, DRAINING, ENABLED], []),
        ([UP, REFUSING, REFUSED_OUT, UP], [INTENTIONAL, BACK]),
        ([UP, REFUSING, health(1, "refusing", "in service"), SUSPECT, OUT], [UNEXPECTED]),
        ([UP, drained(1, "switch-over")], []),
        ([UP, OUT, DISABLED, ENABLED], [UNEXPECTED]),
        ([Event(EventName.READY, 5.0)], []),
    ],
)
def test_each_stop_is_told_once_and_its_end_once(trace: list[Event], expected: list[str]) -> None:
    alarms = MemberAlarms({})
    told = [alarm for event in trace if (alarm := alarms.on_event(event))]
    assert [str(alarm.name).rpartition("-")[2] for alarm in told] == expected


def test_members_are_told_apart() -> None:
    alarms = MemberAlarms({})
    for event in (UP, health(2, "out of service", "in service"), OUT):
        alarms.on_event(event)
    second = alarms.on_event(health(2, "suspect", "out of service"))
    assert second is not None
    assert second.fields["member"] == 2


def test_what_was_disabled_before_the_start_is_no_news() -> None:
    alarms = MemberAlarms({1: "disabled", 2: "draining"})
    assert alarms.on_event(UP) is None
    assert alarms.on_event(OUT) is None
    assert alarms.on_event(UP) is None
    assert str(alarms.on_event(ENABLED)).count("member-back") == 1
    left = alarms.on_event(health(2, "suspect", "out of service"))
    assert left is not None
    assert left.fields["intention"] == "draining"


def test_severity_and_fields() -> None:
    alarms = MemberAlarms({})
    alarms.on_event(UP)
    crash = alarms.on_event(OUT)
    assert crash == Event(
        EventName.MEMBER_STOPPED_UNEXPECTEDLY, 5.0, Severity.ERROR, {"member": 1, "why": "because"}
    )
    alarms.on_event(UP)
    word = alarms.on_event(DISABLED)
    assert word is not None
    assert (word.severity, word.fields["intention"]) == (Severity.WARNING, "disabled")
