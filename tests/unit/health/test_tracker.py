"""Health as a table: a list of results in, a list of states out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rmlb.health.tracker import Failure, ProbePlan, ProbeResult, Tracker
from rmlb.routing.member import Health


@dataclass(frozen=True)
class Settings:
    interval_s: float = 5.0
    suspect_interval_s: float = 0.5
    timeout_s: float = 1.0
    rise: int = 2
    fall: int = 3
    slow_start_s: float = 10.0
    accepted: frozenset[int] | None = None

    def accepts(self, status: int) -> bool:
        if self.accepted is not None:
            return status in self.accepted
        return status < 500 and status != 408


@pytest.mark.parametrize(
    ("results", "heard"),
    [
        ("200", [True]),
        ("503", [True]),
        ("- - -", [False, False, True]),
        ("x x x", [False, False, True]),
        ("408 - x", [False, False, True]),
        ("- 200 -", [False, True, True]),
    ],
)
def test_nothing_is_known_before_it_answered_or_failed_often_enough(
    results: str, heard: list[bool]
) -> None:
    tracker = Tracker(Settings(fall=3))
    assert not tracker.heard
    seen = []
    for second, word in enumerate(results.split()):
        tracker.on_probe(result(word, 100.0 + second))
        seen.append(tracker.heard)
    assert seen == heard


STATES = {
    "in": Health.IN_SERVICE,
    "sus": Health.SUSPECT,
    "ref": Health.REFUSING,
    "out": Health.OUT_OF_SERVICE,
}


def result(word: str, at: float) -> ProbeResult:
    """`200` a status, `503/9` with Retry-After, `-` silence, `x` refused."""
    if word == "-":
        return ProbeResult(at, at, failure=Failure.SILENT)
    if word == "x":
        return ProbeResult(at, at, failure=Failure.UNREACHABLE, detail="Connection refused")
    status, _, retry_after = word.partition("/")
    return ProbeResult(
        at, at, status=int(status), retry_after_s=int(retry_after) if retry_after else None
    )


def run(tracker: Tracker, words: str, start: float = 100.0) -> list[Health]:
    states = []
    for second, word in enumerate(words.split()):
        tracker.on_probe(result(word, start + second))
        states.append(tracker.health)
    return states


@pytest.mark.parametrize(
    ("settings", "results", "states"),
    [
        # the first answer brings it in at once; later returns need `rise`
        (Settings(), "200 200", "in in"),
        (Settings(), "- - 200", "out out in"),
        (Settings(), "200 - - - 200 200", "in sus sus out out in"),
        (Settings(rise=1), "200 - - - 200", "in sus sus out in"),
        (Settings(rise=3), "200 - - - 200 - 200 200 200", "in sus sus out out out out out in"),
        # any final answer below 500 except 408 is alive
        (Settings(), "404 481 302 200", "in in in in"),
        (Settings(), "200 408 408 408", "in sus sus out"),
        # fall counts failures in a row
        (Settings(), "200 - 200 - - 200", "in sus in sus sus in"),
        (Settings(fall=1), "200 - 200 200", "in out out in"),
        (Settings(fall=5), "200 - - - - -", "in sus sus sus sus out"),
        # refused twice is definite, whatever `fall` says
        (Settings(fall=5), "200 x x", "in sus out"),
        (Settings(fall=5), "200 - x", "in sus out"),
        (Settings(fall=5), "200 x - -", "in sus sus sus"),
        (Settings(fall=1), "200 x", "in out"),
        # a member that answers 5xx or 6xx is refusing, never out
        (Settings(), "503", "ref"),
        (Settings(), "200 503 503 503 503", "in ref ref ref ref"),
        (Settings(), "200 - 603", "in sus ref"),
        (Settings(), "200 500 200 200", "in ref ref in"),
        (Settings(), "200 500 200 500 200 200", "in ref ref ref ref in"),
        # refusing and silent: no new calls until it is out, so never suspect
        (Settings(), "200 503 - - -", "in ref ref ref out"),
        (Settings(), "200 503 x x x", "in ref ref ref out"),
        (Settings(), "200 503 - 200 200", "in ref ref ref in"),
        # a lost member that answers 503 returns as refusing, after `rise` answers
        (Settings(), "200 - - - 503 503 200 200", "in sus sus out out ref ref in"),
        (Settings(), "200 - - - 503 200 200", "in sus sus out out out in"),
        # its own Retry-After is kept, the words after it included
        (Settings(), "200 503/4 200 200 200 200 200", "in ref ref ref ref in in"),
        (Settings(fall=1), "200 503/60 - 200 200", "in ref out out in"),
        # configured codes: what is not accepted but answers is refusing
        (Settings(accepted=frozenset({200})), "200 404 200 200", "in ref ref in"),
        (Settings(accepted=frozenset({200, 408, 503})), "408 503 200", "in in in"),
    ],
)
def test_results_in_states_out(settings: Settings, results: str, states: str) -> None:
    assert run(Tracker(settings), results) == [STATES[word] for word in states.split()]


def test_a_transition_says_from_to_and_why() -> None:
    tracker = Tracker(Settings())
    change = tracker.on_probe(result("200", 1.0))
    assert change is not None
    assert (change.at, change.before, change.after, change.why) == (
        1.0,
        Health.OUT_OF_SERVICE,
        Health.IN_SERVICE,
        "answered 200",
    )
    assert tracker.on_probe(result("200", 2.0)) is None
    change = tracker.on_probe(result("x", 3.0))
    assert change is not None
    assert change.why == "unreachable: Connection refused"
    assert tracker.transitions == 2
    assert tracker.last_change is change


def test_an_excused_outage_is_no_flap() -> None:
    """Its cable was ours."""
    tracker, plain = Tracker(Settings()), Tracker(Settings())
    for each in (tracker, plain):
        run(each, "200", start=0.0)
        for start in (10.0, 20.0, 30.0):
            run(each, "- - -", start=start)
            assert each.health is Health.OUT_OF_SERVICE
            if each is tracker:
                each.excuse()
            run(each, "200 200", start=start + 4)
    assert tracker.health is Health.IN_SERVICE
    assert plain.health is Health.OUT_OF_SERVICE


def test_an_excused_outage_brings_no_former_flaps_back() -> None:
    """It flapped during maintenance, and has been there for long since."""
    tracker = Tracker(Settings())
    run(tracker, "200", start=0.0)
    for start in (10.0, 20.0, 30.0):
        run(tracker, "- - -", start=start)
        run(tracker, "200 " * 9, start=start + 3)
    run(tracker, "200 " * 60, start=40.0)
    assert tracker.health is Health.IN_SERVICE
    run(tracker, "200", start=1000.0)
    run(tracker, "- - -", start=1001.0)
    assert tracker.health is Health.OUT_OF_SERVICE
    tracker.excuse()
    run(tracker, "200 200", start=1010.0)
    assert tracker.health is Health.IN_SERVICE


def test_who_answers() -> None:
    tracker = Tracker(Settings())
    assert not tracker.answers
    for results, answers in (("200", True), ("-", False), ("503", True), ("408", False)):
        run(tracker, results)
        assert tracker.answers is answers


def test_an_absurd_retry_after_is_cut() -> None:
    tracker = Tracker(Settings(rise=1))
    run(tracker, "200 503/86400", start=0.0)
    run(tracker, "200", start=300.0)
    assert tracker.health is Health.REFUSING
    run(tracker, "200", start=301.0)
    assert tracker.health is Health.IN_SERVICE


class TestNextProbe:
    def test_the_first_is_due_at_once(self) -> None:
        assert Tracker(Settings()).next_probe(7.0) == ProbePlan(7.0, 1.0, 0.5)

    @pytest.mark.parametrize(
        ("results", "interval"),
        [
            ("200", 5.0),
            ("200 -", 0.5),
            ("200 - 200", 5.0),
            ("200 - - -", 0.5),
            ("200 - - - 200", 0.5),
            ("200 503", 5.0),
            ("200 503 -", 0.5),
        ],
    )
    def test_faster_while_it_is_being_confirmed(self, results: str, interval: float) -> None:
        tracker = Tracker(Settings())
        run(tracker, results, start=0.0)
        last = len(results.split()) - 1
        assert tracker.next_probe(last).at == last + interval

    def test_counts_from_the_sending_and_never_lies_in_the_past(self) -> None:
        tracker = Tracker(Settings(interval_s=5.0, timeout_s=1.0))
        tracker.on_probe(ProbeResult(10.0, 10.2, status=200))
        assert tracker.next_probe(10.2).at == 15.0
        tracker.on_probe(ProbeResult(15.0, 16.0, failure=Failure.SILENT))
        assert tracker.next_probe(16.0).at == 16.0

    @pytest.mark.parametrize(
        ("interval", "timeout", "plan"),
        [
            (0.1, 1.0, ProbePlan(0.1, 0.4, 0.1)),
            (0.5, 1.0, ProbePlan(0.5, 1.0, 0.5)),
        ],
    )
    def test_a_confirming_probe_is_shorter_and_repeated_faster(
        self, interval: float, timeout: float, plan: ProbePlan
    ) -> None:
        tracker = Tracker(Settings(suspect_interval_s=interval, timeout_s=timeout))
        tracker.on_probe(result("200", -5.0))
        tracker.on_probe(result("-", 0.0))
        assert tracker.next_probe(0.0) == plan


class TestHints:
    def test_a_refused_message_makes_it_suspect_and_the_probe_due(self) -> None:
        tracker = Tracker(Settings())
        run(tracker, "200", start=0.0)
        change = tracker.on_refused(1.0)
        assert change is not None
        assert tracker.health is Health.SUSPECT
        assert tracker.next_probe(1.0).at == 1.0
        assert run(tracker, "x", start=1.0) == [Health.OUT_OF_SERVICE]

    @pytest.mark.parametrize(("fall", "needed"), [(1, 1), (2, 1), (3, 2)])
    def test_it_counts_as_a_failure_but_never_alone(self, fall: int, needed: int) -> None:
        tracker = Tracker(Settings(fall=fall))
        run(tracker, "200", start=0.0)
        assert tracker.on_unanswered(1.0) is not None
        assert tracker.health is Health.SUSPECT
        states = run(tracker, "- " * needed, start=1.0)
        assert states.index(Health.OUT_OF_SERVICE) == needed - 1

    def test_one_good_probe_clears_it(self) -> None:
        tracker = Tracker(Settings())
        run(tracker, "200", start=0.0)
        tracker.on_refused(1.0)
        assert run(tracker, "200", start=1.0) == [Health.IN_SERVICE]
        assert tracker.weight(1.0) == 100

    def test_unanswered_calls_count_for_nothing_right_after_a_good_probe(self) -> None:
        tracker = Tracker(Settings())
        run(tracker, "200", start=0.0)
        assert tracker.on_unanswered(0.4) is None
        assert tracker.on_unanswered(0.5) is not None
        assert tracker.on_unanswered(0.6) is None

    @pytest.mark.parametrize("results", ["503", "- - -", "200 - - -"])
    def test_nothing_to_suspect_in_a_member_that_is_not_in_service(self, results: str) -> None:
        tracker = Tracker(Settings())
        before = run(tracker, results, start=0.0)[-1]
        assert tracker.on_refused(50.0) is None
        assert tracker.on_unanswered(50.0) is None
        assert tracker.health is before


class TestSlowStart:
    def test_a_fresh_member_has_its_full_weight(self) -> None:
        tracker = Tracker(Settings())
        run(tracker, "200", start=0.0)
        assert tracker.weight(0.0) == 100

    @pytest.mark.parametrize("loss", ["- - - 200 200", "x x x 200 200", "503 503 503 200 200"])
    def test_a_returning_one_is_ramped_in_tenths(self, loss: str) -> None:
        tracker = Tracker(Settings(slow_start_s=10.0))
        run(tracker, f"200 {loss}", start=0.0)
        assert tracker.health is Health.IN_SERVICE
        back = 5.0
        ramp = [tracker.weight(back + second) for second in (0, 0.9, 1, 4.5, 8.9, 9, 10, 1e6)]
        assert ramp == [10, 10, 20, 50, 90, 100, 100, 100]

    def test_can_be_switched_off(self) -> None:
        tracker = Tracker(Settings(slow_start_s=0.0))
        run(tracker, "200 - - - 200 200", start=0.0)
        assert tracker.weight(5.0) == 100


def test_a_reload_keeps_the_state() -> None:
    tracker = Tracker(Settings(fall=3))
    run(tracker, "200 -", start=0.0)
    tracker.configure(Settings(fall=2))
    assert run(tracker, "-", start=2.0) == [Health.OUT_OF_SERVICE]
