"""RFC 5424 messages."""

from __future__ import annotations

import json
import re

import pytest

from rmlb.alarms.syslog import LONGEST, SEVERITIES, message
from rmlb.events import Event, EventName, Severity

AT = 1_700_000_000.25


def text(event: Event, host: str = "balancer1", *, as_json: bool = False) -> str:
    return message(event, host, 42, as_json=as_json).decode()


def test_a_message() -> None:
    event = Event(
        EventName.MEMBER_OUT_OF_SERVICE, AT, Severity.ERROR, {"member": 1, "why": "no answer"}
    )
    assert text(event) == (
        "<27>1 2023-11-14T22:13:20.250Z balancer1 rmlb 42 member-out-of-service - "
        'event=member-out-of-service member=1 why="no answer"'
    )


def test_as_json() -> None:
    event = Event(EventName.READY, AT, Severity.INFO, {"members": 2})
    head, _, body = text(event, as_json=True).partition(" - ")
    assert head.startswith("<30>1 ")
    assert json.loads(body) == {"event": "ready", "members": 2}


@pytest.mark.parametrize(("severity", "number"), SEVERITIES.items())
def test_the_priority_says_daemon_and_severity(severity: Severity, number: int) -> None:
    assert text(Event(EventName.READY, AT, severity)).startswith(f"<{24 + number}>1 ")


def test_it_cannot_be_forged_and_stays_one_line() -> None:
    event = Event(EventName.FAULT, AT, fields={"why": "a\n<0>1 forged \x00\x1b"})
    said = text(event, "host name\n")
    assert said.split(" ")[2] == "hostname"
    assert not re.search(r"[\x00-\x1f]", said)


def test_a_long_one_is_cut_between_characters() -> None:
    event = Event(EventName.FAULT, AT, fields={"why": "\u00e4" * 3000})
    octets = message(event, "h", 1, as_json=False)
    assert LONGEST - 1 <= len(octets) <= LONGEST
    assert octets.decode()


def test_every_name_fits_the_msgid() -> None:
    assert all(len(name) <= 32 for name in EventName)
