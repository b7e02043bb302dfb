"""What a group of processes used, read from /proc: CPU time, memory, receive-queue overflows.

CPU time is each process's CPU clock (all its threads, nanoseconds), not ticks.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

_CPUCLOCK_SCHED = 2
"""Of a process's clock id: (~pid << 3) | 2, as clock_getcpuclockid(3) makes it."""


def session(leader: int) -> list[int]:
    """The processes of the session that `leader` leads."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader:
                    found.append(int(entry.name))
    return found


def cpu_ns(pids: list[int]) -> int:
    """CPU time they have used together, user and system, of all threads."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)
    return total


def softirq_thread(core: int) -> list[int]:
    """The kernel thread that takes over network work on this core when there is too much."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "comm").read_text().strip() == f"ksoftirqd/{core}":
                    return [int(entry.name)]
    return []


def memory_octets(pids: list[int]) -> tuple[int, int]:
    """(RSS as a sum; PSS, which counts memory they share once)."""
    rss = pss = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, value = line.partition(":")
                if name == "Rss":
                    rss += 1024 * int(value.split()[0])
                elif name == "Pss":
                    pss += 1024 * int(value.split()[0])
    return rss, pss


def overflows(*ports: int) -> int:
    """Datagrams that found the receive queue of these local UDP ports full, so far."""
    return sum(int(row[-1]) for row in _udp_sockets() if _port(row) in ports)


def is_bound(port: int, transport: str) -> bool:
    """Whether something is bound (UDP) or listens (TCP) on the port."""
    if transport == "udp":
        return any(_port(row) == port for row in _udp_sockets())
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(_port(row) == port and row[3] == "0A" for row in rows)


def free_block(count: int) -> int:
    """The first of `count` ports in a row that are free on loopback, UDP and TCP.

    Where the search begins depends on the process, so that two at once seldom meet.
    """
    start = 20_000 + os.getpid() * 131 % 8_000
    while start + count < 32000:  # below the ephemeral ports
        taken = next((p for p in range(start, start + count) if not _is_free(p)), None)
        if taken is None:
            return start
        start = taken + 1
    raise RuntimeError(f"no {count} free ports in a row")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def _udp_sockets() -> list[list[str]]:
    return [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]


def _port(row: list[str]) -> int:
    return int(row[1].rpartition(":")[2], 16)
