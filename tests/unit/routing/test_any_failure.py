"""Any order of calls, answers, losses and returns: what SIP-RULES 5 promises holds after each step.

A world of callers and members around one router. The members are user agent servers with
transactions of their own; they freeze, die and come back, noticed by health checking or not.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from packets import CALLER, RM, TCP, UDP, Bench, answer, member, request

from rmlb.routing.affinity import Memory
from rmlb.routing.member import Health
from rmlb.routing.overload import LoadLimits, Loads
from rmlb.routing.pending import PendingLimits, PendingRequests
from rmlb.routing.signature import read_branch
from rmlb.routing.verdict import Absorb, Drop, Forward, Own, Reply, Step, Verdict
from rmlb.sip.address import Transport
from rmlb.sip.message import Message, scan
from rmlb.sip.via import top_via, via_after

T1 = 0.5


@dataclass
class Server:
    """One server transaction of a member (17.2)."""

    number: int
    request: bytes
    method: bytes
    final: int = 0
    cancelled: bool = False
    acknowledged: bool = False

    @property
    def tag(self) -> str:
        return f"m{self.number}"


@dataclass
class Process:
    """A member as it is, whatever health checking believes."""

    number: int
    frozen: bool = False
    unread: list[bytes] = field(default_factory=list)
    servers: dict[bytes, Server] = field(default_factory=dict)


@dataclass
class Call:
    """One client transaction of the caller."""

    name: str
    method: str
    transport: Transport
    begun: float
    seen: list[Message] = field(default_factory=list)
    cancelled: bool = False
    key: int = 0
    """What the router remembers it by."""
    forgotten: bool = False
    """The router's memory was too small, or it is over since long."""
    last_resend: dict[int, float] = field(default_factory=dict)
    """When we sent it to each member of our own accord."""

    @property
    def finals(self) -> list[Message]:
        return [m for m in self.seen if m.status >= 200]

    def request(self, method: str | None = None) -> bytes:
        via = (
            f"SIP/2.0/{self.transport.value.upper()} {CALLER}:5060;branch=z9hG4bK{self.name};rport"
        )
        return request(method or self.method, call_id=self.name, via=via)


class World:
    """Everything around one router."""

    def __init__(self, choice: random.Random) -> None:
        self.choice = choice
        self.count = choice.choice((1, 2, 2, 2, 3))
        limits = choice.choice(
            (
                LoadLimits(),
                LoadLimits(requests_waiting=2),
                LoadLimits(calls_per_second=3),
                LoadLimits(adaptive=True),
            )
        )
        room = choice.choice((PendingLimits(), PendingLimits(max_octets=2500, max_requests=5)))
        self.bench = Bench(
            Memory(loads=Loads(limits), pending=PendingRequests(room)),
            members=[member(n) for n in range(1, self.count + 1)],
            after_provisional=choice.random() < 0.8,
            hotstandby=choice.random() < 0.8,
        )
        self.processes = {n: Process(n) for n in range(1, self.count + 1)}
        self.calls: dict[str, Call] = {}

    # what happens

    def step(self) -> None:
        actions = (
            self.new_call, self.new_call, self.retransmit, self.cancel, self.acknowledge,
            self.answer, self.answer, self.answer, self.answer, self.freeze, self.die,
            self.change_health, self.notice, self.pass_time, self.pass_time, self.spare,
        )  # fmt: skip
        self.choice.choice(actions)()
        self.leave()
        self.check()

    def new_call(self) -> None:
        name = f"call{len(self.calls)}"
        method = self.choice.choice(("INVITE", "INVITE", "INVITE", "MESSAGE"))
        transport = self.choice.choice((UDP, UDP, TCP))
        call = self.calls[name] = Call(name, method, transport, self.bench.now)
        self.from_caller(call, call.request())

    def retransmit(self) -> None:
        call = self.some_call()
        if call is not None and not call.finals and self.bench.now - call.begun < 64 * T1:
            self.from_caller(call, call.request())

    def cancel(self) -> None:
        call = self.some_call()
        if call is not None and call.method == "INVITE" and call.seen and not call.finals:
            call.cancelled = True
            self.from_caller(call, call.request("CANCEL"))

    def acknowledge(self) -> None:
        call = self.some_call()
        if call is not None and call.method == "INVITE":
            for final in call.finals[-1:]:
                if final.status >= 300:
                    data = call.request("ACK")
                    tagged = b";tag=" + final.to_tag
                    old = b"To: <sip:ivr@example.com>"
                    self.from_caller(call, data.replace(old, old + tagged))

    def answer(self) -> None:
        process = self.some_process()
        unanswered = [s for s in process.servers.values() if not s.acknowledged]
        if process.frozen or not unanswered:
            return
        server = self.choice.choice(unanswered)
        if server.final:
            status = server.final
        elif server.cancelled:
            status = 487
        else:
            status = self.choice.choice((100, 180, 180, 200, 200, 486, 503, 482, 603))
        self.from_member(process, server, status)

    def freeze(self) -> None:
        process = self.some_process()
        process.frozen = not process.frozen
        if not process.frozen:
            unread, process.unread = process.unread, []
            for data in unread:
                self.at_member(process, data)

    def die(self) -> None:
        process = self.some_process()
        process.servers.clear()
        process.unread.clear()
        process.frozen = False

    def change_health(self) -> None:
        number = self.choice.randint(1, self.count)
        self.publish(number, self.choice.choice(list(Health)))

    def notice(self) -> None:
        """Health checking learns how it is."""
        for number, process in self.processes.items():
            out = Health.OUT_OF_SERVICE
            self.publish(number, out if process.frozen else Health.IN_SERVICE)

    def publish(self, number: int, health: Health) -> None:
        table = self.bench.table
        before = table.members[number]
        members = {**table.members, number: replace(before, health=health)}
        losses = table.losses
        if before.reachable and health is Health.OUT_OF_SERVICE:
            losses = losses.record(number, tuple(m.id for m in members.values() if not m.lost))
        self.bench.change(members=members, losses=losses)
        self.leave()

    def pass_time(self) -> None:
        self.bench.now += self.choice.choice((0.05, 0.1, 0.5, 0.6, 4.0, 17.0, 40.0))
        self.bench.router.look(self.bench.now)
        if self.choice.random() < 0.3:
            self.bench.router.expire(self.bench.now)

    def spare(self) -> None:
        number = self.choice.randint(1, self.count)
        if self.bench.table.members[number].reachable:
            self.bench.router.spared(number, self.bench.now)

    # the network

    def from_caller(self, call: Call, data: bytes) -> None:
        transport = call.transport
        channel = 2000 if transport.is_stream else 0
        verdict = self.bench.receive(data, CALLER, 5060, transport, channel)
        if isinstance(verdict, Forward):
            branch = read_branch(top_via(scan(verdict.data)).branch)
            assert branch is not None
            if verdict.step is not Step.TRANSACTION:
                call.forgotten |= bool(call.key)
                call.last_resend.clear()
            call.key = branch.key
            self.to_member(verdict.to.member, verdict.data)
        elif isinstance(verdict, Reply):
            self.to_caller(verdict.data)

    def from_member(self, process: Process, server: Server, status: int) -> None:
        first = not server.final
        if status >= 200:
            server.final = status
            server.acknowledged = status < 300 or server.method != b"INVITE"
        data = answer(server.request, status, to_tag=None if status == 100 else server.tag)
        verdict = self.bench.receive(data, RM[process.number], 5060)
        if isinstance(verdict, Forward):
            self.to_caller(verdict.data)
        if status >= 300 and server.method == b"INVITE":
            self.check_acknowledged(process.number, server, verdict)
        if 200 <= status < 300 and server.method == b"INVITE" and first:
            assert isinstance(verdict, Forward), (status, verdict)

    def check_acknowledged(self, number: int, server: Server, verdict: Verdict) -> None:
        """What the caller does not see is acknowledged by us (17.1.1.3)."""
        if isinstance(verdict, Absorb | Drop):
            assert any(
                own.what == "ack" and own.to.member == number for own in self.bench.memory.outbox
            ), (verdict, server)

    def leave(self) -> None:
        for own in self.bench.router.take_outbox():
            if own.what == "answer":
                self.to_caller(own.data)
            else:
                self.own_to_member(own)

    def own_to_member(self, own: Own) -> None:
        number = own.to.member
        message = scan(own.data)
        assert message.method.decode() == {"ack": "ACK", "cancel": "CANCEL"}.get(
            own.what, message.method.decode()
        )
        if own.what == "resend":
            assert self.bench.table.members[number].reachable
            self.check_resend(own, message)
        else:
            assert via_after(message, top_via(message)) is None
        self.to_member(number, own.data)

    def check_resend(self, own: Own, message: Message) -> None:
        """Once to a member; again only what nobody else repeats, at growing intervals."""
        call = self.calls[message.call_id.decode()]
        number, now = own.to.member, self.bench.now
        assert not call.cancelled or own.to.transport.is_stream, "sent again after its CANCEL"
        if number in call.last_resend and own.to.transport is UDP:
            assert call.transport is TCP or any(m.status < 200 for m in call.seen)
            assert now - call.last_resend[number] >= T1 - 0.001
        call.last_resend[number] = now

    def to_member(self, number: int, data: bytes) -> None:
        process = self.processes[number]
        if process.frozen:
            process.unread.append(data)
        else:
            self.at_member(process, data)

    def at_member(self, process: Process, data: bytes) -> None:
        message = scan(data)
        branch = top_via(message).branch
        server = process.servers.get(branch)
        if message.method == b"ACK":
            if server is not None:
                server.acknowledged = True
        elif message.method == b"CANCEL":
            if server is not None:
                server.cancelled = True
            status = 481 if server is None else 200
            verdict = self.bench.receive(answer(data, status), RM[process.number], 5060)
            if isinstance(verdict, Forward):
                self.to_caller(verdict.data)
        elif server is None:
            process.servers[branch] = Server(process.number, data, message.method)

    def to_caller(self, data: bytes) -> None:
        message = scan(data)
        call = self.calls[message.call_id.decode()]
        if call.key and self.bench.memory.pending.find(call.key) is None:
            call.forgotten = True
        if message.cseq_method == b"CANCEL":
            return
        repeated = any(m.to_tag == message.to_tag for m in call.finals)
        if message.status >= 200 and call.finals and not repeated and not call.forgotten:
            # the one thing that may come after a final answer: a 2xx of another callee (13.2.2.4)
            assert call.method == "INVITE"
            assert message.status < 300, [m.data for m in (*call.finals, message)]
        call.seen.append(message)

    def some_call(self) -> Call | None:
        return self.choice.choice([*self.calls.values()]) if self.calls else None

    def some_process(self) -> Process:
        return self.processes[self.choice.randint(1, self.count)]

    # what holds

    def check(self) -> None:
        memory = self.bench.memory
        for number in self.processes:
            assert memory.loads.of(number).waiting >= 0
        assert memory.pending.octets >= 0
        assert self.bench.router.counted().imbalance() == 0

    def settle(self) -> None:
        """Long after: nothing is left."""
        for _ in range(60):
            self.bench.now += 10.0
            self.bench.router.look(self.bench.now)
            self.bench.router.take_outbox()
            self.bench.router.expire(self.bench.now)
        memory = self.bench.memory
        for number in self.processes:
            assert memory.loads.of(number).waiting == 0
        assert (len(memory.pending), memory.pending.octets, memory.pending.unanswered) == (0, 0, 0)
        assert len(memory.timers) == 0
        assert all(memory.pending.waiting_for(number) == [] for number in self.processes)


@settings(max_examples=400)
@given(st.randoms(use_true_random=False))
def test_any_order_of_events(choice: random.Random) -> None:
    world = World(choice)
    for _ in range(choice.randint(5, 60)):
        world.step()
    world.settle()
