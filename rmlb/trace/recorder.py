"""The latest messages, kept so that a call can be looked at afterwards (`[trace] keep`). Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from rmlb.trace.reading import Summary, Traced, summary
from rmlb.trace.wanted import Wanted

OCTETS_EACH: Final = 4096
"""Room of one message, on average over all that are kept: ordinary ones have 500 to 1,500."""


class Recorder:
    """A bounded ring: the oldest makes room."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: deque[Traced] = deque()
        self._octets = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, traced: Traced) -> None:
        self._kept.append(traced)
        self._octets += len(traced.copy.data)
        while len(self._kept) > self.most or self._octets > self.most * OCTETS_EACH:
            self._octets -= len(self._kept.popleft().copy.data)

    def find(self, wanted: Wanted, most: int) -> list[Traced]:
        """The newest messages of the calls that are wanted, oldest first.

        A call is found as a whole by an X-Genesys-CallUUID that only its later messages carry.
        """
        calls = {traced.call_id for traced in self._kept if wanted(traced)}
        found: list[Traced] = []
        for traced in reversed(self._kept):
            if traced.call_id in calls:
                found.append(traced)
                if len(found) == most:
                    break
        return found[::-1]

    def calls(self, wanted: Wanted, most: int) -> list[Call]:
        """The dialogs begun most lately, newest first: those whose first INVITE is kept."""
        found: dict[str, Call] = {}
        for traced in self._kept:
            if not traced.call_id or not wanted(traced):
                continue
            call = found.get(traced.call_id)
            if call is None:
                if not _begins(traced):
                    continue
                call = found[traced.call_id] = Call(traced)
            call.add(traced)
        return list(found.values())[: -most - 1 : -1]


@dataclass(slots=True)
class Call:
    """One dialog as its messages tell it."""

    first: Traced
    last: Traced
    messages: int
    state: str
    """"calling", "ringing", "answered", "failed", "cancelled" or "ended"."""
    status: int
    """Of the latest answer to the INVITE."""
    people: Summary

    def __init__(self, first: Traced) -> None:
        self.first = self.last = first
        self.messages = 0
        self.state = "calling"
        self.status = 0
        self.people = summary(first.copy.data)

    def add(self, traced: Traced) -> None:
        self.messages += 1
        self.last = traced
        said = summary(traced.copy.data)
        if said.method == "INVITE" and said.status and self.state in ("calling", "ringing"):
            self.status = said.status
            self.state = _after(said.status)
        elif said.method == "BYE" and said.status >= 200:
            self.state = "ended"

    def as_json(self) -> dict[str, Any]:
        return {
            "call_id": self.first.call_id,
            "correlation": self.last.correlation,
            "from": self.people.sender,
            "to": self.people.receiver,
            "begun": self.first.copy.at,
            "last": self.last.copy.at,
            "messages": self.messages,
            "state": self.state,
            "status": self.status,
        }


def _begins(traced: Traced) -> bool:
    if not traced.copy.data.startswith(b"INVITE "):
        return False
    return not summary(traced.copy.data).in_dialog


def _after(status: int) -> str:
    if status < 180:
        return "calling"
    if status < 200:
        return "ringing"
    if status < 300:
        return "answered"
    return "cancelled" if status == 487 else "failed"
