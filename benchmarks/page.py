"""The results as a page: method above every figure, ratios first, then what they rest on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.arena import Sample
from benchmarks.comparison import Results
from benchmarks.medians import median_interval
from benchmarks.plan import CURVES, HALF, WORKLOADS
from benchmarks.systems import SYSTEMS
from benchmarks.verdicts import Verdict, added, judge


def page(
    results: Results, environment: dict[str, str], engines: Iterable[str], plots: Iterable[str]
) -> str:
    lines = [f"# What a relayed message costs ({environment['form']})", ""]
    lines += [f"- {name}: {value}" for name, value in environment.items()]
    lines += [f"- not here: {SYSTEMS[n].title}: {why}" for n, why in results.missing.items()]
    lines += [f"- {note}" for note in results.notes]
    for engine in engines:
        lines += ["", f"## Ratios, {engine} engine", ""]
        rows = [_verdict_row(v) for v in judge(results, engine)]
        lines += _table(("what", "target", "median", "interval", "judged", "remark"), rows)
    for plot in plots:
        lines += ["", f"![{plot}]({plot})"]
    lines += ["", "## Maxima without loss", ""]
    rows = []
    for workload in WORKLOADS:
        for system, rate in results.maxima.get(workload.name, {}).items():
            limit = results.limits.get(workload.name, {}).get(system, "")
            messages = f"{rate * workload.messages:,.0f}"
            rows.append((workload.title, _title(system), f"{rate:,.0f} {workload.unit}", messages,
                         limit))  # fmt: skip
    lines += _table(("workload", "system", "maximum", "messages/s", "limited by"), rows)
    for workload in WORKLOADS:
        if workload.name in results.maxima:
            lines += ["", f"## {workload.title[0].upper()}{workload.title[1:]}", ""]
            lines += _workload(results, workload.name)
    for name, samples in results.curves.items():
        lines += ["", f"## By {CURVES[name].title}", ""]
        lines += _curve(samples)
    return "\n".join(lines) + "\n"


def _workload(results: Results, workload: str) -> list[str]:
    rows = []
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in results.samples:
        if sample.workload == workload:
            groups.setdefault((sample.point, sample.system), []).append(sample)
    for (point, system), samples in sorted(groups.items(), key=lambda g: _order(g[0][0])):
        lates = [added(results, workload, system, point, part) for part in ("p50", "p99")]
        rows.append(
            (
                point,
                _title(system) + (" *" if samples[0].reduced else ""),
                f"{_middle(samples, lambda s: s.messages_per_s):,.0f}",
                _spread([s.cpu_us for s in samples]) if system != "direct" else "",
                f"{_middle(samples, lambda s: s.utilization):.0%}",
                *(
                    _late(samples, values, part, direct=system == "direct")
                    for values, part in zip(lates, ("p50", "p99"), strict=True)
                ),
                str(sum(s.lost + s.failed for s in samples)),
                str(sum(s.misrouted for s in samples)),
                f"{sum(s.overflows for s in samples)} / "
                f"{sum(s.generator_overflows for s in samples)}",
                f"{_middle(samples, lambda s: s.rss / 2**20):.1f} / "
                f"{_middle(samples, lambda s: s.pss / 2**20):.1f}",
            )
        )
    head = (
        "at", "system", "messages/s", "CPU us per message", "of a core", "p50 added us",
        "p99 added us", "lost", "misrouted", "overflows own / generator", "RSS / PSS MiB",
    )  # fmt: skip
    foot = [
        "", "`*` cannot carry that rate: at 95 % of its own maximum. In brackets: interval.",
        "`direct`: latency of the generator alone, subtracted from the others'; over TCP none is.",
    ]  # fmt: skip
    return _table(head, rows) + foot


def _curve(samples: list[Sample]) -> list[str]:
    groups: dict[tuple[str, int], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.system, int(sample.point)), []).append(sample)
    rows = [
        (
            _title(system) + (" *" if found[0].reduced else ""),
            f"{value:,}",
            f"{_middle(found, lambda s: s.messages_per_s):,.0f}",
            _spread([s.cpu_us for s in found]),
            f"{_middle(found, lambda s: s.octets_per_message):,.0f}",
            f"{_middle(found, lambda s: s.latency_us['p99']):,.0f}",
            f"{_middle(found, lambda s: s.pss / 2**20):.1f}",
            str(sum(s.lost + s.failed for s in found)),
        )
        for (system, value), found in sorted(groups.items())
    ]
    head = ("system", "value", "messages/s", "CPU us per message", "octets per message",
            "p99 us", "PSS MiB", "lost")  # fmt: skip
    return _table(head, rows)


def _verdict_row(v: Verdict) -> tuple[str, ...]:
    if v.ratio is None:
        return (v.text, f"{v.target:g}", "", "", v.state, v.remark)
    r = v.ratio
    interval = f"{r.low:.2f} to {r.high:.2f} ({r.confidence:.0%}, n={r.values})"
    return (v.text, f"{v.target:g}", f"{r.median:.2f}", interval, v.state, v.remark)


def _late(samples: list[Sample], values: list[float], part: str, *, direct: bool) -> str:
    if direct or not values:
        return f"{_middle(samples, lambda s: s.latency_us[part]):,.0f} in all"
    return _spread(values)


def _spread(values: list[float]) -> str:
    i = median_interval(values)
    return f"{i.median:,.1f} ({i.low:,.1f} to {i.high:,.1f})"


def _middle(samples: list[Sample], figure: Callable[[Sample], float]) -> float:
    return median_interval([figure(s) for s in samples]).median


def _order(point: str) -> tuple[int, str]:
    return (0 if point.startswith(HALF) else 1 if point.endswith("%") else 2, point)


def _title(system: str) -> str:
    return SYSTEMS[system].title if system in SYSTEMS else system


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    head = list(head)
    return [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(map(str, row)) + " |" for row in rows),
    ]
