"""What it costs to be watched: CPU time of the balancer per message, with and without watchers.

    python benchmarks/watching.py [--rate N] [--seconds N] [--rounds N] [--engine compiled python]

Runs the rig of the integration tests (real balancer, real sipp). The conditions follow each other
within a round, and only ratios within a run count. Writes benchmarks/results/watching.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import socket
import statistics
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "integration"))

import rig  # noqa: E402 - found by the line above
from rig import Balancer, Sipp  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")

CONDITIONS = {
    "nobody watches": "",
    "dashboard open": "",
    "four dashboards open": "",
    "messages kept (keep = 20000)": "[trace]\nkeep = 20000\n",
    "HEP of every message": '[trace]\nhep = "127.0.0.1:{hep}"\n',
    "HEP of one call in 10": '[trace]\nhep = "127.0.0.1:{hep}"\nsample = 10\n',
    "rmlb trace of every call": "",
}
STREAMS = {
    "dashboard open": ["/api/v1/stream"],
    "four dashboards open": ["/api/v1/stream"] * 4,
    "rmlb trace of every call": ["/api/v1/trace"],
}


def cpu_s(lb: Balancer) -> float:
    """User and system time of the keeper and of the worker."""
    total = 0
    for pid in (lb.pid, *lb.children()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


@contextlib.contextmanager
def reading(lb: Balancer, paths: list[str]) -> Iterator[None]:
    """Streams that are open, and read by a thread each."""
    answers = [
        urllib.request.urlopen(f"http://{rig.HOST}:{lb.admin_port}{path}", timeout=60)
        for path in paths
    ]

    def read(answer: object) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for _ in answer:  # type: ignore[attr-defined]
                pass

    for answer in answers:
        threading.Thread(target=read, args=(answer,), daemon=True).start()
    yield


@contextlib.contextmanager
def collector() -> Iterator[int]:
    """A HEP collector that reads and forgets; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((rig.HOST, 0))

        def read() -> None:
            with contextlib.suppress(OSError):
                while udp.recv(65_535):
                    pass

        threading.Thread(target=read, daemon=True).start()
        yield udp.getsockname()[1]


def measure(condition: str, engine: str, rate: float, seconds: float) -> float:
    """Microseconds of CPU per received message."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.ExitStack() as stack,
        collector() as hep,
    ):
        path = Path(folder)
        members = {n: stack.enter_context(Sipp.member(path, n)) for n in (1, 2)}
        lb = stack.enter_context(
            Balancer(
                path,
                {n: f"udp:{rig.HOST}:{each.port}" for n, each in members.items()},
                extra=CONDITIONS[condition].format(hep=hep),
                env={"RMLB_ENGINE": engine},
            )
        )
        with reading(lb, STREAMS.get(condition, [])):
            calls = int(rate * seconds)
            caller = Sipp(path, "uac_full", target=lb.port, rate=rate, calls=calls, hold_ms=100)
            before = cpu_s(lb)
            result = caller.run()
            spent = cpu_s(lb) - before
            assert (result.successful, result.failed) == (calls, 0), result
            messages = lb.metrics().total("rmlb_messages_received_total")
            lost = lb.status()["trace"]["lost"]
            if lost:
                print(f"  {condition}: {lost} copies lost")
            return spent / messages * 1e6


def page(options: argparse.Namespace, found: dict[str, dict[str, list[float]]]) -> str:
    """What was found, by engine and condition."""
    lines = [
        "# What it costs to be watched",
        "",
        f"- date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"- machine: {os.cpu_count()} cores, Linux {platform.release()}, {platform.machine()}",
        f"- offered: {options.rate:g} calls/s for {options.seconds:g} s, {options.rounds} rounds",
        "- method: processor time of keeper and worker over messages received, both directions;",
        "  the conditions follow each other within a round; sipp at both ends, on the same cores;",
        "  the ratio is the median of the rounds' ratios",
    ]
    for engine, conditions in found.items():
        lines += ["", f"## {engine} engine", "", "| watched by | us per message | ratio | rounds |",
                  "| --- | --- | --- | --- |"]  # fmt: skip
        base = conditions["nobody watches"]
        for condition, costs in conditions.items():
            ratio = statistics.median(c / b for c, b in zip(costs, base, strict=True))
            rounds = ", ".join(f"{cost:.1f}" for cost in costs)
            lines.append(
                f"| {condition} | {statistics.median(costs):.1f} | {ratio:.2f} | {rounds} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="What it costs to be watched.")
    parser.add_argument("--rate", type=float, default=1000, help="calls/s")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", default=["compiled"], choices=("python", "compiled"), nargs="+")
    options = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {
        engine: {condition: [] for condition in CONDITIONS} for engine in options.engine
    }
    for turn in range(options.rounds):
        for engine, conditions in found.items():
            for condition, costs in conditions.items():
                costs.append(measure(condition, engine, options.rate, options.seconds))
                print(f"{turn + 1} of {options.rounds}: {engine}, {condition}: {costs[-1]:.1f} us",
                      file=sys.stderr, flush=True)  # fmt: skip
    text = page(options, found)
    (HERE / "results" / "watching.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
