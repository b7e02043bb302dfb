"""How long the writer of bindings waits between two commands."""

from __future__ import annotations

import pytest

from rmlb.state.link import BATCH, BUSY, BUSY_FLUSH_S, FLUSH_S, rest_s


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (1, FLUSH_S),
        (BUSY - 1, FLUSH_S),
        (BUSY, BUSY_FLUSH_S),
        (BATCH - 1, BUSY_FLUSH_S),
        (BATCH, 0),
    ],
)
def test_it_waits_longer_where_changes_are_many(written: int, seconds: float) -> None:
    assert rest_s(written) == seconds
