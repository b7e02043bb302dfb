"""What sharing state in Redis costs, and what a takeover loses.

    python benchmarks/state.py [takeover] [cpu] [frozen] [--rate N] [--seconds N] [--dialogs N]

Runs the rig of the integration tests (real balancers, real Redis, real sipp) and writes
`benchmarks/results/state.json` and `state.md`. Some five minutes with the defaults; nothing else
should load the machine meanwhile. The rate is what the engine carries.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "integration"))

import failover  # noqa: E402 - found by the line above
from rig import Balancer, Sipp, wait_until  # noqa: E402
from rig_redis import RedisServer  # noqa: E402
from test_shared_state import PLAIN, Site  # noqa: E402

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
            patience_s = 60 + 4 * options.dialogs / options.rate
            stage.caller.set_up(half, stage.place(2), options.rate, patience_s)
            stage.in_service(1, first, second)
            stage.caller.set_up(half, stage.place(2), options.rate, patience_s)
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
                    method, stage.place(3), rate=options.rate, timeout_s=patience_s
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


def cpu(options: Options) -> list[dict[str, Any]]:
    """Processor time of the balancer for one call (INVITE, 180, 200, ACK, BYE, 200), with and
    without Redis, in turns; the ratio is of the medians."""
    found: dict[str, list[float]] = {"memory": [], "redis": []}
    for turn in range(options.turns):
        for backend, values in found.items():
            failover.say(f"cpu: {backend}, turn {turn + 1} of {options.turns}")
            with load(backend, options) as (balancer, caller, _):
                begun = processor_s(balancer)
                result = caller.finish()
                assert result.failed == 0, result
                values.append(1e6 * (processor_s(balancer) - begun) / result.successful)
                balancer.assert_balanced()
    median = {backend: sorted(values)[len(values) // 2] for backend, values in found.items()}
    return [
        {
            "calls/s": options.rate,
            "seconds": options.seconds,
            "memory us/call": round(median["memory"], 1),
            "redis us/call": round(median["redis"], 1),
            "ratio": round(median["redis"] / median["memory"], 3),
            "turns": str({k: [round(v, 1) for v in values] for k, values in found.items()}),
        }
    ]


def frozen(options: Options) -> list[dict[str, Any]]:
    """Redis is stopped with SIGSTOP for 10 s in the middle: time from a request to its first answer
    as sipp has it, and what the balancer keeps in memory."""
    rows = []
    for pause_s in (0.0, 10.0):
        failover.say(f"frozen: {pause_s:g} s")
        with load("redis", options, trace=True) as (balancer, caller, redis):
            time.sleep(options.seconds / 2 - 5)
            before = resident_mib(balancer)
            if pause_s:
                redis.freeze()
            time.sleep(10.0)
            during = resident_mib(balancer)
            if pause_s:
                redis.resume()
            result = caller.finish()
            times = response_times(caller)
            wait_until("written", lambda: balancer.status()["state"]["to_repeat"] == 0, 60)
            balancer.assert_balanced()
            told = [len(balancer.told(f"state-store-{what}")) for what in ("lost", "back")]
            rows.append(
                {
                    "frozen s": pause_s,
                    "calls": result.successful,
                    "failed": result.failed,
                    "p50 ms": failover.quantile(times, 0.5),
                    "p99 ms": failover.quantile(times, 0.99),
                    "max ms": max(times),
                    "MiB before": before,
                    "MiB at its end": during,
                    "alarms lost, back": str(told),
                }
            )
    return rows


@contextlib.contextmanager
def load(
    backend: str, options: Options, *, trace: bool = False
) -> Iterator[tuple[Balancer, Sipp, RedisServer]]:
    """A balancer in front of two members, and calls under way."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        redis = stack.enter_context(RedisServer(folder))
        members = {n: stack.enter_context(Sipp.member(folder, n)) for n in (1, 2)}
        url = "memory://" if backend == "memory" else redis.url
        balancer = Balancer(
            folder,
            {n: m.address for n, m in members.items()},
            state=f'url = "{url}"\n',
            env={"RMLB_ENGINE": options.engine},
        )  # fmt: skip
        stack.enter_context(balancer)
        for n in members:
            balancer.wait_health(n, "in service")
        calls = options.rate * options.seconds
        args = ["-trace_rtt", "-rtt_freq", "1"] if trace else []
        caller = Sipp(
            folder, "uac_full", target=balancer.port, rate=options.rate, calls=calls, args=args,
            timeout_s=options.seconds + 60,
        )  # fmt: skip
        yield balancer, stack.enter_context(caller), redis


def response_times(caller: Sipp) -> list[float]:
    """Milliseconds, from sipp's own file of response times."""
    found = []
    for file in caller.directory.glob("*_rtt.csv"):
        for line in file.read_text().splitlines()[1:]:
            fields = line.split(";")
            if len(fields) > 1 and fields[1]:
                found.append(float(fields[1]))
    return found or [0.0]


def processor_s(balancer: Balancer) -> float:
    """Of the process, user and system."""
    return balancer.metrics().total("process_cpu_seconds_total")


def resident_mib(balancer: Balancer) -> float:
    return round(balancer.metrics().total("process_resident_memory_bytes") / 2**20, 1)


def environment(options: Options) -> dict[str, str]:
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "engine": options.engine,
        "offered": f"{options.rate} calls/s for {options.seconds} s; {options.dialogs} dialogs",
        "method": "tests/integration/rig*.py: rmlb, Redis 7, members and callers as processes on "
        "loopback, one machine",
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
    parser.add_argument("--rate", type=int, default=200, help="calls/s")
    parser.add_argument("--seconds", type=int, default=20, help="of load; frozen needs 15 or more")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--engine", default="python", help="of cpu and frozen, with and without")
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
