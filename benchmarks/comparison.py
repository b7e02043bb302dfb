"""Carries a plan out: maxima, interleaved rounds, disturbed runs, curves. Gives plain results.

Every system of a workload is up at once and measured in turn, so that what is compared was
measured within seconds; the order turns by one from round to round.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.arena import Arena, Cores, Sample, Workload
from benchmarks.plan import (
    COMPARED,
    CURVES,
    DIALOGS,
    HALF,
    IN_DIALOG,
    MEMBERS,
    OWN,
    REFERENCE,
    RELOADED,
    SCRAPED,
    SIZES,
    WORKLOADS,
    Curve,
    Plan,
    maximum_of,
)
from benchmarks.systems import SYSTEMS, System

ESTABLISHED_PER_S_LEAST = 5_000
"""Dialogs a second below which a million of them are not waited for."""


@dataclass(slots=True)
class Results:
    """`samples` of the rounds, in order; `maxima` by workload and system, in its unit."""

    missing: dict[str, str] = field(default_factory=dict)
    maxima: dict[str, dict[str, float]] = field(default_factory=dict)
    limits: dict[str, dict[str, str]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    curves: dict[str, list[Sample]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


Say = Callable[[str], None]


def compare(plan: Plan, cores: Cores, say: Say, workloads: tuple[str, ...] = ()) -> Results:
    results = Results()
    for workload in WORKLOADS:
        if workloads and workload.name not in workloads:
            continue
        systems = _present(plan, COMPARED[workload.name], results, say)
        if systems:
            _compare_one(plan, workload, systems, cores, results, say)
    for name in plan.curves:
        _curve(plan, CURVES[name], cores, results, say)
    return results


def _present(plan: Plan, names: tuple[str, ...], results: Results, say: Say) -> list[System]:
    found = []
    for system in (SYSTEMS[name] for name in names if plan.wants(name)):
        why = system.missing()
        if why and system.name not in results.missing:
            results.missing[system.name] = why
            say(f"without {system.title}: {why}")
        if not why:
            found.append(system)
    return found


def _compare_one(
    plan: Plan, workload: Workload, systems: list[System], cores: Cores, results: Results, say: Say
) -> None:
    with _stage() as raised:
        up: dict[str, Arena] = {}
        ends: list[System | None] = [*systems, *([] if workload.transport == "tcp" else [None])]
        for system in ends:
            arena = raised(
                system, results, say, cores, transport=workload.transport, live=workload.live
            )
            if arena:
                up[arena.name] = arena
        maxima = results.maxima[workload.name] = {}
        for system in systems:
            if system.name not in up:
                continue
            arena = up[system.name]
            maximum, tries = arena.maximum(
                workload, plan.search_seconds, start=16_000 / workload.messages,
                tolerance=plan.tolerance, say=say,
            )  # fmt: skip
            if not maximum:
                results.notes.append(f"{system.title}: carried nothing without loss")
                up.pop(system.name).close()
                continue
            maxima[system.name] = maximum
            busiest = max(t.utilization for t in tries)
            results.limits.setdefault(workload.name, {})[system.name] = (
                "itself" if busiest > 0.9 else f"not by its CPU ({busiest:.0%} at most)"
            )
        reference = maxima.get(REFERENCE[workload.name]) or max(maxima.values(), default=0.0)
        if not reference:
            return
        if not maxima.get(REFERENCE[workload.name]):
            results.notes.append(f"{workload.title}: rates are shares of the fastest system's")
        shares = plan.tcp_shares if workload.transport == "tcp" else plan.shares
        points = {f"{share:.0%}": share * reference for share in shares}
        for number in range(plan.rounds):
            say(f"{workload.title}: round {number + 1} of {plan.rounds}")
            _round(plan, workload, up, points, number, results)


def _round(
    plan: Plan, workload: Workload, up: dict[str, Arena], points: dict[str, float], number: int,
    results: Results,
) -> None:  # fmt: skip
    maxima = results.maxima[workload.name]
    names = list(up)
    names = names[number % len(names) :] + names[: number % len(names)]

    def run(name: str, point: str, rate: float, **how: bool | float) -> None:
        scraped, reloads = bool(how.get("scraped")), float(how.get("reloads_per_s", 0))
        most = 0.95 * maxima.get(name, rate)
        over = point != OWN and name in maxima and rate > most
        sample = up[name].run(
            workload, point, most if over else rate, plan.seconds, reduced=over,
            scraped=scraped, reloads_per_s=reloads,
        )  # fmt: skip
        results.samples.append(sample)

    for point, rate in points.items():
        for name in names:
            run(name, point, rate)
        if point == HALF:
            for name in names:
                if name.startswith("rmlb"):
                    run(name, SCRAPED, rate, scraped=True)
                    run(name, RELOADED, rate, reloads_per_s=4.0)
    for name in names:
        if name in maxima:
            run(name, OWN, maxima[name])
            if name.startswith("rmlb") and "blind" in up:
                run("blind", maximum_of(name), maxima[name])


# ---- curves ----


def _curve(plan: Plan, curve: Curve, cores: Cores, results: Results, say: Say) -> None:
    systems = _present(plan, COMPARED[IN_DIALOG.name], results, say)
    maxima = results.maxima.get(IN_DIALOG.name, {})
    reference = maxima.get(REFERENCE[IN_DIALOG.name]) or max(maxima.values(), default=0.0)
    if not reference:
        results.notes.append(f"no curve over {curve.title}: in-dialog traffic was not compared")
        return
    with _stage() as raised:
        up: list[tuple[int, Arena]] = []
        slow: set[str] = set()
        for value in curve.values:
            for system in systems:
                if system.name in slow or system.name not in maxima:
                    continue
                say(f"{curve.title}: {value:,}, {system.title}")
                arena = raised(
                    system, results, say, cores,
                    live=value if curve is DIALOGS else IN_DIALOG.live,
                    members=value if curve is MEMBERS else 2,
                    size=value if curve is SIZES else 900,
                )  # fmt: skip
                if arena is None:
                    continue
                up.append((value, arena))
                per_message = maxima[system.name] * IN_DIALOG.messages
                is_slow = per_message / 4 < ESTABLISHED_PER_S_LEAST
                if curve is DIALOGS and value >= 100_000 and is_slow:
                    slow.add(system.name)
                    results.notes.append(
                        f"{system.title}: no more than {value:,} live dialogs, "
                        "too slow to establish more"
                    )
        for number in range(plan.curve_rounds):
            say(f"{curve.title}: round {number + 1} of {plan.curve_rounds}")
            for value, arena in up:
                most = 0.7 * maxima[arena.name]
                rate = min(reference / 2, most)
                results.curves.setdefault(curve.name, []).append(
                    arena.run(
                        IN_DIALOG, str(value), rate, plan.curve_seconds,
                        reduced=rate < reference / 2,
                    )
                )  # fmt: skip


# ---- what is up ----


@contextlib.contextmanager
def _stage() -> Iterator[Callable[..., Arena | None]]:
    """What it gives raises an arena that ends with the block; None, and a note, if that fails."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:

        def raised(
            system: System | None, results: Results, say: Say, cores: Cores, **options: Any
        ) -> Arena | None:
            own = Path(tempfile.mkdtemp(dir=folder))
            try:
                arena = Arena(system, own, cores, **options)
            except RuntimeError as error:
                results.notes.append(f"left out: {error}")
                say("\n".join([f"left out: {error}", *getattr(error, "__notes__", [])]))
                return None
            stack.callback(arena.close)
            return arena

        yield raised
