"""An event as it leaves the balancer: one JSON object, the same for commands and for webhooks.

Its keys are part of the outside interface. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import orjson

from rmlb.events import EventName, NumberedEvent, as_text


@dataclass(frozen=True, slots=True)
class Document:
    """One event for the world."""

    id: str
    """Names this event for good, so that a receiver can tell a repetition."""
    name: EventName
    severity: str
    body: bytes
    """The JSON object."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who speaks."""

    cluster: str
    balancer: str
    """The balancer's number, or its host's name where it has none."""
    instance: str
    """Different for every start of the process."""


def make_document(entry: NumberedEvent, sender: Sender, *, owner: bool) -> Document:
    """`owner`: this balancer holds the virtual IP now."""
    number, event = entry
    identity = f"{sender.instance}-{number}"
    about = f"member {event.fields['member']}" if "member" in event.fields else "balancer"
    content: dict[str, Any] = {
        "id": identity,
        "name": str(event.name),
        "severity": str(event.severity),
        "at": event.at,
        "cluster": sender.cluster,
        "balancer": sender.balancer,
        "owner": owner,
        "about": f"{sender.cluster}/{about}",
        "text": as_text(event),
        "fields": dict(event.fields),
    }
    body = orjson.dumps(content, default=str)
    return Document(identity, event.name, str(event.severity), body)


ABOUT_ALARMS = frozenset(
    {EventName.REACTION_FAILED, EventName.WEBHOOK_FAILED, EventName.SYSLOG_FAILED}
)
"""Told in log, syslog and API only: a command or webhook run for the failure of another one could
go on for ever."""


def matches(patterns: tuple[str, ...], name: EventName) -> bool:
    """The event is asked for; `*` stands for any part of a name."""
    return name not in ABOUT_ALARMS and any(fnmatchcase(name, each) for each in patterns)


def idle_patterns(patterns: tuple[str, ...]) -> list[str]:
    """Those that no event will ever match: misspelt ones."""
    return [each for each in patterns if not any(matches((each,), name) for name in EventName)]
