"""One system between the two ends of its generator: runs, what they cost, and its maximum."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.generator import Generator, Load, Ports
from benchmarks.resources import (
    cpu_ns,
    free_block,
    memory_octets,
    overflows,
    softirq_thread,
)
from benchmarks.systems import Running, System

CARRIED_P99_US: Final = 50_000.0
"""Without loss is not enough: 8 MiB of socket buffer hide a second of overload of a slow system,
but a queue that grows shows in the latency."""

GENERATOR_LAG_US: Final = 100_000.0
"""A generator that falls behind by more did not offer the rate it was asked for."""


@dataclass(frozen=True, slots=True)
class Workload:
    """`unit` is what a rate counts; `messages` are relayed for each."""

    name: str
    title: str
    unit: str
    messages: float
    transport: str = "udp"
    live: int = 10_000


@dataclass(frozen=True, slots=True)
class Cores:
    """None: not pinned (checks only, never for figures)."""

    generator: int | None = 0
    system: int | None = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one system.

    `cpu_us` is of its whole process group, `softirq_us` what the kernel's own thread did on its
    core meanwhile; both for each message that arrived. `reduced`: not at the rate of the point,
    which it cannot carry.
    """

    system: str
    workload: str
    point: str
    rate: float
    reduced: bool
    messages_per_s: float
    cpu_us: float
    softirq_us: float
    utilization: float
    lost: int
    failed: int
    misrouted: int
    starved: int
    overflows: int
    generator_overflows: int
    lag_max_us: float
    latency_us: dict[str, float]
    rss: int
    pss: int
    octets_per_message: float
    other: dict[str, Any]


class Arena:
    """`system` None: direct, the caller sends to the members itself."""

    def __init__(
        self,
        system: System | None,
        folder: Path,
        cores: Cores,
        *,
        transport: str = "udp",
        members: int = 2,
        size: int = 900,
        live: int = 0,
        drain_ms: int = 300,
    ) -> None:
        self._drain_ms = drain_ms
        self.system = system
        self.name = system.name if system else "direct"
        first = free_block(members + 3)
        self.ports = Ports(first, first + 1, first + 2, first + 3, members)
        self._cores = cores
        self._stack = contextlib.ExitStack()
        self._running: Running | None = None
        try:
            self.generator = self._stack.enter_context(
                Generator(
                    self.ports, transport=transport, direct=system is None, size=size,
                    most=live + 65_536, core=cores.generator,
                )
            )  # fmt: skip
            if system is not None:
                self._running = self._stack.enter_context(
                    Running(system, folder, self.ports, cores.system)
                )
            self._establish(live)
        except BaseException as error:
            if self._running:
                error.add_note(f"{self.name} said at last:\n{self._running.last_words}")
            self.close()
            raise

    def run(
        self,
        workload: Workload,
        point: str,
        rate: float,
        seconds: float,
        *,
        reduced: bool = False,
        scraped: bool = False,
        reloads_per_s: float = 0.0,
    ) -> Sample:
        """One run at `rate`; blocks for `seconds` and the draining."""
        own, first = (self.ports.proxy,), self.ports.member
        ends = (self.ports.caller, *range(first, first + self.ports.members))
        kernel = softirq_thread(self._cores.system) if self._cores.system is not None else []
        pids = self._running.pids if self._running else []
        words = {"drain": self._drain_ms, **({"scrape": self.ports.admin} if scraped else {})}
        before = overflows(*own), overflows(*ends), cpu_ns(kernel), cpu_ns(pids)
        with self._reloading(reloads_per_s):
            load = self._offer(workload, rate, seconds, words)
        cpu, softirq = cpu_ns(pids) - before[3], cpu_ns(kernel) - before[2]
        rss, pss = memory_octets(pids)
        relayed = max(load.relayed, 1)
        misrouted = load.misrouted if self.system is None or self.system.keeps_dialogs else 0
        return Sample(
            system=self.name,
            workload=workload.name,
            point=point,
            rate=rate,
            reduced=reduced,
            messages_per_s=load.messages_per_s,
            cpu_us=cpu / relayed / 1000,
            softirq_us=softirq / relayed / 1000,
            utilization=cpu / 1e9 / load.seconds,
            lost=load.lost,
            failed=load.failed,
            misrouted=misrouted,
            starved=load.starved,
            overflows=overflows(*own) - before[0],
            generator_overflows=overflows(*ends) - before[1],
            lag_max_us=load.lag_max_us,
            latency_us=load.latency_us,
            rss=rss,
            pss=pss,
            octets_per_message=load.octets / relayed,
            other={"stray": load.stray, "broken": load.broken, **load.other},
        )

    def maximum(
        self,
        workload: Workload,
        seconds: float,
        *,
        start: float,
        tolerance: float,
        say: Callable[[str], None] = lambda _: None,
    ) -> tuple[float, list[Sample]]:
        """The highest rate carried (see `carried`), within `tolerance`; and every try."""
        tries: list[Sample] = []

        def carries(rate: float) -> bool:
            for _ in range(2):  # once more: one lost datagram may be the machine's
                tries.append(self.run(workload, "search", rate, seconds))
                if carried(tries[-1]):
                    return True
            return False

        low, high = 0.0, 0.0
        rate = start
        while not high and len(tries) < 24:
            if carries(rate):
                low, rate = rate, rate * 1.6
            elif low:
                high = rate
            else:
                rate /= 2
                if rate < 1:
                    return 0.0, tries
        while high and high / low > 1 + tolerance and len(tries) < 32:
            middle = (low * high) ** 0.5
            if carries(middle):
                low = middle
            else:
                high = middle
        say(f"{self.name}, {workload.title}: at most {low:,.0f} {workload.unit}")
        return low, tries

    def reload(self) -> None:
        if self._running:
            self._running.reload()

    def close(self) -> None:
        self._stack.close()

    def _offer(
        self, workload: Workload, rate: float, seconds: float, words: dict[str, int]
    ) -> Load:
        if workload.unit == "calls/s":
            return self.generator.calls(rate, seconds, **words)
        return self.generator.transactions(rate, seconds, **words)

    def _establish(self, live: int) -> None:
        if live == 0:
            return
        # One first: it opens the connections to the members, which some do only once in peace.
        for count in (1, 1, live - 2):
            load = self.generator.establish(count)
            if load.completed < count:
                raise RuntimeError(
                    f"{self.name}: {load.completed} of {count} dialogs established, "
                    f"{load.failed} refused (the last with {load.other['refusal']}), "
                    f"{load.lost} without an answer"
                )

    @contextlib.contextmanager
    def _reloading(self, per_s: float) -> Iterator[None]:
        if not per_s:
            yield
            return
        ended = threading.Event()

        def repeat() -> None:
            while not ended.wait(1 / per_s):
                self.reload()

        thread = threading.Thread(target=repeat, name="reload")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def carried(sample: Sample) -> bool:
    """Everything offered arrived, where it belongs, and no queue grew."""
    return (
        sample.lost == 0
        and sample.failed == 0
        and sample.misrouted == 0
        and sample.starved == 0
        and sample.latency_us["p99"] < CARRIED_P99_US
        and sample.lag_max_us < GENERATOR_LAG_US
    )
