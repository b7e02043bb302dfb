"""8.2.2.2: both members proxied to one user agent, which refuses the second INVITE with 482.

The first attempt is then the only hope: it is not cancelled, and the caller waits for it as
long as its answer may still come.
"""

from __future__ import annotations

import pytest
from packets import CALLER, MCP, RM, Bench, answer, headers_of, request, through_rm

from rmlb.routing.member import Health
from rmlb.routing.verdict import Absorb, Forward, Kind, Own, Reason, Reply, Step
from rmlb.sip.message import scan

DEADLINE_S = 16.0


class Merged:
    """A call that rang at one member, which was lost; the other one got 482."""

    def __init__(self, *, by_vip: bool = False, lost: bool = True, received: bool = True) -> None:
        self.bench = bench = Bench()
        self.sent = bench.forwarded(request())
        self.first = self.sent.to.member
        self.other = 3 - self.first
        at_mcp = through_rm(self.sent.data, self.first)
        if received:
            stamp = f";received={RM[self.first]};branch=z9hG4bKrm".encode()
            at_mcp = at_mcp.replace(b";branch=z9hG4bKrm", stamp)
        self.at_mcp = at_mcp
        if by_vip:
            bench.forwarded(answer(self.at_mcp, 180), MCP, 5070)
        bench.forwarded(answer(self.sent.data, 180), RM[self.first])
        bench.lose(self.first)
        (self.resent,) = self.own("resend")
        assert self.resent.to.member == self.other
        verdict = bench.absorbed(answer(self.resent.data, 482, to_tag="m"), RM[self.other])
        assert verdict.reason is Reason.RETRIED
        (ack,) = bench.router.take_outbox()
        assert (ack.what, ack.to.member) == ("ack", self.other)
        if not lost:
            self.bring_back()

    def bring_back(self) -> None:
        self.bench.set_member(self.first, health=Health.IN_SERVICE)

    def own(self, what: str) -> list[Own]:
        return [own for own in self.bench.router.take_outbox() if own.what == what]

    def pass_time(self, seconds: float) -> list[Own]:
        """Look twenty times a second, as the worker does."""
        found = []
        for _ in range(int(seconds * 20)):
            self.bench.now += 0.05
            self.bench.router.look(self.bench.now)
            found += self.bench.router.take_outbox()
        return found

    def from_first(self, status: int) -> Forward:
        return self.bench.forwarded(answer(self.sent.data, status), RM[self.first])


def test_the_only_hope_is_not_cancelled() -> None:
    """The member was frozen: a CANCEL would wait in its socket and end the call that rings."""
    call = Merged()
    call.bring_back()
    assert [own.what for own in call.pass_time(5.0)] == []
    back = call.from_first(200)
    assert back.to.host == CALLER
    ack = request("ACK", to_tag="callee", via=f"SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bKack")
    assert call.bench.forwarded(ack).to.member == call.first


@pytest.mark.parametrize("status", [180, 486, 603])
def test_what_the_only_hope_says_is_what_the_caller_hears(status: int) -> None:
    call = Merged(lost=False)
    assert scan(call.from_first(status).data).status == status


def test_cancelled_once_the_survivor_has_found_somebody() -> None:
    """Not merged: the CANCEL for the member that was lost leaves when the survivor rings."""
    bench = Bench()
    sent = bench.forwarded(request())
    bench.forwarded(answer(sent.data, 180), RM[sent.to.member])
    bench.lose(sent.to.member)
    (resent,) = bench.router.take_outbox()
    bench.forwarded(answer(resent.data, 100, to_tag=None), resent.to.host)
    assert bench.router.take_outbox() == []
    bench.forwarded(answer(resent.data, 180, to_tag="second"), resent.to.host)
    (cancel,) = bench.router.take_outbox()
    assert (cancel.what, cancel.to.member) == ("cancel", sent.to.member)


@pytest.mark.parametrize("status", [200, 486])
def test_cancelled_once_the_survivor_has_answered(status: int) -> None:
    bench = Bench()
    sent = bench.forwarded(request())
    bench.forwarded(answer(sent.data, 180), RM[sent.to.member])
    bench.lose(sent.to.member)
    (resent,) = bench.router.take_outbox()
    bench.forwarded(answer(resent.data, status, to_tag="second"), resent.to.host)
    (cancel,) = bench.router.take_outbox()
    assert (cancel.what, cancel.to.member) == ("cancel", sent.to.member)


def test_500_where_no_answer_can_come() -> None:
    """At the deadline, not at timer C."""
    call = Merged()
    assert call.pass_time(DEADLINE_S - 0.5) == []
    final, *cancels = call.pass_time(1.0)
    assert (final.what, final.to.host, scan(final.data).status) == ("answer", CALLER, 500)
    assert {own.what for own in cancels} <= {"cancel"}
    assert call.bench.memory.pending.unanswered == 0


def test_answers_that_come_to_the_vip_are_waited_for() -> None:
    """Its 180 came past the member, so its 200 will, however long it rings."""
    call = Merged(by_vip=True)
    assert call.pass_time(100.0) == []
    back = call.bench.forwarded(answer(call.at_mcp, 200), MCP, 5070)
    assert (back.kind, back.to.host) == (Kind.MEMBER_RESPONSE, CALLER)
    assert call.pass_time(100.0) == []


def test_but_not_beyond_timer_c() -> None:
    call = Merged(by_vip=True)
    outcome = call.pass_time(201.0)
    assert scan(outcome[0].data).status == 500
    assert call.bench.memory.pending.unanswered == 0


def test_ringing_past_the_lost_member_restarts_timer_c() -> None:
    call = Merged(by_vip=True)
    call.pass_time(190.0)
    assert call.bench.forwarded(answer(call.at_mcp, 180), MCP, 5070).to.host == CALLER
    assert call.pass_time(190.0) == []


def test_a_member_that_comes_back_is_waited_for() -> None:
    call = Merged(lost=False)
    assert call.pass_time(100.0) == []
    assert call.from_first(200).to.host == CALLER


@pytest.mark.parametrize("received", [True, False])
def test_the_dialog_is_the_holders_for_good(received: bool) -> None:
    """Answered past the lost member: the survivor holds it, also when the other returns."""
    call = Merged(received=received)
    back = call.bench.forwarded(answer(call.at_mcp, 200), MCP, 5070)
    assert len(headers_of(back.data, "Via")) == 1
    routes = headers_of(back.data, "Record-Route")[::-1]
    assert +call.bench.memory.bindings.calls == {call.other: 1}
    for cseq, method in ((1, "ACK"), (2, "INFO")):
        via = f"SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bK{method}"
        data = request(method, to_tag="callee", cseq=cseq, routes=routes, via=via)
        forward = call.bench.forwarded(data)
        assert (forward.to.member, forward.step) == (call.other, Step.MARK)
        call.bring_back()


def test_without_received_our_own_via_below_names_the_member() -> None:
    """The binding has moved to the survivor, which knows nothing of that transaction."""
    call = Merged(received=False, lost=False)
    sent = call.bench.forwarded(answer(call.at_mcp, 200), MCP, 5070)
    assert (sent.kind, sent.to.member) == (Kind.MEMBER_RESPONSE, call.first)


class TestCancelledByTheCaller:
    """9.1: the CANCEL goes to the attempt that the caller waits for."""

    CANCEL = request("CANCEL")

    def test_to_the_member_that_came_back(self) -> None:
        call = Merged(lost=False)
        cancel = call.bench.forwarded(self.CANCEL)
        assert cancel.to.member == call.first
        sent, cancelled = scan(call.sent.data), scan(cancel.data)
        assert headers_of(sent.data, "Via")[0] == headers_of(cancelled.data, "Via")[0]

    def test_answered_by_us_where_its_member_is_out(self) -> None:
        call = Merged()
        verdict = call.bench.receive(self.CANCEL)
        assert isinstance(verdict, Reply)
        assert verdict.status == 200
        final = call.own("answer")
        assert [scan(own.data).status for own in final] == [487]

    def test_a_late_failure_of_it_is_swallowed(self) -> None:
        call = Merged()
        call.bench.receive(self.CANCEL)
        verdict = call.bench.receive(answer(call.at_mcp, 487), MCP, 5070)
        assert not isinstance(verdict, Forward | Absorb)


def test_a_fork_moves_when_its_member_is_lost_later() -> None:
    """Its dialog is its own, but not for ever: the next loss counts (SIP-RULES 4)."""
    bench = Bench(record_route=False)
    sent = bench.forwarded(request())
    first = sent.to.member
    bench.lose(first)
    (again,) = (own for own in bench.router.take_outbox() if own.what == "resend")
    bench.forwarded(answer(again.data, 200, to_tag="second"), again.to.host)
    bench.forwarded(answer(sent.data, 200, to_tag="first"), RM[first])
    bench.set_member(first, health=Health.IN_SERVICE)
    via = "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK"
    info = request("INFO", to_tag="first", cseq=2, via=via + "1")
    assert bench.forwarded(info).to.member == first
    bench.lose(first)
    bench.set_member(first, health=Health.IN_SERVICE)
    bye = request("BYE", to_tag="first", cseq=3, via=via + "2")
    assert bench.forwarded(bye).to.member == 3 - first
