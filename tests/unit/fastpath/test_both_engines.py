"""Either engine does the same: verdicts to the octet, own messages, reports, counters and memory.

The long form is `make differential`; what it found has a case of its own in test_differences.py.
"""

from __future__ import annotations

import pytest
from differential import Tally, compare
from traffic import Traffic

from rmlb import fastpath

GROUPS, EACH = 8, 5_000


def test_the_compiled_engine_is_there() -> None:
    """Without it the comparison would be of Python with itself."""
    assert fastpath.is_built(), fastpath.NOT_BUILT


@pytest.mark.parametrize("group", range(GROUPS))
def test_the_engines_are_alike(group: int) -> None:
    tally = compare(EACH, first_seed=1000 * group)
    assert tally.messages >= EACH
    assert tally.plain > tally.messages // 10, "hardly anything was decided without Python"


def test_a_seed_is_a_run() -> None:
    """A difference can be repeated by its seed alone."""
    tallies = []
    for _ in range(2):
        traffic = Traffic(seed=5)
        traffic.run(300)
        tally = Tally()
        tally.add(traffic)
        tallies.append(tally)
    assert tallies[0] == tallies[1]
