"""Buckets of one second: nothing is early, nothing is forgotten, each is given once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rmlb.routing.expiry import ExpiryBuckets

TIMES = st.floats(0, 5000, allow_nan=False)


def test_not_early_not_twice() -> None:
    buckets = ExpiryBuckets()
    second = buckets.put(7, 10.0)
    assert buckets.due(10.9) == []
    assert buckets.due(11.0) == [(7, second)]
    assert buckets.due(20.0) == []


def test_what_is_due_already_comes_next() -> None:
    buckets = ExpiryBuckets()
    buckets.due(100.0)
    buckets.put(7, 3.0)
    assert [key for key, _ in buckets.due(101.0)] == [7]


@given(st.lists(TIMES, max_size=30), st.lists(TIMES, max_size=30))
def test_everything_once_and_in_time(puts: list[float], looks: list[float]) -> None:
    buckets = ExpiryBuckets()
    given_at: dict[int, float] = {}
    for now in [*sorted(looks), 10_000.0]:
        for key, _ in buckets.due(now):
            assert key not in given_at
            given_at[key] = now
        if puts:
            at = puts.pop()
            buckets.put(len(puts), now + at)
            given_at.pop(len(puts), None)
            assert at >= 0
    for key, _ in buckets.due(30_000.0):
        assert key not in given_at


def test_a_clock_that_stands_still_or_steps_back() -> None:
    buckets = ExpiryBuckets()
    buckets.put(1, 5.0)
    buckets.due(4.0)
    assert buckets.due(2.0) == []
    assert [key for key, _ in buckets.due(6.0)] == [1]
