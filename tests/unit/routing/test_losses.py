"""The loss log and the rendezvous choice, against slow models written from SIP-RULES alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from packets import AFFINITY, RM, Bench, Dialog, loss_log, member, request
from siphash24 import siphash24

from rmlb.routing.keys import affinity_hash
from rmlb.routing.losses import Loss, LossLog
from rmlb.routing.member import Health
from rmlb.routing.selection import rendezvous, round_robin

VALUES = st.integers(0, 2**64 - 1)
MEMBERS = st.integers(1, 4)


def slow_score(value: int, number: int, weight: int, key: bytes) -> float:
    """Weighted rendezvous: -weight / ln(u), u the hash of value and member in (0, 1)."""
    mixed = value ^ int.from_bytes(siphash24(b"member %d" % number, key=key).digest(), "little")
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) % 2**64
    return -weight / math.log((mixed + 0.5) / 2**64)


def slow_choice(value: int, candidates: dict[int, int], key: bytes = AFFINITY) -> int | None:
    ranked = sorted(candidates, key=lambda n: slow_score(value, n, candidates[n], key))
    return ranked[-1] if ranked else None


@dataclass
class SlowLog:
    """Every dialog is moved by hand at every loss, as if the balancer remembered all of them."""

    dialogs: dict[int, int]
    """Hash of the Call-ID -> member."""

    def lose(self, number: int, survivors: tuple[int, ...]) -> None:
        for value, holder in self.dialogs.items():
            if holder == number and survivors:
                heir = slow_choice(value, dict.fromkeys(survivors, 1))
                assert heir is not None
                self.dialogs[value] = heir


LOSSES = st.lists(
    st.tuples(MEMBERS, st.sets(MEMBERS, max_size=4)).map(
        lambda x: (x[0], tuple(sorted(x[1] - {x[0]})))
    ),
    max_size=8,
)


@given(VALUES, st.dictionaries(MEMBERS, st.integers(1, 1000), max_size=4))
def test_choice(value: int, candidates: dict[int, int]) -> None:
    assert rendezvous(value, candidates.items(), AFFINITY) == slow_choice(value, candidates)


@given(VALUES, st.dictionaries(MEMBERS, st.integers(1, 1000), min_size=2))
def test_order_of_candidates_is_no_matter(value: int, candidates: dict[int, int]) -> None:
    items = list(candidates.items())
    chosen = rendezvous(value, items, AFFINITY)
    assert rendezvous(value, items[::-1], AFFINITY) == chosen


@given(VALUES, st.dictionaries(MEMBERS, st.integers(1, 1000), min_size=2), MEMBERS)
def test_taking_one_away_moves_only_its_own(
    value: int, candidates: dict[int, int], gone: int
) -> None:
    before = rendezvous(value, candidates.items(), AFFINITY)
    left = {n: w for n, w in candidates.items() if n != gone}
    after = rendezvous(value, left.items(), AFFINITY)
    assert after == before or before == gone


@given(VALUES, st.dictionaries(MEMBERS, st.integers(1, 500), min_size=1), MEMBERS)
def test_more_weight_moves_calls_to_that_member_alone(
    value: int, candidates: dict[int, int], ramped: int
) -> None:
    before = rendezvous(value, candidates.items(), AFFINITY)
    more = {n: w + (200 if n == ramped else 0) for n, w in candidates.items()}
    after = rendezvous(value, more.items(), AFFINITY)
    assert after in (before, ramped)


@given(st.lists(VALUES, min_size=1, max_size=20, unique=True), LOSSES, st.integers(0, 8), MEMBERS)
def test_holder(
    values: list[int], losses: list[tuple[int, tuple[int, ...]]], made_after: int, first: int
) -> None:
    """Dialogs begun after some loss: where they live after all of them."""
    slow = SlowLog(dict.fromkeys(values, first))
    log = LossLog()
    since = 0
    for place, (lost, survivors) in enumerate(losses):
        log = log.record(lost, survivors)
        if place < made_after:
            since = log.number
        else:
            slow.lose(lost, survivors)
    for value in values:
        assert log.holder(first, since, value, AFFINITY) == slow.dialogs[value]


@given(VALUES, LOSSES, MEMBERS)
def test_replaying_twice_is_replaying_once(
    value: int, losses: list[tuple[int, tuple[int, ...]]], first: int
) -> None:
    log = loss_log(*losses)
    holder = log.holder(first, 0, value, AFFINITY)
    assert log.holder(holder, log.number, value, AFFINITY) == holder


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_round_robin_gives_every_member_its_weight(weights: list[int]) -> None:
    members = tuple(member((n % 3) + 1, weight=w) for n, w in enumerate(weights))
    divisor = math.gcd(*weights)
    turns = sum(weights) // divisor
    chosen = [round_robin(turn, members) for turn in range(turns)]
    for number in {m.id for m in members}:
        share = sum(m.weight for m in members if m.id == number) // divisor
        assert chosen.count(number) == share


class TestDialogs:
    """4: where a dialog lives, with nothing in any table."""

    CALLS = tuple(f"call-{i}" for i in range(12))
    turn = 100

    def test_both_lost_one_after_the_other(self) -> None:
        """Lost 1, back, lost 2: what came from 1 returns to it; then 1 lost again."""
        bench = Bench()
        dialogs = [bench.establish(c, via=f"SIP/2.0/UDP h;branch=z9hG4bK{c}") for c in self.CALLS]
        where = {d.call_id: d.member for d in dialogs}
        for lost in (1, 2, 1, 2):
            bench.lose(lost)
            where = dict.fromkeys(where, 3 - lost)
            self.everything_lives_at(bench, dialogs, where)
            bench.set_member(lost, health=Health.IN_SERVICE)
            self.everything_lives_at(bench, dialogs, where)

    def test_a_member_that_returns_does_not_get_them_back(self) -> None:
        bench = Bench(members=[member(1), member(2), member(3)])
        dialogs = [bench.establish(c, via=f"SIP/2.0/UDP h;branch=z9hG4bK{c}") for c in self.CALLS]
        bench.lose(1)
        where = {}
        for dialog in dialogs:
            value = affinity_hash(AFFINITY, dialog.call_id.encode())
            heir = slow_choice(value, {2: 1, 3: 1})
            where[dialog.call_id] = heir if dialog.member == 1 else dialog.member
        self.everything_lives_at(bench, dialogs, where)
        bench.set_member(1, health=Health.IN_SERVICE)
        self.everything_lives_at(bench, dialogs, where)

    def test_dialogs_made_after_a_loss_know_nothing_of_it(self) -> None:
        bench = Bench()
        bench.lose(1)
        bench.set_member(1, health=Health.IN_SERVICE)
        call_id = bench.call_to(1)
        dialog = bench.establish(call_id)
        self.everything_lives_at(bench, [dialog], {call_id: 1})

    def everything_lives_at(
        self, bench: Bench, dialogs: list[Dialog], where: dict[str, int | None]
    ) -> None:
        """By mark on a balancer without memory, by binding on this one without a mark."""
        self.turn += 1
        for dialog in dialogs:
            via = f"SIP/2.0/UDP h;branch=z9hG4bK{dialog.call_id}-{self.turn}"
            other = Bench(members=list(bench.table.members.values()), losses=bench.table.losses)
            marked = other.forwarded(dialog.from_caller("INFO", cseq=self.turn, via=via))
            bound = bench.forwarded(dialog.from_caller("INFO", cseq=self.turn, via=via, routes=[]))
            assert marked.to.member == bound.to.member == where[dialog.call_id]


def test_what_names_the_lost_member_names_the_survivor() -> None:
    """4: or the survivor would obediently forward to the dead one."""
    bench = Bench()
    dialog = bench.establish(bench.call_to(1))
    bench.lose(1)
    route = f'"RM" <sip:x@{RM[1]}:5060;lr;a=b>;c=d'
    sent = bench.forwarded(dialog.from_caller(routes=[*dialog.recorded, route]))
    assert sent.to.member == 2
    assert f'"RM" <sip:x@{RM[2]}:5060;lr;a=b>;c=d'.encode() in sent.data
    via = "SIP/2.0/UDP h;branch=z9hG4bKuri"
    uri = f"sip:ivr@{RM[1]}:5060;x=y"
    sent = bench.forwarded(dialog.from_caller("INFO", via=via, uri=uri))
    assert sent.data.startswith(f"INFO sip:ivr@{RM[2]}:5060;x=y SIP/2.0\r\n".encode())


def test_it_does_so_too_when_the_lost_member_is_back() -> None:
    """It does not know the dialog any more."""
    bench = Bench()
    dialog = bench.establish(bench.call_to(1))
    bench.lose(1)
    bench.set_member(1, health=Health.IN_SERVICE)
    route = f"<sip:x@{RM[1]}:5060;lr>"
    sent = bench.forwarded(dialog.from_caller(routes=[*dialog.recorded, route]))
    assert sent.to.member == 2
    assert f"<sip:x@{RM[2]}:5060;lr>".encode() in sent.data
    via = "SIP/2.0/UDP h;branch=z9hG4bKuri"
    sent = bench.forwarded(dialog.from_caller("INFO", via=via, uri=f"sip:ivr@{RM[1]}:5060"))
    assert sent.data.startswith(f"INFO sip:ivr@{RM[2]}:5060 SIP/2.0\r\n".encode())


def test_what_names_a_living_member_stays() -> None:
    bench = Bench()
    dialog = bench.establish(bench.call_to(1))
    route = f"<sip:{RM[2]}:5060;lr>"
    sent = bench.forwarded(dialog.from_caller(routes=[*dialog.recorded, route]))
    assert f"Route: {route}\r\n".encode() in sent.data


def test_initial_requests_are_not_moved_by_old_losses() -> None:
    bench = Bench(losses=loss_log((1, (2,)), (2, (1,)), (1, (2,))))
    vias = [f"SIP/2.0/UDP h;branch=z9hG4bK{i}" for i in range(30)]
    sent = [bench.forwarded(request(call_id=f"c{i}", via=via)) for i, via in enumerate(vias)]
    assert {forward.to.member for forward in sent} == {1, 2}


def test_what_is_forgotten_moves_nothing_and_numbers_go_on() -> None:
    log = LossLog()
    for at, lost in enumerate((1, 2, 1)):
        log = log.record(lost, (3 - lost,), at=100.0 + at)
    assert log.pruned(100.0) is log
    younger = log.pruned(101.5)
    assert [loss.number for loss in younger.losses] == [3]
    assert younger.holder(2, 0, 5, AFFINITY) == 2
    assert younger.holder(1, 0, 5, AFFINITY) == 2
    empty = younger.pruned(1000.0)
    assert (empty.losses, empty.number) == ((), 3)
    assert empty.pruned(2000.0) is empty
    assert empty.record(1, (2,)).number == 4


def test_thousands_of_losses_cost_little() -> None:
    """Each dialog looks only at the losses of its own holders, younger than itself."""
    looked = 0

    class Survivors(tuple[int, ...]):
        def __iter__(self) -> Iterator[int]:
            nonlocal looked
            looked += 1
            return super().__iter__()

    log = LossLog(tuple(Loss(n, 1, Survivors((2,))) for n in range(1, 5001)), 5000)
    assert log.holder(1, 4000, 5, AFFINITY) == 2
    assert log.holder(1, 5000, 5, AFFINITY) == 1
    assert log.holder(2, 0, 5, AFFINITY) == 2
    assert looked == 1


class TestFollow:
    """A standby goes by the owner's log, as far as it has been told."""

    OWN = LossLog(tuple(Loss(n, 1, (2,)) for n in (1, 2, 3, 7, 8)), 8)

    def told(self, *numbers: int) -> list[int]:
        theirs = tuple(Loss(n, 2, (1,)) for n in numbers)
        log = self.OWN.follow(theirs, numbers[-1])
        assert log.number == numbers[-1]
        return [loss.number for loss in log.losses]

    def test_its_end_replaces_ours(self) -> None:
        assert self.told(6, 7) == [1, 2, 3, 6, 7]

    def test_what_lies_before_a_gap_is_added(self) -> None:
        assert self.told(4, 5, 50, 51) == [1, 2, 3, 4, 5, 7, 8, 50, 51]

    def test_nothing_told_is_nothing_there(self) -> None:
        assert self.OWN.follow((), 2).losses == self.OWN.losses[:2]

    def test_filled_it_leads_as_the_owners(self) -> None:
        owner = LossLog()
        for n in range(60):
            owner = owner.record(1 + n % 3, tuple(m for m in (1, 2, 3) if m != 1 + n % 3))
        standby = LossLog(owner.losses[:5], 5)
        for at in (48, 36, 24, 12, 0):
            standby = standby.follow((*owner.losses[at : at + 12], *owner.losses[48:]), 60)
        key = AFFINITY
        for value in range(200):
            since = value % 60
            expected = owner.holder(1 + value % 3, since, value, key)
            assert standby.holder(1 + value % 3, since, value, key) == expected
