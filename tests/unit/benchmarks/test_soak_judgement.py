"""What the soak calls growth and leaks."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from benchmarks.soak import EVERY_S, STORE_CONNECTIONS, WARM, Use, judge

RATE = 165
MINUTES = 30


def life(**each: list[Any]) -> list[Use]:
    """A worker's, sampled as the soak does; `each`: what it used from 12 minutes on."""
    samples = []
    for number in range(int(MINUTES * 60 / EVERY_S)):
        at_s = number * EVERY_S
        use = Use(at_s, 1, "worker", 7, 90.0, 30, 2, 6, 11, 0.0, int(at_s * RATE))
        late = at_s - 12 * 60
        for what, values in each.items():
            if late >= 0:
                use = replace(use, **{what: values[int(late / EVERY_S) % len(values)]})
        samples.append(use)
    return samples


def row(samples: list[Use]) -> dict[str, Any]:
    found = {"samples": [asdict(each) for each in samples], "faults": FAULTS}
    (judged,) = judge(found)["processes"]
    return judged


FAULTS = [{"at_s": 760.0, "fault": "host frozen", "target": "owner", "normal_s": 1.0}]


def test_a_flat_life_leaks_nothing() -> None:
    judged = row(life())
    assert judged["leaked"] == []
    assert judged["MiB last"] == judged["MiB first"]
    assert judged["calls meanwhile"] >= WARM


@pytest.mark.parametrize("what", ["descriptors", "tasks"])
def test_one_more_for_good_is_a_leak(what: str) -> None:
    assert row(life(**{what: [31]}))["leaked"] == [what]


def test_one_more_now_and_then_is_none() -> None:
    assert row(life(descriptors=[30, 37, 37]))["leaked"] == []


def test_one_thread_of_the_pool_is_none_but_two_are() -> None:
    assert row(life(threads=[7]))["leaked"] == []
    assert row(life(threads=[8]))["leaked"] == ["threads"]


def test_connections_to_the_store_have_a_limit_of_their_own() -> None:
    assert row(life(store=[STORE_CONNECTIONS]))["leaked"] == []
    assert row(life(store=[STORE_CONNECTIONS + 1]))["leaked"] == ["connections to the store"]


def test_memory_is_compared_after_the_first_calls_of_the_process() -> None:
    judged = row(life(rss_mib=[96.0]))
    assert judged["MiB last"] - judged["MiB first"] == 6.0


def test_a_hold_up_is_told_with_its_fault() -> None:
    assert row(life(held_up_s=[0.0, 0.0, *[1.5] * 1000]))["at that time"] == "minute 12"
    late = [0.0] * 10 + [1.5] * 1000
    assert row(life(held_up_s=late))["at that time"] == "minute 13: host frozen (owner)"
