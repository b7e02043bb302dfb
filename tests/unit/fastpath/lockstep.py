"""Two routers in lockstep, one of each engine: what goes in is the same, what comes out has to be.

After each message the verdicts, the outbox and the reports are equal; from time to time all that
was counted and all that is remembered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any

from rmlb.fastpath.engine import CompiledRouter
from rmlb.routing.affinity import Memory
from rmlb.routing.bindings import BindingLimits, Bindings, Change, Phase
from rmlb.routing.counters import Counters
from rmlb.routing.overload import LoadLimits, Loads
from rmlb.routing.pending import PendingLimits, PendingRequests
from rmlb.routing.router import Router
from rmlb.routing.table import RoutingTable
from rmlb.routing.verdict import Decision, Hold, Origin, Verdict


class Difference(AssertionError):  # noqa: N818  as in "there is a difference"
    """The engines are not alike."""


@dataclass(frozen=True)
class Limits:
    """How large the tables are."""

    bindings: BindingLimits
    pending: PendingLimits
    loads: LoadLimits

    def memory(self) -> Memory:
        return Memory(Bindings(self.bindings), PendingRequests(self.pending), Loads(self.loads))


class Switch:
    """An ownership that comes and goes."""

    owner = True

    def may_forward(self) -> bool:
        return self.owner


class Lockstep:
    """One table, one `now`, two engines. `now` is a multiple of 1/16 s: the compiled table of
    bindings keeps no finer time."""

    def __init__(self, table: RoutingTable, limits: Limits) -> None:
        self.ownership = Switch()
        self.python = Router(table, limits.memory(), self.ownership)
        self.compiled = CompiledRouter(table, limits.memory(), self.ownership)
        for memory in self.python.memory, self.compiled.memory:
            memory.bindings.journal = table.ask_store
        self.table = table
        self.messages = 0

    @property
    def plain(self) -> int:
        """Messages that the core decided on without Python."""
        return self.messages - self.compiled.counters.received.total()

    def receive(self, data: bytes, origin: Origin, now: float) -> Verdict:
        self.messages += 1
        expected = self.python.receive(data, origin, now)
        found = self.compiled.receive(data, origin, now)
        if expected != found or type(expected) is not type(found):
            raise Difference(unlike(expected, found))
        self._compare_side_effects()
        return expected

    def resume(self, data: bytes, origin: Origin, now: float) -> Decision:
        """What was held, with what is known by now."""
        expected = self.python.resume(data, origin, now)
        found = self.compiled.resume(data, origin, now)
        if expected != found or type(expected) is not type(found):
            raise Difference(unlike(expected, found))
        self._compare_side_effects()
        return expected

    def recall(self, held: Hold, member: int, now: float, *, live: bool, ended: bool) -> None:
        """The store knows its binding."""
        for memory in self.python.memory, self.compiled.memory:
            loss = self.table.losses.number
            memory.bindings.recall(held.key, member, loss, now, live=live, ended=ended)

    def publish(self, table: RoutingTable, now: float) -> None:
        self.table = table
        self.python.publish(table, now)
        self.compiled.publish(table, now)
        self._compare_side_effects()

    def look(self, now: float) -> None:
        self.python.look(now)
        self.compiled.look(now)
        self._compare_side_effects()

    def spared(self, member: int, now: float) -> None:
        self.python.spared(member, now)
        self.compiled.spared(member, now)
        self._compare_side_effects()

    def expire(self, now: float) -> None:
        self.python.expire(now)
        self.compiled.expire(now)
        self._compare_side_effects()

    def compare_counts(self) -> None:
        """Counters, loads and how much is remembered, and every binding."""
        expected, found = self.python.counted(), self.compiled.counted()
        for field in fields(Counters):
            same(
                field.name, shown(getattr(expected, field.name)), shown(getattr(found, field.name))
            )
        same("imbalance", 0, found.imbalance())
        self._compare_journals()
        self._compare_loads()
        self._compare_bindings()

    def compare_all(self, now: float) -> None:
        """As `compare_counts`, and every remembered request, which Python alone sees to from then
        on; and who has room."""
        self.compare_counts()
        for key in list(self._requests()):
            self.compare_request(key)
        for member in self.table.members:
            expected = [e.key for e in self.python.memory.pending.waiting_for(member)]
            found = [e.key for e in self.compiled.memory.pending.waiting_for(member)]
            same(f"waiting for {member}", expected, found)
            expected_room = self.python.memory.loads.has_room(member, now)
            same("room", expected_room, self.compiled.memory.loads.has_room(member, now))

    def compare_request(self, key: int) -> None:
        expected = self.python.memory.pending.find(key)
        found = self.compiled.memory.pending.find(key)
        if expected is None or found is None:
            same("remembered", expected is None, found is None)
            return
        for field in fields(type(expected)):
            if field.name != "look_at":
                same(f"request {field.name}", *(getattr(e, field.name) for e in (expected, found)))

    def _requests(self) -> Iterator[int]:
        return iter(self.python.memory.pending._entries)

    def some_request(self, number: int) -> int | None:
        """The key of one, if there are any."""
        keys = list(self._requests())
        return keys[number % len(keys)] if keys else None

    def _compare_side_effects(self) -> None:
        """What is cheap enough to be compared after each step."""
        python, compiled = self.python.memory, self.compiled.memory
        if python.outbox or compiled.outbox:
            same("outbox", self.python.take_outbox(), self.compiled.take_outbox())
        if python.reports or compiled.reports:
            same("reports", self.python.take_reports(), self.compiled.take_reports())
        one, other = python.pending, compiled.pending
        if (len(one), one.unanswered, one.octets, one.evicted) != (
            len(other), other.unanswered, other.octets, other.evicted
        ):  # fmt: skip
            raise Difference(
                f"requests, unanswered, octets, evicted: {len(one), one.unanswered, one.octets}, "
                f"{one.evicted}: {len(other), other.unanswered, other.octets, other.evicted}"
            )
        if len(python.bindings) != len(compiled.bindings):
            raise Difference(f"{len(python.bindings)} bindings: {len(compiled.bindings)}")

    def _compare_loads(self) -> None:
        for member in self.table.members:
            expected, found = (
                self.python.memory.loads.of(member),
                self.compiled.memory.loads.of(member),
            )
            for name in ("waiting", "patience", "refusals", "limit", "first_answers"):
                same(f"load {name} of {member}", getattr(expected, name), getattr(found, name))
            counts = [
                m.pending.waiting_count(member) for m in (self.python.memory, self.compiled.memory)
            ]
            same(f"waiting count of {member}", *counts)
            silent = [
                m.loads.unanswered_for(member, 1e6)
                for m in (self.python.memory, self.compiled.memory)
            ]
            same(f"silence of {member}", *silent)

    def _compare_journals(self) -> None:
        """What either tells other balancers of a binding is what it is by now.

        How often a live one with traffic is told again is each engine's own affair: Python goes by
        the time, C spreads them by key. Of one that was replaced in between C tells nothing.
        """
        one, other = self.python.memory.bindings, self.compiled.memory.bindings
        expected, found = ({c.key: c for c in b.take_changes(10**6)} for b in (one, other))
        for key in sorted(expected.keys() | found.keys()):
            binding = one.find(key)
            if binding is None:
                continue
            live, ended = binding.phase is Phase.LIVE, binding.phase is Phase.ENDED
            now = Change(key, binding.member, binding.loss, live, ended, binding.expires)
            if key in found:
                same(f"change of {key:x}", now, found[key])
            if not live and (key in found or expected[key] == now):
                same(f"change of {key:x}", expected.get(key), found.get(key))

    def _compare_bindings(self) -> None:
        one, other = self.python.memory.bindings, self.compiled.memory.bindings
        same("calls", +one.calls, +other.calls)
        same("evicted bindings", one.evicted, other.evicted)
        for key, expected in chain(one._redundant.items(), one._needed.items()):
            found = other.find(key)
            if found is None:
                raise Difference(f"binding {key:x} is not there")
            for name in _OF_A_BINDING:
                same(f"binding {name}", getattr(expected, name), getattr(found, name))


_OF_A_BINDING = (
    "member", "loss", "phase", "expires", "seen", "counted", "callees", "transaction", "is_over",
)  # fmt: skip


def shown(value: Any) -> Any:
    """Counters compare without those that are nought."""
    return +value if isinstance(value, Counter) else value


def same(what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise Difference(f"{what}\n  python:   {expected!r}\n  compiled: {found!r}")


def unlike(expected: Verdict, found: Verdict) -> str:
    """The fields of two verdicts that are not alike."""
    if type(expected) is not type(found):
        return f"verdict\n  python:   {expected!r}\n  compiled: {found!r}"
    lines = ["verdict"]
    for field in fields(expected):
        one, other = getattr(expected, field.name), getattr(found, field.name)
        if one != other:
            lines.append(f"{field.name}\n  python:   {one!r}\n  compiled: {other!r}")
    return "\n".join(lines)
