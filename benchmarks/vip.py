"""How long the VIP is silent when its owner fails, beside keepalived 2.2.7 with Kamailio.

    python benchmarks/vip.py [CASE ...] [--tries N] [--interval 100ms --interval 10ms]
                             [--transport udp|tcp] [--rate 100] [--minutes 30] [--load 1000]

Two hosts, a witness, members and a caller as network namespaces (tests/integration/rig_net.py).
Calls (vip_calls.py) flow through both systems all the time. `steady` has no fault: scraping and
reloads for --minutes, at the shortest interval given, under --load calls/s of sipload, which plays
SIP Server and the members and sends nothing twice. Every row is written to
benchmarks/results/vip.json and vip.md as soon as it is there. Needs a machine that does nothing
else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vip_calls import Calls, calls_over, show_events
from vip_cases import CASES, Case, watched_and_reloaded
from vip_systems import ADDRESSES, VIP, Keepalived, Rmlb, Site, System

from benchmarks.generator import Generator, Ports  # isort: skip - found by vip_systems

HERE = Path(__file__).resolve().parent
FILE = HERE / "results" / "vip.json"
STEADY = "steady"
KEY = ("case", "system", "interval", "transport")
"""A row replaces the one that has all of these alike."""


def one_try(system: System, case: Case) -> dict[str, Any]:
    host = system.owner
    more: dict[str, Any] = {}
    before = system.takeovers()
    with system.site.prober() as probe, ExitStack() as stack:
        time.sleep(0.4 + random.random() * 0.2)  # anywhere within an interval
        at = time.time()
        case.fault(system, host, stack)
        if case.watch is not None:
            more = case.watch(system, host, at)
        else:
            time.sleep(case.after_s)
    system.restore(host)
    if case.watch is not None:
        late = [a for each in probe.by_host.values() for a in each if a > at + 1.0]
        more["first_answer_s"] = round(min(late) - at, 3) if late else None
    moves = system.takeovers() - before  # less than none: a keeper that was killed counts anew
    return {
        "silence_ms": round(probe.silence_ms(at), 1),
        "two_owners_ms": probe.two_owners_ms(),
        "moves": moves if isinstance(system, Rmlb) and moves >= 0 else None,
        **more,
    }


def row_of(system: System, name: str, tries: int, calls: Calls) -> dict[str, Any]:
    case = CASES[name]
    with calls if case.calls else contextlib.nullcontext():
        found = [one_try(system, case) for _ in range(tries)]
    silent = [each.pop("silence_ms") for each in found]
    row: dict[str, Any] = {
        "median_ms": round(statistics.median(silent), 1),
        "worst_ms": max(silent),
        "two_owners_ms": max(each.pop("two_owners_ms") for each in found),
        "all_ms": silent,
        "calls": calls.row,
    }
    return row | {key: [each[key] for each in found] for key in found[0]}


def steady(minutes: float, interval: str, rate: float) -> dict[str, Any]:
    """Owner changes in so many minutes without any fault."""
    host = ADDRESSES["caller"]
    ports = Ports(proxy=5060, caller=5070, admin=0, member=5081, members=2)
    with tempfile.TemporaryDirectory() as folder, Site(Path(folder)) as site, ExitStack() as stack:
        load = stack.enter_context(
            Generator(ports, namespace=site.name("caller"), host=host, proxy_host=VIP)
        )
        system = Rmlb(site, interval, "udp", [f"{host}:{ports.member + n}" for n in (0, 1)])
        before = system.takeovers()
        with watched_and_reloaded(system):
            found = load.calls(rate, 60 * minutes)
        changes = system.takeovers() - before
        held_up = [
            round(1000 * each.metrics().total("rmlb_keeper_held_up_seconds"), 1)
            for each in site.balancers.values()
        ]
        if changes or found.failed or found.lost:
            show_events(site)
        system.end()
        return {
            "minutes": minutes,
            "rate": rate,
            "messages_per_s": round(found.messages_per_s),
            "owner_changes": changes,
            "held_up_ms": held_up,
            "calls": {
                "made": found.started,
                "failed": found.failed,
                "unfinished": found.lost,
                "misrouted": found.misrouted,
            },
        }


class Results:
    """All rows so far, written at each."""

    def __init__(self, tries: int) -> None:
        kept = json.loads(FILE.read_text()) if FILE.exists() else {}
        self._rows: list[dict[str, Any]] = kept.get("rows", [])
        self._tries = tries
        git = ["git", "rev-parse", "--short", "HEAD"]
        self._commit = subprocess.run(git, capture_output=True, text=True, cwd=HERE).stdout.strip()

    def add(self, **row: Any) -> None:
        row |= {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "commit": self._commit}
        sys.stderr.write(f"{row}\n")
        same = [row[key] for key in KEY]
        self._rows = [each for each in self._rows if [each[key] for key in KEY] != same]
        self._rows.append(row)
        FILE.write_text(json.dumps({"environment": environment(), "rows": self._rows}, indent=1))
        FILE.with_suffix(".md").write_text(page(self._rows))

    @property
    def page(self) -> str:
        return page(self._rows)


def environment() -> dict[str, object]:
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "python": platform.python_version(),
    }


METHOD = (
    "silence: longest gap between answers to a SIP OPTIONS every 5 ms, after the fault",
    "two owners: probes by frames to each host's MAC that both answered at once",
    "keepalived 2.2.7: unicast, same interval, /32, nopreempt",
    "Kamailio 5.6.3 on both hosts: stateless dispatcher by Call-ID, no probing of members",
    "calls to simulated RMs, over UDP by sipp, over TCP by the simulated SIP Server: INVITE, "
    "re-INVITE, BYE; misrouted: answered by another member than the To tag names (a 481 is a "
    "failed call)",
    "over TCP nothing is sent twice: what waits for an answer when its connection is reset fails",
    "resets: TCP segments with RST from the virtual IP that reached the caller, in all tries",
)


def page(rows: list[dict[str, Any]]) -> str:
    lines = ["# Silence of the virtual IP", ""]
    lines += [f"- {key}: {value}" for key, value in environment().items()]
    lines += [f"- {each}" for each in METHOD]
    for interval, transport in sorted({(r["interval"], r["transport"]) for r in rows}):
        here = [r for r in rows if (r["interval"], r["transport"]) == (interval, transport)]
        lines += ["", f"## Interval {interval}, calls over {transport.upper()}", ""]
        lines += [
            "| fault | system | tries | silence, median (worst) | two owners | calls | failed "
            "| misrouted | else | run |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        order = [*CASES, STEADY]
        for row in sorted(here, key=lambda r: (order.index(r["case"]), r["system"] != Rmlb.name)):
            lines.append(f"| {' | '.join(cells(row))} |")
    return "\n".join(lines) + "\n"


def cells(row: dict[str, Any]) -> list[str]:
    calls = row["calls"]
    failed = f"{calls['failed']}" + f" + {calls['unfinished']} unfinished" * bool(
        calls["unfinished"]
    )
    if reasons := calls.get("reasons"):
        failed += f" ({', '.join(f'{count} {why}' for why, count in reasons.items())})"
    run = f"{row['date']}, {row['commit']}"
    if row["case"] == STEADY:
        text = f"none, {row['minutes']:g} min at {row['rate']:g} calls/s, scraped, reloaded"
        changes = f"{row['owner_changes']} owner changes; {row['messages_per_s']:,} messages/s; "
        changes += f"keepers held up {_short(row['held_up_ms'])} ms at most"
        return [text, row["system"], "1", "-", "-", str(calls["made"]), failed,
                str(calls["misrouted"]), changes, run]  # fmt: skip
    known = ("moves", "address_gone_s", "first_answer_s")
    more = {key: row[key] for key in known if any(each is not None for each in row.get(key, ()))}
    if "resets" in calls:
        more["resets"] = calls["resets"]
    return [
        CASES[row["case"]].text,
        row["system"],
        str(len(row["all_ms"])),
        f"{row['median_ms']} ms ({row['worst_ms']} ms)",
        f"{row['two_owners_ms']:g} ms",
        str(calls["made"]),
        failed,
        str(calls["misrouted"]),
        "; ".join(f"{key.replace('_', ' ')} {_short(value)}" for key, value in more.items()),
        run,
    ]


def _short(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    seen = sorted(set(value), key=str)
    if len(seen) == 1 or None in seen:
        return ", ".join(map(str, seen))
    return f"{min(value)} to {max(value)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [*CASES, STEADY]
    parser.add_argument("case", nargs="*", choices=[[], *names], help="default: all")
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--interval", action="append", help="default: 100ms and 10ms")
    parser.add_argument("--transport", choices=["udp", "tcp"], default="udp")
    parser.add_argument("--rate", type=float, default=100.0, help="calls/s")
    parser.add_argument("--minutes", type=float, default=30.0, help="of the case steady")
    parser.add_argument("--load", type=float, default=1000.0, help="calls/s of the case steady")
    given = parser.parse_args()
    chosen, results = given.case or names, Results(given.tries)
    intervals = given.interval or ["100ms", "10ms"]
    faults = [name for name in chosen if name != STEADY]
    for interval in intervals if faults else []:
        for kind in (Rmlb, Keepalived):
            with tempfile.TemporaryDirectory() as folder, Site(Path(folder)) as site:
                system: System = kind(site, interval, given.transport)
                for name in faults:
                    if kind is Rmlb or CASES[name].keepalived:
                        calls = calls_over(given.transport, site, given.rate)
                        row = row_of(system, name, given.tries, calls)
                        results.add(case=name, system=kind.name, interval=interval,
                                    transport=given.transport, **row)  # fmt: skip
                system.end()
    if STEADY in chosen:
        interval = min(intervals, key=lambda each: float(each.removesuffix("ms")))
        row = steady(given.minutes, interval, given.load)
        results.add(case=STEADY, system=Rmlb.name, interval=interval, transport="udp", **row)
    sys.stdout.write(results.page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
