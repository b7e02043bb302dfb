"""The compiled engine: a Router whose plain messages never come to it.

The core decides what is plain; everything else is routed by rmlb.routing, on the core's own tables
and under its lock. So there is one truth of each rule in Python, and one table of each kind in C.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from copy import deepcopy
from typing import Protocol, runtime_checkable

from rmlb.fastpath.core import Core
from rmlb.fastpath.framing import cut
from rmlb.fastpath.limits import MOST_LISTENERS
from rmlb.fastpath.packets import PacketLoop
from rmlb.ownership import Page
from rmlb.routing.affinity import Memory
from rmlb.routing.counters import Counters
from rmlb.routing.router import Ownership, Router
from rmlb.routing.table import RoutingTable
from rmlb.routing.verdict import Decision, Destination, Origin, Verdict
from rmlb.sip.framing import StreamFramer
from rmlb.sip.message import SipError


class CompiledFramer(StreamFramer):
    """As StreamFramer; whole plain messages do not come to it."""

    def feed(self, data: bytes) -> list[bytes]:
        if not self.is_empty:
            return super().feed(data)
        messages, rest = cut(data, self.max_message_size)
        return messages + super().feed(rest) if rest else messages


@runtime_checkable
class HasPage(Ownership, Protocol):
    """An ownership that the packet thread can look up by itself."""

    page: Page
    stamp_ms: int


class CompiledRouter(Router):
    """As Router; `memory` says how large the tables are to be."""

    name = "compiled"
    framer = CompiledFramer

    def __init__(
        self, table: RoutingTable, memory: Memory, ownership: Ownership | None = None
    ) -> None:
        self.core = core = Core(
            memory.bindings.limits,
            memory.pending.limits,
            memory.loads.limits,
            memory.sources.limits,
        )
        tables = Memory(core.bindings, core.pending, core.loads, core.sources)
        super().__init__(table, tables, ownership)
        core.publish(table)
        self._packets = PacketLoop(core)
        if len(table.listeners) <= MOST_LISTENERS:
            self.packets = self._packets
        self._bindings = core.bindings
        self._sources = core.sources
        if isinstance(ownership, HasPage):
            self._packets.heed(ownership.page.memory, ownership.stamp_ms)

    def held(self) -> AbstractContextManager[object]:
        return self.core

    def counted(self) -> Counters:
        with self.core:
            counters = deepcopy(self.counters)
            self.core.add_to(counters)
            self._packets.add_to(counters)
        return counters

    def publish(self, table: RoutingTable, now: float) -> None:
        with self.core:
            self.core.publish(table)
            super().publish(table, now)

    def look(self, now: float) -> None:
        with self.core:
            super().look(now)

    def spared(self, member_id: int, now: float) -> None:
        with self.core:
            super().spared(member_id, now)

    def tell_changes(self) -> None:
        """The core has changed bindings, or the packet thread: whoever waits for that is told."""
        self._bindings.tell_changes()

    def receive(self, data: bytes, origin: Origin, now: float) -> Verdict:
        if self._sources.limits.rate:
            with self.core:
                heard = self._sources.may_send(origin.host, now)
            if not heard:
                return self.refuse_source(origin)
        if self.ownership.may_forward():
            plain = self.core.decide(data, origin, now)
            if plain is not None:
                self.tell_changes()
                return plain
        return self.receive_odd(data, origin, now)

    def receive_plain(
        self, messages: list[bytes], origin: Origin, now: float
    ) -> list[bytes | tuple[Destination, bytes]]:
        if self._sources.limits.rate or not self.ownership.may_forward():
            return super().receive_plain(messages, origin, now)
        done = self.core.decide_all(messages, origin, now)
        self.tell_changes()
        return done

    def receive_odd(self, data: bytes, origin: Origin, now: float) -> Verdict:
        """What the core was not sure of."""
        with self.core:
            return super().receive_odd(data, origin, now)

    def resume(self, data: bytes, origin: Origin, now: float) -> Decision:
        with self.core:
            return super().resume(data, origin, now)

    def refuse(self, data: bytes, error: SipError, origin: Origin) -> Verdict:
        with self.core:
            return super().refuse(data, error, origin)

    def expire(self, now: float) -> None:
        with self.core:
            super().expire(now)
