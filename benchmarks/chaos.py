"""One fault after the other while calls flow, and a judgement: `make chaos`.

    python benchmarks/chaos.py [--seeds 1,2,3,4,5] [--minutes 6] [--rate 20] [--only FAULT ...]

Two balancers, a witness that is the store too, two members and a caller, each a network namespace
(tests/integration/rig_net.py). The seed gives the order of the faults, whom they hit and how long
they last; the same seed does the same again. What happened is kept as history (players.py) and
judged afterwards (history.py). Writes benchmarks/results/chaos.json and chaos.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "integration")]

import faults  # noqa: E402 - found by the line above
import history  # noqa: E402
from history import Fault, Judgement  # noqa: E402

NORMAL_S = 15.0
"""After a fault is healed all has to be normal again within this."""
SAMPLE_MS = 20.0


def lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        for line in path.read_text().splitlines():
            yield json.loads(line)


def answers(stage: faults.Stage, number: int) -> list[float]:
    """When a balancer answered probes."""
    return sorted(row["at"] for row in lines(stage.directory / f"answers{number}"))


def run(seed: int, options: argparse.Namespace) -> tuple[list[Fault], Judgement, float]:
    """One seed: the faults, the judgement, and how long calls flowed."""
    rng = Random(seed)
    names = iter(faults.plan(rng, 10_000))
    done: list[Fault] = []
    os.environ["PROBER_EVERY_MS"] = str(SAMPLE_MS)
    with tempfile.TemporaryDirectory() as folder, faults.Stage(Path(folder), rng) as stage:
        stage.open(options.rate)
        begun = time.monotonic()
        with stage.prober():
            while time.monotonic() - begun < 60 * options.minutes:
                name = next(names)
                if options.only and name not in options.only:
                    continue
                done.append(one(name, stage, rng))
                say(seed, len(done), done[-1])
                time.sleep(rng.uniform(0.3, 1.0))
            stage.caller.send_signal(signal.SIGTERM)
            stage.caller.wait(120.0)
            flowed_s = time.monotonic() - begun
            assert all(watcher.running for watcher in stage.watchers), "a watcher ended"
        stage.shut()
        owners = [answers(stage, n) for n in (1, 2)]
        seen_s = sum(map(len, owners)) * SAMPLE_MS / 1000
        assert seen_s > flowed_s / 2, f"who answers was watched for {seen_s:.0f} s only"
        judgement = history.judge(
            done,
            lines(stage.directory / "calls"),
            [row for n in (1, 2) for row in lines(stage.directory / f"requests{n}")],
            history.both_at(*owners, SAMPLE_MS / 1000),
            sample_ms=SAMPLE_MS,
            limit_s=NORMAL_S,
        )
        if not judgement.holds:
            keep(stage.directory, seed)
    return done, judgement, flowed_s


def one(name: str, stage: faults.Stage, rng: Random) -> Fault:
    kind = faults.KINDS[name]
    hit, begun, healed = faults.do(name, stage, rng.uniform(0.3, 1.0) * kind.longest_s)
    try:
        stage.wait_normal(2 * NORMAL_S)
        normal = time.time()
    except AssertionError as why:
        print(f"  not normal: {why}", flush=True)
        normal = 0.0
    return Fault(
        name, hit.target, begun, healed, normal, hit.member, kind.witness_lost, kind.may_fail
    )


def say(seed: int, number: int, fault: Fault) -> None:
    took = f"normal after {fault.normal - fault.healed:.1f} s" if fault.normal else "NOT NORMAL"
    print(f"seed {seed}, fault {number}: {fault.name} of {fault.target}: {took}", flush=True)


def keep(directory: Path, seed: int) -> None:
    """Logs and history of a run that broke a rule."""
    kept = Path(tempfile.gettempdir()) / f"rmlb-chaos-{seed}"
    kept.mkdir(exist_ok=True)
    for file in directory.iterdir():
        if file.is_file():
            (kept / file.name).write_bytes(file.read_bytes())
    print(f"seed {seed}: a rule was broken; what was said and seen is in {kept}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", default="1,2,3,4,5", help="each is a run of its own")
    parser.add_argument("--minutes", type=float, default=6.0, help="of faults, for each seed")
    parser.add_argument("--rate", type=int, default=20, help="calls/s")
    parser.add_argument("--only", action="append", choices=list(faults.KINDS), metavar="FAULT")
    options = parser.parse_args()
    runs = []
    for seed in map(int, options.seeds.split(",")):
        done, judgement, flowed_s = run(seed, options)
        runs.append(
            {
                "seed": seed,
                "seconds": round(flowed_s),
                "faults": [asdict(each) for each in done],
                **asdict(judgement),
                "holds": judgement.holds,
            }
        )
        print(summary(runs[-1]), flush=True)
    rules = (
        f"benchmarks/history.py; calls of 0 to 20 s; normal again within {NORMAL_S:g} s; owners "
        f"sampled every {SAMPLE_MS:g} ms"
    )
    results = {"environment": {**environment(options), "rules": rules}, "runs": runs}
    if not options.only:
        file = HERE / "results" / "chaos.json"
        file.write_text(json.dumps(results, indent=1) + "\n")
        file.with_suffix(".md").write_text(page(results))
    return 0 if all(each["holds"] for each in runs) else 1


def summary(found: dict[str, Any]) -> str:
    return (
        f"seed {found['seed']}: {len(found['faults'])} faults, {found['calls']} calls, "
        f"{found['completed']} completed, {len(found['failed'])} failed against the rules, "
        f"{sum(found['allowed'].values())} as they allow, {found['in_dialog']} requests in dialogs "
        f"({found['moved']} moved with their lost member), {len(found['misrouted'])} misrouted, "
        f"two owners {found['two_owners_ms']:.0f} ms (without witness "
        f"{found['two_owners_blind_ms']:.0f} ms), {len(found['late'])} late"
        f"{''.join(f'; {ms} ms during {what}' for what, ms in found['two_owners_during'].items())}"
    )


def environment(options: argparse.Namespace) -> dict[str, str]:
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, {platform.machine()}",
        "offered": f"{options.rate} calls/s for {options.minutes:g} minutes",
        "method": "two balancers, a witness, two members and a caller in network namespaces; "
        "heartbeats every 100 ms",
    }


def page(results: dict[str, Any]) -> str:
    text = ["# Chaos", ""]
    text += [f"- {key}: {value}" for key, value in results["environment"].items()]
    text += ["", "| seed | faults | calls | failed | as allowed | in dialogs | moved | misrouted |"
             " two owners ms | late |", "|" + " --- |" * 10]  # fmt: skip
    for each in results["runs"]:
        row = (
            each["seed"], len(each["faults"]), each["calls"], len(each["failed"]),
            sum(each["allowed"].values()), each["in_dialog"], each["moved"],
            len(each["misrouted"]), each["two_owners_ms"], len(each["late"]),
        )  # fmt: skip
        text.append("| " + " | ".join(map(str, row)) + " |")
    by_fault: dict[str, list[float]] = defaultdict(list)
    for each in results["runs"]:
        for fault in each["faults"]:
            if fault["normal"]:
                by_fault[fault["name"]].append(fault["normal"] - fault["healed"])
    text += ["", "From healed to normal:", "", "| fault | times | median s | longest s |",
             "| --- | --- | --- | --- |"]  # fmt: skip
    for name, took in sorted(by_fault.items()):
        text.append(f"| {name} | {len(took)} | {statistics.median(took):.1f} | {max(took):.1f} |")
    broken = [why for each in results["runs"] for why in (*each["failed"], *each["misrouted"])]
    text += ["", f"Against the rules: {len(broken)}", *(f"- {why}" for why in broken[:50])]
    causes = sum((Counter(each["allowed"]) for each in results["runs"]), Counter())
    text += ["", "Failed as a rule allows:", *(f"- {n}: {why}" for why, n in causes.items())]
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    sys.exit(main())
