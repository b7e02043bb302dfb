"""A world for elections: virtual time, a network and a witness that misbehave by seed.

Nodes have clocks of their own (200 ppm apart). Freezing holds back what arrives; a killed process
forgets everything. `World.run` plays one seed; what must hold is in test_simulation.py.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rmlb.vip.ballot import (
    Answer,
    Beat,
    CheckStrangers,
    Claim,
    Claimed,
    Event,
    Farewell,
    GiveBack,
    Health,
    Heard,
    LetGo,
    Own,
    Read,
    ReadRecord,
    Record,
    Release,
    Renew,
    Renewed,
    Send,
    Settings,
    Stop,
    Strangers,
    Takeover,
    Tick,
    Unanswered,
)
from rmlb.vip.election import Election
from rmlb.vip.lease import decide

INTERVAL_S = 0.25
LONE_S = 4.0
DRIFT = 200e-6
PACKETS_KEPT = 200
"""What a frozen process finds in its sockets."""


@dataclass(slots=True)
class Node:
    id: int
    offset: float
    rate: float
    election: Election
    incarnation: int = 1
    up: bool = True
    frozen: bool = False
    """The keeper."""
    stalled: bool = False
    """The worker: forwards nothing."""
    deadline: float = 0.0
    """What the packet path has read, in the node's own time."""
    waiting: list[Event] = field(default_factory=list)
    wake: int = 0
    seen: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Incarnation and newest datagram of each other node."""
    datagrams: int = 0
    left: bool = False
    on_answer: Callable[[Answer], None] | None = None

    def clock(self, now: float) -> float:
        return self.offset + now * self.rate

    def when(self, local: float) -> float:
        return (local - self.offset) / self.rate

    def forwards(self, now: float) -> bool:
        return self.up and not self.stalled and self.clock(now) < self.deadline


class Violation(AssertionError):  # noqa: N818  # what it is called in proofs
    """An invariant does not hold."""


class World:
    """One seed."""

    def __init__(
        self,
        seed: int,
        *,
        nodes: int = 2,
        witness: bool = True,
        faults: tuple[str, ...] = (),
        until_s: float = 60.0,
        quiet_s: float = 20.0,
        loss: float = 0.0,
        calm: bool = False,
        trace: bool = False,
    ) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.witness = witness
        self.record: Record | None = None
        self.history: list[tuple[float, Record | None]] = []
        self.witness_up = True
        self.failover_at = -1e9
        self.loss, self.calm = loss, calm
        self.cuts: dict[tuple[int, int], int] = {}
        """Directions that carry nothing, by (from, to); 0 is the witness, -1 the callers' LAN."""
        self.nodes: dict[int, Node] = {}
        self.owners: list[tuple[float, int, str]] = []
        self.lines: list[str] = []
        self.trace = trace
        self.excused = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self.until_s, self.quiet_s = until_s, quiet_s
        self._strict = "witness" not in " ".join(faults) and "stop" not in faults and witness
        for id in range(1, nodes + 1):
            offset = self.random.uniform(0, 1000)
            rate = 1 + self.random.uniform(-DRIFT, DRIFT)
            node = Node(id, offset, rate, self._election(id, nodes, offset))
            self.nodes[id] = node
            self.at(self.random.uniform(0, 0.5), self._start, node)
        if faults:
            at = 5.0
            while at < until_s - quiet_s:
                self.at(at, self._fault, self.random.choice(faults))
                at += self.random.expovariate(0.5)

    def _election(self, id: int, nodes: int, local: float) -> Election:
        settings = Settings(
            id=id,
            others=nodes - 1,
            interval_s=INTERVAL_S,
            witness=self.witness,
            lone_s=LONE_S,
        )
        return Election(settings, local)

    def at(self, when: float, what: Callable[..., None], *args: Any) -> None:
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, what, args))

    def run(self) -> World:
        heap = self._heap
        while heap and heap[0][0] <= self.until_s:
            self.now, _, what, args = heapq.heappop(heap)
            what(*args)
        return self

    def log(self, text: str) -> None:
        if self.trace:
            self.lines.append(f"{self.now:9.4f} {text}")

    # nodes

    def _start(self, node: Node) -> None:
        self._give(node, Health(True, 10))
        self._tick(node, node.wake)

    def _tick(self, node: Node, wake: int) -> None:
        if wake == node.wake and node.up and not node.frozen:
            self._give(node, Tick())

    def _give(self, node: Node, event: Event) -> None:
        if not node.up:
            return
        if node.frozen:
            if len(node.waiting) < PACKETS_KEPT:
                node.waiting.append(event)
            return
        local = node.clock(self.now)
        actions = node.election.handle(event, local)
        node.deadline = node.election.deadline
        for action in actions:
            self._do(node, action, local)
        self._judge(node)
        node.wake += 1
        when = node.when(max(node.election.wake_at(local), local + 1e-4))
        self.at(when, self._tick, node, node.wake)

    def _judge(self, node: Node) -> None:
        if not node.forwards(self.now):
            return
        for other in self.nodes.values():
            if other is not node and other.forwards(self.now):
                free = any(n.clock(self.now) < n.election.free_until for n in (node, other))
                recent = self.now - self.failover_at < 5 * INTERVAL_S
                if self._strict or not (free or recent):
                    raise Violation(f"two forward at {self.now:.4f}: {node.id} and {other.id}")
                self.excused += 1

    def _do(self, node: Node, action: Any, local: float) -> None:
        if isinstance(action, Send):
            self._send(node, action, local)
        elif isinstance(action, Renew | Claim | GiveBack | ReadRecord):
            self._ask(node, action)
        elif isinstance(action, Own):
            if node.left:
                raise Violation(f"{node.id} owns after its goodbye, at {self.now:.4f}")
            self.owners.append((self.now, node.id, action.why))
            self.log(f"{node.id} OWNS epoch {action.epoch}: {action.why}")
        elif isinstance(action, LetGo):
            self.owners.append((self.now, -node.id, action.why))
            self.log(f"{node.id} lets go: {action.why}")
        elif isinstance(action, CheckStrangers):
            self.at(self.now + 0.1, self._checked, node, node.incarnation)
        elif isinstance(action, Answer):
            if node.on_answer is not None:
                node.on_answer(action)
        else:
            self.log(f"{node.id} {action}")

    def _checked(self, node: Node, incarnation: int) -> None:
        cut = self.cuts.get((node.id, -1), 0)
        others = (o for o in self.nodes.values() if o is not node and not self.cuts.get((o.id, -1)))
        clean = bool(cut) or not any(o.up and o.election.owner for o in others)
        if node.incarnation == incarnation:
            self._give(node, Strangers(clean))

    # the network

    def _delay(self) -> float:
        draw = self.random.random()
        if draw < 0.97 or self.calm:
            return 0.0005 + draw * 0.002
        return self.random.uniform(0, 2 * INTERVAL_S) if draw < 0.997 else self.random.uniform(0, 3)

    def _send(self, node: Node, send: Send, local: float) -> None:
        for other in self.nodes:
            if other != node.id and send.to in (None, other):
                node.datagrams += 1
                beat = node.election.beat_for(other, send, local)
                self._carry(node, other, beat, node.datagrams)

    def _carry(self, node: Node, to: int, beat: Beat, number: int) -> None:
        copies = 2 if self.random.random() < 0.01 else 1
        for _ in range(copies):
            if self.cuts.get((node.id, to)) or self.random.random() < self.loss:
                continue
            args = (node.id, to, beat, node.incarnation, number)
            self.at(self.now + self._delay(), self._arrive, *args)

    def _arrive(self, sender: int, to: int, beat: Beat, incarnation: int, number: int) -> None:
        node = self.nodes[to]
        newest = node.seen.get(sender, (0, 0))
        if node.up and (incarnation, number) > newest:
            node.seen[sender] = (incarnation, number)
            self._give(node, Heard(beat))

    # the witness

    def _ask(self, node: Node, action: Any) -> None:
        asked_at, incarnation = node.clock(self.now), node.incarnation
        done: list[bool] = []
        request = None if isinstance(action, ReadRecord) else action

        def arrive() -> None:
            if not self.witness_up or self.cuts.get((node.id, 0)):
                return
            taken, after = decide(self.record, request, node.id)
            if after != self.record:
                self.record = after
                self.history.append((self.now, after))
            if self.cuts.get((0, node.id)):
                return
            self.at(self.now + self._delay(), answered, taken, after)

        def answered(taken: bool, after: Record | None) -> None:
            if not done and node.incarnation == incarnation:
                done.append(True)
                give(taken, after)

        def give(taken: bool, after: Record | None) -> None:
            event: Event
            if isinstance(action, Renew):
                event = Renewed(action.n, taken, after, asked_at)
            elif isinstance(action, Claim):
                event = Claimed(action.epoch, taken, after, asked_at)
            else:
                event = Read(after, asked_at)
            self._give(node, event)

        def failed() -> None:
            if not done and node.incarnation == incarnation:
                done.append(True)
                self._give(node, Unanswered())

        self.at(self.now + self._delay(), arrive)
        if isinstance(action, Claim):
            self.at(self.now + 2 * INTERVAL_S, failed)

    # faults

    def _fault(self, what: str) -> None:
        node = self.random.choice(list(self.nodes.values()))
        other = self.random.choice([n for n in self.nodes.values() if n is not node])
        for_s = self.random.choice((0.3, 0.6, 1.0, 3.0, 6.0, 12.0))
        end = min(self.now + for_s, self.until_s - self.quiet_s)
        self.log(f"FAULT {what} node {node.id} other {other.id} until {end:.2f}")
        getattr(self, "_" + what.replace("-", "_"))(node, other, end)

    def _cut(self, end: float, *directions: tuple[int, int]) -> None:
        for each in directions:
            self.cuts[each] = self.cuts.get(each, 0) + 1
            self.at(end, self._heal, each)

    def _heal(self, each: tuple[int, int]) -> None:
        self.cuts[each] -= 1

    def _partition(self, node: Node, other: Node, end: float) -> None:
        self._cut(end, (node.id, other.id), (other.id, node.id))

    def _one_way(self, node: Node, other: Node, end: float) -> None:
        self._cut(end, (node.id, other.id))

    def _witness_cut(self, node: Node, other: Node, end: float) -> None:
        self._cut(end, (node.id, 0), (0, node.id))

    def _witness_deaf(self, node: Node, other: Node, end: float) -> None:
        self._cut(end, (0, node.id))

    def _witness_isolate(self, node: Node, other: Node, end: float) -> None:
        """Cut off from everything but, maybe, the callers."""
        self._witness_cut(node, other, end)
        for each in self.nodes.values():
            if each is not node:
                self._partition(node, each, end)
        if self.random.random() < 0.5:
            self._cut(end, (node.id, -1))

    def _freeze(self, node: Node, other: Node, end: float) -> None:
        if node.frozen or not node.up:
            return
        node.frozen = True
        node.stalled = stalled = node.stalled or self.random.random() < 0.5
        self.at(end, self._resume, node, stalled, node.incarnation)

    def _resume(self, node: Node, stalled: bool, incarnation: int) -> None:
        if node.incarnation != incarnation:
            return
        node.frozen = False
        if stalled:
            node.stalled = False
        waiting, node.waiting = node.waiting, []
        self._give(node, Tick())
        for event in waiting:
            self._give(node, event)

    def _kill(self, node: Node, other: Node, end: float) -> None:
        if not node.up:
            return
        will = None if self.random.random() < 0.5 else node.election.last_will()
        if will is not None and not node.frozen:
            local = node.election.now
            for each in self.nodes:
                if each != node.id:
                    beat = node.election.beat_for(each, will[1], local)._replace(owner=False)
                    self._carry(node, each, beat, 2**62)
        node.up = False
        self.at(end, self._restart, node)

    def _restart(self, node: Node) -> None:
        node.up = True
        node.incarnation += 1
        node.frozen = node.stalled = node.left = False
        node.deadline = 0.0
        node.waiting, node.seen, node.datagrams = [], dict(node.seen), 0
        node.election = self._election(node.id, len(self.nodes), node.clock(self.now))
        node.wake += 1
        self._start(node)

    def _stop(self, node: Node, other: Node, end: float) -> None:
        if not node.up or node.frozen or node.left:
            return

        def farewell(answer: Answer) -> None:
            node.on_answer = None
            self.at(self.now + 0.001, leave)

        def leave() -> None:
            if not node.up or node.left:
                return
            self._give(node, Farewell())
            node.left = True
            node.up = False
            self.at(end, self._restart, node)

        node.on_answer = farewell
        self._give(node, Stop())

    def _release(self, node: Node, other: Node, end: float) -> None:
        self._give(node, Release())

    def _force(self, node: Node, other: Node, end: float) -> None:
        if node.election.owner:
            self._give(node, Release(force=True))
            self.at(end, self._give, node, Takeover())

    def _takeover(self, node: Node, other: Node, end: float) -> None:
        self._give(node, Takeover())

    def _worker(self, node: Node, other: Node, end: float) -> None:
        if node.up and not node.frozen and not node.stalled:
            node.stalled = True
            self._give(node, Health(False, 0))
            self.at(end, self._worker_back, node, node.incarnation)

    def _worker_back(self, node: Node, incarnation: int) -> None:
        if node.incarnation == incarnation:
            node.stalled = False
            self._give(node, Health(True, 10))

    def _score(self, node: Node, other: Node, end: float) -> None:
        self._give(node, Health(True, self.random.choice((5, 10, 15))))
        self.at(end, self._give, node, Health(True, 10))

    def _noise(self, node: Node, other: Node, end: float) -> None:
        self.loss = self.random.choice((0.1, 0.3, 0.6))
        self.at(end, setattr, self, "loss", 0.0)

    def _witness_down(self, node: Node, other: Node, end: float) -> None:
        self.witness_up = False
        self.at(end, setattr, self, "witness_up", True)

    def _witness_empty(self, node: Node, other: Node, end: float) -> None:
        self.witness_up = False
        self.record = None
        self.at(min(end, self.now + 2), setattr, self, "witness_up", True)

    def _witness_failover(self, node: Node, other: Node, end: float) -> None:
        """A replica takes its place that has not seen the last second."""
        old = [record for at, record in self.history if at < self.now - 1.0]
        self.record = old[-1] if old else None
        self.failover_at = self.now
