"""May this host forward now? One shared page, written by the keeper, read by the packet path.

Words are int64, aligned, in the machine's byte order, nanoseconds of CLOCK_BOOTTIME:

    0  may_forward_until   written by the keeper; FOREVER: no deadline; 0: not the owner
    1  packet stamp        written by the packet loop while it turns
    2  event stamp         written by the worker's event loop

Behind the words, from `WILL_AT` on, two slots hold what the worker writes to sockets should the
keeper die (`Page.put_will`); word 3 says which one counts, so that a half-written one never does.
The page is a memfd that the worker inherits. Knows nothing of elections, SIP or routing.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from typing import Final

FOREVER: Final = 2**63 - 1
"""No deadline."""

WILL_AT: Final = 4096
WILL_OCTETS: Final = 16384
"""Of one slot: a few netlink messages and a heartbeat for each path."""

SIZE: Final = WILL_AT + 2 * WILL_OCTETS

_UNTIL, _PACKET, _EVENT, _SLOT = range(4)


def clock_ns() -> int:
    """Nanoseconds since boot, suspension included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def clock() -> float:
    """Seconds of the same clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e9


class Page:
    """The page, on either side."""

    def __init__(self, handle: int | None = None) -> None:
        """`handle` is the descriptor that was inherited; None makes a page of which nobody is
        the owner."""
        self.handle = os.memfd_create("rmlb-ownership") if handle is None else handle
        if handle is None:
            os.ftruncate(self.handle, SIZE)
        self._map = mmap.mmap(self.handle, SIZE)
        self._words = memoryview(self._map).cast("q")

    @property
    def memory(self) -> mmap.mmap:
        """For an engine that reads and writes the words through a pointer."""
        return self._map

    # the keeper's side

    @property
    def may_forward_until(self) -> int:
        return self._words[_UNTIL]

    @may_forward_until.setter
    def may_forward_until(self, until_ns: int) -> None:
        self._words[_UNTIL] = until_ns

    @property
    def stamps(self) -> tuple[int, int]:
        """When the packet loop and the event loop last turned; 0: never."""
        return self._words[_PACKET], self._words[_EVENT]

    def clear_stamps(self) -> None:
        """A new worker is to come."""
        self._words[_PACKET] = self._words[_EVENT] = 0

    def put_will(self, will: bytes) -> None:
        """Replace what the worker is to write; empty: nothing. Raises ValueError if too long."""
        if len(will) > WILL_OCTETS - 4:
            raise ValueError(f"a last will of {len(will)} octets")
        slot = 1 - self._words[_SLOT]
        at = WILL_AT + slot * WILL_OCTETS
        self._map[at : at + 4 + len(will)] = struct.pack("=I", len(will)) + will
        self._words[_SLOT] = slot

    # the worker's side

    def may_forward(self) -> bool:
        """This host is the owner, and its deadline has not passed."""
        until = self._words[_UNTIL]
        return until == FOREVER or time.clock_gettime_ns(time.CLOCK_BOOTTIME) < until

    def stamp(self, packets: bool) -> None:
        """The event loop turns; `packets`: it is the packet loop, too."""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if packets:
            self._words[_PACKET] = now
        self._words[_EVENT] = now

    def will(self) -> bytes:
        """What is to be written now that the keeper is dead."""
        at = WILL_AT + self._words[_SLOT] * WILL_OCTETS
        (length,) = struct.unpack_from("=I", self._map, at)
        return self._map[at + 4 : at + 4 + length]

    def close(self) -> None:
        self._words.release()
        self._map.close()
        os.close(self.handle)
