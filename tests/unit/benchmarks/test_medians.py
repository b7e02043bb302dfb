"""The interval that benchmark figures are judged on."""

import random
import statistics

import pytest

from benchmarks.medians import median_interval, ratios


@pytest.mark.parametrize(
    ("values", "low", "high", "confidence"),
    [
        ([3.0], 3.0, 3.0, 0.0),
        ([3.0, 1.0, 2.0], 1.0, 3.0, 0.75),
        ([float(n) for n in range(1, 7)], 1.0, 6.0, 0.96875),
        ([float(n) for n in range(1, 10)], 2.0, 8.0, 0.9609375),
        ([float(n) for n in range(1, 16)], 4.0, 12.0, 0.96484375),
    ],
)
def test_the_ranks_are_those_of_the_binomial_table(
    values: list[float], low: float, high: float, confidence: float
) -> None:
    found = median_interval(values)
    assert (found.low, found.high) == (low, high)
    assert found.confidence == pytest.approx(confidence)
    assert found.median == statistics.median(values)


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    chance = random.Random(5)
    tries = 2000
    covered = sum(
        found.low <= 1.0 <= found.high  # the median of a lognormal with mu 0
        for found in (
            median_interval([chance.lognormvariate(0, 1) for _ in range(9)]) for _ in range(tries)
        )
    )
    assert 0.945 < covered / tries < 0.975


def test_nothing_has_no_median() -> None:
    with pytest.raises(ValueError, match="no values"):
        median_interval([])


def test_ratios_are_of_one_round_each() -> None:
    assert ratios([2.0, 9.0, 5.0], [1.0, 3.0, 0.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [1.0, 2.0])
