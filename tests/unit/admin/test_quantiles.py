"""Quantiles out of buckets."""

from __future__ import annotations

import pytest

from rmlb.admin.quantiles import quantiles

BOUNDS = (0.001, 0.01, 0.1)


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ([0, 0, 0, 0], None),
        ([100, 0, 0, 0], {"p50": 0.0005, "p95": 0.00095, "p99": 0.00099}),
        ([50, 50, 0, 0], {"p50": 0.001, "p95": 0.0091, "p99": 0.00982}),
        ([98, 0, 0, 2], {"p50": 0.00051, "p95": 0.000969, "p99": 0.1}),
        ([0, 0, 0, 7], {"p50": 0.1, "p95": 0.1, "p99": 0.1}),
    ],
)
def test_quantiles(counts: list[int], found: dict[str, float] | None) -> None:
    assert quantiles(BOUNDS, counts) == found
