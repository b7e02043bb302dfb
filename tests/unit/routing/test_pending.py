"""The memory of requests: found, bounded, forgotten in time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import CALLER, RM, STRANGER, Bench, answer, make_pending, member, request

from rmlb.routing.affinity import Memory
from rmlb.routing.pending import (
    COMPLETED_S,
    MAX_TAGS,
    Attempt,
    Failure,
    OwnCancel,
    PendingLimits,
    PendingRequests,
    Remembered,
)
from rmlb.routing.verdict import Destination, Origin
from rmlb.sip.address import Transport

UDP = Transport.UDP
ORIGIN = Origin(UDP, 0, 0, CALLER, 5060)
TO = Destination(UDP, CALLER, 5060, 0)


def remember(
    pending: PendingRequests,
    key: int,
    *,
    number: int = 1,
    now: float = 0.0,
    method: bytes = b"INVITE",
    data: bytes = b"x" * 100,
    waiting: bool = False,
) -> Remembered:
    pending.remember(
        key, call=key, method=method, initial=True, data=data, origin=ORIGIN,
        attempt=Attempt(number, now, UDP, waiting=waiting), now=now,
    )  # fmt: skip
    entry = pending.find(key)
    assert entry is not None
    return entry


def table(**limits: float) -> PendingRequests:
    return make_pending(PendingLimits(**limits))  # type: ignore[arg-type]


class TestBounds:
    def test_by_number_the_oldest_goes_first(self) -> None:
        pending = table(max_requests=3)
        for key in range(5):
            remember(pending, key)
        assert [pending.find(key) is not None for key in range(5)] == [
            False,
            False,
            True,
            True,
            True,
        ]
        assert (len(pending), pending.evicted, pending.unanswered) == (3, 2, 3)
        assert pending.octets == 300

    def test_by_octets(self) -> None:
        pending = table(max_octets=250)
        for key in range(4):
            remember(pending, key)
        assert (len(pending), pending.octets, pending.evicted) == (2, 200, 2)

    def test_one_that_is_too_large_is_alone(self) -> None:
        pending = table(max_octets=250)
        remember(pending, 1)
        remember(pending, 2, data=b"x" * 1000)
        assert (len(pending), pending.octets) == (1, 1000)
        remember(pending, 3)
        assert (len(pending), pending.octets) == (1, 100)

    def test_all_that_is_kept_counts(self) -> None:
        """What we sent, swallowed, answered, the caller's CANCEL, and To tags."""
        pending = table()
        entry = remember(pending, 1)
        pending.add_attempt(entry, Attempt(2, 0.0, UDP, sent=b"s" * 10, to=TO))
        assert pending.octets == 110
        entry.best = Failure(486, 1, TO, b"b" * 20)
        entry.cancel = (b"c" * 30, ORIGIN)
        entry.newest.tags.add(b"t" * 5)
        pending.weigh(entry)
        assert pending.octets == 165
        entry.answer = b"a" * 7
        pending.answered(entry, 486, 0.0, by=0)
        assert pending.octets == 122  # request, sent, tag and answer
        pending.expire(COMPLETED_S + 2)
        assert (pending.octets, len(pending)) == (0, 0)

    def test_what_grows_makes_room_by_the_others(self) -> None:
        pending = table(max_octets=400)
        entry = remember(pending, 1)
        for key in (2, 3, 4):
            remember(pending, key)
        entry.cancel = (b"c" * 150, ORIGIN)
        pending.weigh(entry)
        assert [pending.find(key) is not None for key in (1, 2, 3, 4)] == [True, False, False, True]
        assert (pending.octets, pending.evicted) == (350, 2)

    def test_cancels_of_an_outsider_are_bounded(self) -> None:
        """Small INVITEs, then a CANCEL of 60 KB for each: 64 MiB stay 64 MiB."""
        bench = Bench(Memory(pending=PendingRequests(PendingLimits(max_octets=1_000_000))))
        for number in range(100):
            via = f"SIP/2.0/UDP {STRANGER};branch=z9hG4bK{number}"
            call_id = f"call-{number}"
            bench.forwarded(request(call_id=call_id, via=via), STRANGER)
            bench.forwarded(
                request("CANCEL", call_id=call_id, via=via, body=b"x" * 60_000), STRANGER
            )
            assert bench.memory.pending.octets <= 1_000_000
        assert bench.memory.pending.evicted > 0

    def test_so_are_early_dialogs(self) -> None:
        bench = Bench()
        sent = bench.forwarded(request())
        for number in range(3 * MAX_TAGS):
            bench.forwarded(answer(sent.data, 180, to_tag=f"t{number}"), RM[sent.to.member])
        (entry,) = bench.memory.pending.waiting_for(sent.to.member)
        assert len(entry.newest.tags) == MAX_TAGS
        assert bench.memory.pending.octets == len(request()) + sum(map(len, entry.newest.tags))

    def test_what_is_forgotten_waits_with_its_member_no_more(self) -> None:
        pending = table(max_requests=1)
        remember(pending, 1, waiting=True)
        remember(pending, 2, number=2, waiting=True)
        assert pending.waiting_for(1) == []
        assert pending.expire(0.0) == {1: 1}
        assert pending.expire(0.0) == {}

    def test_a_flood_leaves_no_trace_in_the_loads(self) -> None:
        memory = Memory(pending=PendingRequests(PendingLimits(max_requests=10)))
        bench = Bench(memory, members=[member(1)])
        for number in range(100):
            bench.forwarded(
                request(call_id=f"c{number}", via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bK{number}")
            )
        bench.router.expire(bench.now)
        assert bench.memory.loads.of(1).waiting == 10


class TestLifetimes:
    def lives(self, pending: PendingRequests, key: int, now: float) -> bool:
        pending.expire(now)
        return pending.find(key) is not None

    def test_an_invite_until_timer_c(self) -> None:
        pending = table(timer_c_s=200.0)
        remember(pending, 1)
        assert self.lives(pending, 1, 199.0)
        assert not self.lives(pending, 1, 201.5)

    def test_which_starts_anew_with_every_1xx_but_100(self) -> None:
        """16.7 step 2."""
        pending = table(timer_c_s=200.0)
        entry = remember(pending, 1)
        pending.provisional(entry, 180, 150.0)
        pending.provisional(entry, 100, 300.0)
        assert self.lives(pending, 1, 349.0)
        assert not self.lives(pending, 1, 351.5)

    def test_another_request_for_64_t1(self) -> None:
        pending = table()
        entry = remember(pending, 1, method=b"MESSAGE")
        pending.provisional(entry, 180, 20.0)
        assert self.lives(pending, 1, 31.0)
        assert not self.lives(pending, 1, 33.5)

    def test_64_t1_past_the_final_answer(self) -> None:
        pending = table()
        entry = remember(pending, 1)
        pending.answered(entry, 486, 100.0, by=1)
        assert self.lives(pending, 1, 131.0)
        assert not self.lives(pending, 1, 133.5)

    def test_a_1xx_after_it_changes_nothing(self) -> None:
        pending = table()
        entry = remember(pending, 1)
        pending.answered(entry, 200, 10.0, by=1)
        pending.provisional(entry, 180, 11.0)
        assert not self.lives(pending, 1, 43.5)
        assert not entry.ringing

    def test_the_first_final_answer_counts(self) -> None:
        pending = table()
        entry = remember(pending, 1)
        pending.answered(entry, 486, 0.0, by=1)
        pending.answered(entry, 200, 0.0, by=2)
        assert (entry.final, entry.final_by, pending.unanswered) == (486, 1, 0)

    def test_a_key_that_is_forgotten_and_used_again(self) -> None:
        pending = table(max_requests=1)
        remember(pending, 1)
        remember(pending, 2)
        again = remember(pending, 1, now=100.0)
        pending.expire(202.0)  # the time of the first one
        assert pending.find(1) is again


class TestContents:
    def test_answered_by_its_only_member_the_octets_go(self) -> None:
        pending = table()
        entry = remember(pending, 1)
        pending.answered(entry, 200, 0.0, by=1)
        assert (entry.data, pending.octets) == (b"", 0)

    def test_answered_by_us_they_stay(self) -> None:
        """A CANCEL may be owed to its member yet, and the ACK to its late failure."""
        pending = table()
        entry = remember(pending, 1)
        pending.answered(entry, 503, 0.0, by=0)
        assert entry.data

    def test_with_two_attempts_they_stay(self) -> None:
        pending = table()
        entry = remember(pending, 1)
        pending.add_attempt(entry, Attempt(2, 0.0, UDP))
        pending.answered(entry, 200, 0.0, by=2)
        assert entry.data

    def test_it_waits_for_its_newest_attempt(self) -> None:
        pending = table()
        first, second = remember(pending, 1), remember(pending, 2)
        pending.add_attempt(first, Attempt(2, 0.0, UDP))
        assert pending.waiting_for(1) == [second]
        assert pending.waiting_for(2) == [first]
        assert (first.attempts[0].abandoned, first.newest.abandoned) == (True, False)
        assert pending.waiting_for(3) == []
        pending.add_attempt(first, Attempt(3, 0.0, UDP))
        assert (pending.waiting_for(2), pending.waiting_for(3)) == ([], [first])
        assert [attempt.abandoned for attempt in first.attempts] == [True, True, False]

    @pytest.mark.parametrize(
        ("before", "after"),
        [(OwnCancel.NONE, OwnCancel.NONE), (OwnCancel.OWED, OwnCancel.NONE),
         (OwnCancel.SENT, OwnCancel.ANSWERED), (OwnCancel.ANSWERED, OwnCancel.ANSWERED)],
    )  # fmt: skip
    def test_an_attempt_revived_is_the_newest(self, before: OwnCancel, after: OwnCancel) -> None:
        pending = table()
        entry = remember(pending, 1)
        pending.add_attempt(entry, Attempt(2, 0.0, UDP))
        entry.attempts[0].cancel = before
        pending.revive(entry, entry.attempts[0])
        assert [a.member for a in entry.attempts] == [2, 1]
        assert [a.abandoned for a in entry.attempts] == [True, False]
        assert entry.newest.cancel is after
        assert pending.waiting_for(1) == [entry]
        assert pending.waiting_for(2) == []

    def test_a_1xx_quiets_the_caller_of_an_invite(self) -> None:
        """17.1.1.2, 17.1.2.2: another request is retransmitted on."""
        pending = table()
        for key, method, status in ((1, b"INVITE", 100), (2, b"INVITE", 180), (3, b"MESSAGE", 180)):
            entry = remember(pending, key, method=method)
            pending.provisional(entry, status, 0.0)
            assert (entry.quiet, entry.ringing) == (method == b"INVITE", status > 100)


@given(st.randoms(use_true_random=False))
def test_gauges_are_the_sums(choice: random.Random) -> None:
    """Whatever happens, the gauges are what one would count, and in the end they are 0."""
    pending = table(max_requests=6, max_octets=900)
    entries: dict[int, Remembered] = {}
    now = 0.0
    for step in range(60):
        now += choice.choice((0.0, 0.5, 20.0))
        entry = choice.choice(list(entries.values())) if entries else None
        what = choice.randrange(6)
        if what < 2 or entry is None:
            key = choice.randrange(20)
            if pending.find(key) is None:
                data = b"x" * choice.randrange(1, 400)
                remember(pending, key, number=choice.choice((1, 2)), now=now, data=data)
        elif what == 2 and not entry.final and entry.attempt_of(3) is None:
            pending.add_attempt(entry, Attempt(3, now, UDP, sent=b"x" * choice.randrange(300)))
        elif what == 3:
            pending.answered(entry, 486, now, by=choice.choice((0, entry.newest.member)))
        elif what == 4:
            entry.answer = b"x" * step
            pending.weigh(entry)
        else:
            pending.expire(now)
        entries = {key: e for key in range(20) if (e := pending.find(key)) is not None}
        assert pending.octets == sum(e.octets for e in entries.values())
        assert pending.octets <= 900 or len(entries) == 1
        unanswered = {key for key, e in entries.items() if not e.final}
        assert pending.unanswered == len(unanswered)
        assert {e.key for n in (1, 2, 3) for e in pending.waiting_for(n)} == unanswered
    pending.expire(now + 1000.0)
    assert (len(pending), pending.octets, pending.unanswered) == (0, 0, 0)
