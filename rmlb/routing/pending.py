"""Remembered requests: transactions without their final answer yet (SIP-RULES 5).

Retransmissions, CANCEL and ACK to a non-2xx answer carry the same branch, so they find the
member of their transaction here whatever has become of hash and bindings meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from rmlb.routing.expiry import ExpiryBuckets

COMPLETED_S = 32.0
"""An entry stays so long past the final answer, for step 0: 64 T1 (RFC 3261 17)."""


@dataclass(slots=True)
class Remembered:
    """One transaction: where its request went."""

    member: int
    method: bytes
    expires: float
    look_at: int = 0
    initial: bool = True
    """It was an initial request."""
    final: int = 0
    """Status of the final answer, 0 while there is none."""


class PendingRequests:
    """Bounded by number; the oldest goes first. Keys are the branch's 64-bit MAC."""

    def __init__(self, max_requests: int, timer_c_s: float) -> None:
        self.max_requests = max_requests
        self.timer_c_s = timer_c_s
        self.evicted = 0
        self.unanswered = 0
        """Entries without their final answer."""
        self._entries: OrderedDict[int, Remembered] = OrderedDict()
        self._expiry = ExpiryBuckets()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: int) -> Remembered | None:
        return self._entries.get(key)

    def remember(self, key: int, method: bytes, member: int, now: float, *, initial: bool) -> None:
        """A request goes to a member. A retransmission changes nothing but the member."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.member = member
            return
        while len(self._entries) >= self.max_requests:
            _, oldest = self._entries.popitem(last=False)
            self.unanswered -= not oldest.final
            self.evicted += 1
        lifetime = self.timer_c_s if method == b"INVITE" else COMPLETED_S
        entry = Remembered(member, method, now + lifetime, initial=initial)
        self._entries[key] = entry
        self.unanswered += 1
        entry.look_at = self._expiry.put(key, entry.expires)

    def answered(self, key: int, status: int, now: float) -> Remembered | None:
        """An answer passed: a 1xx restarts timer C (16.7 step 2), a final one ends the wait."""
        entry = self._entries.get(key)
        if entry is None or entry.final:
            return entry
        if status >= 200:
            entry.final = status
            self.unanswered -= 1
            entry.expires = now + COMPLETED_S
            entry.look_at = self._expiry.put(key, entry.expires)
        elif status > 100 and entry.method == b"INVITE":
            entry.expires = now + self.timer_c_s
        return entry

    def expire(self, now: float) -> None:
        for key, second in self._expiry.due(now):
            entry = self._entries.get(key)
            if entry is None or entry.look_at != second:
                continue
            if entry.expires <= now:
                del self._entries[key]
                self.unanswered -= not entry.final
            else:
                entry.look_at = self._expiry.put(key, entry.expires)
