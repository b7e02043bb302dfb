"""The faults of vip.py: how each is made, and undone."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from vip_systems import System

FREEZE_S = 30.0
STEADY_SCRAPE_S, STEADY_RELOAD_S = 0.1, 5.0
Fault = Callable[[System, int, ExitStack], None]
"""What happens to the owner, the host of that number; undone by the stack."""


@dataclass(frozen=True)
class Case:
    """One fault."""

    text: str
    fault: Fault
    after_s: float = 2.0
    """A try is watched for so long after the fault."""
    keepalived: bool = True
    """It has something of the kind."""
    calls: bool = True
    """It is over before a caller gives up."""
    watch: Callable[[System, int, float], dict[str, Any]] | None = None
    """Instead of waiting: what else is found out."""


def _signal(what: str, number: signal.Signals, *, thaw: bool = False) -> Fault:
    def send(system: System, host: int, stack: ExitStack) -> None:
        pids = system.pids(host, what)
        for pid in pids:
            os.kill(pid, number)
        if thaw:
            stack.callback(_thaw, pids)

    return send


def _thaw(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _port(system: System, host: int, stack: ExitStack) -> None:
    system.site.port(f"b{host}", "down")
    stack.callback(system.site.port, f"b{host}", "up")


def _cable(system: System, host: int, stack: ExitStack) -> None:
    system.site.delete_cable(f"b{host}")
    stack.callback(system.site.plug, f"b{host}")


def _cut(*others: str) -> Fault:
    def cut(system: System, host: int, stack: ExitStack) -> None:
        stack.enter_context(system.site.cut(f"b{host}", f"b{3 - host}", *others))

    return cut


def _redis(system: System, host: int, stack: ExitStack) -> None:
    assert system.site.redis is not None
    system.site.redis.kill()
    stack.callback(system.site.start_redis)


def _freeze_both(system: System, host: int, stack: ExitStack) -> None:
    pids = [pid for number in (1, 2) for pid in system.pids(number, "all")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def _watch_frozen(system: System, host: int, at: float) -> dict[str, Any]:
    """When the last address was gone, and that nobody answers before somebody owns again."""
    gone: float | None = None
    balancers = system.site.balancers
    while time.time() < at + FREEZE_S:
        here = any(b.has_address() for b in balancers.values()) if balancers else True
        if not here and gone is None:
            gone = time.time() - at
        time.sleep(0.02)
    _thaw([pid for number in (1, 2) for pid in system.pids(number, "all")])
    time.sleep(2.0)
    return {"address_gone_s": None if gone is None else round(gone, 2)}


@contextlib.contextmanager
def watched_and_reloaded(system: System) -> Iterator[None]:
    """Metrics are scraped ten times a second, and the configuration read again every 5 s."""
    done = threading.Event()

    def scrape() -> None:
        while not done.wait(STEADY_SCRAPE_S):
            for balancer in system.site.balancers.values():
                balancer.metrics()

    def reload() -> None:
        while not done.wait(STEADY_RELOAD_S):
            for balancer in system.site.balancers.values():
                balancer.send_signal(signal.SIGHUP)

    threads = [threading.Thread(target=each) for each in (scrape, reload)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


CASES: dict[str, Case] = {
    "port": Case("switch port of the owner down", _port),
    "cable": Case("cable of the owner deleted (veth)", _cable),
    "frozen": Case(
        "all processes of the owner frozen", _signal("all", signal.SIGSTOP, thaw=True)
    ),
    "keeper-killed": Case("keeper killed", _signal("keeper", signal.SIGKILL)),
    "worker-killed": Case("worker killed", _signal("worker", signal.SIGKILL), keepalived=False),
    "worker-frozen": Case(
        "worker frozen", _signal("worker", signal.SIGSTOP, thaw=True), keepalived=False
    ),
    "release": Case("released (keepalived: SIGTERM)", lambda s, host, _: s.release(host)),
    "sigterm": Case("SIGTERM", _signal("keeper", signal.SIGTERM)),
    "partition": Case("partition of 4 s between the two", _cut(), after_s=4.0),
    "cut-off": Case("owner cut off from its peer and the witness for 4 s", _cut("redis"), 4.0),
    "redis-killed": Case("witness and store killed", _redis, keepalived=False),
    "frozen-30": Case(
        f"everything of both frozen for {FREEZE_S:g} s", _freeze_both, FREEZE_S + 2,
        calls=False, watch=_watch_frozen,
    ),
}  # fmt: skip
