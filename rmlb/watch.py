"""The health of every member: what probes and the packet path say goes into its tracker.

SHELL around health.tracker, health.probe and cutoff. Tells every change of health to whom it
may concern, and whether this host's own way to the member is to blame; knows nothing of routing
tables, of the operator or of the virtual IP.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from rmlb.admin.views import ProbesView
from rmlb.config import HealthConfig
from rmlb.cutoff import CutOff
from rmlb.health.probe import Prober
from rmlb.health.tracker import Failure, ProbePlan, ProbeResult, Tracker, Transition
from rmlb.metrics import Histogram
from rmlb.routing.member import Health, Member
from rmlb.routing.verdict import Hint, Report

HELD_UP_GRACE_S: Final = 0.5
"""After the worker itself was held up, answers that wait in its sockets get so long to be read."""

MOST_DISREGARDED: Final = 3
"""Silent probes in a row that are put down to ourselves; a dead member is found out even so."""

LAST_ANSWERS_S: Final = 0.2
"""Before sockets are changed for new ones, probes under way have so long for their answers."""

OnChange = Callable[[int, Transition, str | None], None]
"""Member, what has become of it, and what of this host is to blame for that."""

Hosts = Callable[[int], Iterable[str]]
"""The numeric addresses of a member."""


class Watch:
    """All members' health."""

    def __init__(
        self,
        config: HealthConfig,
        numbers: Iterable[int],
        hosts: Hosts,
        fault: Callable[[str], str | None],
        on_change: OnChange,
    ) -> None:
        """`fault`: what is wrong with our own way to an address, for people; None: nothing."""
        self._config = config
        self._pool = frozenset(numbers)
        self._hosts = hosts
        self._on_change = on_change
        self._cut_off = CutOff(fault)
        self._trackers = {number: Tracker(config) for number in self._pool}
        self._probes = {number: _Probes() for number in self._trackers}
        self._prober: Prober | None = None
        self._held_up_until = 0.0
        self._disregarded: Counter[int] = Counter()
        self._restarting = asyncio.Lock()

    def tracker(self, number: int) -> Tracker:
        return self._trackers[number]

    def probes(self, number: int) -> ProbesView:
        """How the member's probes ended."""
        return self._probes[number].view()

    @property
    def unheard(self) -> set[int]:
        """Members of which no probe has said anything yet."""
        return {number for number, tracker in self._trackers.items() if not tracker.heard}

    def configure(self, config: HealthConfig, numbers: Iterable[int]) -> None:
        """Go on under new settings, with new members; health stays."""
        self._config = config
        self._pool = frozenset(numbers)
        for number in self._pool:
            self._trackers.setdefault(number, Tracker(config)).configure(config)
            self._probes.setdefault(number, _Probes())

    def start(
        self,
        members: Iterable[Member],
        tls: ssl.SSLContext | None,
        certificate_names: dict[tuple[str, int], str],
    ) -> None:
        """Begin to probe the members that have an address."""
        self._prober = Prober(
            [member for member in members if member.addresses],
            self._config,
            self._on_probe,
            self._plan,
            ssl_context=tls,
            certificate_names=certificate_names,
        )
        self._prober.start()

    async def restart(
        self,
        members: Iterable[Member],
        tls: ssl.SSLContext | None,
        certificate_names: dict[tuple[str, int], str],
    ) -> None:
        """Probe these from now on."""
        async with self._restarting:
            if self._prober is not None:
                await self._prober.stop(LAST_ANSWERS_S)
            self.start(members, tls, certificate_names)

    async def stop(self) -> None:
        if self._prober is not None:
            await self._prober.stop()

    def excused(self) -> frozenset[int]:
        """Members out of service that only this host's cut ways keep from us (decision 23)."""
        return self._cut_off.excused(self._config.patience_s, time.monotonic())

    def look_at_ways(self) -> list[int]:
        """Now and then: are this host's own ways to the members cut? Those that are silent long
        after theirs is whole again have stopped; each is named once."""
        now = time.monotonic()
        for number in self._pool:
            self._look_at_way(number, now)
            self._look_at_answer(number, now)
        return [number for number in self._cut_off.overdue(now) if number in self._pool]

    def _look_at_way(self, number: int, now: float) -> None:
        self._cut_off.look(number, self._hosts(number), now)

    def _look_at_answer(self, number: int, now: float) -> None:
        tracker = self._trackers[number]
        newest = tracker.last_result
        if newest is not None and tracker.answers:
            serves = tracker.health is not Health.OUT_OF_SERVICE
            self._cut_off.answered(number, newest.sent_at, now, serves=serves)
        else:
            self._cut_off.silent(number)

    def held_up(self, now: float) -> None:
        """The worker got no time until `now` (monotonic): silence meanwhile proves nothing."""
        self._held_up_until = now

    def on_refused(self, number: int) -> None:
        """The packet path met a refusal or a broken connection: look at the member at once."""
        self._act_on(number, self._trackers[number].on_refused(time.monotonic()))

    def on_report(self, report: Report) -> None:
        """What traffic says of a member."""
        tracker = self._trackers.get(report.member)
        if tracker is None:
            return
        now = time.monotonic()
        if report.what is Hint.UNANSWERED:
            if now < self._held_up_until + HELD_UP_GRACE_S:
                return
            self._act_on(report.member, tracker.on_unanswered(now))
        else:
            self._act_on(report.member, tracker.on_calls_refused(now, report.value))

    def _act_on(self, number: int, change: Transition | None) -> None:
        if change is not None:
            self._changed(number, change)
            if self._prober is not None:
                self._prober.wake(number)

    def _plan(self, number: int) -> ProbePlan:
        return self._trackers[number].next_probe(time.monotonic())

    def _on_probe(self, number: int, result: ProbeResult) -> None:
        self._probes[number].add(result)
        if self._is_our_fault(number, result):
            return
        tracker = self._trackers[number]
        heard = tracker.heard
        change = tracker.on_probe(result)
        if change is None and tracker.heard and not heard:
            # silent from the start: that is news too
            change = Transition(result.at, tracker.health, tracker.health, result.summary)
        if change is not None:
            self._changed(number, change)

    def _changed(self, number: int, change: Transition) -> None:
        now = time.monotonic()
        cause = None
        if change.after is Health.OUT_OF_SERVICE:
            for each in self._pool:
                self._look_at_way(each, now)
            cause = self._cut_off.blame(number, self._pool, now)
            if cause is not None:
                self._trackers[number].excuse()
        else:
            self._look_at_answer(number, now)
        self._on_change(number, change, cause)

    def _is_our_fault(self, number: int, result: ProbeResult) -> bool:
        """A probe seemed unanswered while we could not have read its answer."""
        silent = result.failure is Failure.SILENT
        if not silent or result.sent_at >= self._held_up_until:
            self._disregarded[number] = 0
            return False
        self._disregarded[number] += 1
        return self._disregarded[number] <= MOST_DISREGARDED


def spared(change: Transition) -> bool:
    """A suspect member answered after all."""
    return change.before is Health.SUSPECT and change.after is Health.IN_SERVICE


class _Probes:
    """How a member's probes ended."""

    def __init__(self) -> None:
        self._outcomes: dict[str, int] = {}
        self._durations = Histogram()
        self._last: ProbeResult | None = None

    def add(self, result: ProbeResult) -> None:
        outcome = str(result.failure) if result.failure is not None else str(result.status)
        self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
        if result.failure is None:
            self._durations.observe(result.latency_s)
        self._last = result

    def view(self) -> ProbesView:
        last = self._last
        return ProbesView(
            outcomes=self._outcomes,
            durations=self._durations,
            last=last.summary if last is not None else None,
            last_latency_s=last.latency_s if last is not None else None,
        )
