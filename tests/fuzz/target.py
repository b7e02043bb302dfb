"""What a fuzz target is, and the watch over each of its executions.

A target takes any octets. It raises nothing but what breaks its promises, and its work is linear
in octets: an execution that takes longer than its size allows, three times, is a finding like any
other. Knows neither atheris nor pytest; both run targets through a `Watch`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from mutations import mutate as mutate_message

WEIGHED = 200
"""Octets from which on an input's time is told per octet; in shorter ones what each costs counts
for more than what each octet costs."""

AGAIN = 3
"""Executions of an input that seems slow: on a busy machine one proves nothing."""

Run = Callable[[bytes], object]


class TooSlow(AssertionError):  # noqa: N818  as in "it is too slow"
    """An input took longer than its size allows."""


def mutate_octets(data: bytes, rng: Random) -> bytes:
    """One to four octets or spans changed, for what is no text."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0:
                changed[at : at + 1] = rng.randbytes(1)
            case 1:
                changed[at:at] = rng.randbytes(rng.choice((1, 1, 2, 8)))
            case 2:
                del changed[at : at + rng.choice((1, 1, 2, 8))]
            case 3:
                span = rng.choice((1, 2, 4, 8))
                changed[at : at + span] = rng.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * span
            case _:
                other = rng.randrange(len(changed) + 1)
                changed[at:at] = changed[other : other + rng.choice((2, 8, 32))]
    return bytes(changed)


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that hostile octets reach."""

    name: str
    promises: str
    """What is checked beside "no exception", in one line."""
    prepare: Callable[[], Run]
    """Makes what takes one input; called once in a process."""
    seeds: Callable[[], Sequence[bytes]]
    mutate: Callable[[bytes, Random], bytes] = mutate_message
    short: int = 1000
    """Mutations in the short run of `make test`."""
    most: int = 4096
    """Octets of an input."""
    floor_s: float = 0.1
    """What any input may take: more than a machine under load adds to it."""
    us_per_octet: float = 20.0
    """What each octet may add. Quadratic work on `most` octets takes more."""


class Watch:
    """A prepared target. `run` is one execution."""

    def __init__(self, target: Target, on_slower: Callable[[Watch], object] | None = None) -> None:
        """`on_slower` is called when an input was slower per octet than all before it."""
        self.target = target
        self.executions = 0
        self.slowest = b""
        self.slowest_us = 0.0
        """Of one octet of it."""
        self._take = target.prepare()
        self._on_slower = on_slower

    def run(self, data: bytes) -> None:
        """Raises whatever broke a promise, or TooSlow."""
        self.executions += 1
        seconds = self._timed(data)
        allowed = self.target.floor_s + self.target.us_per_octet * len(data) / 1e6
        octets = max(len(data), WEIGHED)
        if seconds * 1e6 <= self.slowest_us * octets and seconds <= allowed:
            return
        seconds = min(seconds, *(self._timed(data) for _ in range(AGAIN - 1)))
        if seconds > allowed:
            raise TooSlow(f"{len(data)} octets took {seconds:.3f} s; allowed {allowed:.3f} s")
        if len(data) >= WEIGHED and seconds * 1e6 > self.slowest_us * octets:
            self.slowest, self.slowest_us = data, seconds * 1e6 / octets
            if self._on_slower is not None:
                self._on_slower(self)

    def _timed(self, data: bytes) -> float:
        """Processor seconds of this thread."""
        begun = time.thread_time()
        self._take(data)
        return time.thread_time() - begun


def short_run(target: Target, seed: int = 1) -> Watch:
    """Its seeds, and as many mutations of them as it says; the same ones each time."""
    watch = Watch(target)
    rng = Random(f"{target.name} {seed}")
    seeds = list(target.seeds())
    for data in seeds:
        watch.run(data[: target.most])
    for _ in range(target.short):
        data = rng.choice(seeds)
        for _ in range(rng.choice((1, 1, 2, 4))):
            data = target.mutate(data, rng)
        watch.run(data[: target.most])
    return watch
