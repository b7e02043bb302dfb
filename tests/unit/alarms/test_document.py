"""What leaves the balancer: the JSON, who wants it, and what `rmlb check` says of it."""

from __future__ import annotations

import json

import pytest
from config_samples_alarms import with_alarms

from rmlb.alarms.advice import warnings
from rmlb.alarms.document import ABOUT_ALARMS, Sender, idle_patterns, make_document, matches
from rmlb.events import Event, EventName, NumberedEvent, Severity


def test_the_json_of_an_event() -> None:
    event = Event(EventName.MEMBER_BACK, 5.25, Severity.INFO, {"member": 2, "why": "answered 200"})
    document = make_document(NumberedEvent(7, event), Sender("east", "1", "ab12"), owner=True)
    assert json.loads(document.body) == {
        "id": "ab12-7",
        "name": "member-back",
        "severity": "info",
        "at": 5.25,
        "cluster": "east",
        "balancer": "1",
        "owner": True,
        "about": "east/member 2",
        "text": 'event=member-back member=2 why="answered 200"',
        "fields": {"member": 2, "why": "answered 200"},
    }
    assert document.id == "ab12-7"


def test_an_event_about_the_balancer() -> None:
    entry = NumberedEvent(1, Event(EventName.READY, 5.0))
    body = json.loads(make_document(entry, Sender("east", "h", "x"), owner=False).body)
    assert (body["about"], body["owner"], body["fields"]) == ("east/balancer", False, {})


@pytest.mark.parametrize(
    ("patterns", "name", "wanted"),
    [
        (("member-*",), EventName.MEMBER_BACK, True),
        (("member-stopped-*",), EventName.MEMBER_BACK, False),
        (("ready", "not-ready"), EventName.NOT_READY, True),
        (("*",), EventName.FAULT, True),
        ((), EventName.FAULT, False),
        (("*",), EventName.REACTION_FAILED, False),
        (("webhook-failed",), EventName.WEBHOOK_FAILED, False),
    ],
)
def test_who_wants_what(patterns: tuple[str, ...], name: EventName, wanted: bool) -> None:
    assert matches(patterns, name) is wanted


def test_a_misspelt_name_is_found() -> None:
    assert idle_patterns(("member-*", "members-*", "*", "redy")) == ["members-*", "redy"]
    assert idle_patterns(tuple(map(str, ABOUT_ALARMS))) == sorted(
        map(str, ABOUT_ALARMS), key=list(map(str, ABOUT_ALARMS)).index
    )


def test_what_check_says() -> None:
    config = with_alarms(
        '[[reaction]]\non = ["member-bak"]\ncommand = ["/bin/true"]\n'
        '[[webhook]]\non = ["*"]\nurl = "https://hooks.example.com/T0/secret-token"\n'
    )
    assert list(warnings(config)) == [
        'reaction[0].on: no event is called "member-bak" (docs/runbook.md names all)',
        "webhook[0].secret: not set: https://hooks.example.com cannot tell who posts",
    ]
