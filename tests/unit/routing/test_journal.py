"""The journal of bindings: what others should know is given once, as it is by then."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from packets import CALLER, RM, TCP, UDP, Bench, answer, request

from rmlb.routing import bindings as module
from rmlb.routing.bindings import BindingLimits, Bindings, Change
from rmlb.routing.selection import Algorithm
from rmlb.sip.address import Transport

LIMITS = BindingLimits(ttl_s=48 * 3600, idle_s=2 * 3600)


def journal(**settings: object) -> Bench:
    bench = Bench(**settings)
    bench.memory.bindings.journal = True
    return bench


def phases(bench: Bench) -> list[tuple[bool, bool]]:
    return [(x.live, x.ended) for x in bench.memory.bindings.take_changes(100)]


def test_a_call_is_told_of_twice() -> None:
    bench = journal()
    sent = bench.forwarded(request())
    bench.forwarded(answer(sent.data, 180), RM[sent.to.member])
    assert phases(bench) == [], "mark and hash say the same"
    bench.forwarded(answer(sent.data, 200), RM[sent.to.member])
    assert phases(bench) == [(True, False)]
    bye = bench.forwarded(request("BYE", to_tag="callee", cseq=2))
    assert phases(bench) == [], "a BYE may be forged"
    bench.forwarded(answer(bye.data, 200), RM[bye.to.member])
    assert phases(bench) == [(False, True)]


def test_a_reinvite_is_told_of_no_more_than_other_traffic() -> None:
    bench = journal()
    sent = bench.forwarded(request())
    bench.forwarded(answer(sent.data, 200), RM[sent.to.member])
    assert phases(bench) == [(True, False)]
    again = bench.forwarded(request(to_tag="callee", cseq=2))
    bench.forwarded(answer(again.data, 200), RM[again.to.member])
    assert phases(bench) == []


@pytest.mark.parametrize("transport", [UDP, TCP])
def test_it_is_told_that_a_change_waits(transport: Transport) -> None:
    """Once, of whatever transport the message is that makes the first."""
    bench = journal()
    told: list[int] = []
    bench.memory.bindings.on_change = lambda: told.append(1)
    sent = bench.forwarded(request(via=f"SIP/2.0/{transport} {CALLER}:5060;branch=z9hG4bK-1"),
                           transport=transport)  # fmt: skip
    bench.forwarded(answer(sent.data, 200), RM[sent.to.member])
    assert len(told) == 1
    assert phases(bench) == [(True, False)]


def test_a_call_that_fails_is_not_told_of() -> None:
    bench = journal()
    sent = bench.forwarded(request())
    bench.forwarded(answer(sent.data, 486), RM[sent.to.member])
    assert phases(bench) == []
    bench.memory.bindings.start_repeating()
    assert not bench.memory.bindings.repeat_changes(10)


def test_what_neither_mark_nor_hash_can_say_is_told_at_once() -> None:
    bench = journal(record_route=False, algorithm=Algorithm.ROUND_ROBIN)
    sent = bench.forwarded(request())
    assert phases(bench) == [(False, False)]
    bench.forwarded(answer(sent.data, 200), RM[sent.to.member])
    assert phases(bench) == [(True, False)]


def test_one_change_where_there_were_two() -> None:
    bench = journal(record_route=False, algorithm=Algorithm.ROUND_ROBIN)
    dialog = bench.establish("a")
    assert [(x.member, x.live) for x in bench.memory.bindings.take_changes(10)] == [
        (dialog.member, True)
    ]


def test_a_dialog_that_moves() -> None:
    bench = journal(record_route=False)
    dialog = bench.establish("a")
    bench.memory.bindings.take_changes(10)
    bench.lose(dialog.member)
    bench.forwarded(request("INFO", call_id="a", to_tag="callee", cseq=2))
    (change,) = bench.memory.bindings.take_changes(10)
    assert (change.member, change.loss, change.live) == (3 - dialog.member, 1, True)


def test_a_call_that_another_balancer_began_ends_here() -> None:
    first, second = journal(), journal(ask_store=True)
    dialog = first.establish("a")
    bye = second.forwarded(dialog.from_caller("BYE"))
    second.forwarded(answer(bye.data, 200), RM[bye.to.member])
    (begun,) = first.memory.bindings.take_changes(10)
    (ended,) = second.memory.bindings.take_changes(10)
    assert (ended.key, ended.member, ended.live, ended.ended) == (
        begun.key, dialog.member, False, True,
    )  # fmt: skip


def test_header_keys_are_not_told_of() -> None:
    """The hash of the header leads the next dialog alike everywhere."""
    bench = journal(header_keys=(b"x-call",))
    bench.forwarded(request(extra=["X-Call: 7"]))
    bench.memory.bindings.start_repeating()
    assert phases(bench) == []
    assert not bench.memory.bindings.repeat_changes(10)


def test_traffic_tells_of_a_long_call_again() -> None:
    table = Bindings(LIMITS)
    table.journal = True
    binding = table.bind(1, 1, 0, 0.0, redundant=True)
    table.answered(1, binding, 0.0, member=1, loss=0, tag=b"")
    assert len(table.take_changes(10)) == 1
    table.touch(binding, LIMITS.idle_s / 2 - 1)
    assert not table.take_changes(10)
    table.touch(binding, LIMITS.idle_s / 2)
    table.touch(binding, LIMITS.idle_s / 2 + 1)
    (change,) = table.take_changes(10)
    assert change.expires == LIMITS.idle_s / 2 + 1 + LIMITS.ttl_s


def test_nothing_is_kept_while_nobody_wants_it() -> None:
    bench = Bench(record_route=False, algorithm=Algorithm.ROUND_ROBIN)
    bench.establish("a")
    bindings = bench.memory.bindings
    assert bindings.changes_waiting == 0
    bindings.journal = True
    bench.establish("b")
    assert bindings.changes_waiting == 1
    bindings.forget_changes()
    bench.establish("c")
    assert (bindings.changes_waiting, bindings.journal) == (0, False)


def test_recalled() -> None:
    table = Bindings(LIMITS)
    table.journal = True
    live = table.recall(1, 2, 7, 100.0, live=True, ended=False)
    assert (live.member, live.loss, live.expires) == (2, 7, 100.0 + LIMITS.ttl_s)
    assert table.recall(1, 1, 9, 100.0, live=True, ended=False) is live, "what is here counts"
    ended = table.recall(3, 2, 7, 100.0, live=False, ended=True)
    assert ended.is_over
    bound = table.recall(4, 1, 7, 100.0, live=False, ended=False)
    assert bound.expires == 100.0 + LIMITS.timer_c_s
    assert (table.calls, table.changes_waiting) == (Counter({2: 1}), 0)
    table.touch(live, 101.0)
    assert table.changes_waiting == 0
    table.start_repeating()
    assert sorted(x.key for x in table.repeat_changes(10)) == [1, 3]
    table.ended(1, live, 102.0)
    assert [x.ended for x in table.take_changes(10)] == [True]


def test_calls_everywhere() -> None:
    table = Bindings(LIMITS)
    table.recall(1, 2, 0, 1.0, live=True, ended=False)
    table.elsewhere = {1: 5, 2: -1}
    assert [table.load(member) for member in (1, 2, 3)] == [5, 0, 0]
    table.elsewhere = {2: -3}
    assert table.load(2) == 0


def test_the_oldest_are_lost_when_nobody_takes_them() -> None:
    table = Bindings(BindingLimits(max_bindings=10 * module.MAX_CHANGES))
    table.journal = True
    many = module.MAX_CHANGES + 10
    for key in range(1, many + 1):
        table.bind(key, 1, 0, 1.0, redundant=False)
    assert table.changes_waiting + table.changes_lost == many
    assert table.changes_waiting <= module.MAX_CHANGES
    taken = table.take_changes(many)
    assert taken[-1].key == many
    assert taken[0].key == table.changes_lost + 1


def test_on_change_is_called_once() -> None:
    table = Bindings(LIMITS)
    table.journal = True
    called: list[int] = []
    table.on_change = lambda: called.append(table.changes_waiting)
    for key in (1, 2, 3):
        table.bind(key, 1, 0, 1.0, redundant=False)
    assert (called, table.on_change) == ([1], None)
    assert [x.key for x in table.take_changes(3)] == [1, 2, 3]
    table.bind(4, 1, 0, 1.0, redundant=False)
    assert called == [1]
    table.on_change = lambda: called.append(table.changes_waiting)
    table.bind(5, 1, 0, 1.0, redundant=False)
    assert called == [1, 2]


class Reader(RuleBasedStateMachine):
    """Another balancer that reads every change knows of every call what this one knows."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Bindings(BindingLimits(max_bindings=8, idle_s=7200))
        self.table.journal = True
        self.seen: dict[int, Change] = {}
        self.now = 1000.0

    KEY = st.integers(1, 12)

    @rule(key=KEY, member=st.integers(1, 2), redundant=st.booleans())
    def bind(self, key: int, member: int, redundant: bool) -> None:
        binding = self.table.bind(key, member, 0, self.now, redundant=redundant)
        binding.transaction = key

    @rule(key=KEY, member=st.integers(1, 2), fork=st.booleans())
    def answered(self, key: int, member: int, fork: bool) -> None:
        binding = self.table.find(key)
        if binding is not None:
            self.table.answered(
                key, binding, self.now, member=member, loss=0, tag=b"t", fork=fork
            )  # fmt: skip

    @rule(key=KEY)
    def ended(self, key: int) -> None:
        binding = self.table.find(key)
        if binding is not None:
            self.table.ended(key, binding, self.now)

    @rule(key=KEY, member=st.integers(1, 2))
    def moved(self, key: int, member: int) -> None:
        binding = self.table.find(key)
        if binding is not None:
            self.table.moved(binding, member, 1)

    @rule(key=KEY)
    def touched(self, key: int) -> None:
        binding = self.table.find(key)
        if binding is not None:
            self.table.touch(binding, self.now)

    @rule(seconds=st.sampled_from((0.0, 1.0, 300.0, 4000.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.table.expire(self.now)

    @rule()
    def outage(self) -> None:
        """The store is lost, and what is here is repeated."""
        self.table.forget_changes()
        self.seen.clear()
        self.table.journal = True
        self.table.start_repeating()

    @rule(most=st.integers(1, 5))
    def take(self, most: int) -> None:
        for change in (*self.table.take_changes(most), *self.table.repeat_changes(most)):
            self.seen[change.key] = change

    @invariant()
    def every_call_is_known(self) -> None:
        if self.table.changes_waiting or self.table.changes_to_repeat:
            return
        for key in range(1, 13):
            binding = self.table.find(key)
            if binding is None or binding.phase not in (module.Phase.LIVE, module.Phase.ENDED):
                continue
            seen = self.seen[key]
            assert (seen.member, seen.live) == (
                binding.member,
                binding.phase is module.Phase.LIVE,
            )


TestReader = Reader.TestCase
TestReader.settings = settings(max_examples=80, stateful_step_count=40)
