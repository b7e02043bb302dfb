"""The TCP wire of the simulators: connections, framed by rmlb.sip.framing.

Listens, connects, and uses a connection in both directions (RFC 3261 18: an answer goes back
on the connection of its request). Owns the connections; knows nothing of transactions.
"""

from __future__ import annotations

import asyncio
import os
from typing import cast

from rmlb.sim.sip_text import SipText
from rmlb.sim.wire import Peer, Receive, Unreachable, WireError
from rmlb.sip.address import Transport, bracketed
from rmlb.sip.framing import StreamFramer
from rmlb.sip.message import Message, SipError, scan

CONNECT_TIMEOUT_S = 4.0
"""Two SYNs; who takes longer on loopback or in a rack is not there."""


class TcpWire:
    """One listening TCP socket and its connections (implements `rmlb.sim.wire.Wire`)."""

    transport = Transport.TCP

    def __init__(self, host: str, port: int = 0) -> None:
        self.host = host
        self.port = port
        self.unreadable = 0
        self._server: asyncio.Server | None = None
        self._connections: dict[Peer, _Connection] = {}
        self._opening: dict[Peer, list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, receive: Receive, unreachable: Unreachable) -> None:
        """Listen. Raises WireError."""
        self._receive = receive
        self._unreachable = unreachable
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _Connection(self), self.host, self.port, backlog=1024
            )
        except OSError as error:
            place = f"tcp:{bracketed(self.host)}:{self.port}"
            raise WireError(f"cannot listen on {place}: {_why(error)}") from error
        self.port = self._server.sockets[0].getsockname()[1]

    def send(self, message: SipText, to: Peer) -> None:
        data = message.encode()
        connection = self._connections.get(to)
        if connection is not None:
            connection.write(data)
        elif to in self._opening:
            self._opening[to].append(data)
        elif self._server is not None:
            self._opening[to] = [data]
            task = asyncio.get_running_loop().create_task(self._connect(to), name=f"connect {to}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop listening, close every connection after what was sent on it."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self._connections.values()):
            connection.close()
        await asyncio.sleep(0)

    async def _connect(self, to: Peer) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: _Connection(self, to), to.host, to.port)
        except TimeoutError:
            del self._opening[to]
            self._unreachable(to, "connection timed out")
        except OSError as error:
            del self._opening[to]
            self._unreachable(to, _why(error))

    def _opened(self, peer: Peer, connection: _Connection) -> None:
        self._connections[peer] = connection
        for data in self._opening.pop(peer, ()):
            connection.write(data)

    def _closed(self, peer: Peer, connection: _Connection) -> None:
        if self._connections.get(peer) is connection:
            del self._connections[peer]
            self._unreachable(peer, "connection closed")

    def _received(self, message: SipText, peer: Peer) -> None:
        self._receive(message, peer)


class _Connection(asyncio.Protocol):
    def __init__(self, wire: TcpWire, peer: Peer | None = None) -> None:
        self._wire = wire
        self._peer = peer
        self._framer = StreamFramer()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._peer is None:
            name = transport.get_extra_info("peername")
            self._peer = Peer(name[0], name[1])
        self._wire._opened(self._peer, self)

    def data_received(self, data: bytes) -> None:
        assert self._peer is not None
        messages = self._framer.feed(data)
        if self._framer.pings:
            self.write(b"\r\n" * self._framer.pings)  # RFC 5626 4.4.1
            self._framer.pings = 0
        for raw in messages:
            try:
                message = _text(scan(raw))
            except (SipError, UnicodeDecodeError):
                self._wire.unreadable += 1
            else:
                self._wire._received(message, self._peer)
        if self._framer.error is not None:
            self._wire.unreadable += 1
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._peer is not None:
            self._wire._closed(self._peer, self)

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _why(error: OSError) -> str:
    """The cause without the address that asyncio adds to it."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _text(message: Message) -> SipText:
    """The scanned message as the simulators hold it. SipError for one that has no Via."""
    if not message.vias:
        raise SipError(400, "no via")
    start_line = message.data[: message.start_line_end].decode()
    headers = tuple(
        (_SPELLING.get(field.name, field.name.decode()), message.value(field).decode())
        for field in message.fields
        if field.name != b"content-length"
    )
    return SipText(start_line, headers, message.body.decode())


_SPELLING = {
    name.lower().encode(): name
    for name in ("Via", "From", "To", "Call-ID", "CSeq", "Contact", "Route", "Record-Route")
}
