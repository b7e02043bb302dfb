"""How long the VIP is silent when its owner fails, beside keepalived 2.2.7 with Kamailio.

    python benchmarks/vip.py [--tries N] [--interval 100ms --interval 10ms] [CASE ...]

Two hosts, a witness, members and a caller as network namespaces (tests/integration/rig_net.py);
faults at the same moments, tries of both systems in turn. Calls by sipp flow through rmlb all the
time. Writes benchmarks/results/vip.json and vip.md. Needs a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, Self

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "integration"))

from rig_net import ADDRESSES, VIP, NetSipp, Site, listens  # noqa: E402 - found by the line above
from rig_process import Process, wait_until  # noqa: E402

CALLS_PER_S = 20
AFTER_S = 2.0
"""A try is watched for so long after the fault."""

KAMAILIO = """#!KAMAILIO
debug=-3
log_stderror=yes
children=1
disable_tcp=yes
listen=udp:{vip}:5060
auto_aliases=no
dns=no
rev_dns=no
loadmodule "sl.so"
request_route {{
    sl_send_reply("200", "OK");
}}
"""

KEEPALIVED = """global_defs {{
    vrrp_version 3
}}
vrrp_instance vip {{
    state BACKUP
    interface eth0
    virtual_router_id 51
    priority {priority}
    advert_int {seconds}
    nopreempt
    unicast_src_ip {own}
    unicast_peer {{
        {other}
    }}
    virtual_ipaddress {{
        {vip}/32
    }}
}}
"""


class System(Protocol):
    """Two hosts of which one owns."""

    name: str
    site: Site

    @property
    def owner(self) -> int: ...

    def pids(self, number: int, what: str) -> list[int]: ...

    def release(self, number: int) -> None: ...

    def restore(self, number: int) -> None: ...


class Rmlb:
    """Two balancers and a witness."""

    name = "rmlb"

    def __init__(self, site: Site, interval: str) -> None:
        self.site = site
        site.start_redis()
        site.members = site.start_members()
        site.start_balancers(interval=interval)
        self._last = 0

    @property
    def owner(self) -> int:
        return self.site.owner

    def pids(self, number: int, what: str) -> list[int]:
        balancer = self.site.balancers[number]
        worker = balancer.children()
        return {"keeper": [balancer.pid], "worker": worker}.get(what, [balancer.pid, *worker])

    def release(self, number: int) -> None:
        self.site.balancers[number].post("/api/v1/release")

    def restore(self, number: int) -> None:
        balancer = self.site.balancers[number]
        if not balancer.running:
            balancer.kill()
            balancer.begin()
        self.site.wait_settled(30.0)


class Keepalived:
    """keepalived moves the address, Kamailio answers on both hosts."""

    name = "keepalived + Kamailio"

    def __init__(self, site: Site, interval: str) -> None:
        self.site = site
        self._seconds = float(interval.removesuffix("ms")) / 1000
        self._movers: dict[int, Process] = {}
        self._servers: dict[int, Process] = {}
        for number in (1, 2):
            namespace = site.name(f"b{number}")
            sysctl = ["ip", "netns", "exec", namespace, "sysctl", "-qw"]
            subprocess.run([*sysctl, "net.ipv4.ip_nonlocal_bind=1"], check=True)
            path = site.directory / f"kamailio{number}.cfg"
            path.write_text(KAMAILIO.format(vip=VIP))
            run = site.directory / f"kamailio{number}"
            run.mkdir()
            self._servers[number] = site.run(
                f"b{number}", f"kamailio{number}", "kamailio", "-DD", "-E", "-f", str(path),
                "-m", "32", "-M", "4", "-w", str(run), "-Y", str(run), "-P", str(run / "pid"),
            )  # fmt: skip
            wait_until("Kamailio listens", lambda ns=namespace: listens(ns, 5060, "u"))  # type: ignore[misc]
            self._start(number)
        wait_until("one owns", lambda: self._owners() == 1, 20.0)

    def _start(self, number: int) -> None:
        path = self.site.directory / f"keepalived{number}.conf"
        text = KEEPALIVED.format(
            priority=90 + 10 * number, seconds=self._seconds, vip=VIP,
            own=ADDRESSES[f"b{number}"], other=ADDRESSES[f"b{3 - number}"],
        )  # fmt: skip
        path.write_text(text)
        stamp = time.monotonic_ns()  # a killed one leaves its pid files behind
        files = [f"--{k}={self.site.directory}/{k}{stamp}" for k in ("pid", "vrrp_pid")]
        self._movers[number] = self.site.run(
            f"b{number}", f"keepalived{number}-{time.monotonic_ns()}", "keepalived",
            "--dont-fork", "--vrrp", f"--use-file={path}", *files,
        )  # fmt: skip

    def _has(self, number: int) -> bool:
        command = ["ip", "-n", self.site.name(f"b{number}"), "-j", "address"]
        return f'"{VIP}"' in subprocess.run(command, capture_output=True, text=True).stdout

    @property
    def owner(self) -> int:
        return next(number for number in (1, 2) if self._has(number))

    def pids(self, number: int, what: str) -> list[int]:
        mains = [self._movers[number].pid]
        if what == "all":
            mains.append(self._servers[number].pid)
        found = list(mains)
        for main in mains:
            text = Path(f"/proc/{main}/task/{main}/children").read_text()
            found += map(int, text.split())
        return found

    def release(self, number: int) -> None:
        self._movers[number].send_signal(signal.SIGTERM)

    def restore(self, number: int) -> None:
        """Both anew: what a fault leaves behind must not count for the next one."""
        for each in (1, 2):
            mover = self._movers[each]
            for pid in reversed(self.pids(each, "keeper") if mover.running else []):
                os.kill(pid, signal.SIGKILL)
            mover.kill()
            command = ["ip", "-n", self.site.name(f"b{each}"), "address", "del", f"{VIP}/32"]
            subprocess.run([*command, "dev", "eth0"], check=False, capture_output=True)
            self._start(each)
        time.sleep(max(1.0, 10 * self._seconds))
        wait_until("one owns", lambda: self._owners() == 1, 20.0)

    def _owners(self) -> int:
        return self._has(1) + self._has(2)


@dataclass(frozen=True)
class Case:
    """A fault, and how it is healed."""

    text: str
    fault: Callable[[System, int], None]
    heal: Callable[[System, int], None] = lambda system, number: None
    keepalived: bool = True


def _signal(what: str, number: signal.Signals) -> Callable[[System, int], None]:
    def send(system: System, host: int) -> None:
        for pid in system.pids(host, what):
            os.kill(pid, number)

    return send


def _thaw(system: System, host: int) -> None:
    for pid in system.pids(host, "all"):
        os.kill(pid, signal.SIGCONT)


CASES: dict[str, Case] = {
    "port": Case(
        "switch port of the owner down",
        lambda system, host: system.site.port(f"b{host}", "down"),
        lambda system, host: system.site.port(f"b{host}", "up"),
    ),
    "veth": Case(
        "cable of the owner deleted",
        lambda system, host: system.site.delete_cable(f"b{host}"),
        lambda system, host: system.site.plug(f"b{host}"),
    ),
    "frozen": Case("all processes of the owner frozen", _signal("all", signal.SIGSTOP), _thaw),
    "keeper": Case("keeper killed", _signal("keeper", signal.SIGKILL)),
    "worker": Case("worker killed", _signal("worker", signal.SIGKILL), keepalived=False),
    "stopped": Case("worker frozen", _signal("worker", signal.SIGSTOP), _thaw, keepalived=False),
    "release": Case("released (keepalived: SIGTERM)", lambda s, host: s.release(host)),
    "sigterm": Case("SIGTERM", _signal("keeper", signal.SIGTERM)),
}


class Calls:
    """sipp through the VIP, from begin to end of a series."""

    def __init__(self, site: Site) -> None:
        self._caller = NetSipp.at(
            site, "caller", "uac_full", target=f"{VIP}:5060", rate=CALLS_PER_S, calls=1_000_000,
            timeout_s=36_000.0, hold_ms=300, name=f"calls-{time.monotonic_ns()}",
        )  # fmt: skip

    def __enter__(self) -> Self:
        self._caller.start()
        return self

    def __exit__(self, *why: object) -> None:
        self.result = self._caller.stop(20.0)
        self._caller.kill()


def one_try(system: System, case: Case) -> dict[str, float]:
    host = system.owner
    with system.site.prober() as probe:
        time.sleep(0.4 + random.random() * 0.2)  # anywhere within an interval
        at = time.time()
        case.fault(system, host)
        time.sleep(AFTER_S)
    case.heal(system, host)
    system.restore(host)
    return {
        "silence_ms": round(probe.silence_ms(at), 1),
        "two_owners_ms": probe.two_owners_ms(),
    }


def series(interval: str, names: list[str], tries: int) -> dict[str, Any]:
    found: dict[str, Any] = {name: {} for name in names}
    for kind in (Rmlb, Keepalived):
        with tempfile.TemporaryDirectory() as folder, Site(Path(folder)) as site:
            system: System = kind(site, interval)
            chosen = [n for n in names if kind is Rmlb or CASES[n].keepalived]
            if kind is Rmlb:
                with Calls(site) as calls:
                    run(system, chosen, tries, found)
                members = site.members.values()
                found["calls"] = {
                    "made": calls.result.created,
                    "failed": calls.result.failed,
                    "misrouted": sum(m.snapshot().counters["misrouted"] for m in members),
                }
            else:
                run(system, chosen, tries, found)
    return found


def run(system: System, names: list[str], tries: int, found: dict[str, Any]) -> None:
    for name in names:
        rows = [one_try(system, CASES[name]) for _ in range(tries)]
        silent = [row["silence_ms"] for row in rows]
        found[name][system.name] = {
            "median_ms": round(statistics.median(silent), 1),
            "worst_ms": max(silent),
            "two_owners_ms": max(row["two_owners_ms"] for row in rows),
            "tries": tries,
            "all_ms": silent,
        }
        sys.stderr.write(f"{system.name}: {CASES[name].text}: {found[name][system.name]}\n")


def page(results: dict[str, Any]) -> str:
    lines = ["# Silence of the virtual IP", ""]
    lines += [f"- {key}: {value}" for key, value in results["environment"].items()]
    lines += [
        "- silence: longest gap between answers to a SIP OPTIONS every 5 ms, after the fault",
        "- two owners: probes by frames to each host's MAC that both answered at once",
        "- keepalived: unicast, same interval, /32, nopreempt; Kamailio answers on both hosts",
    ]
    for interval, found in results["series"].items():
        lines += ["", f"## Interval {interval}", ""]
        lines += ["| fault | rmlb median (worst) | keepalived median (worst) | two owners |"]
        lines += ["| --- | --- | --- | --- |"]
        for name, case in CASES.items():
            row = found.get(name)
            if not row:
                continue
            ours, theirs = row[Rmlb.name], row.get(Keepalived.name)
            cells = [
                f"{each['median_ms']} ms ({each['worst_ms']} ms)" if each else "-"
                for each in (ours, theirs)
            ]
            two = (
                f"{ours['two_owners_ms']:g} ms, {theirs['two_owners_ms']:g} ms"
                if theirs
                else (f"{ours['two_owners_ms']:g} ms")
            )
            lines.append(f"| {case.text} | {cells[0]} | {cells[1]} | {two} |")
        calls = found["calls"]
        lines += ["", f"Calls over UDP through rmlb meanwhile: {calls['made']}, "
                  f"failed {calls['failed']}, misrouted {calls['misrouted']}."]  # fmt: skip
    return "\n".join(lines) + "\n"


def environment(tries: int) -> dict[str, object]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
    ).stdout.strip()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "python": platform.python_version(),
        "commit": commit,
        "tries": tries,
        "calls": f"{CALLS_PER_S} calls/s through rmlb",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("case", nargs="*", choices=[[], *CASES], help="default: all")
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--interval", action="append", help="default: 100ms and 10ms")
    chosen = parser.parse_args()
    results: dict[str, Any] = {"environment": environment(chosen.tries), "series": {}}
    file = HERE / "results" / "vip.json"
    for interval in chosen.interval or ["100ms", "10ms"]:
        results["series"][interval] = series(interval, chosen.case or list(CASES), chosen.tries)
        file.write_text(json.dumps(results, indent=2) + "\n")
        file.with_suffix(".md").write_text(page(results))
    sys.stdout.write(page(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
