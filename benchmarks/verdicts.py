"""Ratios within one run, round by round, and whether the interval keeps to the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.arena import Sample
from benchmarks.comparison import Results
from benchmarks.medians import Interval, median_interval, ratios
from benchmarks.plan import HALF, OWN, RELOADED, SCRAPED, maximum_of


@dataclass(frozen=True, slots=True)
class Claim:
    """`target` is the highest ratio allowed. `above` and `below` pick (system, point)."""

    text: str
    workload: str
    above: tuple[str, str]
    below: tuple[str, str]
    target: float
    figure: str = "cpu"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state`: met (all of the interval), missed (none of it), open, or why there is none."""

    text: str
    target: float
    ratio: Interval | None
    state: str
    remark: str = ""


def claims(engine: str) -> list[Claim]:
    """Issue by issue: CPU per message at the same rates, then latency at half load."""
    ours, tcp = f"rmlb-{engine}", f"rmlb-{engine}-tcp"
    top = maximum_of(ours)
    found = [
        Claim("in-dialog / blind relay, at our maximum", "in-dialog",
              (ours, OWN), ("blind", top), 1.25),
        Claim("in-dialog / Kamailio stateless, at 95 % of its maximum", "in-dialog",
              (ours, "95%"), ("kamailio", "95%"), 0.45),
        Claim("whole calls / blind relay, at our maximum", "calls",
              (ours, OWN), ("blind", top), 1.5),
        Claim("whole calls / Kamailio stateless, at 95 % of its maximum", "calls",
              (ours, "95%"), ("kamailio", "95%"), 0.5),
        Claim("whole calls / Kamailio t_relay with failover, at 95 %", "calls",
              (ours, "95%"), ("kamailio-tm", "95%"), 0.2),
        Claim("whole calls / the same with -x tlsf", "calls",
              (ours, "95%"), ("kamailio-tm-tlsf", "95%"), 0.2),
        Claim("TCP whole calls / Kamailio TCP, at 95 % of its maximum", "calls-tcp",
              (tcp, "95%"), ("kamailio-tcp", "95%"), 0.6),
    ]  # fmt: skip
    for workload in ("in-dialog", "calls"):
        for point, words in ((HALF, ""), (SCRAPED, ", scraped"), (RELOADED, ", reloaded")):
            text = f"{workload}: p99 added latency / Kamailio's, at half of its maximum{words}"
            found.append(Claim(text, workload, (ours, point), ("kamailio", HALF), 1.0, "added p99"))
    return found


def judge(results: Results, engine: str) -> list[Verdict]:
    return [_judge(results, claim) for claim in claims(engine)] + _curves(results, f"rmlb-{engine}")


def added(results: Results, workload: str, system: str, point: str, part: str) -> list[float]:
    """Latency through the system less that of the direct way in the same round, microseconds."""
    through = _figures(results, workload, system, point, lambda s: s.latency_us[part])
    at = HALF if point.startswith(HALF) else point
    direct = _figures(results, workload, "direct", at, lambda s: s.latency_us[part])
    return [max(t - d, 0.0) for t, d in zip(through, direct, strict=False)]


def pick(results: Results, workload: str, system: str, point: str) -> list[Sample]:
    """One sample per round, in order."""
    return [
        s for s in results.samples if (s.workload, s.system, s.point) == (workload, system, point)
    ]


def _judge(results: Results, claim: Claim) -> Verdict:
    values = []
    for system, point in (claim.above, claim.below):
        if claim.figure == "cpu":
            values.append(_figures(results, claim.workload, system, point, lambda s: s.cpu_us))
        else:
            values.append(added(results, claim.workload, system, point, "p99"))
        if not values[-1]:
            return Verdict(claim.text, claim.target, None, f"not measured: no {system} at {point}")
    both = [pick(results, claim.workload, *side) for side in (claim.above, claim.below)]
    slower = [side[0].system for side in both if any(s.reduced for s in side)]
    remark = f"{' and '.join(slower)} at 95 % of its own maximum" if slower else ""
    return _verdict(claim.text, claim.target, ratios(*values), remark)


def _verdict(text: str, target: float, values: list[float], remark: str = "") -> Verdict:
    if not values:
        return Verdict(text, target, None, "not measured: nothing to compare with", remark)
    ratio = median_interval(values)
    if ratio.high <= target:
        state = "met"
    elif ratio.low > target:
        state = "missed"
    else:
        state = "open"
    return Verdict(text, target, ratio, state, remark)


def _curves(results: Results, system: str) -> list[Verdict]:
    samples = [s for s in results.curves.get("dialogs", []) if s.system == system]
    few, many = ([s for s in samples if s.point == point] for point in ("1000", "1000000"))
    if not few or not many:
        return []
    octets = [(m.pss - f.pss) / 999_000 for m, f in zip(many, few, strict=False)]
    return [
        _verdict(
            "in-dialog: cost at 1M live dialogs / at 1k", 1.15,
            ratios([s.cpu_us for s in many], [s.cpu_us for s in few]),
        ),
        _verdict("memory of all kinds per live dialog, octets", 64.0, octets),
    ]  # fmt: skip


def _figures(
    results: Results, workload: str, system: str, point: str, figure: Callable[[Sample], float]
) -> list[float]:
    return [figure(s) for s in pick(results, workload, system, point)]
