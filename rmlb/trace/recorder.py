"""The latest messages, kept so that a call can be looked at afterwards (`[trace] keep`). Pure.

Calls are put together as messages come, so that a list of them costs little when it is asked for.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from rmlb.trace.reading import Summary, Traced, start, summary
from rmlb.trace.wanted import Wanted

OCTETS_EACH: Final = 4096
"""Room of one message, on average over all that are kept: ordinary ones have 500 to 1,500."""


class Recorder:
    """A bounded ring: the oldest message makes room."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: deque[Traced] = deque()
        self._octets = 0
        self._calls: dict[str, Call] = {}
        """By Call-ID, in the order of their first messages."""

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, traced: Traced) -> None:
        self._kept.append(traced)
        self._octets += len(traced.copy.data)
        call = self._calls.get(traced.call_id)
        if call is None:
            call = self._calls[traced.call_id] = Call()
        call.add(traced)
        while len(self._kept) > self.most or self._octets > self.most * OCTETS_EACH:
            self._forget_oldest()

    def find(self, wanted: Wanted, most: int) -> list[Traced]:
        """The newest messages of the calls that are wanted, oldest first.

        A call is found as a whole by an X-Genesys-CallUUID that only some of its messages carry.
        """
        found = [
            traced
            for call in self._calls.values()
            if wanted(call.messages[-1])
            for traced in call.messages
        ]
        return sorted(found)[-most:]

    def calls(self, wanted: Wanted, most: int) -> list[Call]:
        """The calls begun most lately, newest first: those whose first INVITE is kept."""
        found: list[Call] = []
        for call in reversed(self._calls.values()):
            if call.state and wanted(call.messages[-1]):
                found.append(call)
                if len(found) == most:
                    break
        return found

    def _forget_oldest(self) -> None:
        oldest = self._kept.popleft()
        self._octets -= len(oldest.copy.data)
        messages = self._calls[oldest.call_id].messages
        messages.popleft()
        if not messages:
            del self._calls[oldest.call_id]


class Call:
    """The messages of one Call-ID, and what they tell."""

    __slots__ = ("messages", "people", "state", "status")

    def __init__(self) -> None:
        self.messages: deque[Traced] = deque()
        self.state = ""
        """"calling", "ringing", "answered", "failed", "cancelled" or "ended"; empty for what began
        before it was kept, or is no call."""
        self.status = 0
        """Of the latest answer to the INVITE."""
        self.people: Summary | None = None

    def add(self, traced: Traced) -> None:
        self.messages.append(traced)
        if self.state in ("ended", "failed", "cancelled"):
            return
        data = traced.copy.data
        if not self.state:
            if data.startswith(b"INVITE "):
                people = summary(data)
                if not people.in_dialog:
                    self.state, self.people = "calling", people
            return
        said = start(data)
        if not said.status:
            return
        if said.method == "INVITE" and self.state in ("calling", "ringing"):
            self.status = said.status
            self.state = _after(said.status)
        elif said.method == "BYE" and said.status >= 200:
            self.state = "ended"

    def as_json(self) -> dict[str, Any]:
        first, last = self.messages[0], self.messages[-1]
        return {
            "call_id": last.call_id,
            "correlation": last.correlation,
            "from": self.people.sender if self.people else "",
            "to": self.people.receiver if self.people else "",
            "begun": first.copy.at,
            "last": last.copy.at,
            "messages": len(self.messages),
            "state": self.state,
            "status": self.status,
        }


def _after(status: int) -> str:
    if status < 180:
        return "calling"
    if status < 200:
        return "ringing"
    if status < 300:
        return "answered"
    return "cancelled" if status == 487 else "failed"
