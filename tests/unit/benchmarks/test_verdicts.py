"""Claims of the benchmarks are judged on the whole interval, round by round."""

import pytest

from benchmarks.arena import Sample
from benchmarks.comparison import Results
from benchmarks.plan import HALF, OWN, maximum_of
from benchmarks.verdicts import Verdict, added, judge


def sample(system: str, point: str, cpu_us: float, *, p99: float = 0.0, **more: object) -> Sample:
    known: dict[str, object] = {
        "system": system, "workload": "in-dialog", "point": point, "rate": 1.0, "reduced": False,
        "messages_per_s": 1.0, "cpu_us": cpu_us, "softirq_us": 0.0, "utilization": 0.5, "lost": 0,
        "failed": 0, "misrouted": 0, "starved": 0, "overflows": 0, "generator_overflows": 0,
        "lag_max_us": 0.0, "latency_us": {"p50": 1.0, "p99": p99}, "rss": 0, "pss": 0,
        "octets_per_message": 900.0, "other": {},
    }  # fmt: skip
    return Sample(**(known | more))  # type: ignore[arg-type] - the fields above


def judged(results: Results, words: str) -> Verdict:
    (found,) = (v for v in judge(results, "compiled") if words in v.text)
    return found


def against_the_relay(ours: list[float], relay: list[float]) -> Verdict:
    results = Results()
    for mine, its in zip(ours, relay, strict=True):
        results.samples.append(sample("rmlb-compiled", OWN, mine))
        results.samples.append(sample("blind", maximum_of("rmlb-compiled"), its))
    return judged(results, "in-dialog / blind relay")


@pytest.mark.parametrize(
    ("ours", "state"),
    [
        ([5.0, 5.5, 6.0], "met"),
        ([6.0, 6.1, 6.3], "open"),
        ([6.3, 6.4, 6.5], "missed"),
    ],
)
def test_the_whole_interval_decides(ours: list[float], state: str) -> None:
    found = against_the_relay(ours, [5.0, 5.0, 5.0])
    assert found.state == state
    assert found.ratio is not None
    assert found.ratio.median == pytest.approx(ours[1] / 5)


def test_pairs_are_of_the_same_round() -> None:
    found = against_the_relay([5.0, 10.0, 20.0], [5.0, 10.0, 20.0])
    assert found.ratio is not None
    assert (found.ratio.low, found.ratio.high) == (1.0, 1.0)


def test_what_was_not_measured_is_named() -> None:
    results = Results(samples=[sample("rmlb-compiled", OWN, 5.0)])
    found = judged(results, "in-dialog / blind relay")
    assert found.ratio is None
    assert found.state == "not measured: no blind at maximum of rmlb-compiled"


def test_another_rate_than_the_others_is_remarked() -> None:
    results = Results(
        samples=[sample("rmlb-compiled", "95%", 4.0, reduced=True), sample("kamailio", "95%", 10.0)]
    )
    found = judged(results, "in-dialog / Kamailio stateless")
    assert found.remark == "rmlb-compiled at 95 % of its own maximum"


def test_the_generators_own_latency_is_taken_off() -> None:
    results = Results(
        samples=[
            sample("kamailio", HALF, 1.0, p99=30.0),
            sample("direct", HALF, 0.0, p99=10.0),
            sample("kamailio", HALF, 1.0, p99=5.0),
            sample("direct", HALF, 0.0, p99=10.0),
        ]
    )
    assert added(results, "in-dialog", "kamailio", HALF, "p99") == [20.0, 0.0]
