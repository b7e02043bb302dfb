"""What each member carries: limits, waiting requests, silence; and what is refused for load."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from failing import Trace, kinds
from packets import CALLER, RM, STRANGER, Bench, answer, make_loads, member, request

from rmlb.routing.affinity import Memory
from rmlb.routing.overload import (
    FIRST_ANSWER_BOUNDS_S,
    LEAST_ADAPTIVE,
    MOST_PATIENCE,
    START_ADAPTIVE,
    LoadLimits,
    Loads,
)
from rmlb.routing.verdict import Forward, Reason, Reply, Step
from rmlb.sip.message import scan


def limited(count: int = 2, **limits: object) -> Bench:
    memory = Memory(loads=Loads(LoadLimits(**limits)))  # type: ignore[arg-type]
    return Bench(memory, members=[member(n) for n in range(1, count + 1)])


def initial(number: int, method: str = "INVITE", **parts: object) -> bytes:
    via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bK{number}"
    return request(method, **{"call_id": f"call-{number}", "via": via} | parts)  # type: ignore[arg-type]


class TestCallsPerSecond:
    def accepted(self, loads: Loads, now: float, most: int = 1000) -> int:
        count = 0
        while count < most and loads.has_room(1, now):
            loads.sent(1, now, limited=True)
            count += 1
        return count

    @pytest.mark.parametrize(("rate", "at_once"), [(1000, 100), (100, 10), (10, 5), (3, 3), (1, 1)])
    def test_a_bucket_of_a_tenth_of_a_second(self, rate: int, at_once: int) -> None:
        loads = make_loads(LoadLimits(calls_per_second=rate))
        assert self.accepted(loads, 0.0) == at_once

    @pytest.mark.parametrize("rate", [1, 7, 100, 1000])
    def test_over_time_it_is_the_rate(self, rate: int) -> None:
        loads = make_loads(LoadLimits(calls_per_second=rate))
        count = sum(self.accepted(loads, step * 0.01) for step in range(1000))
        assert count == pytest.approx(10 * rate, abs=max(5, rate * 0.2))

    def test_what_is_not_limited_takes_nothing(self) -> None:
        loads = make_loads(LoadLimits(calls_per_second=1))
        loads.sent(1, 0.0, limited=False)
        assert loads.has_room(1, 0.0)

    def test_members_have_their_own(self) -> None:
        loads = make_loads(LoadLimits(calls_per_second=1))
        loads.sent(1, 0.0, limited=True)
        assert not loads.has_room(1, 0.0)
        assert loads.has_room(2, 0.0)

    def test_no_limit(self) -> None:
        assert self.accepted(make_loads(LoadLimits()), 0.0) == 1000


class TestWaiting:
    def test_up_to_the_limit(self) -> None:
        loads = make_loads(LoadLimits(requests_waiting=3))
        for _ in range(3):
            assert loads.has_room(1, 0.0)
            loads.sent(1, 0.0, limited=True)
        assert not loads.has_room(1, 0.0)
        loads.first_answer(1, 0.1)
        assert loads.has_room(1, 0.0)
        loads.sent(1, 0.0, limited=True)
        loads.gave_up(1, 2)
        assert loads.of(1).waiting == 1

    @pytest.mark.parametrize("status", [100, 180, 200, 486, 503])
    def test_the_first_answer_ends_it(self, status: int) -> None:
        trace = Trace()
        loads = trace.bench.memory.loads
        assert loads.of(trace.first).waiting == 1
        for _ in range(2):
            trace.says(trace.first, status)
        assert loads.of(trace.first).waiting == 0
        trace.is_over()

    def test_a_retransmission_waits_once(self) -> None:
        trace = Trace()
        trace.again()
        assert trace.bench.memory.loads.of(trace.first).waiting == 1

    def test_abandoned_it_waits_elsewhere(self) -> None:
        trace = Trace()
        loads = trace.bench.memory.loads
        trace.out(trace.first)
        assert (loads.of(trace.first).waiting, loads.of(trace.second).waiting) == (0, 1)
        trace.says(trace.first, 180)  # late, and counted already
        assert (loads.of(trace.first).waiting, loads.of(trace.second).waiting) == (0, 1)
        trace.is_over()

    def test_answered_by_us_it_waits_no_more(self) -> None:
        trace = Trace(members=1)
        trace.out(1)
        assert trace.bench.memory.loads.of(1).waiting == 0
        trace.says(1, 180)
        assert trace.bench.memory.loads.of(1).waiting == 0

    def test_never_answered_until_it_is_forgotten(self) -> None:
        trace = Trace("MESSAGE")
        trace.bench.now += 31.0
        trace.bench.router.expire(trace.bench.now)
        assert trace.bench.memory.loads.of(trace.first).waiting == 1
        trace.bench.now += 3.0
        trace.bench.router.expire(trace.bench.now)
        assert trace.bench.memory.loads.of(trace.first).waiting == 0

    def test_inside_a_dialog_nothing_waits(self) -> None:
        bench = Bench()
        dialog = bench.establish("one@caller")
        bench.forwarded(dialog.from_caller("INFO"))
        assert bench.memory.loads.of(dialog.member).waiting == 0


class TestFirstAnswers:
    def test_each_is_counted_in_its_bucket(self) -> None:
        loads = Loads(LoadLimits())
        for took_s in (0.001, 0.0011, 4.0, 6.0):
            loads.sent(1, 0.0, limited=True)
            loads.first_answer(1, took_s)
        counts = loads.of(1).first_answers.counts
        bounds = (*FIRST_ANSWER_BOUNDS_S, None)
        filled = {bound: n for bound, n in zip(bounds, counts, strict=True) if n}
        assert filled == {0.001: 1, 0.0025: 1, 5.0: 1, None: 1}
        assert loads.of(1).first_answers.sum_s == pytest.approx(10.0021)

    def test_of_a_call_the_first_response_counts_alone(self) -> None:
        trace = Trace()
        trace.says(trace.first, 180)
        trace.says(trace.first, 200)
        answers = trace.bench.memory.loads.of(trace.first).first_answers
        assert sum(answers.counts) == 1


class TestAdaptive:
    def answer(self, loads: Loads, seconds: float, times: int = 1) -> None:
        for _ in range(times):
            loads.sent(1, 0.0, limited=True)
            loads.first_answer(1, seconds)

    def test_slower_answers_call_for_fewer_at_a_time(self) -> None:
        loads = make_loads(LoadLimits(adaptive=True))
        self.answer(loads, 0.01)
        self.answer(loads, 1.0, 10)
        assert loads.of(1).limit < START_ADAPTIVE / 2

    def test_an_answer_before_its_request_does_not_end_it_for_good(self) -> None:
        """Two clocks: milliseconds here, nanoseconds there."""
        loads = make_loads(LoadLimits(adaptive=True))
        self.answer(loads, -0.0005)
        assert loads.of(1).first_answers.sum_s == 0.0
        self.answer(loads, 0.02, 10_000)
        assert loads.of(1).limit > START_ADAPTIVE

    def test_but_for_some(self) -> None:
        loads = make_loads(LoadLimits(adaptive=True))
        self.answer(loads, 0.01)
        self.answer(loads, 5.0, 200)
        assert loads.of(1).limit == LEAST_ADAPTIVE

    def test_quick_ones_for_more(self) -> None:
        loads = make_loads(LoadLimits(adaptive=True))
        self.answer(loads, 0.01, 500)
        assert loads.of(1).limit > START_ADAPTIVE

    def test_not_beyond_the_fixed_limit(self) -> None:
        loads = make_loads(LoadLimits(adaptive=True, requests_waiting=70))
        self.answer(loads, 0.01, 5000)
        assert loads.of(1).limit == 70

    def test_it_recovers(self) -> None:
        loads = make_loads(LoadLimits(adaptive=True))
        self.answer(loads, 0.01)
        self.answer(loads, 5.0, 200)
        self.answer(loads, 0.01, 3000)
        assert loads.of(1).limit > START_ADAPTIVE

    def test_small_differences_say_nothing(self) -> None:
        """A member that answers in 1 ms may well take 40 ms now and then."""
        loads = make_loads(LoadLimits(adaptive=True))
        self.answer(loads, 0.001)
        self.answer(loads, 0.04, 50)
        assert loads.of(1).limit >= START_ADAPTIVE

    def test_refuses_over_it(self) -> None:
        loads = make_loads(LoadLimits(adaptive=True))
        for _ in range(int(START_ADAPTIVE)):
            assert loads.has_room(1, 0.0)
            loads.sent(1, 0.0, limited=True)
        assert not loads.has_room(1, 0.0)


class TestSilence:
    def test_since_the_oldest_request_after_its_last_answer(self) -> None:
        loads = make_loads(LoadLimits())
        assert loads.unanswered_for(1, 9.0) == 0.0
        loads.sent(1, 10.0, limited=False)
        loads.sent(1, 11.0, limited=True)
        assert loads.unanswered_for(1, 12.0) == 2.0
        loads.heard(1)
        assert loads.unanswered_for(1, 13.0) == 0.0

    def test_patience_doubles_and_is_bounded(self) -> None:
        loads = make_loads(LoadLimits())
        for _ in range(20):
            loads.forgive_silence(1)
        assert loads.of(1).patience == MOST_PATIENCE
        loads.heard(1)
        assert loads.of(1).patience == 1

    def test_a_loss_begins_anew(self) -> None:
        loads = make_loads(LoadLimits())
        loads.sent(1, 10.0, limited=True)
        loads.forget_silence(1)
        assert loads.unanswered_for(1, 20.0) == 0.0

    def test_an_answer_to_our_own_cancel_is_an_answer(self) -> None:
        trace = Trace()
        trace.says(trace.first, 180)
        trace.out(trace.first)
        trace.says(trace.second, 180)
        (cancel,) = trace.own()
        trace.back(trace.first)
        bench = trace.bench
        bench.memory.loads.sent(trace.first, bench.now, limited=False)
        bench.receive(answer(cancel.data, 200), RM[trace.first])
        assert bench.memory.loads.unanswered_for(trace.first, bench.now + 9) == 0.0


class TestRefusedForLoad:
    """SIP-RULES 5: another member with room, else 503 without Retry-After."""

    def test_another_member_with_room(self) -> None:
        bench = limited(requests_waiting=1)
        taken = {bench.forwarded(initial(n)).to.member for n in range(2)}
        assert taken == {1, 2}

    @pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "REGISTER", "SUBSCRIBE"])
    def test_503_without_retry_after(self, method: str) -> None:
        bench = limited(requests_waiting=1)
        for number in range(2):
            bench.forwarded(initial(number))
        refused = bench.receive(initial(9, method))
        assert isinstance(refused, Reply)
        assert (refused.status, refused.reason) == (503, Reason.OVERLOAD)
        assert scan(refused.data).header("Retry-After") is None

    def full(self, **parts: object) -> tuple[Bench, object]:
        """A dialog, then every member at its limit."""
        bench = limited(requests_waiting=1)
        dialog = bench.establish("one@caller", **parts)
        for number in range(20):
            bench.receive(initial(number))
        assert isinstance(bench.receive(initial(99)), Reply)
        return bench, dialog

    @pytest.mark.parametrize("method", ["INVITE", "BYE", "INFO"])
    def test_not_what_a_mark_vouches_for(self, method: str) -> None:
        bench, dialog = self.full()
        data = dialog.from_caller(method, via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bKd")  # type: ignore[attr-defined]
        assert bench.forwarded(data).step is Step.MARK

    def test_not_what_a_binding_vouches_for(self) -> None:
        bench, _ = self.full()
        data = request("BYE", to_tag="callee", cseq=2, via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bKd")
        assert bench.forwarded(data).step is Step.BINDING

    @pytest.mark.parametrize("to_tag", [None, "x"])
    def test_not_what_trusted_datanodes_vouch_for(self, to_tag: str | None) -> None:
        bench, _ = self.full()
        route = [f"<sip:{RM[1]}:5060;lr;gvp.rm.datanodes=1>"]
        assert bench.forwarded(initial(50, routes=route, to_tag=to_tag)).step is Step.DATANODES

    def test_a_to_tag_alone_vouches_for_nothing(self) -> None:
        bench, _ = self.full()
        refused = bench.receive(initial(50, to_tag="x"), STRANGER)
        assert isinstance(refused, Reply)
        assert (refused.status, refused.reason) == (503, Reason.OVERLOAD)

    def test_nor_do_datanodes_of_strangers(self) -> None:
        bench, _ = self.full()
        bench.change(trusted=(ip_network(f"{CALLER}/32"),))
        route = [f"<sip:{RM[1]}:5060;lr;gvp.rm.datanodes=1>"]
        refused = bench.receive(initial(50, routes=route, to_tag="x"), STRANGER)
        assert isinstance(refused, Reply)
        assert refused.reason is Reason.OVERLOAD

    def test_a_to_tag_alone_counts(self) -> None:
        """Else the limit could be walked around by one header parameter."""
        bench = limited(1, requests_waiting=3)
        for number in range(3):
            bench.forwarded(initial(number, to_tag="x"), STRANGER)
        assert isinstance(bench.receive(initial(9, to_tag="x"), STRANGER), Reply)
        assert isinstance(bench.receive(initial(9)), Reply)

    def test_its_retransmission_passes(self) -> None:
        bench = limited(1, requests_waiting=1)
        for _ in range(3):
            bench.forwarded(initial(1, to_tag="x"))

    def test_ack_and_cancel_are_no_load(self) -> None:
        bench = limited(1, requests_waiting=1)
        bench.forwarded(initial(1))
        for number in range(5):
            bench.forwarded(initial(10 + number, "ACK", to_tag="x"))
            bench.forwarded(initial(20 + number, "CANCEL"))
        assert bench.memory.loads.of(1).waiting == 1

    def test_three_times_the_load(self) -> None:
        """Accepted calls are all sent, the refused ones get their 503, and the rate is kept."""
        bench = limited(1, calls_per_second=100)
        verdicts = []
        for number in range(3000):
            bench.now = 1000.0 + number / 300.0
            verdicts.append(bench.receive(initial(number)))
        accepted = [v for v in verdicts if isinstance(v, Forward)]
        assert len(accepted) == pytest.approx(1000, abs=15)
        assert {v.status for v in verdicts if isinstance(v, Reply)} == {503}

    def test_what_was_accepted_is_sent_again_whatever_the_load(self) -> None:
        bench = limited(2, requests_waiting=2)
        call = Trace(bench=bench, call_id=bench.call_to(1))
        for number in range(20):
            bench.receive(initial(number))
        assert isinstance(bench.receive(initial(99)), Reply)
        assert kinds(call.out(1)) == [("resend", 2)] * 2
