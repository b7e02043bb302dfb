"""What the packet thread leaves to Python: taken on the event loop, a few at a time.

Messages that are not plain, what leaves by a stream, and refusals by ICMP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from rmlb.routing.router import Packets
from rmlb.routing.verdict import Destination
from rmlb.transport.udp import Receive, Refused, UdpSocket

AT_ONCE: Final = 32
"""32 x ~150 us keeps timers and TCP within 5 ms."""


class OddReader:
    """Starts the thread, and sees to its queue."""

    def __init__(
        self,
        packets: Packets,
        receive: Receive,
        send: Callable[[Destination, bytes], None],
        refused: Refused,
        tell_changes: Callable[[], None],
    ) -> None:
        self._packets = packets
        self._receive = receive
        self._send = send
        self._refused = refused
        self._tell_changes = tell_changes
        self._loop = asyncio.get_running_loop()

    def start(self, sockets: Iterable[UdpSocket]) -> None:
        """Raises OSError where there can be no thread."""
        for udp in sockets:
            self._packets.add(udp.fileno(), udp.listener.index, ipv4=not udp.listener.is_ipv6)
        self._loop.add_reader(self._packets.fileno(), self._ready)
        self._packets.start()

    def close(self) -> None:
        self._packets.stop()
        self._loop.remove_reader(self._packets.fileno())

    def _ready(self) -> None:
        now = self._loop.time()
        for what, where, data in self._packets.take(AT_ONCE):
            if what == "datagram":
                self._receive(data, where, now)
            elif what == "send":
                self._send(where, data)
            else:
                self._refused(*where)
        self._tell_changes()
