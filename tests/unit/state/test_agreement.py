"""Merging what balancers say: nothing is lost, numbers stay apart, all end alike."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmlb.state.agreement import (
    FRESH_S,
    ONE_LOSS_S,
    Active,
    Losses,
    Word,
    active_content,
    losses_content,
    merge_losses,
    merge_words,
    read_active,
    read_losses_document,
    read_words,
    words_content,
)
from rmlb.state.succession import KeptLoss

NOW, TTL = 1_000_000.0, 172_800.0
OLD = NOW - 100


def log(*losses: tuple[int, int, float], number: int = 0) -> Losses:
    """(number, member, at)."""
    kept = tuple(KeptLoss(n, m, (3 - m,), at) for n, m, at in losses)
    return Losses(max([number, *(loss.number for loss in kept)]), kept)


def names(losses: Losses) -> list[tuple[int, int]]:
    return [(loss.number, loss.member) for loss in losses.losses]


@pytest.mark.parametrize(
    ("ours", "theirs", "merged"),
    [
        (log(), log(), []),
        (log((1, 1, OLD)), log(), [(1, 1)]),
        (log(), log((1, 1, OLD)), [(1, 1)]),
        (log((1, 1, OLD)), log((1, 1, OLD)), [(1, 1)]),
        (log((1, 1, OLD), (2, 2, NOW)), log((1, 1, OLD)), [(1, 1), (2, 2)]),
        # one number, taken by two: that of a loss just recorded is the one to change
        (log((1, 2, NOW)), log((1, 1, NOW)), [(1, 1), (2, 2)]),
        (log((1, 2, NOW), (2, 1, NOW)), log((1, 1, OLD)), [(1, 1), (3, 2), (4, 1)]),
        # behind: dialogs that know number 5 have to move, too
        (log((2, 2, NOW)), log((5, 1, OLD)), [(5, 1), (6, 2)]),
        (log((2, 2, NOW)), log(number=5), [(6, 2)]),
        # an older one keeps its number: dialogs carry it
        (log((1, 2, OLD)), log((1, 1, OLD)), [(1, 1), (1, 2)]),
        # one loss, seen by both
        (log((1, 1, NOW)), log((1, 1, NOW - 1)), [(1, 1)]),
        (log((1, 1, NOW)), log((1, 2, OLD), (2, 1, NOW - 3)), [(1, 2), (2, 1)]),
        (log((1, 1, NOW)), log((1, 2, OLD), (2, 1, NOW - ONE_LOSS_S)), [(1, 2), (2, 1), (3, 1)]),
        # forgotten
        (log((1, 1, NOW - TTL - 1)), log((2, 2, NOW - TTL - 1)), []),
    ],
)
def test_losses(ours: Losses, theirs: Losses, merged: list[tuple[int, int]]) -> None:
    found = merge_losses(ours, theirs, NOW, TTL)
    assert names(found) == merged
    assert found.number >= max(ours.number, theirs.number, *[n for n, _ in merged or [(0, 0)]])
    assert merge_losses(found, theirs, NOW, TTL) == found
    assert names(merge_losses(found, found, NOW, TTL)) == merged


def test_the_second_loss_of_a_member_is_another_one() -> None:
    """We knew of its first: what is fresh here is no echo of that."""
    first = log((1, 1, NOW - 3))
    assert names(merge_losses(log((1, 1, NOW - 3), (2, 1, NOW)), first, NOW, TTL)) == [
        (1, 1), (2, 1),
    ]  # fmt: skip


@dataclass
class Balancer:
    """It records, and speaks with the store now and then."""

    log: Losses = field(default_factory=Losses)
    recorded: list[KeptLoss] = field(default_factory=list)

    def record(self, member: int, now: float) -> None:
        loss = KeptLoss(self.log.number + 1, member, (), now)
        self.log = Losses(loss.number, (*self.log.losses, loss))
        self.recorded.append(loss)

    def meet(self, store: Losses, now: float) -> Losses:
        """As `Sharing` does: what the store has afterwards is what we have."""
        self.log = merge_losses(self.log, store, now, TTL)
        return self.log


@settings(max_examples=300)
@given(st.randoms(use_true_random=False))
def test_any_order_of_losses_meetings_and_outages(choice: random.Random) -> None:
    balancers = [Balancer() for _ in range(choice.randint(2, 4))]
    store, now, away = Losses(), NOW, False
    for _ in range(choice.randint(1, 60)):
        now += choice.choice((0.0, 0.01, 0.5, 5.0, 60.0))
        balancer = choice.choice(balancers)
        match choice.choice(("record", "meet", "meet", "meet", "away", "back", "empty")):
            case "record":
                balancer.record(choice.randint(1, 3), now)
            case "meet" if not away:
                store = balancer.meet(store, now)
            case "away":
                away = True
            case "back":
                away = False
            case "empty":
                store = Losses()
        for each in balancers:
            assert len(set(names(each.log))) == len(each.log.losses)
            assert names(each.log) == sorted(names(each.log))
            assert not each.log.losses or each.log.losses[-1].number <= each.log.number
    now += 60.0
    for _ in range(2):
        for balancer in balancers:
            store = balancer.meet(store, now)
    assert all(names(each.log) == names(store) for each in balancers), "all alike"
    assert all(each.log.number == store.number for each in balancers)
    for balancer in balancers:
        for loss in balancer.recorded:
            assert any(
                there.member == loss.member and there.number >= loss.number
                for there in store.losses
            ), "a dialog that it moved then moves on every balancer"


def test_meeting_at_once_leaves_no_number_twice() -> None:
    """With the store there, two balancers that lose two members in one moment."""
    one, two = Balancer(), Balancer()
    one.record(1, NOW)
    two.record(2, NOW)
    store = one.meet(Losses(), NOW + FRESH_S / 2)
    store = two.meet(store, NOW + FRESH_S / 2)
    store = one.meet(store, NOW + FRESH_S / 2)
    assert names(one.log) == names(two.log) == names(store) == [(1, 1), (2, 2)]


WORDS = st.dictionaries(
    st.integers(1, 3),
    st.builds(Word, st.integers(1, 3), st.sampled_from(("enabled", "draining", "disabled"))),
)


@given(WORDS, WORDS, WORDS)
def test_words_merge_in_any_order(
    a: dict[int, Word], b: dict[int, Word], c: dict[int, Word]
) -> None:
    assert merge_words(a, b) == merge_words(b, a)
    assert merge_words(a, merge_words(b, c)) == merge_words(merge_words(a, b), c)
    assert merge_words(a, a) == a
    for member, word in merge_words(a, b).items():
        assert word.number >= max(x[member].number for x in (a, b) if member in x)


def test_of_two_equally_new_words_the_more_cautious_counts() -> None:
    assert merge_words({1: Word(2, "enabled")}, {1: Word(2, "disabled")}) == {
        1: Word(2, "disabled")
    }
    assert merge_words({1: Word(3, "enabled")}, {1: Word(2, "disabled")}) == {1: Word(3, "enabled")}


def test_documents_come_back() -> None:
    losses = log((1, 1, OLD), (1, 2, OLD), number=7)
    assert read_losses_document(losses_content(losses)) == losses
    active = Active(4, 2, None, frozenset((1, 3)))
    assert read_active(active_content(active)) == active
    words = {1: Word(2, "draining")}
    content = words_content(words, {"1": {"by": "x"}, "9": {"state": "asleep", "number": 1}})
    assert content == {
        "members": {
            "1": {"by": "x", "state": "draining", "number": 2},
            "9": {"state": "asleep", "number": 1},
        }
    }
    assert read_words(content, ["draining"]) == words
    assert (read_losses_document(None), read_active(None), read_words(None, [])) == (
        Losses(), Active(), {},
    )  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"number": -1, "losses": []},
        {"number": 1, "losses": 1},
        {"number": 1_000_000_000, "losses": []},  # no mark could carry it
        {"number": 2**32, "losses": []},
        {"number": 9, "losses": [[9, 65536, [1], 5.0]]},
        {"number": 9, "losses": [[9, 1, [-1], 5.0]]},
        {"number": 9, "losses": [[9, 1, [2], "inf"]]},  # JSON could not carry it on
    ],
)
def test_what_is_no_loss_log(content: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_losses_document(content)


@pytest.mark.parametrize("change", [{"turn": 2**64 - 1}, {"active": 65536}, {"retiring": [-1]}])
def test_what_is_no_active_member(change: dict[str, object]) -> None:
    """A turn after that one would be no number of JSON."""
    content = active_content(Active(4, 2, None, frozenset((1, 3))))
    with pytest.raises(ValueError, match="is no number"):
        read_active({**content, **change})
