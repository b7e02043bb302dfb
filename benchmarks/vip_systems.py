"""What vip.py compares: two hosts of which one owns the virtual IP and carries the calls.

rmlb as it is run; keepalived 2.2.7 that moves the address, with Kamailio on both hosts as a
stateless dispatcher by Call-ID (benchmarks/kamailio.py). On hosts of their own (rig_net.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "integration")]

from rig_net import ADDRESSES, VIP, Site, listens  # noqa: E402 - found by the line above
from rig_process import Process, wait_until  # noqa: E402

from benchmarks import kamailio  # noqa: E402
from benchmarks.generator import Ports  # noqa: E402

PORTS = Ports(proxy=5060, caller=0, admin=0, member=5060, members=0)

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

    def pids(self, number: int, what: str) -> list[int]:
        """ "keeper", "worker" or "all" of a host."""

    def release(self, number: int) -> None: ...

    def restore(self, number: int) -> None:
        """One owns, the other one could, after a fault of that host."""

    def takeovers(self) -> int:
        """How often the VIP has moved, as far as the system counts it."""

    def end(self) -> None:
        """At once, before the hosts go: nothing is drained."""


def start_members(site: Site, transport: str) -> None:
    """Simulated RMs. sipp as a member ends with the first connection that is reset, and takes a
    request that comes again by the other balancer (another Via) for a new one."""
    for number in (1, 2):
        host = f"m{number}"
        first = ["nice", "-n", "-10"]  # one that starves is taken for dead, and its dialogs move
        command = [*first, sys.executable, "-m", "rmlb.cli", "simulate", "rm", "--id", str(number)]
        place = f"{ADDRESSES[host]}:5060"
        site.run(host, f"member{number}", *command, "--listen", place, "--transport", transport)
        namespace = site.name(host)
        wait_until("it listens", lambda ns=namespace: listens(ns, 5060, transport[0]))  # type: ignore[misc]


class Rmlb:
    """Two balancers and a witness."""

    name = "rmlb"

    def __init__(
        self, site: Site, interval: str, transport: str, members: Sequence[str] = ()
    ) -> None:
        """`members`: where others are that listen already, else simulated RMs are started."""
        self.site = site
        site.start_redis()
        places = [f"{ADDRESSES[host]}:5060" for host in ("m1", "m2")]
        if not members:
            start_members(site, transport)
        for number in (1, 2):
            path = site.make_balancer(number, interval=interval).config_path
            text = path.read_text()
            for place, other in zip(places, members or places, strict=True):
                text = text.replace(f'"{place}"', f'"{transport}:{other}"')
            path.write_text(text)
        site.begin_balancers()

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

    def takeovers(self) -> int:
        each = (b.metrics().total("rmlb_vip_takeovers_total") for b in self.site.balancers.values())
        return int(sum(each))

    def end(self) -> None:
        for balancer in self.site.balancers.values():
            balancer.kill()
            balancer._child = None


class Keepalived:
    """keepalived moves the address, Kamailio carries the calls on both hosts."""

    name = "keepalived + Kamailio"

    def __init__(self, site: Site, interval: str, transport: str) -> None:
        self.site = site
        self._seconds = float(interval.removesuffix("ms")) / 1000
        self._movers: dict[int, Process] = {}
        self._servers: dict[int, Process] = {}
        start_members(site, transport)
        for number in (1, 2):
            namespace = site.name(f"b{number}")
            sysctl = ["ip", "netns", "exec", namespace, "sysctl", "-qw"]
            subprocess.run([*sysctl, "net.ipv4.ip_nonlocal_bind=1"], check=True)
            run = site.directory / f"kamailio{number}"
            run.mkdir()
            configuration = run / "kamailio.cfg"
            configuration.write_text(_kamailio(str(run), transport))
            suffix = ";transport=tcp" if transport == "tcp" else ""
            (run / "dispatcher.list").write_text(
                "".join(f"1 sip:{ADDRESSES[m]}:5060{suffix} 0\n" for m in ("m1", "m2"))
            )
            self._servers[number] = site.run(
                f"b{number}", f"kamailio{number}", "kamailio", "-DD", "-E",
                "-f", str(configuration), "-m", "64", "-M", "16",
                "-w", str(run), "-Y", str(run), "-P", str(run / "pid"),
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
            f"b{number}", f"keepalived{number}-{stamp}", "keepalived",
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

    def takeovers(self) -> int:
        return 0

    def end(self) -> None:
        return

    def _owners(self) -> int:
        return self._has(1) + self._has(2)


def _kamailio(folder: str, transport: str) -> str:
    """As compared for speed, at the VIP. It does not probe its members: a standby's probes would
    leave from an address that is not its own, and it would take them for dead."""
    text = kamailio.configuration(folder, PORTS, transport=transport, stateful=False)
    own = f"listen={transport}:{VIP}:5060"
    if transport == "tcp":
        own += f"\nlisten=udp:{VIP}:5060"  # what probes the silence
    return (
        text.replace(f"listen={transport}:127.0.0.1:{PORTS.proxy}", own)
        .replace('"ds_ping_interval", 1', '"ds_ping_interval", 0')
        .replace(
            "request_route {\n",
            'request_route {\n    if (method == "OPTIONS" && $rU == $null) {\n'
            '        sl_send_reply("200", "OK");\n        exit;\n    }\n',
        )
    )
