"""A worker turns as long as its stamps move."""

from __future__ import annotations

from rmlb.keeper.pulse import ALONE_STILL_S, FROZEN_S, STILL_S, Pulse

I = 0.1  # noqa: E741  # the interval, as in the rules


def test_it_stands_still_until_it_has_stamped_and_again_after_two_intervals() -> None:
    pulse = Pulse(I, 100.0)
    assert pulse.still
    assert not pulse.judge(0.0, up=False, alone=False, now=100.1), "it has not started"
    assert pulse.judge(100.1, up=True, alone=False, now=100.2)
    assert not pulse.still
    assert not pulse.judge(100.1, up=True, alone=False, now=100.29)
    assert pulse.judge(100.1, up=True, alone=False, now=100.31)
    assert pulse.still


def test_short_intervals_have_a_least_patience_and_a_lone_one_more() -> None:
    for alone, limit_s in ((False, STILL_S), (True, ALONE_STILL_S)):
        pulse = Pulse(0.01, 100.0)
        pulse.judge(100.0, up=True, alone=alone, now=100.0)
        assert not pulse.judge(100.0, up=True, alone=alone, now=100.0 + 0.9 * limit_s)
        assert pulse.judge(100.0, up=True, alone=alone, now=100.0 + 1.1 * limit_s)


def test_it_stays_still_when_those_who_could_take_over_go() -> None:
    pulse = Pulse(I, 100.0)
    pulse.judge(100.0, up=True, alone=False, now=100.0)
    assert pulse.judge(100.0, up=True, alone=False, now=100.3)
    assert not pulse.judge(100.0, up=True, alone=True, now=100.4)
    assert pulse.still


def test_a_dead_one_is_dead_whoever_else_is_there() -> None:
    pulse = Pulse(I, 100.0)
    pulse.judge(100.0, up=True, alone=True, now=100.0)
    assert pulse.judge(100.0, up=False, alone=True, now=100.0)
    assert pulse.still


def test_a_dead_one_is_no_news_twice() -> None:
    pulse = Pulse(I, 100.0)
    pulse.judge(100.0, up=True, alone=False, now=100.0)
    pulse.end()
    assert pulse.still
    assert not pulse.judge(100.0, up=False, alone=False, now=100.1)


def test_frozen_counts_from_when_it_stood_still_and_anew_after_a_kill() -> None:
    pulse = Pulse(I, 100.0)
    pulse.judge(100.0, up=True, alone=False, now=100.0)
    pulse.judge(100.0, up=True, alone=False, now=101.0)
    assert not pulse.is_frozen(101.0 + FROZEN_S)
    assert pulse.is_frozen(101.1 + FROZEN_S)
    assert not pulse.is_frozen(101.2 + FROZEN_S)
    pulse.begin(200.0)
    assert not pulse.is_frozen(201.0), "the next one has its own time"


def test_a_keeper_that_was_held_up_judges_nobody() -> None:
    pulse = Pulse(I, 100.0)
    assert not pulse.was_held_up(100.05, I / 2)
    assert pulse.was_held_up(100.2, I / 2)
    assert not pulse.was_held_up(100.25, I / 2)
