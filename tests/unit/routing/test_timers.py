"""What is to be looked at again, and when."""

from __future__ import annotations

import pytest

from rmlb.routing.timers import GIVE_UP_S, T1, Task, Timers


def repeated(timers: Timers, step_s: float, longest_s: float = GIVE_UP_S) -> list[float]:
    """When a repetition comes, looked for every `step_s` from 0 on."""
    found = []
    for turn in range(int(60 / step_s)):
        now = turn * step_s
        for due in timers.due(now):
            found.append(now)
            timers.again(due, now, longest_s)
    return found


def test_once_at_its_time() -> None:
    timers = Timers()
    timers.put(10.0, Task.DEADLINE, 7, member=2)
    assert timers.due(9.99) == []
    (due,) = timers.due(10.0)
    assert (due.task, due.key, due.member) == (Task.DEADLINE, 7, 2)
    assert timers.due(99.0) == []
    assert len(timers) == 0


def test_in_the_order_of_their_times() -> None:
    timers = Timers()
    for at in (3.0, 1.0, 2.0):
        timers.put(at, Task.DEADLINE, int(at))
    assert [due.key for due in timers.due(5.0)] == [1, 2, 3]


def test_equal_times_in_the_order_in_which_they_came() -> None:
    timers = Timers()
    for key in range(50):
        timers.put(1.0, list(Task)[key % len(Task)], key)
    assert [due.key for due in timers.due(1.0)] == list(range(50))


def test_doubling_from_t1_to_64_t1() -> None:
    """17.1.1.2."""
    timers = Timers()
    timers.repeat(Task.REPEAT, 1, 2, 0.0)
    assert repeated(timers, 0.5) == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert len(timers) == 0


def test_no_further_apart_than_t2() -> None:
    """17.1.2.2."""
    timers = Timers()
    timers.repeat(Task.CANCEL, 1, 2, 0.0)
    expected = [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert repeated(timers, 0.5, 4.0) == expected


@pytest.mark.parametrize("pause_s", [2.0, 10.0, 31.0])
def test_what_a_pause_missed_is_not_made_up_for(pause_s: float) -> None:
    timers = Timers()
    timers.repeat(Task.REPEAT, 1, 2, 0.0)
    (due,) = timers.due(pause_s)
    timers.again(due, pause_s)
    assert timers.due(pause_s) == []
    assert timers.due(pause_s + T1) == []
    assert len(timers.due(pause_s + 2 * T1)) == (1 if pause_s + 2 * T1 < GIVE_UP_S else 0)
