"""The packet path's decisions: one message in, one verdict out, each counted once.

Holds what is learnt from traffic (`Memory`) and reads the current routing snapshot (`table`).
Requests are handled in requests.py, responses in responses.py. Knows no sockets and no clock.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from rmlb.routing import resending
from rmlb.routing.affinity import Memory, Moment
from rmlb.routing.counters import Counters
from rmlb.routing.replies import refuse
from rmlb.routing.requests import route_request
from rmlb.routing.responses import route_response
from rmlb.routing.table import RoutingTable
from rmlb.routing.verdict import (
    Absorb,
    Decision,
    Destination,
    Drop,
    Forward,
    Hold,
    Kind,
    Origin,
    Own,
    Reason,
    Reply,
    Report,
    Verdict,
)
from rmlb.sip.address import is_unicast
from rmlb.sip.framing import StreamFramer
from rmlb.sip.message import SipError, scan


class Ownership(Protocol):
    """Whether this balancer may forward at this moment (HA-RULES 1)."""

    def may_forward(self) -> bool: ...


class Always:
    """Nobody else could: a balancer of its own."""

    def may_forward(self) -> bool:
        return True


class Packets(Protocol):
    """A thread that reads UDP sockets and leaves to Python what is not plain."""

    def add(self, fd: int, listener: int, *, ipv4: bool) -> None:
        """A bound, non-blocking socket, before `start`; it stays the caller's to close."""

    def start(self) -> None:
        """Raises OSError where there can be no thread."""

    def stop(self) -> None:
        """The sockets may be closed afterwards."""

    def fileno(self) -> int:
        """Readable while there is something to take."""

    def take(self, most: int) -> list[tuple[str, Any, bytes]]:
        """At most so many of what waits: (what, where, octets).

        "datagram" from an Origin, "send" to a Destination, "refused" by a (host, port).
        """

    def copy(self, on: bool) -> None:
        """Make copies of plain messages from now on, or no more."""

    def take_copies(self) -> list[tuple[float, bool, int, str, int, bytes]]:
        """Copies since the last call: (wall clock, came, listener, host, port, octets)."""

    @property
    def copies_lost(self) -> int:
        """Copies that found no room, since start."""


class Router:
    """The Python engine: `receive` is the whole packet path between two sockets."""

    name = "python"
    framer: type[StreamFramer] = StreamFramer
    """What cuts streams into messages."""
    packets: Packets | None = None
    """The compiled engine's thread that reads the UDP sockets."""

    def __init__(
        self, table: RoutingTable, memory: Memory, ownership: Ownership | None = None
    ) -> None:
        """`ownership` None: it always may forward."""
        self.table = table
        self.memory = memory
        self.ownership = ownership or Always()
        memory.sources.spare(table.member_hosts)
        self.counters = Counters()
        self._failed: set[int] = set()
        """Members whose remembered requests are still to go elsewhere."""

    def held(self) -> AbstractContextManager[object]:
        """Nothing else touches memory meanwhile; to be held by whoever reads it from outside."""
        return nullcontext()

    def counted(self) -> Counters:
        """All that was counted; not to be changed."""
        return self.counters

    def publish(self, table: RoutingTable, now: float) -> None:
        """The next message is routed by this snapshot.

        What was remembered for a member that it says is out, or does not know any more, goes
        elsewhere, into the outbox.
        """
        before, self.table = self.table, table
        self.memory.sources.spare(table.member_hosts)
        out = {m.id for m in table.members.values() if not m.reachable}
        self._failed |= {
            known.id
            for known in before.members.values()
            if known.reachable and (known.id in out or known.id not in table.members)
        }
        if {m.id for m in table.taking} - {m.id for m in before.taking}:
            self._failed |= out  # what still rings with one of them may go to the one that is back
        self._attends(now)

    def look(self, now: float) -> None:
        """Repetitions, deadlines and silent members; some twenty times a second."""
        if self._attends(now):
            resending.look(self._moment(now))
        else:
            for member_id in self.table.members:
                self.memory.loads.forget_silence(member_id)  # their answers go to the owner

    def spared(self, member_id: int, now: float) -> None:
        """A suspect member answered a probe after all.

        What a broken connection to it may have lost is repeated, and its silence forgiven.
        """
        if self._attends(now):
            resending.send_again(member_id, self._moment(now))
        self.memory.loads.forgive_silence(member_id)

    def take_outbox(self) -> list[Own]:
        """Own messages that wait to leave; each is given once. Not the owner's: none leaves."""
        own = self.memory.outbox
        if own:
            self.memory.outbox = []
            if not self.ownership.may_forward():
                return []
            for message in own:
                self.counters.own[message.what] += 1
        return own

    def take_limited(self) -> list[str]:
        """Sources that went over their rate; each is given once."""
        with self.held():
            return self.memory.sources.take_limited()

    def take_reports(self) -> list[Report]:
        """What traffic says of members' health; each is given once."""
        reports, self.memory.reports = self.memory.reports, []
        return reports

    def receive(self, data: bytes, origin: Origin, now: float) -> Verdict:
        """Decide on one message. `now` in seconds of a monotonic clock. Never raises."""
        if not self.memory.sources.may_send(origin.host, now):
            return self.refuse_source(origin)
        return self.receive_odd(data, origin, now)

    def receive_plain(
        self, messages: list[bytes], origin: Origin, now: float
    ) -> list[bytes | tuple[Destination, bytes]]:
        """Of messages of one connection those done with, as what there is to send and where to;
        the others as they came, for `receive`. This engine knows none that are plain."""
        return list(messages)

    def refuse_source(self, origin: Origin) -> Drop:
        """Its source sends more than it may: not even looked at."""
        self.counters.received[origin.transport] += 1
        dropped = Drop(Kind.OTHER, Reason.SOURCE_RATE)
        self._count(dropped)
        return dropped

    def receive_odd(self, data: bytes, origin: Origin, now: float) -> Verdict:
        """As `receive`, of a source that may send; for what `packets` left to Python, too."""
        self.counters.received[origin.transport] += 1
        try:
            verdict = self._route(data, origin, now, may_hold=self.table.ask_store)
        except SipError as error:
            verdict = refuse(error, origin, self.table)
        self._count(verdict)
        return verdict

    def tell_changes(self) -> None:
        """To be called after `packets.take`: its thread cannot call `bindings.on_change`."""

    def resume(self, data: bytes, origin: Origin, now: float) -> Decision:
        """Decide on a message for which `receive` said Hold, with what is known by now."""
        self.counters.held -= 1
        try:
            verdict = self._route(data, origin, now, may_hold=False)
        except SipError as error:
            verdict = refuse(error, origin, self.table)
        self._count(verdict)
        assert not isinstance(verdict, Hold)
        return verdict

    def refuse(self, data: bytes, error: SipError, origin: Origin) -> Verdict:
        """Decide on octets that could not even be framed as a message."""
        self.counters.received[origin.transport] += 1
        if not self.ownership.may_forward():
            dropped = Drop(Kind.OTHER, Reason.NOT_OWNER)
            self._count(dropped)
            return dropped
        try:
            error.partial = scan(data, max_headers=self.table.max_headers)
        except SipError as found:
            error.partial = found.partial
        verdict = refuse(error, origin, self.table)
        self._count(verdict)
        return verdict

    def expire(self, now: float) -> None:
        """Forget what is due; to be called about once a second."""
        self.memory.bindings.expire(now)
        for member, requests in self.memory.pending.expire(now).items():
            self.memory.loads.gave_up(member, requests)

    def _route(self, data: bytes, origin: Origin, now: float, *, may_hold: bool) -> Verdict:
        if not self.ownership.may_forward():
            return Drop(Kind.OTHER, Reason.NOT_OWNER)
        if self.table.is_own_endpoint(origin.host, origin.port):
            return Drop(Kind.OTHER, Reason.TO_OURSELVES)
        if not origin.port or not is_unicast(origin.host):
            return Drop(Kind.OTHER, Reason.FORBIDDEN_DESTINATION)
        if not origin.transport.is_stream and not data.strip(b"\r\n\x00"):
            return Absorb(Kind.OTHER, Reason.KEEPALIVE)
        message = scan(data, max_headers=self.table.max_headers)
        if message.is_request:
            return route_request(message, origin, self._moment(now), may_hold=may_hold)
        return route_response(message, origin, self._moment(now))

    def _attends(self, now: float) -> bool:
        """The owner alone decides what becomes of remembered requests: what another one would
        answer or send elsewhere could not leave, and would be wrong when it owns again. Then it
        sees to the members that were lost meanwhile and are not back.
        """
        owner = self.ownership.may_forward()
        if owner and self._failed:
            members = self.table.members
            lost = {n for n in self._failed if n not in members or not members[n].reachable}
            self._failed.clear()
            resending.take_over(lost, self._moment(now))
        return owner

    def _moment(self, now: float) -> Moment:
        return Moment(self.table, self.memory, now)

    def _count(self, verdict: Verdict) -> None:
        counters = self.counters
        if isinstance(verdict, Hold):
            counters.held += 1
            return
        counters.kinds[verdict.kind] += 1
        if isinstance(verdict, Forward):
            counters.forwarded += 1
            if verdict.step is not None:
                counters.affinity[verdict.step] += 1
                member = counters.member(verdict.to.member)
                member.requests += 1
                member.initial_requests += verdict.initial
            elif verdict.answered_by:
                counters.member(verdict.answered_by).responses[verdict.status // 100] += 1
        elif isinstance(verdict, Reply):
            counters.answered[verdict.status] += 1
        elif isinstance(verdict, Absorb):
            counters.absorbed[verdict.reason] += 1
        else:
            counters.dropped[verdict.reason] += 1
