from __future__ import annotations

from rmlb.sim.tally import CallRecord, CallTally


def test_sums() -> None:
    tally = CallTally(placed=4)
    for failure in (None, None, "BYE: timed out"):
        tally.add(CallRecord(0.0, 1.0, 1, failure, misrouted=0))
    assert (tally.completed, tally.failed, tally.under_way) == (2, 1, 1)
    assert tally.reasons == {"BYE: timed out": 1}
    assert not tally.all_completed


def test_all_completed_wants_no_misrouted_answer() -> None:
    tally = CallTally(placed=1)
    tally.add(CallRecord(0.0, 1.0, 1, None, misrouted=0))
    assert tally.all_completed
    tally.misrouted = 1
    assert not tally.all_completed


def test_quantiles() -> None:
    tally = CallTally(setup_s=[i / 1000 for i in range(100, 0, -1)])
    assert tally.setup_quantiles() == {0.5: 0.051, 0.95: 0.096, 0.99: 0.1, 1.0: 0.1}
    assert CallTally().setup_quantiles() == {}


def test_in_words() -> None:
    tally = CallTally(placed=3, setup_s=[0.001, 0.002])
    tally.members.update({2: 1, 1: 2})
    tally.add(CallRecord(0.0, 1.0, 1, "INVITE: 503 Service Unavailable", misrouted=1))
    assert str(tally).splitlines() == [
        "calls: 3 placed, 0 completed, 1 failed, 1 answers misrouted",
        "answered by: member 1 2 (67%), member 2 1 (33%)",
        "INVITE to 200: p50 2.0 ms, p95 2.0 ms, p99 2.0 ms, max 2.0 ms",
        "failed: 1 x INVITE: 503 Service Unavailable",
    ]
