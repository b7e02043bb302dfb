"""Quantiles of durations that were counted into buckets. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SHOWN: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def quantiles(bounds_s: Sequence[float], counts: Sequence[int]) -> dict[str, float] | None:
    """The shown quantiles in seconds, evenly spread within a bucket; None while nothing is counted.

    `counts`: one for each bound, and what is above the last, which is shown as the last bound.
    """
    total = sum(counts)
    if not total:
        return None
    return {name: round(_at(bounds_s, counts, part * total), 6) for name, part in SHOWN.items()}


def _at(bounds_s: Sequence[float], counts: Sequence[int], rank: float) -> float:
    below, low = 0, 0.0
    for bound, count in zip(bounds_s, counts, strict=False):
        if count and below + count >= rank:
            return low + (bound - low) * (rank - below) / count
        below, low = below + count, bound
    return low
