"""The way to one receiver: a bounded queue, and one delivery at a time in the order of events.

Owns the queue, its task and the count of outcomes. `put` never waits; when the receiver cannot
keep up the oldest are lost, counted, and told once. Knows nothing of what a delivery is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, Protocol

from rmlb.alarms.document import Document
from rmlb.events import NumberedEvent

QUEUED: Final = 256
"""Events waiting for one receiver: some 150 KB, and more than a bad hour of a site brings."""

Item = tuple[NumberedEvent, Document]


class Receiver(Protocol):
    """Whoever events are for."""

    async def deliver(self, item: Item) -> bool:
        """Deliver it, however often that has to be tried. False: it failed, and was told."""

    async def close(self) -> None:
        """Let go of everything at once."""


class Lane:
    """One receiver's."""

    def __init__(
        self,
        channel: str,
        receiver: Receiver,
        outcomes: Counter[tuple[str, str]],
        tell_lost: Callable[[], object],
    ) -> None:
        """Counts into `outcomes` as (channel, done | failed | lost)."""
        self._channel = channel
        self._receiver = receiver
        self._outcomes = outcomes
        self._tell_lost = tell_lost
        self._waiting: deque[Item] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._losing = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"{channel} lane")

    def put(self, item: Item) -> None:
        """Deliver it when its turn comes; returns at once."""
        self._waiting.append(item)
        self._idle.clear()
        self._arrived.set()
        if len(self._waiting) <= QUEUED:
            return
        self._waiting.popleft()
        self._outcomes[self._channel, "lost"] += 1
        if not self._losing:
            self._losing = True
            self._tell_lost()

    async def close(self, grace_s: float) -> None:
        """Deliver what waits, for so long; then let go. What is left is lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        self._outcomes[self._channel, "lost"] += len(self._waiting)
        await self._receiver.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            while not self._waiting:
                self._losing = False
                self._idle.set()
                self._arrived.clear()
                await self._arrived.wait()
            done = await self._receiver.deliver(self._waiting.popleft())
            self._outcomes[self._channel, "done" if done else "failed"] += 1
