"""Calls for a long time, a fault every minute, and what the balancers use: `make soak`.

    python benchmarks/soak.py [--minutes 102] [--rate 165] [--seed 1]

The stage of `chaos.py` with callers and members by sipp, which carry more. Members share their
dialogs, as hotstandby RMs do: where requests inside them went is judged by chaos. Every 5 s memory,
file descriptors, threads, tasks and the longest hold-up of each balancer are noted. Judged: calls
that failed, memory after the first 100,000 calls of a process against its end (medians of a
minute), descriptors and tasks of the first minute after them against the last. Writes
benchmarks/results/soak.json, soak.md and, where matplotlib is installed, soak.svg.

A binding outlives its call by ten minutes (SIP-RULES 6): 165 calls/s keep 99,000 of them, so that
the tables are as full as they become after 100,000 calls. A higher rate fills them for longer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "integration")]

import faults  # noqa: E402 - found by the line above
from chaos import NORMAL_S, environment  # noqa: E402
from rig_net import VIP, NetBalancer, NetSipp  # noqa: E402

EVERY_S = 5.0
STORE_PORT = 6379
FAULT_EVERY_S = 60.0
WARM = 100_000
"""Calls that a worker has carried itself, or the pair in the life of a keeper, before its memory is
compared."""
GROWTH_MIB = 5.0
STORE_CONNECTIONS = 4
"""Of one process, at most: one for each thing that its link to the store does at a time. They are
opened when needed and stay, so they are counted apart from the other descriptors."""
POOL_THREADS = 1
"""The thread for reading and writing files starts with the first of them."""
STALL_S = 15.0
"""A hold-up noted so long after a fault began is told with that fault."""
TALK_MS = 1000
"""Before the re-INVITE, and before the BYE: longer than it takes until a lost ACK is repeated,
without which sipp does not understand the re-INVITE."""

KINDS = [name for name in faults.KINDS if name not in ("member refuses", "wall clock jumped")]
"""What sipp's members can do; and wall clocks stay as they are, for the plots."""


@dataclass(frozen=True, slots=True)
class Use:
    """What one process of a balancer uses. `start`: its start time in ticks, which tells apart one
    that was restarted."""

    at_s: float
    balancer: int
    process: str
    start: int
    rss_mib: float
    descriptors: int
    """Without those to the store."""
    store: int
    threads: int
    tasks: int
    held_up_s: float
    calls: int
    """Of a worker those that it has offered to members; of a keeper those of the caller."""


class Stage(faults.Stage):
    """With sipp at both ends."""

    def open(self, rate: int) -> None:
        self.clock.write_text("+0")
        self.start_redis()
        self.members = self.start_members("uas_shared")
        self.pool = dict(self.members)
        for number in (1, 2):
            balancer = self.make_balancer(number, extra=self.security)
            self.share_state(balancer)
            self.start_again(balancer)
            self._stack.push(balancer.__exit__)
        self.wait_normal(30.0)

    def call(self, rate: int, minutes: float) -> NetSipp:
        return self.start(
            NetSipp.at(
                self, "caller", "uac_shared", target=f"{VIP}:5060", rate=rate,
                calls=int(rate * 60 * minutes), hold_ms=TALK_MS, limit=rate * 40,
                timeout_s=60 * minutes + 120, name="caller",
            )
        )  # fmt: skip


def use(balancer: NetBalancer, number: int, at_s: float, calls: int) -> list[Use]:
    """Of its keeper and its worker; nothing of one that is not there."""
    found = []
    try:
        metrics = balancer.metrics()
        worker = balancer.worker
        for name, pid in (("keeper", balancer.pid), ("worker", worker)):
            of = Path(f"/proc/{pid}")
            fields = dict(
                line.split(":", 1) for line in (of / "status").read_text().splitlines() if line
            )
            is_worker = name == "worker"
            sockets = [os.readlink(each) for each in (of / "fd").iterdir()]
            store = len(to_store(of) & set(sockets))
            found.append(
                Use(
                    at_s,
                    number,
                    name,
                    int((of / "stat").read_text().rpartition(")")[2].split()[19]),
                    int(fields["VmRSS"].split()[0]) / 1024,
                    len(sockets) - store,
                    store,
                    int(fields["Threads"]),
                    int(metrics.total("rmlb_tasks")) if is_worker else 0,
                    metrics.total(
                        "rmlb_loop_held_up_seconds" if is_worker else "rmlb_keeper_held_up_seconds"
                    ),
                    int(metrics.total("rmlb_member_initial_requests_total"))
                    if is_worker
                    else calls,
                )
            )
    except (OSError, AssertionError, IndexError, KeyError):
        return []
    return found


def to_store(process: Path) -> set[str]:
    """The sockets of its host that lead to the store, as /proc shows descriptors."""
    rows = [line.split() for line in (process / "net" / "tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if int(row[2].split(":")[1], 16) == STORE_PORT}


def soak(options: argparse.Namespace) -> dict[str, Any]:
    rng = Random(options.seed)
    names = [name for name in faults.plan(rng, 10_000) if name in KINDS]
    samples: list[Use] = []
    done: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder), rng) as stage:
        stage.open(options.rate)
        caller = stage.call(options.rate, options.minutes)
        begun = time.monotonic()
        next_sample, next_fault = 0.0, FAULT_EVERY_S
        while (now := time.monotonic() - begun) < 60 * options.minutes:
            if now >= next_sample:
                next_sample = now + EVERY_S
                calls = caller.snapshot().created if now > EVERY_S else 0
                for number, balancer in stage.balancers.items():
                    samples += use(balancer, number, now, calls)
            if now >= next_fault and now < 60 * options.minutes - FAULT_EVERY_S:
                next_fault = now + FAULT_EVERY_S
                name = names[len(done)]
                hit, _, _ = faults.do(name, stage, rng.uniform(0.3, 1.0) * 2.0)
                healed = time.monotonic()
                try:
                    stage.wait_normal(2 * NORMAL_S)
                    took_s = time.monotonic() - healed
                except AssertionError:
                    took_s = float("inf")
                result = caller.snapshot()
                done.append(
                    {"at_s": now, "fault": name, "target": hit.target, "normal_s": took_s,
                     "failed so far": result.failed}
                )  # fmt: skip
                print(
                    f"{now / 60:.0f} min: {result.created} calls, {result.failed} failed; "
                    f"{name} of {hit.target}: normal after {took_s:.1f} s",
                    flush=True,
                )
            time.sleep(0.2)
        result = caller.finish()
        stage.shut()
        print(caller.errors()[-3000:], flush=True) if result.failed else None
    return {
        "environment": environment(options),
        "calls": result.created,
        "completed": result.successful,
        "failed": result.failed,
        "reasons": result.reasons,
        "faults": done,
        "samples": [asdict(each) for each in samples],
    }


def judge(found: dict[str, Any]) -> dict[str, Any]:
    """What grew, of the processes that lived longest."""
    samples = [Use(**each) for each in found["samples"]]
    lives = Counter((s.balancer, s.process, s.start) for s in samples)
    rows = []
    for (balancer, process, start), count in lives.most_common():
        life = [
            s for s in samples if (s.balancer, s.process, s.start) == (balancer, process, start)
        ]
        warm = [s for s in life if s.calls - life[0].calls >= WARM] or life[len(life) // 2 :]
        if count < 60 / EVERY_S * 2:
            continue
        minute = int(60 / EVERY_S)
        first, last = warm[:minute], warm[-minute:]
        rows.append(
            {
                "balancer": balancer,
                "process": process,
                "minutes": round((life[-1].at_s - life[0].at_s) / 60, 1),
                "calls meanwhile": life[-1].calls - life[0].calls,
                "MiB first": round(statistics.median(s.rss_mib for s in first), 2),
                "MiB last": round(statistics.median(s.rss_mib for s in last), 2),
                "descriptors": f"{_least(first, 'descriptors')} -> {_least(last, 'descriptors')}",
                "tasks": f"{_least(first, 'tasks')} -> {_least(last, 'tasks')}",
                "threads": f"{_least(first, 'threads')} -> {_least(last, 'threads')}",
                "to the store, most": max(s.store for s in life),
                "leaked": _leaked(first, last, life),
                "longest hold-up ms": round(1000 * max(s.held_up_s for s in life), 1),
                "at that time": _stalled(life, found["faults"]),
            }
        )
    return {"processes": rows, "late": [f for f in found["faults"] if f["normal_s"] > NORMAL_S]}


def _leaked(first: list[Use], last: list[Use], life: list[Use]) -> list[str]:
    spare = {"descriptors": 0, "tasks": 0, "threads": POOL_THREADS}
    found = [
        what for what, more in spare.items() if _least(last, what) > _least(first, what) + more
    ]
    if max(each.store for each in life) > STORE_CONNECTIONS:
        found.append("connections to the store")
    return found


def _stalled(life: list[Use], faults: list[dict[str, Any]]) -> str:
    """The fault during which the longest hold-up of this process was noted."""
    at_s = next(s.at_s for s in life if s.held_up_s == max(each.held_up_s for each in life))
    during = [f for f in faults if 0 <= at_s - f["at_s"] < STALL_S]
    minute = f"minute {at_s / 60:.0f}"
    return f"{minute}: {during[-1]['fault']} ({during[-1]['target']})" if during else minute


def _least(samples: list[Use], what: str) -> int:
    """The fewest within a minute: what is not there for a moment only."""
    return min(getattr(each, what) for each in samples)


def _cell(value: object) -> str:
    return (", ".join(value) or "nothing") if isinstance(value, list) else str(value)


def page(found: dict[str, Any], judged: dict[str, Any], drawn: bool) -> str:
    text = ["# Soak", ""]
    text += [f"- {key}: {value}" for key, value in found["environment"].items()]
    text += [
        "",
        f"{found['calls']} calls, {found['completed']} completed, {found['failed']} failed "
        f"{found['reasons'] or ''}; {len(found['faults'])} faults, {len(judged['late'])} of them "
        f"not normal again within {NORMAL_S:g} s.",
        "",
        f"Memory: median of a minute, first after {WARM:,} calls (or half of a shorter life). "
        "Descriptors: without connections to the store.",
        "",
    ]
    rows = judged["processes"]
    if rows:
        text += ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
        text += ["| " + " | ".join(map(_cell, row.values())) + " |" for row in rows]
    if drawn:
        text += ["", "![memory, descriptors and tasks over time](soak.svg)"]
    text += ["", "| minute | fault | of | normal after s | calls failed so far |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    text += [
        f"| {each['at_s'] / 60:.0f} | {each['fault']} | {each['target']} | "
        f"{each['normal_s']:.1f} | {each['failed so far']} |"
        for each in found["faults"]
    ]
    return "\n".join(text) + "\n"


def draw(found: dict[str, Any], file: Path) -> bool:
    """Memory, descriptors, tasks and hold-ups over time. False where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(4, 1, figsize=(10, 11), sharex=True)
    titles = {"rss_mib": "MiB", "descriptors": "descriptors", "tasks": "tasks",
              "held_up_s": "longest hold-up so far, s"}  # fmt: skip
    samples = [Use(**each) for each in found["samples"]]
    for row, (what, title) in zip(axes, titles.items(), strict=True):
        for balancer, process in sorted({(s.balancer, s.process) for s in samples}):
            own = [s for s in samples if (s.balancer, s.process) == (balancer, process)]
            values = [getattr(s, what) for s in own]
            row.plot([s.at_s / 60 for s in own], values, label=f"{process} {balancer}", lw=1)
        row.set_ylabel(title)
        row.set_ylim(bottom=0)
        row.grid(alpha=0.3)
        for fault in found["faults"]:
            row.axvline(fault["at_s"] / 60, color="grey", lw=0.4, alpha=0.6)
    axes[0].legend(ncols=4, fontsize="small")
    axes[-1].set_xlabel("minutes (grey: faults)")
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=102.0)
    parser.add_argument("--rate", type=int, default=165, help="calls/s")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = soak(options)
    judged = judge(found)
    file = HERE / "results" / "soak.json"
    drawn = draw(found, file.with_suffix(".svg"))
    kept = {**found, **judged}
    kept["samples"] = kept["samples"][:: max(1, len(kept["samples"]) // 2000)]
    file.write_text(json.dumps(kept, indent=1) + "\n")
    text = page(found, judged, drawn)
    file.with_suffix(".md").write_text(text)
    print(text)
    long_lived = [row for row in judged["processes"] if row["calls meanwhile"] >= WARM]
    grew = [row for row in long_lived if row["MiB last"] - row["MiB first"] > GROWTH_MIB]
    leaked = [row for row in long_lived if row["leaked"]]
    for row in grew:
        print(f"{row['process']} of balancer {row['balancer']}: more than {GROWTH_MIB:g} MiB grown")
    for row in leaked:
        print(f"{row['process']} of balancer {row['balancer']}: leaked {_cell(row['leaked'])}")
    return 1 if found["failed"] or grew or leaked or judged["late"] or not long_lived else 0


if __name__ == "__main__":
    sys.exit(main())
