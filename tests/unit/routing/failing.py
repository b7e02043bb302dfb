"""Traces of calls whose members fail: messages in, verdicts and outbox out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from packets import CALLER, RM, TCP, UDP, Bench, answer, member, request

from rmlb.routing.member import Health
from rmlb.routing.verdict import Absorb, Drop, Forward, Own, Reply, Verdict
from rmlb.sip.address import Transport
from rmlb.sip.message import scan

VIA = f"SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bK"


class Trace:
    """One request of a caller, over one transport, to members that fail."""

    def __init__(
        self,
        method: str = "INVITE",
        *,
        members: int = 2,
        transport: Transport = UDP,
        bench: Bench | None = None,
        call_id: str = "one@caller",
        extra: tuple[str, ...] = (),
        **changes: Any,
    ) -> None:
        number = range(1, members + 1)
        self.bench = bench or Bench(members=[member(n) for n in number], **changes)
        self.method = method
        self.transport = transport
        self.call_id = call_id
        self.extra = extra
        self.sent = self.bench.forwarded(*self.caller(method))
        self.first = self.sent.to.member
        self.at: dict[int, bytes] = {self.first: self.sent.data}
        """What each member was sent."""

    # the caller

    def caller(self, method: str, **parts: Any) -> tuple[bytes, str, int, Transport]:
        """A request of the caller's transaction, and where it comes from."""
        via = f"SIP/2.0/{self.transport.value.upper()} {CALLER}:5060;branch=z9hG4bKone;rport"
        data = request(method, **{"via": via, "call_id": self.call_id, "extra": self.extra} | parts)
        return data, CALLER, 5060, self.transport

    def again(self) -> Verdict:
        """The caller retransmits."""
        return self.bench.receive(*self.caller(self.method))

    def cancel(self) -> Verdict:
        return self.bench.receive(*self.caller("CANCEL"))

    def ack(self, to_tag: str) -> Verdict:
        """To a failure: the same branch."""
        return self.bench.receive(*self.caller("ACK", to_tag=to_tag))

    # the members

    def says(self, number: int, status: int, tag: str | None = None, **parts: Any) -> Verdict:
        """The member answers what it was sent."""
        to_tag = None if status == 100 else tag or f"m{number}"
        return self.bench.receive(
            answer(self.at[number], status, to_tag=to_tag, **parts), RM[number]
        )

    @property
    def second(self) -> int:
        """The one asked next, of two."""
        return 3 - self.first

    # time and health

    def health(self, number: int, health: Health) -> None:
        """One snapshot, with its loss where it is one, as the node publishes it."""
        table = self.bench.table
        members = {**table.members, number: replace(table.members[number], health=health)}
        losses = table.losses
        if health is Health.OUT_OF_SERVICE:
            losses = losses.record(number, tuple(m.id for m in members.values() if not m.lost))
        self.bench.change(members=members, losses=losses)

    def out(self, number: int) -> list[Own]:
        """The member goes out of service; what leaves of that."""
        self.health(number, Health.OUT_OF_SERVICE)
        return self.own()

    def back(self, number: int) -> list[Own]:
        self.health(number, Health.IN_SERVICE)
        return self.own()

    def suspect(self, number: int) -> None:
        self.health(number, Health.SUSPECT)

    def wait(self, seconds: float) -> list[Own]:
        """Time passes; the router looks twenty times a second."""
        found = []
        until = self.bench.now + seconds
        while self.bench.now < until - 0.001:
            self.bench.now = min(until, self.bench.now + 0.05)
            self.bench.router.look(self.bench.now)
            found += self.own()
        return found

    def own(self) -> list[Own]:
        """What waits to leave; a request sent again is noted as what its member has."""
        found = self.bench.router.take_outbox()
        for own in found:
            if own.what == "resend":
                self.at[own.to.member] = own.data
        return found

    # what must hold

    def is_over(self) -> None:
        """Long after, nothing of it is left, and every message has ended once."""
        self.wait(1.0)
        self.bench.now += 4000.0
        self.bench.router.look(self.bench.now)
        self.own()
        for _ in range(2):  # a timer C may have been put later once
            self.bench.now += 4000.0
            self.bench.router.expire(self.bench.now)
        memory = self.bench.memory
        assert (len(memory.pending), memory.pending.octets, memory.pending.unanswered) == (0, 0, 0)
        assert [memory.loads.of(number).waiting for number in self.bench.table.members] == [
            0
        ] * len(self.bench.table.members)
        assert len(memory.timers) == 0
        assert self.bench.router.counted().imbalance() == 0


def seen(message: Own | Verdict) -> int:
    """The status that a message brings."""
    assert isinstance(message, Own | Forward | Reply), message
    return scan(message.data).status


def kinds(own: list[Own]) -> list[tuple[str, int]]:
    """(what, member or 0 for the caller) of each, in order."""
    return [(each.what, each.to.member) for each in own]


def swallowed(verdict: Verdict) -> bool:
    return isinstance(verdict, Absorb | Drop)


__all__ = ["TCP", "UDP", "VIA", "Trace", "kinds", "seen", "swallowed"]
