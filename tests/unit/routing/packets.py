"""Bench of the routing tests: a router with its table, and the packets that reach it.

Nothing here listens or waits: a packet is octets and an origin, what becomes of it is a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rmlb.fastpath import make_router
from rmlb.routing.affinity import Memory
from rmlb.routing.bindings import BindingLimits, Bindings
from rmlb.routing.keys import Keyring, affinity_key
from rmlb.routing.losses import LossLog
from rmlb.routing.member import AdminState, Health, Member
from rmlb.routing.overload import LoadLimits, Loads
from rmlb.routing.pending import PendingLimits, PendingRequests
from rmlb.routing.router import Router
from rmlb.routing.sources import SourceLimits, Sources
from rmlb.routing.table import Listener, RoutingTable
from rmlb.routing.verdict import Absorb, Drop, Forward, Origin, Reply, Verdict
from rmlb.sip.address import SipAddress, Transport
from rmlb.sip.message import Message, scan

UDP, TCP, TLS = Transport.UDP, Transport.TCP, Transport.TLS

VIP = "10.0.0.100"
CALLER = "192.0.2.10"
MCP = "10.0.0.31"
STRANGER = "203.0.113.66"
RM = {1: "10.0.0.11", 2: "10.0.0.12", 3: "10.0.0.13"}

ENGINE = "python"
"""Of the routers and tables made from here on; conftest.py sets it."""

SECRET, NEW_SECRET = "the first secret of the tests", "the second secret of the tests"
AFFINITY = affinity_key("bench")


def member(number: int, *addresses: SipAddress, **changes: Any) -> Member:
    """A member in service on UDP and TCP 5060 of its own host, unless told otherwise."""
    both = tuple(SipAddress(t, RM[number], 5060) for t in (UDP, TCP))
    return Member(number, addresses or both, **{"health": Health.IN_SERVICE, **changes})


def listeners(*hosts: str, tls: bool = False, port: int = 5060) -> tuple[Listener, ...]:
    """UDP and TCP (and TLS) on each host; the VIP if none is given."""
    made = []
    for host in hosts or (VIP,):
        for transport in (UDP, TCP, TLS)[: 3 if tls else 2]:
            at = port + 1 if transport is TLS else port
            made.append(Listener(len(made), transport, host, at, host))
    return tuple(made)


def table(**changes: Any) -> RoutingTable:
    """Two members in service behind the VIP."""
    settings: dict[str, Any] = {
        "members": {1: member(1), 2: member(2)},
        "listeners": listeners(),
        "keys": Keyring([SECRET]),
        "affinity_key": AFFINITY,
        "instance": b"0000000a",
        "vips": frozenset((VIP,)),
    }
    if isinstance(changes.get("members"), Sequence):
        changes["members"] = {m.id: m for m in changes["members"]}
    return RoutingTable(**settings | changes)


def make_bindings(limits: BindingLimits) -> Bindings:
    """An empty table of bindings of the engine."""
    if ENGINE == "python":
        return Bindings(limits)
    from rmlb.fastpath.bindings import Bindings as Compiled
    from rmlb.fastpath.members import Members

    return Compiled(limits, Members())


def make_pending(limits: PendingLimits) -> PendingRequests:
    """An empty memory of requests of the engine."""
    if ENGINE == "python":
        return PendingRequests(limits)
    from rmlb.fastpath.members import Members
    from rmlb.fastpath.pending import PendingRequests as Compiled

    return Compiled(limits, Members())


def make_loads(limits: LoadLimits) -> Loads:
    """No load yet, of the engine."""
    if ENGINE == "python":
        return Loads(limits)
    from rmlb.fastpath.members import Members
    from rmlb.fastpath.overload import Loads as Compiled

    return Compiled(limits, Members())


def make_sources(limits: SourceLimits) -> Sources:
    """Nobody is known yet, of the engine."""
    if ENGINE == "python":
        return Sources(limits)
    from rmlb.fastpath import sources

    return sources.Sources(limits)


class Bench:
    """One balancer: a router, a clock that stands still until it is moved.

    `memory` is an empty one that says how large the tables are; what is learnt is in `self.memory`.
    """

    def __init__(self, memory: Memory | None = None, **changes: Any) -> None:
        small = Memory(Bindings(BindingLimits(max_bindings=10_000)))
        self.router = make_router(ENGINE, table(**changes), memory or small)
        self.now = 1000.0

    @property
    def table(self) -> RoutingTable:
        return self.router.table

    @property
    def memory(self) -> Memory:
        return self.router.memory

    def change(self, **changes: Any) -> None:
        """Publish a new snapshot."""
        if isinstance(changes.get("members"), Sequence):
            changes["members"] = {m.id: m for m in changes["members"]}
        self.router.publish(replace(self.table, **changes), self.now)

    def set_member(self, number: int, **changes: Any) -> None:
        """Health, operator's word or weight of one member; the loss log is left alone."""
        members = dict(self.table.members)
        members[number] = replace(members[number], **changes)
        self.change(members=members)

    def lose(self, number: int, *, disabled: bool = False) -> None:
        """A member goes out of service (or is disabled), and the loss is recorded."""
        if disabled:
            self.set_member(number, admin_state=AdminState.DISABLED)
        else:
            self.set_member(number, health=Health.OUT_OF_SERVICE)
        left = tuple(m.id for m in self.table.members.values() if not m.lost)
        self.change(losses=self.table.losses.record(number, left))

    def receive(
        self,
        data: bytes,
        host: str = CALLER,
        port: int = 5060,
        transport: Transport = UDP,
        channel: int = 0,
    ) -> Verdict:
        """One packet in, one verdict out; the counters must balance after each."""
        verdict = self.router.receive(data, self.origin(host, port, transport, channel), self.now)
        assert self.router.counters.imbalance() == 0
        return verdict

    def origin(
        self, host: str = CALLER, port: int = 5060, transport: Transport = UDP, channel: int = 0
    ) -> Origin:
        ipv6 = ":" in host
        index = next(
            x.index for x in self.table.listeners if x.transport is transport and x.is_ipv6 is ipv6
        )
        return Origin(
            transport, index, channel or (2000 if transport.is_stream else index), host, port
        )

    def forwarded(self, data: bytes, *where: Any, **more: Any) -> Forward:
        """As `receive`, where the packet has to be passed on."""
        verdict = self.receive(data, *where, **more)
        assert isinstance(verdict, Forward), verdict
        return verdict

    def replied(self, data: bytes, *where: Any, **more: Any) -> Reply:
        verdict = self.receive(data, *where, **more)
        assert isinstance(verdict, Reply), verdict
        return verdict

    def dropped(self, data: bytes, *where: Any, **more: Any) -> Drop:
        verdict = self.receive(data, *where, **more)
        assert isinstance(verdict, Drop), verdict
        return verdict

    def absorbed(self, data: bytes, *where: Any, **more: Any) -> Absorb:
        verdict = self.receive(data, *where, **more)
        assert isinstance(verdict, Absorb), verdict
        return verdict

    def call_to(self, number: int, prefix: str = "call", **request_parts: Any) -> str:
        """A Call-ID that the hash gives to that member, found by asking another router."""
        other = Router(self.table, Memory())
        for i in range(1000):
            call_id = f"{prefix}-{i}"
            data = request(call_id=call_id, **request_parts)
            verdict = other.receive(data, self.origin(), self.now)
            if isinstance(verdict, Forward) and verdict.to.member == number:
                return call_id
        raise AssertionError(f"no Call-ID of 1000 went to member {number}")

    def establish(self, call_id: str, *, callee_tag: str = "callee", **parts: Any) -> Dialog:
        """INVITE, 200, ACK from the caller's side; the dialog as both ends see it."""
        sent = self.forwarded(request(call_id=call_id, **parts))
        ok = answer(sent.data, 200, to_tag=callee_tag)
        self.forwarded(ok, RM[sent.to.member])
        return Dialog(call_id, sent.to.member, headers_of(sent.data, "Record-Route"), callee_tag)


class Dialog:
    """A dialog with its route set."""

    def __init__(self, call_id: str, number: int, recorded: list[str], callee_tag: str) -> None:
        self.call_id = call_id
        self.member = number
        self.recorded = recorded
        """Record-Route values, topmost first."""
        self.callee_tag = callee_tag

    def from_caller(self, method: str = "BYE", cseq: int = 2, **parts: Any) -> bytes:
        """A request of the side that began, its route set reversed (12.1.2)."""
        given = {"routes": self.recorded[::-1], "to_tag": self.callee_tag, "cseq": cseq}
        return request(method, call_id=self.call_id, **given | parts)

    def from_callee(self, method: str = "BYE", cseq: int = 1, **parts: Any) -> bytes:
        """A request of the other side, as its last proxy (the RM) passes it to the VIP."""
        given: dict[str, Any] = {
            "routes": self.recorded,
            "from_tag": self.callee_tag,
            "to_tag": "caller",
            "cseq": cseq,
            "uri": f"sip:caller@{CALLER}:5060",
            "via": f"SIP/2.0/UDP {VIP}:5060;branch=z9hG4bKrm{method}{cseq}",
        }
        return request(method, call_id=self.call_id, **given | parts)


def request(
    method: str = "INVITE",
    uri: str = f"sip:ivr@{VIP}:5060",
    *,
    via: str | Sequence[str] = f"SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bKone;rport",
    routes: Sequence[str] = (),
    call_id: str = "one@caller",
    from_tag: str | None = "caller",
    to_tag: str | None = None,
    cseq: int = 1,
    cseq_method: str | None = None,
    max_forwards: int | None = 70,
    extra: Sequence[str] = (),
    body: bytes = b"",
    length: int | None = -1,
) -> bytes:
    """A request; `via` and `routes` are header values, topmost first."""
    lines = [f"{method} {uri} SIP/2.0"]
    lines += [f"Via: {value}" for value in ([via] if isinstance(via, str) else via)]
    lines += [f"Route: {value}" for value in routes]
    if max_forwards is not None:
        lines.append(f"Max-Forwards: {max_forwards}")
    lines.append("From: <sip:caller@example.com>" + (f";tag={from_tag}" if from_tag else ""))
    lines.append("To: <sip:ivr@example.com>" + (f";tag={to_tag}" if to_tag else ""))
    lines += [f"Call-ID: {call_id}", f"CSeq: {cseq} {cseq_method or method}"]
    lines += extra
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length < 0 else length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def response(
    vias: Sequence[str],
    status: int = 200,
    *,
    call_id: str = "one@caller",
    from_tag: str = "caller",
    to_tag: str | None = "callee",
    cseq: str = "1 INVITE",
    extra: Sequence[str] = (),
    body: bytes = b"",
    length: bool = True,
) -> bytes:
    """A response with these Via lines."""
    lines = [f"SIP/2.0 {status} Whatever", *(f"Via: {via}" for via in vias)]
    lines.append(f"From: <sip:caller@example.com>;tag={from_tag}")
    lines.append("To: <sip:ivr@example.com>" + (f";tag={to_tag}" if to_tag else ""))
    lines += [f"Call-ID: {call_id}", f"CSeq: {cseq}", *extra]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def answer(
    data: bytes,
    status: int,
    *,
    to_tag: str | None = "callee",
    extra: Sequence[str] = (),
    length: bool = True,
) -> bytes:
    """What a user agent server answers to this request (8.2.6.2)."""
    message = scan(data)
    lines = [b"SIP/2.0 %d Whatever" % status]
    for field in message.fields:
        line = message.data[field.start : field.end]
        if field.name in (b"via", b"record-route", b"from", b"call-id", b"cseq"):
            lines.append(line)
        elif field.name == b"to":
            tagged = message.to_tag or to_tag is None
            lines.append(line if tagged else line + b";tag=" + str(to_tag).encode())
    lines += [line.encode() for line in extra]
    if length:
        lines.append(b"Content-Length: 0")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def through_rm(
    data: bytes,
    number: int,
    *,
    via_host: str = VIP,
    via_port: int = 5060,
    transport: str = "UDP",
    joined: bool = False,
    record_route: str | None = None,
) -> bytes:
    """The request as a Resource Manager passes it on: its Via on top, its Record-Route too."""
    message = scan(data)
    top = message.fields[next(i for i, f in enumerate(message.fields) if f.name == b"via")]
    own = f"SIP/2.0/{transport} {via_host}:{via_port};branch=z9hG4bKrm-{number}".encode()
    rest = message.data[top.end :]
    old = message.data[top.value : top.end].strip()
    new = b"Via: " + own + (b", " if joined else b"\r\nVia: ") + old
    result = message.data[: top.start] + new + rest
    if record_route is not None:
        at = (
            result.index(b"Record-Route:") if b"Record-Route:" in result else result.index(b"From:")
        )
        result = result[:at] + f"Record-Route: {record_route}\r\n".encode() + result[at:]
    return result


def look_alike(number: int, port: int = 5060) -> str:
    """The Record-Route entry of an RM that knows the VIP (a real one's parameters)."""
    return (
        f"<sip:0x196e3b00@{VIP}:{port};lr;gvp.rm.datanodes={number};"
        f"confinstid=2018-02-21-{VIP}:{port};idtag=0000000C>"
    )


def headers_of(data: bytes, name: str) -> list[str]:
    """Values of a header, comma-joined ones taken apart at commas between entries."""
    found: list[str] = []
    for value in scan(data).headers(name):
        found += [part.strip() for part in value.decode("latin-1").split(",")]
    return found


def read(data: bytes) -> Message:
    return scan(data)


def loss_log(*losses: tuple[int, tuple[int, ...]]) -> LossLog:
    """(lost member, survivors), oldest first."""
    log = LossLog()
    for lost, survivors in losses:
        log = log.record(lost, survivors)
    return log
