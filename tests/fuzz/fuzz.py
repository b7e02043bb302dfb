"""`make fuzz [SECONDS=60] [TARGET=name]`: every target in turn, then a page of what was run.

Each target runs in its own process (one.py). A finding stays in build/fuzz/findings, is named, and
makes the whole end with 1. A target that runs alone leaves the page as it is.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from targets import TARGETS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "fuzz"
FINDINGS = FOLDER / "findings"
RESULTS = ROOT / "benchmarks" / "results"

PATIENCE_S = 30
"""One input that takes so long is a finding: libFuzzer ends it."""

MOST_MEMORY_MB = 1024

_DONE = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)/")
_UNITS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_WROTE = re.compile(r"Test unit written to (\S+)")


@dataclass
class Outcome:
    """One target's run."""

    name: str
    promises: str
    seconds: float
    executions: int = 0
    edges: int = 0
    corpus: int = 0
    slowest_us_per_octet: float = 0.0
    slowest_octets: int = 0
    finding: str = ""
    """The file with the input; empty for none."""

    def __str__(self) -> str:
        return (
            f"{self.name:10} {self.executions:>12,} executions  {self.edges:>6,} edges  "
            f"{self.corpus:>5,} inputs kept  slowest {self.slowest_us_per_octet:8.2f} us/octet "
            f"({self.slowest_octets:,} octets)  {self.finding or 'no finding'}"
        )


def run(name: str, seconds: int) -> Outcome:
    """Its process to its end; what it said stays in build/fuzz."""
    FINDINGS.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, str(Path(__file__).with_name("one.py")), name, str(FOLDER),
        f"-max_total_time={seconds}", "-print_final_stats=1", f"-timeout={PATIENCE_S}",
        f"-rss_limit_mb={MOST_MEMORY_MB}", f"-artifact_prefix={FINDINGS}/{name}-",
    ]  # fmt: skip
    figures = FOLDER / f"{name}.json"
    figures.unlink(missing_ok=True)
    said = FOLDER / f"{name}.log"
    begun = time.monotonic()
    with said.open("wb") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode
    text = said.read_text(errors="replace")
    outcome = Outcome(name, TARGETS[name].promises, round(time.monotonic() - begun, 1))
    if lines := _DONE.findall(text):
        outcome.executions, outcome.edges, _, outcome.corpus = map(int, lines[-1])
    if units := _UNITS.search(text):
        outcome.executions = int(units[1])
    if figures.exists():
        slowest = json.loads(figures.read_text())
        outcome.slowest_us_per_octet = round(slowest["us_per_octet"], 2)
        outcome.slowest_octets = slowest["octets"]
    if code:
        wrote = _WROTE.search(text)
        outcome.finding = wrote[1] if wrote else f"ended with {code}, see {said}"
        print(_trouble(text), flush=True)
    elif not outcome.executions:
        outcome.finding = f"nothing was run, see {said}"
    return outcome


def _trouble(text: str) -> str:
    """What was said from the exception on, or at the end."""
    at = text.find("=== Uncaught Python exception")
    return text[at : at + 4000] if at >= 0 else text[-2000:]


def write_page(outcomes: list[Outcome]) -> None:
    """benchmarks/results/fuzz.md and .json: this run and no other."""
    total = sum(each.executions for each in outcomes)
    findings = [each for each in outcomes if each.finding]
    about = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "versions": f"Python {platform.python_version()}, atheris {version('atheris')}",
    }
    lines = [
        "# Fuzzing, coverage-guided",
        "",
        *(f"- {key}: {value}" for key, value in about.items()),
        "- method: `make fuzz`; each target of tests/fuzz in a process of its own under libFuzzer "
        "(atheris), the",
        "  Python code of rmlb instrumented; half of the mutations are the target's own. Edges are "
        "Python's.",
        "- slowest: processor time per octet of the slowest input of at least 200 octets, "
        "instrumented, the",
        "  least of three executions; an input beyond its target's limit would be a finding",
        "- the compiled engine under AddressSanitizer: `make fuzz-native`, see differential.md",
        "",
        "| target | holds | executions | seconds | edges | slowest us/octet (octets) | finding |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {each.name} | {each.promises} | {each.executions:,} | {each.seconds:.0f} "
            f"| {each.edges:,} | {each.slowest_us_per_octet:.2f} ({each.slowest_octets:,}) "
            f"| {'**yes**' if each.finding else 'none'} |"
            for each in outcomes
        ),
        "",
        f"{total:,} executions together, {len(findings)} findings.",
    ]
    (RESULTS / "fuzz.md").write_text("\n".join(lines) + "\n")
    content = {**about, "executions": total, "targets": [asdict(each) for each in outcomes]}
    (RESULTS / "fuzz.json").write_text(json.dumps(content, indent=1) + "\n")


def main(seconds: int, wanted: str) -> int:
    """The exit code."""
    if wanted and wanted not in TARGETS:
        print(f"no target {wanted}; there are: {', '.join(TARGETS)}")
        return 2
    outcomes = []
    for name in [wanted] if wanted else TARGETS:
        outcomes.append(run(name, seconds))
        print(outcomes[-1], flush=True)
    findings = [each for each in outcomes if each.finding]
    total = sum(each.executions for each in outcomes)
    print(f"{total:,} executions together, {len(findings)} findings")
    for each in findings:
        print(f"finding of {each.name}: {each.finding}")
    if not wanted:
        write_page(outcomes)
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
