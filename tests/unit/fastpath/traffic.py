"""Realistic traffic, and what happens to it: one seed is one run, message for message.

Callers, members and the user agent behind them are played as far as the wire shows them; each
takes up what the balancer forwarded. In between members fail and return, snapshots are published,
time passes, and some messages arrive twice or spoilt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from lockstep import Difference, Lockstep
from mutations import mutate
from sites import SECRETS, Site, changed_member, make_site

from rmlb.routing.keys import Keyring
from rmlb.routing.losses import LossLog
from rmlb.routing.verdict import Decision, Forward, Hold, Kind, Origin
from rmlb.sip.address import Transport, bracketed, is_ip_literal

UDP, TCP, TLS = Transport.UDP, Transport.TCP, Transport.TLS

CORPUS = [
    path.read_bytes() for path in sorted((Path(__file__).parents[2] / "corpus").glob("*/*.dat"))
]

Lines = list[tuple[bytes, bytes]]

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0\r\n"
)


@dataclass
class Call:
    """A dialog as its caller knows it."""

    call_id: bytes
    origin: Origin
    from_line: bytes
    to_line: bytes
    callee_tag: bytes = b""
    recorded: list[bytes] = field(default_factory=list)
    """Record-Route values, topmost first."""
    cseq: int = 1
    callee_cseq: int = 1
    member: int = 0
    established: bool = False
    beyond: list[bytes] = field(default_factory=list)
    """Record-Route of the member, where it made one."""


@dataclass
class Offer:
    """A request that the balancer forwarded: somebody may answer it."""

    data: bytes
    to: Forward
    call: Call | None
    by_platform: bool = False
    """It went on to the user agent behind the member, and its answers come from there."""


class Traffic:
    """One run. `step` does one thing and returns what arrived, if anything did."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = Random(seed)
        self.site: Site = make_site(rng)
        self.both = Lockstep(self.site.table, self.site.limits)
        self.now = 1000.0 + rng.randrange(160) / 16
        self.number = 0
        self.past: deque[tuple[bytes, Origin, Call | None]] = deque(maxlen=80)
        self.offers: deque[Offer] = deque(maxlen=40)
        self.invites: deque[tuple[bytes, Origin, Call]] = deque(maxlen=30)
        self.calls: deque[Call] = deque(maxlen=40)
        self.back: deque[tuple[bytes, int]] = deque(maxlen=20)
        """Responses that a member got to pass back, and its number."""
        self.spoilt = rng.choice((0.0, 0.0, 0.01, 0.03, 0.3))
        self.trouble = rng.choice((0.0, 0.005, 0.02, 0.1))

    def run(self, messages: int) -> None:
        """At least so many messages; raises Difference."""
        steps = 0
        while self.both.messages < messages:
            self.step()
            steps += 1
            if steps % 32 == 0:
                self.both.compare_counts()
        self.both.compare_all(self.now)

    def step(self) -> None:
        rng = self.rng
        if rng.random() < 0.3:
            self.now += rng.choice((1, 1, 2, 4, 8)) / 16
        if rng.random() < self.trouble:
            rng.choice(self._TROUBLE)(self)
            return
        chosen = rng.choice(self._ACTS)
        chosen(self)

    # what arrives

    def arrive(self, data: bytes, origin: Origin, call: Call | None = None) -> None:
        """One message, now and then spoilt or twice."""
        rng = self.rng
        if rng.random() < self.spoilt:
            data = mutate(data, rng)
            call = None if rng.random() < 0.5 else call
        self._receive(data, origin, call)
        self.past.append((data, origin, call))
        if rng.random() < 0.03:
            self._receive(data, origin, call)

    def _receive(self, data: bytes, origin: Origin, call: Call | None) -> None:
        try:
            verdict = self.both.receive(data, origin, self.now)
        except Difference as difference:
            raise Difference(
                f"seed {self.seed}, message {self.both.messages}, now {self.now}\n"
                f"{origin}\n{data!r}\n{difference}"
            ) from None
        if isinstance(verdict, Hold):
            verdict = self._resume(verdict, data, origin)
        if not isinstance(verdict, Forward):
            return
        if verdict.status:
            self._take_response(verdict, call)
        elif verdict.kind is Kind.TO_MEMBER or verdict.kind is Kind.OUTWARD:
            self.offers.append(Offer(verdict.data, verdict, call))

    def _resume(self, held: Hold, data: bytes, origin: Origin) -> Decision:
        """The store has answered, or too late."""
        rng = self.rng
        if rng.random() < 0.6:
            member = rng.choice(list(self.both.table.members))
            live = rng.random() < 0.7
            self.both.recall(held, member, self.now, live=live, ended=rng.random() < 0.3)
        self.now += rng.choice((0, 1)) / 16
        return self.both.resume(data, origin, self.now)

    def _take_response(self, verdict: Forward, call: Call | None) -> None:
        if verdict.kind is Kind.MEMBER_RESPONSE:
            self.back.append((verdict.data, verdict.to.member))
        elif call is not None and 101 <= verdict.status < 300:
            lines, _ = taken_apart(verdict.data)
            call.callee_tag = tag_of(value_of(lines, b"to")) or call.callee_tag
            if not call.established:
                call.recorded = values_of(lines, b"record-route") or call.recorded
                if verdict.status >= 200:
                    call.established = True
                    self.calls.append(call)

    # callers

    def new_call(self) -> None:
        self._begin(b"INVITE", SDP if self.rng.random() < 0.7 else b"")

    def new_other(self) -> None:
        rng = self.rng
        self._begin(rng.choice((
            b"OPTIONS", b"SUBSCRIBE", b"REFER", b"MESSAGE", b"REGISTER", b"INFO", b"PUBLISH",
            b"AVERYLONGMETHODNAME", b"x", b"ACK",
        )))  # fmt: skip

    def _begin(self, method: bytes, body: bytes = b"") -> None:
        rng = self.rng
        origin = self.caller()
        self.number += 1
        call_id = rng.choice((b"%d@caller", b"%d-abc.def@192.0.2.10", b"%d")) % self.number
        if rng.random() < 0.02:
            call_id += b"y" * rng.choice((200, 4000, 6100))
        call = Call(
            call_id,
            origin,
            rng.choice((b"<sip:caller@example.com>", b'"A, b; <c>" <sip:c@example.com>',
                        b"sip:caller@example.com", b"Caller <sip:c@e.org;a=b>"))
            + (b";tag=f%d" % self.number if rng.random() < 0.97 else b""),
            rng.choice((b"<sip:ivr@example.com>", b"sip:ivr@example.com", b"<tel:+4930>")),
        )  # fmt: skip
        name = rng.choice(self.site.names).encode()
        name = b"[%b]" % name if b":" in name else name
        uri = rng.choice((b"sip:ivr@%b", b"sip:ivr@%b:5060", b"sip:%b", b"sip:9@%b;user=phone",
                          b"sip:x@%b:5080;transport=tcp"))  % name  # fmt: skip
        if rng.random() < 0.03:
            uri = rng.choice((b"sip:ping@%b", b"sips:ivr@%b")) % name
        if rng.random() < 0.05:
            uri = rng.choice((
                b"tel:+493012345", b"sip:ivr@elsewhere.example.org", b"sip:a@198.51.100.1",
                b"http://example.com/", self._member_uri(),
            ))  # fmt: skip
        routes: list[bytes] = []
        if rng.random() < 0.12:
            routes = [self._foreign_route() for _ in range(rng.choice((1, 1, 2)))]
        data = self.request(method, uri, call, routes=routes, body=body)
        if method == b"INVITE":
            self.invites.append((data, origin, call))
        self.arrive(data, origin, call)

    def _member_uri(self) -> bytes:
        member = self.rng.choice(list(self.both.table.members.values()))
        address = self.rng.choice(member.addresses)
        return b"sip:%b:%d" % (bracketed(address.host).encode(), address.port)

    def _foreign_route(self) -> bytes:
        rng = self.rng
        name = rng.choice(self.site.names).encode()
        name = b"[%b]" % name if b":" in name else name
        number = rng.choice(list(self.both.table.members))
        return rng.choice((
            b"<sip:%b;lr>" % name,
            b"<sip:%b:5060;lr;gvp.rm.datanodes=%d>" % (name, number),
            b"<sip:0x1@%b:5060;lr;gvp.rm.datanodes=%d|1;confinstid=2018;idtag=0>" % (name, number),
            b"<%b;lr>" % self._member_uri(),
            b"<sip:203.0.113.5;lr>",
            b"<sip:%b;lr;rmlb=0000.1.0.00000000.0000000000000000>" % name,
            b'"Us" <sip:%b;lr>;x=y' % name,
        ))  # fmt: skip

    def caller(self) -> Origin:
        """A caller's place: host, transport and listener that fit."""
        rng = self.rng
        host = rng.choice(self.site.callers)
        fitting = [x for x in self.both.table.listeners if x.is_ipv6 is (":" in host)]
        listener = rng.choice(fitting or list(self.both.table.listeners))
        port = rng.choice((5060, 5062, rng.randrange(1024, 65536)))
        if self.both.table.is_own_endpoint(host, port) and rng.random() < 0.9:
            port = 5064
        channel = rng.randrange(1, 2**40) if listener.transport.is_stream else listener.index
        return Origin(listener.transport, listener.index, channel, host, port)

    def from_caller(self) -> None:
        """A request inside a dialog, from the side that began it."""
        if not self.calls:
            return
        rng, call = self.rng, self.rng.choice(self.calls)
        method = rng.choice((b"ACK",) * 6 + (b"BYE",) * 6 + (
            b"INVITE", b"INVITE", b"INFO", b"INFO", b"UPDATE", b"PRACK", b"OPTIONS", b"NOTIFY",
            b"REFER", b"SUBSCRIBE"))  # fmt: skip
        call.cseq += method != b"ACK"
        uri = b"sip:mcp@%b:5060" % bracketed(self.site.platform).encode()
        routes = call.recorded[::-1]
        if rng.random() < 0.15:
            routes = rng.choice(([], routes[:-1], [*routes, self._foreign_route()],
                                 [self._foreign_route(), *routes]))  # fmt: skip
        elif rng.random() < 0.05 and routes:
            uri, routes = routes[0].strip(b"<>"), [*routes[1:], b"<%b>" % uri]  # a strict router
        data = self.request(method, uri, call, routes=routes, to_tag=call.callee_tag)
        origin = call.origin
        if rng.random() < 0.1:
            origin = self.caller()
        if method == b"INVITE":
            self.invites.append((data, origin, call))
        self.arrive(data, origin, call)

    def from_callee(self) -> None:
        """A request inside a dialog from the other side: by the user agent, or passed on by its
        member, whose host it comes from then."""
        if not self.calls:
            return
        rng, call = self.rng, self.rng.choice(self.calls)
        method = rng.choice((b"BYE", b"BYE", b"INFO", b"INVITE", b"UPDATE", b"NOTIFY", b"ACK"))
        call.callee_cseq += 1
        host = bracketed(call.origin.host).encode()
        uri = b"sip:caller@%b:%d" % (host, call.origin.port)
        if rng.random() < 0.2:
            uri += rng.choice((b";transport=tcp", b";transport=udp", b";transport=TLS", b";ob"))
        number = call.member if call.member in self.both.table.members else 0
        recorded = list(call.recorded)
        swapped = Call(call.call_id, call.origin, call.to_line + b";tag=" + call.callee_tag,
                       call.from_line, cseq=call.callee_cseq, established=True)  # fmt: skip
        by_member = number and rng.random() < 0.7
        if not by_member and rng.random() < 0.7:
            recorded = [*call.beyond, *recorded]
        via_host = rng.choice(self.site.names) if by_member else self.site.platform
        data = self.request(method, uri, swapped, routes=recorded, tagged=True, via_host=via_host)
        origin = self.at_member(number) if by_member else self.at(self.site.platform, 5060)
        self.arrive(data, origin, swapped)

    def cancel(self) -> None:
        """CANCEL, or ACK to a failure, of an INVITE: the same top Via."""
        if not self.invites:
            return
        rng = self.rng
        data, origin, call = rng.choice(self.invites)
        lines, _ = taken_apart(data)
        method = rng.choice((b"CANCEL", b"CANCEL", b"ACK"))
        start = data[: data.index(b"\r\n")].replace(b"INVITE", method)
        cseq = value_of(lines, b"cseq").replace(b"INVITE", method)
        kept = [(n, v) for n, v in lines if n.lower() in (b"from", b"to", b"call-id", b"route",
                                                          b"max-forwards")]  # fmt: skip
        top = next((one for one in lines if one[0].lower() in (b"via", b"v")), (b"Via", b""))
        if method == b"ACK":
            kept = [
                (n, v + b";tag=x" if n.lower() == b"to" and b"tag=" not in v else v)
                for n, v in kept
            ]
        self.arrive(put_together(start, [top, *kept, (b"CSeq", cseq)], b""), origin, call)

    # members

    def answered(self) -> None:
        """Somebody answers what was forwarded."""
        if not self.offers:
            return
        rng = self.rng
        offer = rng.choice(self.offers) if rng.random() < 0.5 else self.offers[-1]
        status = rng.choice((100, 180, 180, 183, 200, 200, 200, 200) * 4 + (
            404, 486, 487, 503, 503, 500, 302, 603, 401, 482, 408, 600))  # fmt: skip
        tag = b"c%d" % rng.choice((0, 0, 0, 1, 2))
        if rng.random() < 0.02:
            tag += b"t" * 70
        data = answer_to(offer.data, status, tag, rng)
        if not data:
            return
        if status >= 200 and rng.random() < 0.8:
            self.offers.remove(offer)
        number = offer.to.to.member
        if offer.call is not None and number:
            offer.call.member = number
        self.arrive(data, self._answering_origin(offer), offer.call)

    def _answering_origin(self, offer: Offer) -> Origin:
        rng, to = self.rng, offer.to.to
        if offer.by_platform:
            return self.at(self.site.platform, 5060)
        if rng.random() < 0.03:
            return self.caller()
        host = to.host if is_ip_literal(to.host) else "198.51.100.9"
        channel = rng.randrange(1, 1000) if to.transport.is_stream else to.listener
        return Origin(to.transport, to.listener, channel, host, to.port)

    def passed_on(self) -> None:
        """A member passes a request on to its user agent, under the virtual IP's name."""
        if not self.offers:
            return
        rng = self.rng
        offer = self.offers[-1]
        if offer.to.kind is not Kind.TO_MEMBER or offer.by_platform:
            return
        name = rng.choice(self.site.names)
        host = bracketed(name).encode()
        address = self.both.table.members[offer.to.to.member].addresses[0] if (
            offer.to.to.member in self.both.table.members) else None  # fmt: skip
        port = rng.choice((5060, address.port if address else 5060))
        transport = rng.choice((b"UDP", b"UDP", b"TCP"))
        own = b"SIP/2.0/%b %b:%d;branch=z9hG4bKrm-%d" % (transport, host, port, self.number)
        if address is not None and rng.random() < 0.8:
            own += b";received=" + address.host.encode()
        start, (lines, body) = offer.data[: offer.data.index(b"\r\n")], taken_apart(offer.data)
        if rng.random() < 0.3 and lines[0][0] == b"Via":
            lines[0] = (b"Via", own + rng.choice((b",", b", ")) + lines[0][1])
        else:
            lines.insert(0, (b"Via", own))
        number = offer.to.to.member
        if value_of(lines, b"cseq").endswith(b"INVITE") and rng.random() < 0.7:
            look_alike = b"<sip:0x196e@%b:5060;lr;gvp.rm.datanodes=%d;idtag=0C>" % (host, number)
            lines.insert(1, (b"Record-Route", look_alike))
            if offer.call is not None:
                offer.call.beyond = [look_alike]
        data = put_together(start, lines, body)
        routes = values_of(lines, b"route")
        if routes and rng.random() < 0.7:  # the rest of the route set leads through us again
            kept = [(n, v) for n, v in lines if n.lower() != b"route"]
            kept += [(b"Route", v) for v in routes if b"rmlb=" in v or rng.random() < 0.3]
            self.arrive(put_together(start, kept, body), self.at_member(number), offer.call)
            return
        self.offers.append(replace(offer, data=data, by_platform=True))

    def passed_back(self) -> None:
        """A member takes its own Via off a response."""
        if not self.back:
            return
        data, number = self.back.popleft()
        lines, body = taken_apart(data)
        for place, (name, value) in enumerate(lines):
            if name.lower() in (b"via", b"v"):
                _, comma, rest = value.partition(b",")
                lines[place : place + 1] = [(name, rest.strip())] if comma else []
                break
        start = data[: data.index(b"\r\n")]
        call = next((c for c in self.calls if c.call_id == value_of(lines, b"call-id")), None)
        self.arrive(put_together(start, lines, body), self.at_member(number), call)

    def at_member(self, number: int) -> Origin:
        member = self.both.table.members.get(number)
        if member is None:
            return self.caller()
        address = self.rng.choice(member.addresses)
        return self.at(address.host, address.port, address.transport)

    def at(self, host: str, port: int, transport: Transport = UDP) -> Origin:
        listener = self.both.table.listener_for(transport, host)
        if listener is None:
            return self.caller()
        channel = self.rng.randrange(1, 1000) if transport.is_stream else listener.index
        return Origin(listener.transport, listener.index, channel, host, port)

    # anything

    def again(self) -> None:
        """Something that arrived before: a retransmission, or a replay from elsewhere."""
        if self.past:
            data, origin, call = self.rng.choice(self.past)
            if self.rng.random() < 0.1:
                origin = self.caller()
            self.arrive(data, origin, call)

    def spoilt_again(self) -> None:
        if self.spoilt and self.past:
            data, origin, call = self.rng.choice(self.past)
            self._receive(mutate(data, self.rng), origin, call)

    def strange(self) -> None:
        rng = self.rng
        if rng.random() < 0.7:
            return
        data = rng.choice(CORPUS)
        if rng.random() < 0.5:
            data = mutate(data, rng)
        if rng.random() < 0.1:
            data = rng.choice((b"\r\n\r\n", b"", b"\x00", rng.randbytes(rng.randrange(200))))
        origin = self.caller()
        if rng.random() < 0.1:
            listener = self.both.table.listeners[0]
            host = rng.choice(("224.0.0.1", "255.255.255.255", "0.0.0.0", listener.host))
            origin = origin._replace(host=host, port=rng.choice((0, listener.port)))
        self._receive(data, origin, None)

    # trouble

    def change_member(self) -> None:
        rng, table = self.rng, self.both.table
        members = dict(table.members)
        number = rng.choice(list(members))
        was = members[number]
        members[number] = replace(was, **changed_member(rng, was))
        self.both.publish(replace(table, members=members), self.now)
        if members[number].lost and not was.lost and rng.random() < 0.9:
            left = tuple(m.id for m in members.values() if not m.lost)
            losses = table.losses.record(number, left)
            self.both.publish(replace(self.both.table, losses=losses), self.now)

    def change_snapshot(self) -> None:
        """A reload."""
        rng, table = self.rng, self.both.table
        change: dict[str, object] = rng.choice((
            {"keys": Keyring(rng.sample(SECRETS, rng.choice((1, 2, 2, 3))))},
            {"keys": Keyring([*rng.sample(SECRETS, 1), "one that was never used"])},
            {"hotstandby": not table.hotstandby},
            {"record_route": not table.record_route},
            {"active": rng.choice((None, None, *table.members))},
            {"losses": LossLog()},
            {"after_provisional": not table.after_provisional},
            {"retry_codes": frozenset(rng.choice(((503,), (503, 486), ())))},
            {"instance": rng.choice((b"0000000a", b"0000000b"))},
        ))  # fmt: skip
        self.both.publish(replace(table, **change), self.now)  # type: ignore[arg-type]

    def look(self) -> None:
        self.both.look(self.now)

    def expire(self) -> None:
        self.both.expire(self.now)

    def wait(self) -> None:
        rng = self.rng
        self.now += rng.choice((0.5, 1.0, 5.0, 35.0, 100.0, 250.0, 3600.0, 8000.0, 200_000.0))
        for _ in range(rng.choice((1, 1, 3))):
            self.both.look(self.now)
            self.both.expire(self.now)

    def spared(self) -> None:
        self.both.spared(self.rng.choice(list(self.both.table.members)), self.now)

    def lose_ownership(self) -> None:
        """For a while: what arrives then is dropped, and nothing of our own leaves."""
        self.both.ownership.owner = False
        for _ in range(5):
            self.rng.choice(self._ACTS)(self)
        self.both.ownership.owner = True

    def examine(self) -> None:
        """One remembered request looked at: Python alone sees to it from then on."""
        key = self.both.some_request(self.rng.randrange(1000))
        if key is not None:
            self.both.compare_request(key)

    _ACTS: tuple[Callable[[Traffic], None], ...] = (
        (new_call,) * 10 + (new_other,) * 2 + (answered,) * 24 + (from_caller,) * 12
        + (from_callee,) * 8 + (cancel,) * 2 + (passed_on,) * 4 + (passed_back,) * 4 + (again,) * 3
        + (spoilt_again, strange, strange, look, expire)
    )  # fmt: skip
    _TROUBLE: tuple[Callable[[Traffic], None], ...] = (change_member,) * 8 + (
        (change_snapshot, look, look, wait, spared, examine, lose_ownership)
    )  # fmt: skip

    # words

    def request(
        self,
        method: bytes,
        uri: bytes,
        call: Call,
        *,
        routes: Sequence[bytes] = (),
        to_tag: bytes = b"",
        tagged: bool = False,
        via_host: str | None = None,
        body: bytes = b"",
    ) -> bytes:
        """A request as one of many user agents writes it."""
        rng = self.rng
        self.number += 1
        style = rng.randrange(12)
        host = bracketed(via_host or call.origin.host).encode()
        name = call.origin.transport.via_name
        via = b"SIP/2.0/%b %b" % (name, host)
        if rng.random() < 0.85:
            via += b":%d" % rng.choice((5060, call.origin.port))
        extra = rng.choice(
            (b"", b";rport", b";rport", b";alias", b";received=1.1.1.1", b";rport=9")
        )
        branch = (
            b";branch=z9hG4bK%d" % self.number
            if rng.random() < 0.97
            else b";branch=%d" % self.number
        )
        via += branch + extra if rng.random() < 0.5 else extra + branch
        lines: Lines = [(b"Via", via)]
        if rng.random() < 0.2:
            below = (
                b"SIP/2.0/UDP proxy.example.org;branch=z9hG4bKp%d;received=198.51.100.9"
                % self.number
            )
            if rng.random() < 0.4:
                lines[0] = (b"Via", via + b", " + below)
            else:
                lines.append((b"Via", below))
        if routes and rng.random() < 0.3:
            lines.append((b"Route", rng.choice((b",", b", ")).join(routes)))
        else:
            lines += [(b"Route", value) for value in routes]
        to = call.to_line + (b";tag=" + to_tag if to_tag and not tagged else b"")
        if rng.random() < 0.95:
            lines.append(
                (b"Max-Forwards", b"%d" % rng.choice((70,) * 40 + (69, 10, 10, 1, 0, 300)))
            )
        lines += [
            (b"From", call.from_line), (b"To", to), (b"Call-ID", call.call_id),
            (b"CSeq", b"%d %b" % (call.cseq, method)), (b"Contact", b"<sip:caller@%b>" % host),
            (b"User-Agent", b"Tests/1.0 (x; y)"),
        ]  # fmt: skip
        if rng.random() < 0.1:
            lines.append((b"X-Key", b"k%d" % rng.randrange(5)))
        if rng.random() < 0.05:
            number = rng.choice(list(self.both.table.members))
            lines.append(
                (b"X-Genesys-GVP-Session-ID", b"A1;gvp.rm.datanodes=%d;gvp.rm.tenant=1" % number)
            )
        if rng.random() < 0.03:
            lines.append((b"Proxy-Require", b"foo"))
        if rng.random() < 0.05 and not to_tag and not tagged:
            lines.append((b"Record-Route", b"<sip:proxy.example.org;lr>"))
        if body:
            lines.append((b"Content-Type", b"application/sdp"))
        if rng.random() < 0.05:
            body += b"x" * rng.choice((600, 1300, 4000, 65_000))
        if rng.random() < 0.93:
            lines.append((b"Content-Length", b"%d" % len(body)))
        if style == 0:
            rng.shuffle(lines)
        elif style == 1:
            compact = {
                b"Via": b"v",
                b"From": b"f",
                b"To": b"t",
                b"Call-ID": b"i",
                b"Content-Length": b"l",
            }
            lines = [(compact.get(name, name), value) for name, value in lines]
        elif style == 2:
            lines = [(name.lower(), value) for name, value in lines]
        return put_together(b"%b %b SIP/2.0" % (method, uri), lines, body)


def taken_apart(data: bytes) -> tuple[Lines, bytes]:
    """Header lines and body; folding is no matter here."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = []
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        lines.append((name, value.strip()))
    return lines, body


def put_together(start: bytes, lines: Lines, body: bytes) -> bytes:
    return start + b"\r\n" + b"".join(b"%b: %b\r\n" % line for line in lines) + b"\r\n" + body


def value_of(lines: Lines, name: bytes) -> bytes:
    short = {b"from": b"f", b"to": b"t", b"call-id": b"i"}.get(name, name)
    return next((value for key, value in lines if key.lower() in (name, short)), b"")


def values_of(lines: Lines, name: bytes) -> list[bytes]:
    found: list[bytes] = []
    for key, value in lines:
        if key.lower() == name:
            found += [b"<" + part.strip().strip(b"<>") + b">" for part in value.split(b",")]
    return found


def tag_of(value: bytes) -> bytes:
    return value.rpartition(b";tag=")[2] if b";tag=" in value else b""


def answer_to(data: bytes, status: int, tag: bytes, rng: Random) -> bytes:
    """What a user agent server answers to this request (8.2.6.2); empty if it cannot."""
    lines, _ = taken_apart(data)
    names = (b"via", b"v", b"from", b"f", b"call-id", b"i", b"cseq", b"record-route")
    copied = [(name, value) for name, value in lines if name.lower() in names]
    to = value_of(lines, b"to")
    if status > 100 and b";tag=" not in to:
        to += b";tag=" + tag
    copied.append((rng.choice((b"To", b"t", b"TO")), to))
    if rng.random() < 0.1:
        copied.append((b"Retry-After", rng.choice((b"5", b"120 (busy)", b"x"))))
    if value_of(lines, b"cseq").endswith((b"SUBSCRIBE", b"REFER")) and rng.random() < 0.5:
        copied.append((b"Expires", rng.choice((b"0", b"60", b"4000", b"x"))))
    if rng.random() < 0.95:
        copied.append((b"Content-Length", b"0"))
    if rng.random() < 0.05:
        rng.shuffle(copied)
    return put_together(b"SIP/2.0 %d Whatever" % status, copied, b"")
