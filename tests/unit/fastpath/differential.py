"""The long form of test_both_engines.py: `make differential [MESSAGES=...] [SEED=...]`.

Ends with one line of what was compared; a difference ends it at once, naming its seed, which alone
repeats it: `make differential SEED=... MESSAGES=1`.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from traffic import Traffic

RUN = 1500
"""Messages of one seed: long enough for a call's life, short enough to be looked at."""


@dataclass
class Tally:
    """What was compared."""

    runs: int = 0
    messages: int = 0
    plain: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    forwarded: int = 0
    own: int = 0

    def add(self, traffic: Traffic) -> None:
        counters = traffic.both.python.counters
        self.runs += 1
        self.messages += traffic.both.messages
        self.plain += traffic.both.plain
        self.kinds += counters.kinds
        self.forwarded += counters.forwarded
        self.own += counters.own.total()

    def __str__(self) -> str:
        kinds = " ".join(f"{kind}:{count:,}" for kind, count in sorted(self.kinds.items()))
        return (
            f"{self.messages:,} messages in {self.runs:,} runs, {self.plain / self.messages:.1%} "
            f"decided without Python, {self.forwarded / self.messages:.1%} forwarded, "
            f"{self.own:,} own; kinds {kinds}"
        )


def compare(messages: int, first_seed: int) -> Tally:
    """So many messages, one seed after the other. Raises Difference."""
    tally = Tally()
    seed = first_seed
    while tally.messages < messages:
        traffic = Traffic(seed)
        traffic.run(RUN)
        tally.add(traffic)
        seed += 1
    return tally


if __name__ == "__main__":
    wanted, seed = int(sys.argv[1]), int(sys.argv[2])
    begun = time.monotonic()
    print(f"{compare(wanted, seed)}; no difference, {time.monotonic() - begun:.0f} s")  # noqa: T201
