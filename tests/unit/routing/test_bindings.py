"""Bindings: how long each lives, what counts as a call, who goes first when the table is full."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from packets import CALLER, RM, Bench, answer, make_bindings, request

from rmlb.routing.affinity import Memory
from rmlb.routing.bindings import BindingLimits, Bindings, Phase

LIMITS = BindingLimits(max_bindings=3, ttl_s=48 * 3600, idle_s=2 * 3600, timer_c_s=200)
DAY = 86400.0


class Clocked:
    """A table and its clock, expired every second that matters."""

    def __init__(self, limits: BindingLimits = LIMITS) -> None:
        self.table = make_bindings(limits)
        self.now = 1000.0

    def bind(self, key: int = 1, member: int = 1, *, redundant: bool = True) -> None:
        self.table.bind(key, member, 0, self.now, redundant=redundant)

    def answer(self, key: int = 1, member: int = 1) -> None:
        binding = self.table.find(key)
        assert binding is not None
        self.table.answered(key, binding, self.now, member=member, loss=0, tag=b"t")

    def end(self, key: int = 1) -> None:
        binding = self.table.find(key)
        assert binding is not None
        self.table.ended(key, binding, self.now)

    def touch(self, key: int = 1) -> None:
        binding = self.table.find(key)
        assert binding is not None
        self.table.touch(binding, self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.table.expire(self.now)

    def lives(self, key: int = 1) -> bool:
        return self.table.find(key) is not None


@pytest.fixture
def clocked() -> Clocked:
    return Clocked()


class TestLifetimes:
    def lasts(self, clocked: Clocked, seconds: float, key: int = 1) -> None:
        clocked.wait(seconds - 2)
        assert clocked.lives(key)
        clocked.wait(4)
        assert not clocked.lives(key)

    def test_unanswered(self, clocked: Clocked) -> None:
        clocked.bind()
        self.lasts(clocked, 200)

    def test_ringing_starts_anew(self, clocked: Clocked) -> None:
        clocked.bind()
        clocked.wait(150)
        clocked.touch()
        self.lasts(clocked, 200)

    def test_failed(self, clocked: Clocked) -> None:
        clocked.bind()
        binding = clocked.table.find(1)
        assert binding is not None
        clocked.table.failed(1, binding, clocked.now)
        self.lasts(clocked, 32)

    def test_answered(self, clocked: Clocked) -> None:
        clocked.bind()
        clocked.answer()
        self.lasts(clocked, 48 * 3600)

    def test_traffic_refreshes(self, clocked: Clocked) -> None:
        clocked.bind()
        clocked.answer()
        clocked.wait(40 * 3600)
        clocked.touch()
        self.lasts(clocked, 48 * 3600)

    def test_ended(self, clocked: Clocked) -> None:
        clocked.bind()
        clocked.answer()
        clocked.end()
        self.lasts(clocked, 600)

    def test_a_late_2xx_does_not_revive_what_has_ended(self, clocked: Clocked) -> None:
        """A retransmitted 200 to the INVITE, or one that was slower than the BYE's."""
        clocked.bind()
        clocked.answer()
        clocked.end()
        clocked.answer()
        assert clocked.table.calls[1] == 0
        self.lasts(clocked, 600)

    def test_a_late_failure_does_not_end_what_was_answered(self, clocked: Clocked) -> None:
        clocked.bind()
        clocked.answer()
        binding = clocked.table.find(1)
        assert binding is not None
        clocked.table.failed(1, binding, clocked.now)
        assert binding.phase is Phase.LIVE

    def test_subscription(self, clocked: Clocked) -> None:
        clocked.bind()
        binding = clocked.table.find(1)
        assert binding is not None
        clocked.table.subscribed(1, binding, clocked.now, 3600)
        assert clocked.table.calls.total() == 0
        self.lasts(clocked, 3632)

    def test_a_notify_does_not_cut_a_subscription_short(self, clocked: Clocked) -> None:
        clocked.bind()
        binding = clocked.table.find(1)
        assert binding is not None
        clocked.table.subscribed(1, binding, clocked.now, 3600)
        clocked.wait(10)
        clocked.touch()
        self.lasts(clocked, 3622)

    def test_unsubscribed(self, clocked: Clocked) -> None:
        clocked.bind()
        binding = clocked.table.find(1)
        assert binding is not None
        clocked.table.subscribed(1, binding, clocked.now, 0)
        self.lasts(clocked, 32)

    def test_header_value(self, clocked: Clocked) -> None:
        clocked.table.bind_header(7, 1, 0, clocked.now)
        clocked.wait(3600)
        clocked.table.bind_header(7, 2, 0, clocked.now)
        binding = clocked.table.find(7)
        assert binding is not None
        assert (binding.member, clocked.table.calls.total()) == (2, 0)
        self.lasts(clocked, 7200, key=7)

    def test_a_long_pause_of_the_clock(self, clocked: Clocked) -> None:
        clocked.bind()
        clocked.wait(30 * DAY)
        assert not clocked.lives()


class TestCalls:
    def test_from_answer_to_end(self, clocked: Clocked) -> None:
        clocked.bind()
        assert clocked.table.calls[1] == 0
        clocked.answer()
        clocked.answer()
        assert clocked.table.calls[1] == 1
        clocked.end()
        clocked.end()
        assert clocked.table.calls[1] == 0

    def test_silent_calls_no_longer_count(self, clocked: Clocked) -> None:
        clocked.bind()
        clocked.answer()
        clocked.wait(7100)
        assert clocked.table.calls[1] == 1
        clocked.wait(200)
        assert clocked.table.calls[1] == 0
        assert clocked.lives()

    def test_a_silent_call_that_is_heard_of_again_counts_again(self, clocked: Clocked) -> None:
        clocked.bind()
        clocked.answer()
        for _ in range(3):
            clocked.wait(7300)
            assert clocked.table.calls[1] == 0
            clocked.touch()
            assert clocked.table.calls[1] == 1
            clocked.wait(7100)
            clocked.touch()
            clocked.wait(7100)
            assert clocked.table.calls[1] == 1
        clocked.end()
        assert clocked.table.calls[1] == 0

    def test_a_call_that_is_heard_of_again_falls_silent_again(self, clocked: Clocked) -> None:
        clocked.bind()
        clocked.answer()
        clocked.wait(7300)
        clocked.touch()
        for _ in range(4):
            clocked.wait(3700)
        assert clocked.table.calls[1] == 0

    def test_counts_survive_eviction(self, clocked: Clocked) -> None:
        for key in (1, 2, 3):
            clocked.bind(key)
            clocked.answer(key)
        for key in (4, 5):
            clocked.bind(key)
        assert not clocked.lives(1)
        assert clocked.table.evicted == 2
        assert clocked.table.calls[1] == 3
        clocked.table.ended_unknown(1)
        assert clocked.table.calls[1] == 2
        clocked.table.ended_unknown(1)
        clocked.table.ended_unknown(1)
        clocked.table.ended_unknown(2)
        assert +clocked.table.calls == {1: 1}

    def test_evicted_calls_fall_silent_too(self, clocked: Clocked) -> None:
        for key in (1, 2, 3):
            clocked.bind(key)
            clocked.answer(key)
            clocked.wait(120)
        for key in (4, 5, 6):
            clocked.bind(key)
        assert clocked.table.calls[1] == 3
        clocked.wait(7300)
        assert clocked.table.calls[1] == 0

    def test_in_whatever_order_they_were_evicted(self, clocked: Clocked) -> None:
        clocked.bind(1)
        clocked.answer(1)
        clocked.bind(2)
        clocked.answer(2)
        clocked.wait(600)
        clocked.touch(1)  # so the first to be evicted is the later one to fall silent
        for key in (3, 4, 5):
            clocked.bind(key)
        assert clocked.table.calls[1] == 2
        clocked.wait(6900)
        assert clocked.table.calls[1] == 1

    def test_a_call_that_moves(self, clocked: Clocked) -> None:
        clocked.bind()
        binding = clocked.table.find(1)
        assert binding is not None
        clocked.table.moved(binding, 2, 5)
        clocked.answer(member=2)
        assert (binding.member, binding.loss) == (2, 5)
        assert +clocked.table.calls == {2: 1}


class TestEviction:
    def test_what_mark_or_hash_would_answer_alike_goes_first(self, clocked: Clocked) -> None:
        clocked.bind(1, redundant=False)
        clocked.bind(2, redundant=True)
        clocked.bind(3, redundant=False)
        clocked.bind(4, redundant=True)
        assert [clocked.lives(key) for key in (1, 2, 3, 4)] == [True, False, True, True]
        clocked.bind(5, redundant=False)
        assert not clocked.lives(4)
        clocked.bind(6, redundant=False)
        assert not clocked.lives(1)

    def test_the_table_never_grows_beyond_its_limit(self, clocked: Clocked) -> None:
        for key in range(100):
            clocked.bind(key, redundant=key % 3 == 0)
            clocked.table.bind_header(1000 + key, 1, 0, clocked.now)
            assert len(clocked.table) <= 3

    def test_binding_again_is_no_second_entry(self, clocked: Clocked) -> None:
        clocked.bind(1, 1)
        clocked.answer(1, 1)
        clocked.bind(1, 2, redundant=False)
        assert len(clocked.table) == 1
        assert clocked.table.calls.total() == 0


class Calls(RuleBasedStateMachine):
    """Any order of events: counts are never negative, and are those of the bindings."""

    keys = st.integers(1, 6)
    members = st.integers(1, 3)

    def __init__(self) -> None:
        super().__init__()
        limits = BindingLimits(max_bindings=3, ttl_s=1000, idle_s=300, timer_c_s=20)
        self.clocked = Clocked(limits)

    @rule(key=keys, member=members, redundant=st.booleans())
    def bind(self, key: int, member: int, redundant: bool) -> None:
        self.clocked.bind(key, member, redundant=redundant)

    @rule(key=keys, what=st.sampled_from(["touch", "end", "fail", "subscribe", "move", "resume"]),
          member=members)  # fmt: skip
    def event(self, key: int, what: str, member: int) -> None:
        table, now = self.clocked.table, self.clocked.now
        binding = table.find(key)
        if binding is None:
            return
        if what == "touch":
            table.touch(binding, now)
        elif what == "end":
            table.ended(key, binding, now)
        elif what == "fail":
            table.failed(key, binding, now)
        elif what == "subscribe" and binding.phase in (Phase.TRYING, Phase.FAILED):
            table.subscribed(key, binding, now, 60)
        elif what == "move" and binding.phase is Phase.TRYING:
            table.moved(binding, member, 0)
        elif what == "resume" and binding.phase is Phase.TRYING:
            table.resumed(key, binding, now)

    @rule(key=keys, member=members, fork=st.booleans())
    def answered(self, key: int, member: int, fork: bool) -> None:
        table = self.clocked.table
        binding = table.find(key)
        if binding is not None:
            table.answered(
                key, binding, self.clocked.now, member=member, loss=0, tag=b"x", fork=fork
            )

    @rule(member=members)
    def ended_unknown(self, member: int) -> None:
        self.clocked.table.ended_unknown(member)

    @rule(seconds=st.sampled_from([0.5, 5, 25, 70, 400, 1500]))
    def wait(self, seconds: float) -> None:
        self.clocked.wait(seconds)

    @precondition(lambda self: self.clocked.table.evicted == 0)
    @invariant()
    def counts_are_those_of_the_bindings(self) -> None:
        table = self.clocked.table
        found: Counter[int] = Counter()
        for key in range(1, 7):
            binding = table.find(key)
            if binding is not None and binding.counted:
                found[binding.member] += 1
        assert +table.calls == found

    @invariant()
    def counts_are_never_negative(self) -> None:
        assert all(count >= 0 for count in self.clocked.table.calls.values())
        assert len(self.clocked.table) <= 3

    def teardown(self) -> None:
        self.clocked.wait(10_000)
        assert len(self.clocked.table) == 0
        assert self.clocked.table.calls.total() == 0


def test_any_order() -> None:
    run_state_machine_as_test(
        Calls, settings=settings(max_examples=100, stateful_step_count=30, deadline=None)
    )


class TestThroughTheRouter:
    """What traffic does to them."""

    def test_a_whole_call(self) -> None:
        bench = Bench()
        dialog = bench.establish("one@caller")
        assert bench.memory.bindings.calls[dialog.member] == 1
        bye = bench.forwarded(dialog.from_caller())
        assert bench.memory.bindings.calls[dialog.member] == 1  # the BYE may be forged
        bench.forwarded(answer(bye.data, 200), RM[dialog.member])
        assert bench.memory.bindings.calls[dialog.member] == 0

    def test_the_callee_hangs_up(self) -> None:
        bench = Bench()
        dialog = bench.establish("one@caller")
        bye = bench.forwarded(dialog.from_callee(), RM[dialog.member])
        bench.forwarded(answer(bye.data, 200), CALLER)
        assert bench.memory.bindings.calls[dialog.member] == 0

    @pytest.mark.parametrize("status", [401, 481, 500])
    def test_a_bye_that_fails_ends_nothing(self, status: int) -> None:
        bench = Bench()
        dialog = bench.establish("one@caller")
        bye = bench.forwarded(dialog.from_caller())
        bench.forwarded(answer(bye.data, status), RM[dialog.member])
        assert bench.memory.bindings.calls[dialog.member] == 1

    @pytest.mark.parametrize("method", ["REGISTER", "OPTIONS", "MESSAGE", "PUBLISH"])
    def test_requests_without_a_dialog_bind_nothing(self, method: str) -> None:
        bench = Bench()
        sent = bench.forwarded(request(method))
        bench.forwarded(answer(sent.data, 200), RM[sent.to.member])
        assert len(bench.memory.bindings) == 0

    def test_a_subscription_is_no_call(self) -> None:
        bench = Bench()
        sent = bench.forwarded(request("SUBSCRIBE"))
        bench.forwarded(answer(sent.data, 200, extra=["Expires: 600"]), RM[sent.to.member])
        assert bench.memory.bindings.calls.total() == 0
        bench.now += 629
        bench.router.expire(bench.now)
        assert len(bench.memory.bindings) == 1
        bench.now += 5
        bench.router.expire(bench.now)
        assert len(bench.memory.bindings) == 0

    @pytest.mark.parametrize("before", [[], [183]])
    def test_a_reinvite_of_an_evicted_call_is_no_second_one(self, before: list[int]) -> None:
        memory = Memory(Bindings(BindingLimits(max_bindings=1)))
        bench = Bench(memory)
        dialog = bench.establish("one@caller")
        bench.forwarded(request(call_id="other", via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bKo"))
        assert bench.memory.bindings.calls[dialog.member] == 1
        bench.now += 1
        via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bKre"
        again = bench.forwarded(dialog.from_caller("INVITE", via=via))
        for status in (*before, 200):
            bench.forwarded(answer(again.data, status), RM[dialog.member])
            assert bench.memory.bindings.calls[dialog.member] == 1

    def test_a_failed_reinvite_leaves_the_call_alone(self) -> None:
        bench = Bench()
        dialog = bench.establish("one@caller")
        via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bKre"
        again = bench.forwarded(dialog.from_caller("INVITE", via=via))
        bench.forwarded(answer(again.data, 488), RM[dialog.member])
        assert bench.memory.bindings.calls[dialog.member] == 1
