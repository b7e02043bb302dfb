"""Fetches copies while somebody watches, reads each once, and hands it to who wants it.

Owns the switch of the tap: nothing is copied while nobody watches. Runs beside the packet path
on the same event loop under the Python engine, so that it works in small portions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from rmlb.trace.copies import CopySource
from rmlb.trace.ladder import Parties
from rmlb.trace.reading import Reader, Traced
from rmlb.trace.recorder import Recorder
from rmlb.trace.wanted import Wanted

POLL_S: Final = 0.05
"""Between two looks at the ring: soon enough for a person."""

PORTION: Final = 256
"""Copies read in one turn of the event loop, some 10 us each: packets wait 2 or 3 ms at most. A
full turn of 64 datagrams makes 128 copies, so that the reader keeps up."""

Take = Callable[[Traced], None]


class Tracing:
    """Everybody who watches messages of one balancer."""

    def __init__(self, source: CopySource, parties: Callable[[], Parties]) -> None:
        """`parties`: whose addresses are whose at the moment."""
        self.parties = parties
        self.recorder = Recorder(0)
        self._source = source
        self._reader = Reader()
        self._watchers: dict[object, tuple[Wanted, Take]] = {}
        self._pump: asyncio.Task[None] | None = None
        self._keeping: object | None = None

    @property
    def on(self) -> bool:
        return self._source.on

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    @property
    def lost(self) -> int:
        """Copies that found no room in the ring, since start."""
        return self._source.lost

    @contextmanager
    def watch(self, wanted: Wanted, take: Take) -> Iterator[None]:
        """Hand wanted messages to `take`, inside the `with` block."""
        key = self.add(wanted, take)
        try:
            yield
        finally:
            self.remove(key)

    def add(self, wanted: Wanted, take: Take) -> object:
        """Hand wanted messages to `take` from now on; what is returned ends it."""
        key = object()
        self._watchers[key] = (wanted, take)
        if self._pump is None:
            self._source.on = True
            self._pump = asyncio.get_running_loop().create_task(self._fetch(), name="trace")
        return key

    def remove(self, key: object) -> None:
        self._watchers.pop(key, None)
        if not self._watchers and self._pump is not None:
            self._source.on = False
            self._pump.cancel()
            self._pump = None
            self._source.take()

    def keep(self, most: int) -> None:
        """Keep the latest `most` messages from now on; 0 keeps none."""
        if most == self.recorder.most:
            return
        if self._keeping is not None:
            self.remove(self._keeping)
            self._keeping = None
        self.recorder = Recorder(most)
        if most:
            self._keeping = self.add(Wanted(), self.recorder.add)

    async def stop(self) -> None:
        """Nobody is told anything more."""
        self._watchers.clear()
        self._source.on = False
        if self._pump is not None:
            self._pump.cancel()
            with suppress(asyncio.CancelledError):
                await self._pump
            self._pump = None

    async def _fetch(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            for count, copy in enumerate(self._source.take(), 1):
                traced = self._reader.read(copy)
                for wanted, take in list(self._watchers.values()):
                    if wanted(traced):
                        take(traced)
                if count % PORTION == 0:
                    await asyncio.sleep(0)
