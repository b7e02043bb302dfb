"""Doubles for the simulators: a wire that keeps what is sent, a scheduler moved by hand."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from rmlb.sim.sip_text import SipText, request
from rmlb.sim.wire import Peer, Receive, Unreachable
from rmlb.sip.address import Transport

CALLER = Peer("192.0.2.1", 5070)


@dataclass
class FakeWire:
    transport: Transport = Transport.UDP
    host: str = "192.0.2.9"
    port: int = 5060
    unreadable: int = 0
    sent: list[tuple[SipText, Peer]] = field(default_factory=list)

    async def open(self, receive: Receive, unreachable: Unreachable) -> None:
        self.receive = receive
        self.unreachable = unreachable

    def send(self, message: SipText, to: Peer) -> None:
        self.sent.append((message, to))

    async def close(self) -> None:
        pass

    def take(self) -> list[str]:
        """Start lines sent since the last look."""
        lines = [message.start_line for message, _ in self.sent]
        self.sent.clear()
        return lines


@dataclass(order=True)
class _Timer:
    at: float
    number: int
    callback: Callable[[], object] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


class FakeScheduler:
    """Timers that ring when `advance` passes them."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[_Timer] = []
        self._count = 0

    def call_later(self, delay: float, callback: Callable[[], object]) -> _Timer:
        self._count += 1
        timer = _Timer(self.now + delay, self._count, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and self._timers[0].at <= end:
            timer = heapq.heappop(self._timers)
            self.now = timer.at
            if not timer.cancelled:
                timer.callback()
        self.now = end


def asked(
    method: str,
    *,
    branch: str = "z9hG4bKa",
    cseq: int = 1,
    to_tag: str = "",
    more: tuple[tuple[str, str], ...] = (),
    via: str = "SIP/2.0/UDP 192.0.2.1:5070",
) -> SipText:
    """A request from CALLER."""
    tag = f";tag={to_tag}" if to_tag else ""
    return request(
        method,
        "sip:pool@192.0.2.9",
        [
            ("Via", f"{via};branch={branch}"),
            ("From", "<sip:a@192.0.2.1>;tag=from"),
            ("To", f"<sip:pool@192.0.2.9>{tag}"),
            ("Call-ID", "call"),
            ("CSeq", f"{cseq} {method}"),
            ("Contact", "<sip:a@192.0.2.1:5070>"),
            *more,
        ],
    )
