"""Copies of messages, between the packet path and whoever wants to see them.

The packet path asks `tap.on` once per message and does no more while that is False. The ring is
bounded and lossy: a reader that is too slow costs copies, never memory, and never a message.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

MOST_COPIES: Final = 8192
"""Waiting for the reader: 20 polls a second of up to 160,000 messages a second."""

MOST_OCTETS: Final = 16 * 2**20
"""Of their data together: 8192 messages of 2 KiB."""


class Direction(StrEnum):
    """As the balancer sees it."""

    IN = "in"
    OUT = "out"


class Copy(NamedTuple):
    """One message as it came or left."""

    at: float
    """Wall clock, seconds since 1970."""
    direction: Direction
    transport: str
    """udp, tcp or tls."""
    source: str
    """An IP literal."""
    source_port: int
    destination: str
    destination_port: int
    data: bytes


class Tap(Protocol):
    """Where the packet path leaves copies."""

    on: bool
    """Somebody asks for copies."""

    def put(self, copy: Copy) -> None: ...


class CopySource(Protocol):
    """Where copies are fetched, some twenty times a second while `on`."""

    on: bool

    @property
    def lost(self) -> int:
        """Copies that found no room, since start."""

    def take(self) -> list[Copy]:
        """What has come since the last call, oldest first."""


class CopyRing:
    """The Tap of the Python packet path, and its CopySource."""

    def __init__(self, most: int = MOST_COPIES, most_octets: int = MOST_OCTETS) -> None:
        self.on = False
        self.lost = 0
        self._most = most
        self._most_octets = most_octets
        self._waiting: deque[Copy] = deque()
        self._octets = 0

    def put(self, copy: Copy) -> None:
        """Keep it, or count it as lost: the beginning of a burst tells more than its end."""
        octets = self._octets + len(copy.data)
        if len(self._waiting) >= self._most or octets > self._most_octets:
            self.lost += 1
            return
        self._waiting.append(copy)
        self._octets = octets

    def take(self) -> list[Copy]:
        taken = list(self._waiting)
        self._waiting.clear()
        self._octets = 0
        return taken
