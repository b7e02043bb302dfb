"""Two Kamailio as Resource Managers before one shared server, one killed while calls ring.

The survivor passes the INVITE on to the server that still has the first one, and a server that
keeps RFC 3261 8.2.2.2 refuses it with 482. What becomes of each call depends on whether the
first answer has a way back that does not lead through the dead member.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rig_merge import (
    DEADLINE_S,
    FORK,
    MOVED,
    ONE_MEMBER,
    PAST,
    REFUSED,
    VARIANTS,
    Outcome,
    Variant,
    kill_while_calls_ring,
    row,
)

CALLS, RATE = 400, 80


def run(directory: Path, variant: Variant, **options: float) -> Outcome:
    outcome = kill_while_calls_ring(directory, variant, calls=CALLS, rate=RATE, **options)
    lines = [f"{name:52} {value}" for name, value in row(outcome).items()]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")  # pytest -s shows it
    assert len(outcome.fates) == CALLS
    assert [fate for fate in outcome.fates if not fate.made.outcome] == [], "calls hang"
    assert outcome.ringing > 20, "nothing rang at the member that was killed"
    assert outcome.resent >= outcome.ringing
    return outcome


def assert_nothing_failed(outcome: Outcome) -> None:
    assert outcome.failed == [], f"{len(outcome.failed)} of {CALLS}: {outcome.failed[:3]}"


@pytest.mark.parametrize("stamps", [True, False], ids=["received", "bare"])
def test_answers_come_to_the_virtual_ip(tmp_path: Path, stamps: bool) -> None:
    """Kind C for a lost member: 0 calls fail, and each dialog goes on through the survivor."""
    variant = VARIANTS["vip-sent-by"] if stamps else VARIANTS["vip-bare"]
    outcome = run(tmp_path, variant)
    assert_nothing_failed(outcome)
    assert set(outcome.classes) <= {ONE_MEMBER, MOVED, PAST}
    merged = [fate for fate in outcome.fates if fate.what == PAST]
    assert {fate.made.call_id for fate in outcome.fates if fate.rang_at} <= {
        fate.made.call_id for fate in merged
    }
    for fate in merged:
        served = fate.served
        assert served is not None
        assert (served.via_invite, served.merged_via, served.acked_via) == ("1", "2", "2")
        assert served.ended_by
        assert served.ended_via in ("2", "" if served.ended_by == "server" else "2")
    assert {fate.served.ended_by for fate in merged if fate.served} == {"caller", "server"}


def test_calls_that_ring_longer_than_the_deadline(tmp_path: Path) -> None:
    """What has an answer to hope for is waited for: 0 calls fail."""
    outcome = run(tmp_path, VARIANTS["vip-sent-by"], ring_s=DEADLINE_S + 2.0)
    assert_nothing_failed(outcome)
    assert outcome.classes[PAST] >= outcome.ringing


@pytest.mark.parametrize("name", ["own", "vip-received"])
def test_answers_go_to_the_dead_member(tmp_path: Path, name: str) -> None:
    """Nobody hears them: exactly the calls that rang there end with 500, at the deadline."""
    outcome = run(tmp_path, VARIANTS[name])
    assert set(outcome.classes) <= {ONE_MEMBER, MOVED, REFUSED}
    failed = {fate.made.call_id: fate for fate in outcome.failed}
    assert {fate.made.call_id for fate in outcome.fates if fate.rang_at} <= failed.keys()
    for fate in failed.values():
        assert fate.made.status == 500
        assert fate.served is not None
        # its INVITE had reached the server through the dead member, and came again
        assert (fate.served.via_invite, fate.served.merged_via) == ("1", "2")
    assert outcome.longest_s < 1.5 + DEADLINE_S + 1.0


def test_a_server_that_takes_it_for_another_call(tmp_path: Path) -> None:
    """Without the merge check the survivor's attempt is answered: 0 calls fail."""
    outcome = run(tmp_path, VARIANTS["unchecked"])
    assert_nothing_failed(outcome)
    assert outcome.classes[FORK] >= outcome.ringing


@pytest.mark.parametrize("name", ["own", "vip-sent-by"])
def test_a_frozen_member_that_goes_on(tmp_path: Path, name: str) -> None:
    """It was out of service for a moment; what rings there is answered through it: 0 fail."""
    outcome = run(tmp_path, VARIANTS[name], ring_s=3.0, thaws_after_s=0.3)
    assert_nothing_failed(outcome)
    assert outcome.classes[PAST] >= outcome.ringing
