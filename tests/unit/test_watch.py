"""What the watch believes of silence: not what it may have slept through itself."""

from __future__ import annotations

import time

from rmlb import watch as watching
from rmlb.config import HealthConfig
from rmlb.health.tracker import Failure, ProbeResult, Transition
from rmlb.routing.member import Health
from rmlb.routing.verdict import Hint, Report
from rmlb.watch import HELD_UP_GRACE_S, MOST_DISREGARDED, Watch

CABLE = "eth0 is down"


class Scene:
    """One member in service under watch, and what was told of it."""

    def __init__(self) -> None:
        self.told: list[Transition] = []
        self.causes: list[str | None] = []
        self.cut = False
        self.watch = Watch(
            HealthConfig.unvalidated(),
            [1],
            lambda _: ["a"],
            lambda _: CABLE if self.cut else None,
            self.hear,
        )
        self.now = time.monotonic()
        self.probe(0.0, status=200)
        assert self.health is Health.IN_SERVICE

    def hear(self, number: int, change: Transition, cause: str | None) -> None:
        self.told.append(change)
        self.causes.append(cause)

    @property
    def health(self) -> Health:
        return self.watch.tracker(1).health

    def probe(self, sent_after_s: float, status: int | None = None) -> None:
        """A probe sent that long after the start; unanswered for a second without a status."""
        sent = self.now + sent_after_s
        failure = None if status else Failure.SILENT
        self.watch._on_probe(1, ProbeResult(sent, sent + 1.0, status=status, failure=failure))


def test_silence_is_believed() -> None:
    scene = Scene()
    scene.probe(1.0)
    scene.probe(2.0)
    assert scene.health is Health.OUT_OF_SERVICE


def test_silence_while_we_were_held_up_proves_nothing() -> None:
    scene = Scene()
    scene.watch.held_up(scene.now + 10.0)
    scene.probe(1.0)
    scene.probe(5.0)
    assert scene.health is Health.IN_SERVICE
    scene.probe(11.0)
    scene.probe(12.0)
    assert scene.health is Health.OUT_OF_SERVICE


def test_a_dead_member_is_found_out_by_a_starved_balancer_too() -> None:
    scene = Scene()
    scene.watch.held_up(scene.now + 100.0)
    for number in range(MOST_DISREGARDED):
        scene.probe(1.0 + number)
    assert scene.health is Health.IN_SERVICE
    scene.probe(10.0)
    scene.probe(11.0)
    assert scene.health is Health.OUT_OF_SERVICE


def test_unanswered_calls_while_we_were_held_up_prove_nothing() -> None:
    scene = Scene()
    silence = Report(1, Hint.UNANSWERED, 0.5)
    scene.watch.tracker(1)._vouched_until = 0.0
    scene.watch.held_up(time.monotonic())
    scene.watch.on_report(silence)
    assert scene.health is Health.IN_SERVICE
    scene.watch.held_up(time.monotonic() - HELD_UP_GRACE_S - 0.01)
    scene.watch.on_report(silence)
    assert scene.health is Health.SUSPECT
    assert watching.spared(scene.told[-1]) is False


def test_the_own_cable_is_told_as_the_cause_and_excuses_the_member() -> None:
    scene = Scene()
    scene.cut = True
    scene.probe(1.0)
    scene.probe(2.0)
    assert scene.health is Health.OUT_OF_SERVICE
    assert scene.causes[-1] == CABLE
    assert scene.watch.excused() == {1}
    scene.cut = False
    for number in range(3):
        scene.probe(3.0 + number, status=200)
    assert scene.health is Health.IN_SERVICE
    assert scene.causes[-1] is None
    assert scene.watch.excused() == frozenset()
    assert scene.watch.look_at_ways() == []


def test_a_dead_member_is_not_excused() -> None:
    scene = Scene()
    scene.probe(1.0)
    scene.probe(2.0)
    assert scene.causes[-1] is None
    assert scene.watch.excused() == frozenset()
