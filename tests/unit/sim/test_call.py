"""A call against an answering wire: what it sends, and how it is judged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sim_doubles import FakeScheduler, FakeWire

from rmlb.sim.call import MEMBER_HEADER, Call, CallPlan
from rmlb.sim.sip_server import SimulatedSipServer
from rmlb.sim.sip_text import SipText, respond
from rmlb.sim.tally import CallRecord, CallTally
from rmlb.sim.user_agent import UserAgent
from rmlb.sim.wire import Peer
from rmlb.sip.address import SipAddress, Transport

TARGET = SipAddress(Transport.UDP, "192.0.2.1", 5060)
HERE = SipAddress(Transport.UDP, "192.0.2.9", 5060)


class AnsweringWire(FakeWire):
    """Answers each request at once, as `answer` says."""

    answer: Callable[[SipText], SipText | None]
    agent: UserAgent

    def send(self, message: SipText, to: Peer) -> None:
        super().send(message, to)
        answer = self.answer(message) if message.is_request else None
        if answer is not None:
            self.agent.receive(Transport.UDP, answer, to)


def member(number: int, status: int = 200) -> Callable[[SipText], SipText | None]:
    def answer(request: SipText) -> SipText | None:
        if request.method == "ACK":
            return None
        headers = [
            ("Record-Route", "<sip:192.0.2.1;lr>"),
            ("Contact", "<sip:m@192.0.2.50:7001>"),
            (MEMBER_HEADER, str(number)),
        ]
        source = ("192.0.2.9", 5060)
        return respond(request, status, source=source, tag="m1-x", headers=headers)

    return answer


async def make(
    answer: Callable[[SipText], SipText | None], *, reinvite: bool = True
) -> tuple[CallRecord, CallTally, list[str]]:
    wire = AnsweringWire()
    wire.answer = answer
    tally = CallTally()
    agent = wire.agent = UserAgent([wire], None, scheduler=FakeScheduler())  # type: ignore[arg-type]
    plan = CallPlan(TARGET, hold_s=0.0, reinvite=reinvite)
    call = Call(agent, plan, HERE, tally, asyncio.Event())
    record = await call.run()
    return record, tally, [f"{m.method} {m.cseq} {m.uri}" for m, _ in wire.sent]


async def test_a_whole_call() -> None:
    record, tally, sent = await make(member(1))
    there = "sip:m@192.0.2.50:7001"
    pool = "sip:service@192.0.2.1:5060"
    assert sent == [
        f"INVITE 1 {pool}",
        f"ACK 1 {there}",
        f"INVITE 2 {there}",
        f"ACK 2 {there}",
        f"BYE 3 {there}",
    ]
    assert (record.failure, record.member, record.misrouted) == (None, 1, 0)
    assert tally.members == {1: 1}


async def test_without_reinvite() -> None:
    _, _, sent = await make(member(1), reinvite=False)
    assert [line.split()[0] for line in sent] == ["INVITE", "ACK", "BYE"]


async def test_another_member_answers_in_the_dialog() -> None:
    answers = iter([member(1), member(2), member(2)])
    record, _, _ = await make(
        lambda request: None if request.method == "ACK" else next(answers)(request)
    )
    assert (record.failure, record.misrouted) == (None, 2)


async def test_a_refusal() -> None:
    record, _, sent = await make(member(1, 503))
    assert record.failure == "INVITE: 503 Service Unavailable"
    assert [line.split()[0] for line in sent] == ["INVITE", "ACK"]


async def test_a_failed_reinvite_ends_the_call() -> None:
    def answer(request: SipText) -> SipText | None:
        return member(1, 481 if request.cseq == 2 else 200)(request)

    record, _, sent = await make(answer)
    assert record.failure == "INVITE: 481 Call/Transaction Does Not Exist"
    assert [line.split()[0] for line in sent] == ["INVITE", "ACK", "INVITE", "ACK", "BYE"]


async def test_an_answer_that_makes_no_dialog() -> None:
    record, _, _ = await make(lambda request: respond(request, 200, source=("192.0.2.9", 5060)))
    assert record.failure == "INVITE: unusable 200: no Contact in SIP/2.0 200 OK"


async def test_a_repeated_2xx_gets_the_same_ack() -> None:
    """One with another branch would be a request that sipp does not expect."""

    class Repeating(AnsweringWire):
        def send(self, message: SipText, to: Peer) -> None:
            super().send(message, to)
            if message.method == "INVITE":  # read in one turn of the loop with the first
                invites[message.cseq] = message
                self.agent.receive(Transport.UDP, answered(message), to)
            elif message.method == "ACK" and len(acks(message.cseq)) == 1:
                again = answered(invites[message.cseq])
                asyncio.get_running_loop().call_soon(self.agent.receive, Transport.UDP, again, to)

    def answered(invite: SipText) -> SipText:
        answer = wire.answer(invite)
        assert answer is not None
        return answer

    def acks(cseq: int) -> list[SipText]:
        return [m for m, _ in wire.sent if m.method == "ACK" and m.cseq == cseq]

    invites: dict[int, SipText] = {}
    wire = Repeating()
    wire.answer = member(1)
    server = SimulatedSipServer(CallPlan(TARGET, hold_s=0.0), rate=1000, calls=1, wires=[wire])
    wire.agent = server.agent
    tally = await server.run()
    assert (tally.completed, tally.forked) == (1, 0)
    for cseq in (1, 2):
        first, *again = acks(cseq)
        assert again
        assert set(again) == {first}
