"""python -m benchmarks [--full]: measure, judge, write benchmarks/results/bench[-full].*"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.arena import Cores
from benchmarks.comparison import compare
from benchmarks.page import page
from benchmarks.plan import COMPARED, CURVES, PLANS, Plan
from benchmarks.plots import draw
from benchmarks.systems import KAMAILIO, SYSTEMS
from benchmarks.verdicts import judge

RESULTS = Path(__file__).resolve().parent / "results"
ENGINES = ("compiled", "python")


def main() -> int:
    options = _options()
    plan = _plan(options)
    generator, system = (int(core) for core in options.cores.split(","))
    if not {generator, system} <= os.sched_getaffinity(0) or generator == system:
        print(f"needs two cores; --cores {options.cores} are not both there", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {generator})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends, too
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {text}", flush=True)

    environment = _environment(plan, generator, system)
    results = compare(plan, Cores(generator, system), say, tuple(options.workloads))
    environment["took"] = f"{time.monotonic() - begun:.0f} s"
    environment["load average after"] = " ".join(f"{x:.2f}" for x in os.getloadavg())
    engines = [e for e in ENGINES if f"rmlb-{e}" not in results.missing and _took_part(plan, e)]
    options.out.mkdir(parents=True, exist_ok=True)
    stem = "bench" if plan.name == "short" else f"bench-{plan.name}"
    document = {
        "environment": environment,
        "verdicts": {e: [dataclasses.asdict(v) for v in judge(results, e)] for e in engines},
        **dataclasses.asdict(results),
    }
    (options.out / f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n")
    plots = draw(results, options.out, stem)
    text = page(results, environment, engines, plots)
    (options.out / f"{stem}.md").write_text(text)
    print(text)
    print(f"written: {options.out / stem}.json, .md" + (", plots" if plots else ""))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--short", dest="form", action="store_const", const="short", default="short")
    form.add_argument("--full", dest="form", action="store_const", const="full")
    parser.add_argument("--systems", default="", help=f"some of {','.join(SYSTEMS)}")
    parser.add_argument("--workloads", nargs="*", default=[], choices=list(COMPARED))
    parser.add_argument("--curves", help=f"some of {','.join(CURVES)}, or none")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of one run")
    parser.add_argument("--cores", default="0,1", help="of the generator, of the system measured")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def _plan(options: argparse.Namespace) -> Plan:
    plan = PLANS[options.form]
    if options.rounds:
        plan = dataclasses.replace(plan, rounds=options.rounds, curve_rounds=options.rounds)
    if options.seconds:
        plan = dataclasses.replace(plan, seconds=options.seconds, curve_seconds=options.seconds)
    if options.curves is not None:
        names = tuple(c for c in options.curves.split(",") if c and c != "none")
        plan = dataclasses.replace(plan, curves=names)
    if options.systems:
        plan = dataclasses.replace(plan, systems=tuple(options.systems.split(",")))
    unknown = {*plan.systems} - {*SYSTEMS} | {*plan.curves} - {*CURVES}
    if unknown:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}")
    return plan


def _took_part(plan: Plan, engine: str) -> bool:
    return plan.wants(f"rmlb-{engine}") or plan.wants(f"rmlb-{engine}-tcp")


def _environment(plan: Plan, generator: int, system: int) -> dict[str, str]:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    from rmlb import __version__

    return {
        "form": plan.name,
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} cores, {found[1] if found else platform.machine()}, "
        f"Linux {platform.release()}",
        "versions": f"rmlb {__version__}, {_first_line(KAMAILIO, '-v')}, "
        f"Python {platform.python_version()}, {_first_line('gcc', '--version')}",
        "pinning": f"generator on core {generator}, the system measured on core {system}",
        "method": f"loopback, 4 MiB socket buffers, {plan.rounds} interleaved rounds of "
        f"{plan.seconds:g} s per point; CPU clock of the whole process group over messages that "
        "arrived, both directions; median, in brackets the interval of order statistics; "
        "see benchmarks/README.md",
        "load average before": " ".join(f"{x:.2f}" for x in os.getloadavg()),
    }


def _first_line(*command: str) -> str:
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return f"no {command[0]}"
    return said.strip().partition("\n")[0].removeprefix("version: ")


if __name__ == "__main__":
    sys.exit(main())
