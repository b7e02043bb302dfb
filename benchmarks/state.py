"""What sharing state in Redis costs, and what a takeover loses.

    python benchmarks/state.py [takeover] [cpu] [frozen] [--rate N] [--seconds N] [--dialogs N]

Takeovers run on the rig of the integration tests (real balancers, real Redis), the rest on the
generator of `make bench`. Writes `benchmarks/results/state.json` and `state.md`. Some ten minutes
with the defaults; nothing else should load the machine meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE), str(HERE.parent / "tests" / "integration")]

import failover  # noqa: E402 - found by the line above
from rig import wait_until  # noqa: E402
from rig_redis import RedisServer  # noqa: E402
from test_shared_state import PLAIN, Site  # noqa: E402

from benchmarks.arena import Arena, Cores, Sample, Workload  # noqa: E402
from benchmarks.systems import rmlb_with_state  # noqa: E402

Options = argparse.Namespace
WINDOW_S = 0.05
"""Dialogs answered so shortly before the kill are counted apart (HA-RULES 5)."""


@contextlib.contextmanager
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        yield Site(stack, Path(folder))


def takeover(options: Options) -> list[dict[str, Any]]:
    """Dialogs set up through one balancer, killed as the last one is answered; the rest of each
    goes through the other one. One member was out for the first half: the hash alone is wrong.
    """
    rows = []
    for name, sip, redis_dies in (
        ("marks", "", False),
        ("marks, Redis killed before", "", True),
        ("Redis alone (no record-route, no datanodes)", PLAIN, False),
    ):
        failover.say(f"takeover: {name}")
        with site() as stage:
            stage.out_of_service(1)
            first, second = stage.balancer(2, sip=sip), stage.balancer(3, sip=sip)
            half = options.dialogs // 2
            patience_s = 60 + 4 * options.dialogs / options.set_up
            stage.caller.set_up(half, stage.place(2), options.set_up, patience_s)
            stage.in_service(1, first, second)
            stage.caller.set_up(half, stage.place(2), options.set_up, patience_s)
            at = time.monotonic()
            first.kill()
            if redis_dies:
                stage.redis.kill()
                wait_until("lost", lambda b=second: bool(b.told("state-store-lost")))  # type: ignore[misc]
            settled = {
                m.call_id for m in stage.caller.dialogs.values() if at - m.answered_at > WINDOW_S
            }
            before = stage.misrouted()
            for method in ("INFO", "BYE"):
                stage.caller.follow(
                    method, stage.place(3), rate=options.set_up, timeout_s=patience_s
                )  # fmt: skip
            wrong = [each for m in stage.members.values() for each in m.misrouted]
            lookups = second.metrics().by("rmlb_store_lookups_total", "outcome")
            second.assert_balanced()
            rows.append(
                {
                    "known by": name,
                    "dialogs": len(stage.caller.dialogs),
                    "misrouted": len({each for each in wrong if each in settled}),
                    "answered within 50 ms of the kill": len(stage.caller.dialogs) - len(settled),
                    "misrouted of these": len({each for each in wrong if each not in settled}),
                    "misrouted before the kill": before,
                    "statuses": str(dict(stage.caller.statuses())),
                    "lookups": str({k: int(v) for k, v in lookups.items()}),
                }
            )
    return rows


CALLS = Workload("whole-calls", "whole calls", "calls/s", 9.0, live=0)


@contextlib.contextmanager
def arenas(options: Options) -> Iterator[tuple[dict[str, Arena], RedisServer]]:
    """The same balancer twice, with and without Redis, each with its generator, which goes before
    Redis on their core."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        redis = stack.enter_context(RedisServer(Path(name)))
        os.sched_setaffinity(redis.pid, {0})
        os.setpriority(os.PRIO_PROCESS, redis.pid, 10)  # it is the generator that tells the time
        made = {}
        for backend, url in (("memory", "memory://"), ("redis", redis.url)):
            folder = Path(name) / f"rmlb-{backend}"
            folder.mkdir()
            made[backend] = Arena(rmlb_with_state(options.engine, url), folder, Cores())
            stack.callback(made[backend].close)
        yield made, redis


def cpu(options: Options) -> list[dict[str, Any]]:
    """Processor time of the balancer's processes for one call (nine messages), with Redis and
    without, in turns on core 1; generator and Redis are on core 0. The ratio is the median of the
    turns' ratios."""
    found: dict[str, list[Sample]] = {"memory": [], "redis": []}
    with arenas(options) as (made, _):
        for arena in made.values():
            arena.run(CALLS, "warm", options.rate, 2.0)
        for turn in range(options.turns):
            for backend, arena in made.items():
                failover.say(f"cpu: {backend}, turn {turn + 1} of {options.turns}")
                found[backend].append(arena.run(CALLS, "cpu", options.rate, options.seconds))
    pairs = list(zip(found["memory"], found["redis"], strict=True))
    rows = []
    for backend, samples in found.items():
        each = [9 * s.cpu_us for s in samples]
        rows.append(
            {
                "store": backend,
                "calls/s": options.rate,
                "seconds": f"{options.turns} x {options.seconds}",
                "us/call": round(statistics.median(each), 1),
                "turns": ", ".join(f"{value:.1f}" for value in each),
                "ratio": round(statistics.median(r.cpu_us / m.cpu_us for m, r in pairs), 3)
                if backend == "redis"
                else "",
                "lost": sum(s.lost for s in samples),
                "failed": sum(s.failed for s in samples),
                "misrouted": sum(s.misrouted for s in samples),
                "p99 us": round(statistics.median(s.latency_us["p99"] for s in samples)),
                "MiB": round(samples[-1].rss / 2**20, 1),
            }
        )
    return rows


def frozen(options: Options) -> list[dict[str, Any]]:
    """Redis is stopped with SIGSTOP for 10 s in the middle: one-way latency from the generator
    through the balancer to the far side, and what the balancer keeps in memory. The first second
    after the start of a balancer is not measured."""
    rows = []
    with arenas(options) as (made, redis):
        arena = made["redis"]
        arena.run(CALLS, "warm", options.rate, 2.0)
        for pause_s in (0.0, 10.0, 0.0, 10.0):
            failover.say(f"frozen: {pause_s:g} s")
            timers = []
            if pause_s:
                middle = max(1.0, options.seconds / 2 - pause_s / 2)
                timers = [
                    threading.Timer(middle, redis.freeze),
                    threading.Timer(middle + pause_s, redis.resume),
                ]
            for timer in timers:
                timer.start()
            sample = arena.run(CALLS, "frozen", options.rate, max(options.seconds, 15))
            for timer in timers:
                timer.join()
            rows.append(
                {
                    "frozen s": pause_s,
                    "calls/s": options.rate,
                    "lost": sample.lost,
                    "failed": sample.failed,
                    "misrouted": sample.misrouted,
                    "p50 us": round(sample.latency_us["p50"]),
                    "p99 us": round(sample.latency_us["p99"]),
                    "MiB afterwards": round(sample.rss / 2**20, 1),
                }
            )
            time.sleep(3.0)
    return rows


def environment(options: Options) -> dict[str, str]:
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "engine": options.engine,
        "offered": f"cpu, frozen: {options.rate} calls/s; takeover: {options.dialogs} dialogs at "
        f"{options.set_up}/s",
        "method": "rmlb, Redis 7, members and callers as processes on loopback, one machine",
    }


CASES: dict[str, Callable[[Options], list[dict[str, Any]]]] = {
    "takeover": takeover,
    "cpu": cpu,
    "frozen": frozen,
}


def page(results: dict[str, Any]) -> str:
    lines = ["# State shared in Redis", ""]
    lines += [f"- {key}: {value}" for key, value in results["environment"].items()]
    for name, rows in results.items():
        if name == "environment":
            continue
        lines += ["", f"## {name}", "", inspect.getdoc(CASES[name]) or "", ""]
        lines += ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
        lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("case", nargs="*", choices=[[], *CASES], help="default: all")
    parser.add_argument("--rate", type=int, default=5000, help="calls/s of cpu and frozen")
    parser.add_argument("--seconds", type=int, default=20, help="of load, each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--engine", default="compiled", help="of cpu and frozen")
    parser.add_argument("--set-up", type=int, default=300, help="dialogs/s of takeover")
    parser.add_argument("--dialogs", type=int, default=10_000)
    options = parser.parse_args()
    file = HERE / "results" / "state.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    results["environment"] = environment(options)
    for name in options.case or list(CASES):
        results[name] = CASES[name](options)
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(results, indent=2) + "\n")
        file.with_suffix(".md").write_text(page(results))
    print(page(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
