"""Changes as one block: the same lines, octet for octet, as of the changes one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmlb.fastpath.bindings import Bindings
from rmlb.fastpath.changes import Changes
from rmlb.fastpath.members import Members
from rmlb.routing.bindings import BindingLimits, Change
from rmlb.state.records import FORMAT, encode_changes

LIMITS = BindingLimits(max_bindings=1000)

CALLS = st.dictionaries(
    st.integers(1, 2**64 - 1),
    st.tuples(
        st.sampled_from((1, 2, 65_535)),
        st.integers(0, 999_999_999),
        st.sampled_from(("bound", "live", "ended", "ended elsewhere")),
    ),
    max_size=300,
)


@given(calls=CALLS, now=st.floats(0.0, 1e6), later=st.floats(0.0, 1e6))
def test_the_same_lines(calls: dict[int, tuple[int, int, str]], now: float, later: float) -> None:
    table = Bindings(LIMITS, Members())
    table.journal = True
    for key, (member, loss, phase) in calls.items():
        if phase == "ended elsewhere":
            table.ended_elsewhere(key, member, loss, now)
            continue
        binding = table.bind(key, member, loss, now, redundant=False)
        if phase != "bound":
            table.answered(key, binding, now, member=member, loss=loss, tag=b"t")
        if phase == "ended":
            table.ended(key, binding, now)
    changes = table.take_changes(1000)
    assert isinstance(changes, Changes)
    assert {c.key: (c.member, c.loss, c.live, c.ended) for c in changes} == {
        key: (member, loss, phase == "live", phase.startswith("ended"))
        for key, (member, loss, phase) in calls.items()
    }
    assert changes.lines(FORMAT, later) == encode_changes(list(changes), later)
    assert changes.lines(FORMAT, later) == encode_changes(changes, later)


def test_a_sequence() -> None:
    table = Bindings(LIMITS, Members())
    table.journal = True
    for key in (1, 2, 3):
        table.bind(key, 1, 0, 1.0, redundant=False)
    changes = table.take_changes(2)
    assert (len(changes), changes[0].key, changes[-1].key) == (2, 1, 2)
    assert changes[0] == Change(1, 1, 0, live=False, ended=False, expires=1.0 + LIMITS.timer_c_s)
    for beyond in (2, -3):
        with pytest.raises(IndexError):
            changes[beyond]
    assert [change.key for change in table.take_changes(2)] == [3]
    assert not table.take_changes(2)
