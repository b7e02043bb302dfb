"""The median of a few runs, with an exact confidence interval from order statistics."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """`confidence` is what it really covers: below 0.95 where there are fewer than six values."""

    median: float
    low: float
    high: float
    confidence: float
    values: int


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The narrowest pair of order statistics that covers the median at least so often.

    Between the r-th lowest and the r-th highest of n lies the median with probability
    1 - 2 P(Binomial(n, 1/2) < r), whatever the distribution. ValueError without values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    n, rank = len(ordered), 1
    while 2 * (rank + 1) <= n and _covered(n, rank + 1) >= confidence:
        rank += 1
    return Interval(
        statistics.median(ordered), ordered[rank - 1], ordered[n - rank], _covered(n, rank), n
    )


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Of the pairs of one round each; pairs with nothing below are left out."""
    return [a / b for a, b in zip(above, below, strict=True) if b > 0]


def _covered(n: int, rank: int) -> float:
    outside = sum(math.comb(n, i) for i in range(rank))
    return max(0.0, 1.0 - outside / float(2 ** (n - 1)))
