"""Copies of all messages under the compiled engine: its thread's, and those of Python's path."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

from rmlb.routing.router import Packets
from rmlb.routing.table import Listener
from rmlb.sip.address import Transport, is_ip_literal, is_unicast
from rmlb.trace.copies import Copy, CopyRing, CopySource, Direction

_AT = attrgetter("at")


def place_of(listener: Listener) -> tuple[str, int]:
    """Where copies say that we are: a listener on every address is shown at the one it signs."""
    everywhere = not is_unicast(listener.host) and is_ip_literal(listener.sent_by)
    return (listener.sent_by if everywhere else listener.host), listener.port


def copy_source(
    ring: CopyRing, packets: Packets | None, listeners: tuple[Listener, ...]
) -> CopySource:
    """Where all copies are fetched. `packets`: the thread that reads the UDP sockets, if any."""
    return ring if packets is None else ThreadCopies(ring, packets, listeners)


class ThreadCopies:
    """What the packet thread copies, and what Python's ring has, by time."""

    def __init__(self, ring: CopyRing, packets: Packets, listeners: tuple[Listener, ...]) -> None:
        self._ring = ring
        self._packets = packets
        self._places = [place_of(each) for each in listeners]

    @property
    def on(self) -> bool:
        return self._ring.on

    @on.setter
    def on(self, on: bool) -> None:
        if on is not self._ring.on:
            self._ring.on = on
            self._packets.copy(on)

    @property
    def lost(self) -> int:
        return self._ring.lost + self._packets.copies_lost

    def take(self) -> list[Copy]:
        plain = list(self._plain())
        odd = self._ring.take()
        return sorted(plain + odd, key=_AT) if plain and odd else plain or odd

    def _plain(self) -> Iterator[Copy]:
        for at, came, listener, host, port, data in self._packets.take_copies():
            ours, theirs = self._places[listener], (host, port)
            if came:
                yield Copy(at, Direction.IN, Transport.UDP, *theirs, *ours, data)
            else:
                yield Copy(at, Direction.OUT, Transport.UDP, *ours, *theirs, data)
