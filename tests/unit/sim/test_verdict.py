from __future__ import annotations

import pytest

from rmlb.sim.tally import CallRecord
from rmlb.sim.verdict import Killing, judge

KILLING = Killing(member=2, killed_at=10.0, out_at=10.5)
GOOD = CallRecord(9.5, 10.6, 1, None, misrouted=0)


@pytest.mark.parametrize(
    ("record", "moved", "lost", "misrouted"),
    [
        (GOOD, 0, 0, 0),
        (CallRecord(9.5, 10.6, 2, None, misrouted=1), 1, 0, 0),
        (CallRecord(9.5, 16.0, 2, "BYE: timed out", misrouted=0), 0, 1, 0),
        (CallRecord(9.5, 16.0, 2, "BYE: timed out", misrouted=1), 0, 1, 0),
        (CallRecord(9.5, 10.6, 1, "BYE: timed out", misrouted=0), 0, 1, 0),
        (CallRecord(10.6, 12.0, None, "INVITE: timed out", misrouted=0), 0, 1, 0),
        (CallRecord(9.5, 10.6, 1, None, misrouted=1), 0, 0, 1),
        (CallRecord(16.0, 17.0, 2, None, misrouted=1), 0, 0, 1),
    ],
)
def test_judges_a_call(record: CallRecord, moved: int, lost: int, misrouted: int) -> None:
    verdict = judge([GOOD, record], KILLING, drained_calls=0)
    assert (verdict.moved, verdict.lost, verdict.misrouted) == (moved, lost, misrouted)
    assert verdict.as_promised is (lost == misrouted == 0)


def test_a_drained_member_gets_no_calls() -> None:
    verdict = judge([GOOD], KILLING, drained_calls=3)
    assert verdict.broken == ("the draining member got 3 new calls",)
    assert verdict.words == ("NOT AS IT SHOULD BE: the draining member got 3 new calls",)


def test_says_what_was_lost() -> None:
    lost = CallRecord(9.5, 16.0, 2, "BYE: timed out", misrouted=0)
    broken = judge([lost, lost], KILLING, drained_calls=0).broken
    assert broken == ("2 of the calls lost: BYE: timed out",)
    assert "No call was lost" in judge([GOOD], KILLING, drained_calls=0).words[0]
