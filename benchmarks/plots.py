"""The results as plots, where matplotlib is installed (the extra `bench`)."""

from __future__ import annotations

from pathlib import Path

from benchmarks.arena import Sample
from benchmarks.comparison import Results
from benchmarks.medians import Interval, median_interval
from benchmarks.plan import CURVES, OWN, WORKLOADS
from benchmarks.systems import SYSTEMS


def draw(results: Results, folder: Path, stem: str) -> list[str]:
    """SVG files into `folder`; their names. None where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "rmlb"
    drawn = []
    for workload in WORKLOADS:
        samples = [s for s in results.samples if s.workload == workload.name]
        points = list(dict.fromkeys(s.point for s in samples if _is_common(s.point)))
        if points:
            name = f"{stem}-{workload.name}.svg"
            _bars(samples, points, f"CPU per message, {workload.title}", folder / name)
            drawn.append(name)
    for curve, samples in results.curves.items():
        name = f"{stem}-{curve}.svg"
        _lines(samples, CURVES[curve].title, folder / name)
        drawn.append(name)
    return drawn


def _is_common(point: str) -> bool:
    return point == OWN or point.endswith("%")


def _bars(samples: list[Sample], points: list[str], title: str, file: Path) -> None:
    from matplotlib import pyplot

    systems = [n for n in dict.fromkeys(s.system for s in samples) if n in SYSTEMS]
    systems.sort(key=list(SYSTEMS).index)
    figure, axes = pyplot.subplots(figsize=(9, 4.5))
    width = 0.8 / len(systems)
    for i, system in enumerate(systems):
        found = {
            p: median_interval([s.cpu_us for s in samples if (s.system, s.point) == (system, p)])
            for p in points
            if any((s.system, s.point) == (system, p) for s in samples)
        }
        at = [points.index(p) + (i - (len(systems) - 1) / 2) * width for p in found]
        axes.bar(
            at, [v.median for v in found.values()], width, yerr=_errors(list(found.values())),
            capsize=2, label=SYSTEMS[system].title,
        )  # fmt: skip
    axes.set_xticks(range(len(points)), [p if p == OWN else f"{p} of Kamailio's" for p in points])
    _finish(figure, axes, title, file)


def _lines(samples: list[Sample], title: str, file: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.5))
    for system in dict.fromkeys(s.system for s in samples):
        own = [s for s in samples if s.system == system]
        values = sorted({int(s.point) for s in own})
        found = [median_interval([s.cpu_us for s in own if int(s.point) == v]) for v in values]
        axes.errorbar(
            values, [v.median for v in found], yerr=_errors(found), marker="o", capsize=3,
            label=SYSTEMS[system].title,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel(title)
    axes.set_ylim(bottom=0)
    _finish(figure, axes, f"CPU per message by {title}", file)


def _errors(found: list[Interval]) -> list[list[float]]:
    return [[v.median - v.low for v in found], [v.high - v.median for v in found]]


def _finish(figure: object, axes: object, title: str, file: Path) -> None:
    from matplotlib import pyplot
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    assert isinstance(axes, Axes)
    assert isinstance(figure, Figure)
    axes.set_title(title)
    axes.set_ylabel("microseconds")
    axes.grid(axis="y", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
