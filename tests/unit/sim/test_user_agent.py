"""Transactions as packet traces: a fake wire, a scheduler moved by hand."""

from __future__ import annotations

import asyncio

import pytest
from sim_doubles import CALLER, FakeScheduler, FakeWire, asked

from rmlb.sim.sip_text import SipText, respond
from rmlb.sim.user_agent import NoAnswerError, ServerTransaction, UserAgent
from rmlb.sim.wire import Peer
from rmlb.sip.address import SipAddress, Transport

TARGET = SipAddress(Transport.UDP, "192.0.2.1", 5070)


class FakeCore:
    def __init__(self) -> None:
        self.requests: list[ServerTransaction] = []
        self.happened: list[str] = []

    def on_request(self, transaction: ServerTransaction) -> None:
        self.requests.append(transaction)

    def on_ack(self, ack: SipText) -> None:
        self.happened.append(f"ack {ack.to_tag}")

    def on_cancel(self, transaction: ServerTransaction) -> None:
        self.happened.append("cancel")
        transaction.respond(487)

    def on_unacknowledged(self, transaction: ServerTransaction) -> None:
        self.happened.append("unacknowledged")

    def on_further_2xx(self, invite: SipText, answer: SipText) -> None:
        self.happened.append(f"further {answer.to_tag}")


class Rig:
    def __init__(self, transport: Transport = Transport.UDP) -> None:
        self.wire = FakeWire(transport)
        self.core = FakeCore()
        self.clock = FakeScheduler()
        self.agent = UserAgent([self.wire], self.core, scheduler=self.clock)

    def receive(self, message: SipText, peer: Peer = CALLER) -> None:
        self.agent.receive(self.wire.transport, message, peer)

    def answer(self, status: int, tag: str = "m1-a", method: str = "INVITE") -> None:
        self.receive(respond(asked(method), status, source=CALLER, tag=tag))

    def ask(self, method: str = "INVITE") -> asyncio.Task[SipText]:
        to = TARGET._replace(transport=self.wire.transport)
        return asyncio.create_task(self.agent.request(asked(method), to))


# -- being asked ----------------------------------------------------------------------------


def test_a_repeated_request_gets_the_same_answer() -> None:
    rig = Rig()
    rig.receive(asked("OPTIONS"))
    rig.core.requests[0].respond(200, tag="m1-a")
    rig.receive(asked("OPTIONS"))
    assert len(rig.core.requests) == 1
    assert rig.agent.repeated == 1
    first, second = rig.wire.sent
    assert first == second
    assert first[1] == CALLER


def test_a_repeated_request_before_the_answer_is_silent() -> None:
    rig = Rig()
    rig.receive(asked("OPTIONS"))
    rig.receive(asked("OPTIONS"))
    assert (len(rig.core.requests), rig.wire.take()) == (1, [])


def test_udp_answers_go_to_the_sent_by_port_tcp_answers_to_the_connection() -> None:
    source = Peer("192.0.2.1", 44444)
    for transport, port in ((Transport.UDP, 5070), (Transport.TCP, 44444)):
        rig = Rig(transport)
        rig.receive(asked("OPTIONS"), source)
        rig.core.requests[0].respond(200)
        assert rig.wire.sent[0][1] == Peer("192.0.2.1", port)


def test_a_2xx_is_repeated_until_its_ack() -> None:
    rig = Rig()
    rig.receive(asked("INVITE"))
    rig.core.requests[0].respond(180, tag="m1-a")
    rig.core.requests[0].respond(200)
    assert rig.wire.take() == ["SIP/2.0 180 Ringing", "SIP/2.0 200 OK"]
    rig.clock.advance(3.5)  # T1, 2 T1, 4 T1
    assert rig.wire.take() == ["SIP/2.0 200 OK"] * 3
    rig.receive(asked("ACK", branch="z9hG4bKother", to_tag="m1-a"))
    rig.clock.advance(60)
    assert rig.wire.take() == []
    assert rig.core.happened == ["ack m1-a"]


def test_a_2xx_without_ack_is_given_up_after_64_t1() -> None:
    rig = Rig()
    rig.receive(asked("INVITE"))
    rig.core.requests[0].respond(200, tag="m1-a")
    rig.wire.take()
    rig.clock.advance(31.9)
    assert len(rig.wire.take()) == 10  # 0.5 1.5 3.5, then every 4 s
    assert rig.core.happened == []
    rig.clock.advance(0.2)
    assert (rig.core.happened, rig.wire.take()) == (["unacknowledged"], [])


def test_a_refusal_is_repeated_over_udp_only() -> None:
    for transport, repeats in ((Transport.UDP, 2), (Transport.TCP, 0)):
        rig = Rig(transport)
        rig.receive(asked("INVITE"))
        rig.core.requests[0].respond(486, tag="m1-a")
        rig.wire.take()
        rig.clock.advance(1.6)
        assert len(rig.wire.take()) == repeats
        rig.receive(asked("ACK", to_tag="m1-a"))  # the INVITE's branch
        rig.clock.advance(60)
        assert (rig.wire.take(), rig.core.happened) == ([], [])


def test_cancel_before_the_answer() -> None:
    rig = Rig()
    rig.receive(asked("INVITE"))
    rig.core.requests[0].respond(180, tag="m1-a")
    rig.wire.take()
    rig.receive(asked("CANCEL"))
    assert rig.wire.take() == ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]
    assert rig.core.requests[0].status == 487


def test_cancel_after_the_answer_changes_nothing() -> None:
    rig = Rig()
    rig.receive(asked("INVITE"))
    rig.core.requests[0].respond(200, tag="m1-a")
    rig.wire.take()
    rig.receive(asked("CANCEL"))
    assert rig.wire.take() == ["SIP/2.0 200 OK"]
    assert rig.core.happened == []


def test_cancel_of_nothing() -> None:
    rig = Rig()
    rig.receive(asked("CANCEL"))
    assert rig.wire.take() == ["SIP/2.0 481 Call/Transaction Does Not Exist"]


def test_only_the_first_final_answer_counts() -> None:
    rig = Rig()
    rig.receive(asked("BYE", to_tag="m1-a"))
    rig.core.requests[0].respond(200)
    rig.core.requests[0].respond(500)
    assert rig.wire.take() == ["SIP/2.0 200 OK"]


def test_transactions_are_forgotten_after_64_t1() -> None:
    rig = Rig()
    rig.receive(asked("OPTIONS"))
    rig.core.requests[0].respond(200)
    rig.clock.advance(32.6)
    rig.receive(asked("OPTIONS"))
    assert len(rig.core.requests) == 2


# -- asking ---------------------------------------------------------------------------------


async def test_an_invite_is_repeated_until_something_comes() -> None:
    rig = Rig()
    asking = rig.ask()
    await asyncio.sleep(0)
    rig.clock.advance(1.6)
    assert rig.wire.take() == ["INVITE sip:pool@192.0.2.9 SIP/2.0"] * 3
    rig.answer(180)
    rig.clock.advance(60)
    assert rig.wire.take() == []
    rig.answer(200)
    assert (await asking).status == 200


async def test_other_requests_are_repeated_until_the_final_answer() -> None:
    rig = Rig()
    asking = rig.ask("INFO")
    await asyncio.sleep(0)
    rig.wire.take()
    rig.answer(100, method="INFO")
    rig.clock.advance(0.6)
    assert len(rig.wire.take()) == 1
    rig.answer(200, method="INFO")
    assert (await asking).status == 200


async def test_nothing_is_repeated_over_tcp() -> None:
    rig = Rig(Transport.TCP)
    asking = rig.ask()
    await asyncio.sleep(0)
    rig.clock.advance(31.9)
    assert len(rig.wire.take()) == 1
    rig.clock.advance(0.2)
    with pytest.raises(NoAnswerError, match="timed out"):
        await asking


async def test_a_refusal_is_acknowledged_each_time() -> None:
    rig = Rig()
    asking = rig.ask()
    await asyncio.sleep(0)
    rig.wire.take()
    rig.answer(486)
    rig.answer(486)
    acks = [message for message, _ in rig.wire.sent]
    assert [ack.method for ack in acks] == ["ACK", "ACK"]
    assert acks[0].branch == asked("INVITE").branch
    assert (acks[0].to_tag, acks[0].cseq) == ("m1-a", 1)
    assert (await asking).status == 486


async def test_further_2xx_are_the_core_s() -> None:
    rig = Rig()
    asking = rig.ask()
    await asyncio.sleep(0)
    rig.answer(200, "m1-a")
    rig.answer(200, "m1-a")
    rig.answer(200, "m1-b")
    assert (await asking).to_tag == "m1-a"
    assert rig.core.happened == ["further m1-a", "further m1-b"]


async def test_an_unreachable_peer_fails_its_requests_at_once() -> None:
    rig = Rig(Transport.TCP)
    await rig.agent.start()
    asking = rig.ask()
    await asyncio.sleep(0)
    rig.wire.unreachable(Peer("192.0.2.77", 5070), "connection refused")
    rig.wire.unreachable(Peer("192.0.2.1", 5070), "connection refused")
    with pytest.raises(NoAnswerError, match="refused"):
        await asking


async def test_stopping_ends_what_is_under_way() -> None:
    rig = Rig()
    asking = rig.ask()
    await asyncio.sleep(0)
    await rig.agent.stop()
    with pytest.raises(NoAnswerError, match="stopped"):
        await asking


def test_stray_answers_are_counted() -> None:
    rig = Rig()
    rig.answer(200)
    assert rig.agent.strays == 1
