"""The compiled loads count first answers as routing.overload does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rmlb.fastpath.members import Members
from rmlb.fastpath.overload import Loads
from rmlb.routing import overload
from rmlb.routing.overload import FIRST_ANSWER_BOUNDS_S, LoadLimits

TIMES = st.lists(st.floats(0.0, 60.0) | st.sampled_from(FIRST_ANSWER_BOUNDS_S), max_size=50)


@given(TIMES)
def test_the_same_buckets(times: list[float]) -> None:
    compiled, python = Loads(LoadLimits(), Members()), overload.Loads(LoadLimits())
    for loads in (compiled, python):
        for took_s in times:
            loads.sent(1, 0.0, limited=True)
            loads.first_answer(1, took_s)
    assert compiled.of(1).first_answers == python.of(1).first_answers
