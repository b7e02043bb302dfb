"""Sends HEP3 packets to a collector, by UDP or TCP. What cannot leave at once is lost, counted.

A collector that is slow, gone or unknown costs packets and nothing else.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from rmlb.trace.hep import HepNode, encode
from rmlb.trace.reading import Traced

RETRY_S: Final = 5.0
"""A collector that cannot be reached is tried again so much later."""

MOST_QUEUED: Final = 2**20
"""Octets that may wait on a TCP connection: a second of 1,000 messages."""


class HepSender:
    """One collector."""

    def __init__(self, host: str, port: int, node: HepNode, *, tcp: bool = False) -> None:
        self._host = host
        self._port = port
        self._node = node
        self._tcp = tcp
        self._udp: socket.socket | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self.sent = 0
        self.lost = 0

    def start(self) -> None:
        """Find the collector, in the background, and again when it is lost."""
        work = self._keep_connected() if self._tcp else self._keep_resolved()
        self._task = asyncio.get_running_loop().create_task(work, name="hep")

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._udp is not None:
            self._udp.close()
            self._udp = None
        self._writer = None

    def take(self, traced: Traced) -> None:
        """Send one message. Never waits, never raises."""
        if self._send(encode(traced, self._node)):
            self.sent += 1
        else:
            self.lost += 1

    def _send(self, packet: bytes) -> bool:
        if self._udp is not None:
            try:
                self._udp.send(packet)
            except OSError:  # a full buffer, or a refusal of an earlier packet
                return False
            return True
        writer = self._writer
        if writer is None or writer.transport.get_write_buffer_size() > MOST_QUEUED:
            return False
        writer.write(packet)
        return True

    async def _keep_resolved(self) -> None:
        loop = asyncio.get_running_loop()
        while self._udp is None:
            try:
                found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
                family, kind, protocol, _, address = found[0]
                udp = socket.socket(family, kind, protocol)
                udp.setblocking(False)
                udp.connect(address)
                self._udp = udp
            except OSError:
                await asyncio.sleep(RETRY_S)

    async def _keep_connected(self) -> None:
        while True:
            writer: asyncio.StreamWriter | None = None
            try:
                reader, writer = await asyncio.open_connection(self._host, self._port)
                self._writer = writer
                while await reader.read(4096):
                    pass  # a collector says nothing; the end is what matters
            except OSError:
                pass
            finally:
                self._writer = None
                if writer is not None:
                    writer.close()
            await asyncio.sleep(RETRY_S)
