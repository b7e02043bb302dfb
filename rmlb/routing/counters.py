"""Counters of the packet path. Every received message ends exactly once (SIP-RULES 8).

received = forwarded + answered + absorbed + dropped + held
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class MemberCounters:
    """Traffic between the balancer and one member."""

    requests: int = 0
    """Requests forwarded to the member, retransmissions included."""
    initial_requests: int = 0
    """Initial requests among them: new calls offered to the member."""
    responses: Counter[int] = field(default_factory=Counter)
    """Responses received from the member, by status code class (1 to 6)."""


@dataclass(slots=True)
class Counters:
    """What has happened since start. Keys of the reason counters are the verdicts' reasons."""

    received: Counter[str] = field(default_factory=Counter)
    """Messages received, by transport."""
    forwarded: int = 0
    answered: Counter[int] = field(default_factory=Counter)
    """Messages that the balancer answered itself, by status code."""
    absorbed: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    held: int = 0
    """A gauge: messages that wait for the store's answer right now."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Messages by kind (SIP-RULES 1)."""
    affinity: Counter[str] = field(default_factory=Counter)
    """Requests for members, by the affinity step that named the member (SIP-RULES 3)."""
    keepalives: int = 0
    """CRLF keep-alives on streams (RFC 5626 4.4.1); they are no messages."""
    own: Counter[str] = field(default_factory=Counter)
    """Messages of our own, apart from the sum: resend, ack, cancel, answer."""
    send_errors: Counter[str] = field(default_factory=Counter)
    """Sends that the kernel or a connection refused, by cause."""
    members: dict[int, MemberCounters] = field(default_factory=dict)

    def member(self, member_id: int) -> MemberCounters:
        """The counters of one member, made at first use."""
        found = self.members.get(member_id)
        if found is None:
            found = self.members[member_id] = MemberCounters()
        return found

    def imbalance(self) -> int:
        """0 when every received message ended exactly once."""
        return self.received.total() - (
            self.forwarded
            + self.answered.total()
            + self.absorbed.total()
            + self.dropped.total()
            + self.held
        )
