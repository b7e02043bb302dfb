"""Draining as a table: who drains and how many calls are left in, what is told out."""

from __future__ import annotations

import pytest

from rmlb.health.draining import Cause, DrainWatch, Outcome

LIMIT_S = 900.0
WORDS = {"op": Cause.OPERATOR, "sw": Cause.SWITCHOVER}


def look(watch: DrainWatch, at: float, state: str) -> list[str]:
    """`state` is "1:op:5 2:sw:0": member, cause, calls left; empty for nobody."""
    parts = [part.split(":") for part in state.split()]
    causes = {int(member): WORDS[cause] for member, cause, _ in parts}
    left = {int(member): int(calls) for member, _, calls in parts}
    reports = watch.look(causes, left.__getitem__, at)
    for report in reports:
        assert report.cause is causes[report.member]
        assert report.left == left[report.member]
    return [f"{report.member} {report.outcome} {report.after_s:g}" for report in reports]


@pytest.mark.parametrize(
    "steps",
    [
        [(0, "", [])],
        [(0, "1:op:0", ["1 empty 0"]), (1, "1:op:0", [])],
        [(0, "1:op:3", []), (9, "1:op:1", []), (10, "1:op:0", ["1 empty 10"]), (11, "1:op:0", [])],
        [(0, "1:op:3", []), (899, "1:op:3", []), (900, "1:op:3", ["1 limit 900"]),
         (901, "1:op:2", []), (950, "1:op:0", ["1 empty 950"])],
        # calls that come after it was told empty (GVP sessions) tell nothing more
        [(0, "1:op:0", ["1 empty 0"]), (5, "1:op:2", []), (950, "1:op:2", [])],
        # two members, each with a clock of its own
        [(0, "1:op:1", []), (100, "1:op:1 2:sw:1", []), (900, "1:op:1 2:sw:1", ["1 limit 900"]),
         (1000, "1:op:1 2:sw:1", ["2 limit 900"])],
        # drained anew: the clock starts anew
        [(0, "1:op:1", []), (10, "", []), (20, "1:op:1", []), (919, "1:op:1", []),
         (920, "1:op:1", ["1 limit 900"])],
        # enabled again while it retires: the time of the switch-over counts from there
        [(0, "1:op:1", []), (900, "1:op:1", ["1 limit 900"]), (1000, "1:sw:1", []),
         (1900, "1:sw:1", ["1 limit 900"])],
    ],
)  # fmt: skip
def test_table(steps: list[tuple[float, str, list[str]]]) -> None:
    watch = DrainWatch(LIMIT_S)
    for at, state, told in steps:
        assert look(watch, at, state) == told, at


def test_calls_from_before_a_restart_are_not_known_so_nobody_is_empty() -> None:
    watch = DrainWatch(LIMIT_S)
    watch.resume({1: Cause.SWITCHOVER}, 50.0)
    assert look(watch, 51.0, "1:sw:0") == []
    assert watch.members[1].since == 50.0
    assert look(watch, 950.0, "1:sw:0") == ["1 limit 900"]
    assert look(watch, 951.0, "1:sw:0") == []


def test_no_limit_at_all_is_over_at_once() -> None:
    assert look(DrainWatch(0.0), 5.0, "1:sw:3") == ["1 limit 0"]


def test_what_is_shown() -> None:
    watch = DrainWatch(LIMIT_S)
    look(watch, 5.0, "2:op:3")
    assert (watch.members[2].since, watch.members[2].cause) == (5.0, Cause.OPERATOR)
    look(watch, 6.0, "")
    assert watch.members == {}
    assert str(Outcome.LIMIT) == "limit"
