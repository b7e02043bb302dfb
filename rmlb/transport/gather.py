"""Reads of streams that follow each other closely are made larger.

As network cards do with interrupts, and the packet thread with datagrams: while connections are
busy, the event loop rests for a moment before it looks at them again, so that one read, one
decision and one write carry several messages. Where messages are few, each is seen to at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

REST_S: Final = 0.0002
"""It costs nobody anything, and a read of ten messages costs a third of ten reads."""

BUSY_S: Final = 0.0003
"""Reads that follow one another within this, whatever seeing to them takes, are gathered."""

FULL: Final = 64
"""After so many messages since the last rest there is no need of one."""


class Gather:
    """Lets the running event loop rest while it is busy with streams."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        """`clock`: seconds, finer than the loop's own; `rest` waits so many."""
        self._clock = clock
        self._rest = rest
        self._last = float("-inf")
        self._count = 0
        self._began = 0.0
        self._waits = False

    def read(self, messages: int) -> None:
        """So many were read at once."""
        self._count += messages
        if not self._waits:
            self._waits = True
            self._began = self._clock()
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Once, after all that was read in one turn of the loop."""
        self._waits = False
        if self._began - self._last < BUSY_S and self._count < FULL:
            self._rest(REST_S)
        self._last = self._clock()
        self._count = 0
