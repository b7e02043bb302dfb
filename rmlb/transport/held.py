"""Messages that wait until the store has said who has their dialog (HA-RULES 5).

Owns which of them wait, for how long and how many; those of one Call-ID leave together, in the
order in which they came. Knows neither the store nor what becomes of a message afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from rmlb.routing.verdict import Origin

HOLD_S: Final = 0.045
LAST_S: Final = 0.005
"""The longest wait, in two parts: together a tenth of T1, before which nobody sends anything again
(RFC 3261 17). The second lets an answer be read that came while the balancer itself was paused."""

MAX_HELD: Final = 1000
"""Messages held in all; more are not worth waiting for. Some 2 MiB at worst usual sizes."""

Message = tuple[bytes, Origin]


class Held:
    """Waiting messages by key. `release` gets those of a key, once, when their wait is over."""

    def __init__(self, release: Callable[[list[Message]], None]) -> None:
        self._release = release
        self._waiting: dict[int, list[Message]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._count = 0
        self.not_held = 0
        """Messages that went on at once: too many waited, or asking was of no use."""
        self.timed_out = 0
        """Keys whose answer took too long."""

    def hold(self, key: int, message: Message, ask: Callable[[int], bool]) -> bool:
        """Hold a message, asking for its key if nobody has yet.

        False if it cannot be: too many wait, or `ask` says that asking is of no use now.
        """
        waiting = self._waiting.get(key)
        if self._count >= MAX_HELD or (waiting is None and not ask(key)):
            self.not_held += 1
            return False
        if waiting is None:
            waiting = self._waiting[key] = []
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(HOLD_S, self._wait_on, key)
        waiting.append(message)
        self._count += 1
        return True

    def answered(self, key: int) -> None:
        """What there is to know of the key is known; nothing happens if nobody waits for it."""
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return
        self._timers.pop(key).cancel()
        self._count -= len(waiting)
        self._release(waiting)

    def close(self) -> None:
        """Let everything go at once."""
        for key in list(self._waiting):
            self.answered(key)

    def _wait_on(self, key: int) -> None:
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(LAST_S, self._time_out, key)

    def _time_out(self, key: int) -> None:
        self.timed_out += 1
        self.answered(key)
