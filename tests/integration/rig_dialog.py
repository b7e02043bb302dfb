"""Of the rig: a dialog between two agents, each following its own route set (RFC 3261 12).

`whole_call` makes one call with in-dialog requests from both sides and checks every hop.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Self

from rig_wire import Agent, Heard, Place, Stream, request, response

_URI = re.compile(r"<?sips?:(?:[^@>]*@)?(\[[^\]]+\]|[^:;>?]+)(?::(\d+))?([^>]*)")
_numbers = itertools.count(1)


def new_call_id(prefix: str = "call") -> str:
    return f"{prefix}-{next(_numbers)}"


def hop_of(uri: str) -> tuple[str, Place]:
    """(transport, place) that a URI or Route value names."""
    match = _URI.match(uri)
    assert match is not None, uri
    how = re.search(r";transport=(\w+)", match[3])
    secure = uri.lstrip("<").startswith("sips:")
    transport = how[1].lower() if how else ("tls" if secure else "udp")
    if secure:
        transport = "tls"
    port = int(match[2]) if match[2] else (5061 if transport == "tls" else 5060)
    return transport, (match[1].strip("[]"), port)


def uri_in(value: str) -> str:
    """The URI of a Contact, Route or To value."""
    match = re.search(r"<([^>]+)>", value)
    return match[1] if match else value.partition(";")[0]


@dataclass
class Side:
    """One end of a dialog."""

    agent: Agent
    call_id: str
    local: str
    remote: str
    target: str
    routes: list[str]
    cseq: int = 100

    @classmethod
    def caller(cls, agent: Agent, answer: Heard) -> Self:
        return cls(
            agent,
            answer.header("Call-ID"),
            answer.header("From"),
            answer.header("To"),
            uri_in(answer.header("Contact")),
            answer.headers("Record-Route")[::-1],
        )

    @classmethod
    def callee(cls, agent: Agent, invite: Heard, tag: str) -> Self:
        return cls(
            agent,
            invite.header("Call-ID"),
            f"{invite.header('To')};tag={tag}",
            invite.header("From"),
            uri_in(invite.header("Contact")),
            invite.headers("Record-Route"),
        )

    def request(self, method: str, *, cseq: int | None = None, body: bytes = b"") -> bytes:
        """An in-dialog request; ACK takes the INVITE's number as `cseq`."""
        if cseq is None:
            self.cseq += 1
        transport, _ = self.next_hop
        return request(
            method,
            self.target,
            via=self.agent.via(transport),
            call_id=self.call_id,
            branch=f"z9hG4bK-{next(_numbers)}",
            sender=self.local,
            to=self.remote,
            cseq=self.cseq if cseq is None else cseq,
            contact=self.agent.contact(transport),
            routes=self.routes,
            body=body,
        )

    @property
    def next_hop(self) -> tuple[str, Place]:
        """(transport, place) of the first route, else of the target."""
        return hop_of(self.routes[0] if self.routes else self.target)

    def send(self, method: str, *, cseq: int | None = None, body: bytes = b"") -> None:
        transport, place = self.next_hop
        self.agent.send(self.request(method, cseq=cseq, body=body), transport, place)


@dataclass
class Call:
    """What `whole_call` saw."""

    caller: Side
    callee: Side
    invite: Heard
    """As the member got it."""
    answer: Heard
    """The 200 as the caller got it."""


def set_up(
    caller: Agent,
    member: Agent,
    to: Place,
    transport: str,
    *,
    uri: str = "sip:ivr@example.com",
    stream: Stream | None = None,
    body: bytes = b"",
    length: bool = True,
    contact: str = "",
    answer_body: bytes = b"",
) -> Call:
    """INVITE, 180, 200, ACK through the balancer at `to`."""
    call_id = new_call_id()
    invite = request(
        "INVITE",
        uri,
        via=caller.via(transport),
        call_id=call_id,
        contact=contact or caller.contact(transport, "caller"),
        body=body,
        length=length,
    )
    if stream is not None:
        stream.send(invite)
    else:
        caller.send(invite, transport, to)
    got = member.hear("INVITE")
    assert got.header("Call-ID") == call_id
    assert got.body == body
    tag = f"{member.name}-1"
    how = got.transport
    got.answer(response(got, 180, tag=tag, contact=member.contact(how)))
    assert caller.hear("180").headers("Via") == [
        f"SIP/2.0/{caller.via(transport)};branch=z9hG4bK-{call_id}-1-invite;received={caller.host}"
    ]
    got.answer(response(got, 200, tag=tag, contact=member.contact(how), body=answer_body))
    answer = caller.hear("200")
    assert answer.body == answer_body
    call = Call(Side.caller(caller, answer), Side.callee(member, got, tag), got, answer)
    call.caller.send("ACK", cseq=1)
    ack = member.hear("ACK")
    assert ack.uri == call.caller.target
    assert not ack.headers("Route"), "the balancer's own entries are popped"
    return call


def converse(sender: Side, receiver: Side, method: str, body: bytes = b"") -> Heard:
    """A request inside the dialog and its 200 (and ACK); what the receiver got."""
    sender.send(method, body=body)
    got = receiver.agent.hear(method)
    assert got.uri == sender.target
    assert not got.headers("Route"), got.data
    got.answer(response(got, 200, contact=receiver.agent.contact(got.transport)))
    assert sender.agent.hear("200").method == method
    if method == "INVITE":
        sender.send("ACK", cseq=sender.cseq)
        assert receiver.agent.hear("ACK").header("CSeq") == f"{sender.cseq} ACK"
    return got


def whole_call(caller: Agent, member: Agent, to: Place, transport: str, **options: object) -> Call:
    """A call, a re-INVITE and an INFO from either side, and a BYE from the member."""
    call = set_up(caller, member, to, transport, **options)  # type: ignore[arg-type]
    converse(call.caller, call.callee, "INVITE")
    converse(call.callee, call.caller, "INVITE")
    converse(call.caller, call.callee, "INFO")
    converse(call.callee, call.caller, "BYE")
    return call
