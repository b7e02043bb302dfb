"""Heartbeat datagrams: round trips, signatures, replays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmlb.vip.advert import (
    LAST_SEQ,
    MOST_LOSSES,
    NEWEST_LOSSES,
    Alongside,
    Association,
    Datagram,
    Keys,
    SharedLoss,
    read,
    write,
)
from rmlb.vip.ballot import Beat

KEYS = Keys(["the first secret of all", "the second secret of all"])
OURS, THEIRS, NEXT = b"own-nonc", b"peer-one", b"peer-two"

u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
beats = st.builds(
    Beat, u16, u64, u64, u64, score=u32, heir=u16, owner=st.booleans(), ready=st.booleans(),
    blind=st.booleans(), both_blind=st.booleans(), alone=st.booleans(), claiming=st.booleans(),
    goodbye=st.booleans(), wants=st.booleans(), release=st.booleans(),
)  # fmt: skip
losses = st.builds(SharedLoss, u64, u16, st.lists(u16, max_size=4).map(tuple), st.floats(0, 4e9))
alongs = st.builds(
    Alongside, st.lists(losses, max_size=MOST_LOSSES).map(tuple), u64, u16, u16,
    st.binary(min_size=8, max_size=8), st.binary(min_size=6, max_size=6),
)  # fmt: skip


def datagram(seq: int, nonce: bytes = THEIRS, echo: bytes = OURS) -> Datagram:
    found = read(KEYS, write(KEYS, Beat(2, 1, 1), Alongside(), seq=seq, nonce=nonce, echo=echo))
    assert found is not None
    return found


@given(beats, alongs, u64)
def test_round_trip(beat: Beat, along: Alongside, seq: int) -> None:
    data = write(KEYS, beat, along, seq=seq, nonce=OURS, echo=THEIRS)
    assert read(KEYS, data) == Datagram(beat, along, seq, OURS, THEIRS)


def test_more_losses_than_fit_a_frame_take_turns() -> None:
    """The newest are in every datagram, and the older ones in one of some that follow."""
    many = tuple(SharedLoss(n, 1, (2,), 0.0) for n in range(100))
    told: set[int] = set()
    for seq in range(1000, 1008):
        data = write(KEYS, Beat(2, 1, 1), Alongside(many), seq=seq, nonce=OURS, echo=THEIRS)
        assert len(data) < 1400
        found = read(KEYS, data)
        assert found is not None
        numbers = [loss.number for loss in found.along.losses]
        assert numbers == sorted(set(numbers))
        assert numbers[-NEWEST_LOSSES:] == list(range(100 - NEWEST_LOSSES, 100))
        told |= set(numbers)
    assert told == set(range(100))


@given(st.integers(0, 160), st.integers(1, 255))
def test_a_changed_octet_is_found(place: int, change: int) -> None:
    data = bytearray(write(KEYS, Beat(2, 1, 1), Alongside(), seq=1, nonce=OURS, echo=THEIRS))
    data[place % len(data)] ^= change
    assert read(KEYS, bytes(data)) is None


@given(st.binary(max_size=300))
def test_anything_may_come(data: bytes) -> None:
    assert read(KEYS, data) is None


def test_any_known_secret_verifies() -> None:
    rotated = Keys(["the second secret of all", "the first secret of all"])
    data = write(rotated, Beat(2, 1, 1), Alongside(), seq=1, nonce=OURS, echo=THEIRS)
    assert read(KEYS, data) is not None
    assert read(Keys(["a third secret of all"]), data) is None


def test_no_secret() -> None:
    with pytest.raises(ValueError, match="share a secret"):
        Keys([])


class TestAssociation:
    def test_what_echoes_our_nonce_counts_once(self) -> None:
        association = Association()
        assert association.accept(datagram(5), OURS) is True
        assert association.accept(datagram(5), OURS) is None, "a second path, or a replay"
        assert association.accept(datagram(4), OURS) is None
        assert association.accept(datagram(6), OURS) is True
        assert association.echo == THEIRS

    def test_without_our_nonce_it_proves_nothing(self) -> None:
        association = Association()
        assert association.accept(datagram(9, echo=bytes(8)), OURS) is False
        assert association.echo == THEIRS, "so that it learns that it was heard"
        assert association.accept(datagram(10), OURS) is True

    def test_a_restarted_peer(self) -> None:
        association = Association()
        association.accept(datagram(900), OURS)
        assert association.accept(datagram(1, NEXT, echo=bytes(8)), OURS) is False
        assert association.echo == THEIRS, "a replay must not turn us away from the real one"
        assert association.accept(datagram(2, NEXT), OURS) is True
        assert association.accept(datagram(901), OURS) is None, "of the former start"

    def test_nothing_follows_the_last_will(self) -> None:
        association = Association()
        association.accept(datagram(7), OURS)
        assert association.accept(datagram(LAST_SEQ), OURS) is True
        assert association.accept(datagram(LAST_SEQ), OURS) is None
        assert association.accept(datagram(8), OURS) is None
