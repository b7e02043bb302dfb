"""One TCP or TLS connection: octets in, whole messages out, and the limits of both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from rmlb.routing.counters import Counters
from rmlb.routing.verdict import Origin
from rmlb.sip.address import Transport
from rmlb.sip.framing import StreamFramer
from rmlb.sip.message import SipError

UNBOUNDED_QUIET_S = 0.25
"""A message without Content-Length (RFC 2543) ends where nothing has followed for so long."""

UNBOUNDED_LINGER_S = 32.0
"""The connection of such a message stays for its answer: 64 T1."""

LAST_WORD_S = 1.0
"""After a refusal that ends the connection: what the peer is still sending is read and thrown
away for so long, or a reset would overtake the refusal (RFC 1122 4.2.2.13)."""

MAX_UNSENT = 4 * 2**20
"""Octets that wait for a slow reader before its connection is given up: some 4,000 messages."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Limits of one connection ([sip] max-message-size, incomplete-timeout)."""

    max_message_size: int = 65535
    incomplete_timeout_s: float = 3.0


class Hub(Protocol):
    """Whom a connection tells what happens to it."""

    counters: Counters

    def opened(self, connection: Connection) -> bool:
        """A connection is up; False: there are too many, close it."""

    def closed(self, connection: Connection) -> None: ...

    def receive(self, data: bytes, origin: Origin, now: float) -> None: ...

    def receive_all(self, messages: list[bytes], origin: Origin, now: float) -> None: ...

    def refuse(self, data: bytes, error: SipError, origin: Origin) -> None: ...


class Connection(asyncio.Protocol):
    """A connection from a caller or to a member."""

    def __init__(
        self,
        hub: Hub,
        channel: int,
        transport: Transport,
        listener: int,
        limits: StreamLimits,
        framer: StreamFramer,
        *,
        accepted: bool,
    ) -> None:
        self.channel = channel
        self.sip_transport = transport
        self.listener = listener
        self.accepted = accepted
        """They connected to us."""
        self.remote: tuple[str, int] = ("", 0)
        self.used_at = 0.0
        """Loop time of the last octet in either direction."""
        self.idle = False
        """It is closed because nothing was said for too long: nobody's fault."""
        self._hub = hub
        self._framer = framer
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._pipe: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._origin: Origin | None = None
        self._given_up = False

    @property
    def usable(self) -> bool:
        """What is sent now can still leave."""
        return self._pipe is not None and not self._pipe.is_closing() and not self._given_up

    def send(self, data: bytes) -> None:
        """Queue octets. A reader too slow for MAX_UNSENT of them loses its connection."""
        pipe = self._pipe
        if pipe is None or pipe.is_closing():
            self._hub.counters.send_errors["connection_closed"] += 1
            return
        self.used_at = self._loop.time()
        pipe.write(data)
        if pipe.get_write_buffer_size() > MAX_UNSENT:
            self._hub.counters.send_errors["slow_reader"] += 1
            pipe.abort()

    def close(self) -> None:
        """Close after what is queued has left."""
        if self._pipe is not None:
            self._pipe.close()

    def abort(self) -> None:
        if self._pipe is not None:
            self._pipe.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._pipe = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if peer is None:  # gone before it was looked at
            self._pipe.abort()
            return
        self.remote = (peer[0].partition("%")[0], peer[1])
        self.used_at = self._loop.time()
        self._origin = Origin(self.sip_transport, self.listener, self.channel, *self.remote)
        if not self._hub.opened(self):
            self._hub.counters.send_errors["too_many_connections"] += 1
            self._pipe.abort()

    def data_received(self, data: bytes) -> None:
        if self._origin is None or self._pipe is None or self._pipe.is_closing():
            return
        now = self.used_at = self._loop.time()
        framer = self._framer
        if self._given_up:
            return
        if framer.broken:
            self.close()
            return
        messages = framer.feed(data)
        if messages:
            self._disarm()  # what waits now is another message
            self._hub.receive_all(messages, self._origin, now)
        if framer.pings:
            self._hub.counters.keepalives += framer.pings
            self.send(b"\r\n" * min(framer.pings, 16))
            framer.pings = 0
        if framer.error is not None:
            self._give_up(framer.error)
        elif framer.unbounded:
            self._arm(UNBOUNDED_QUIET_S, self._end_unbounded, restart=True)
        elif framer.is_waiting:
            self._arm(self._limits.incomplete_timeout_s, self._incomplete)
        else:
            self._disarm()

    def eof_received(self) -> bool:
        """True: it stays open in our direction, for the answer to a message that the end of the
        stream ended. Otherwise who closes has no ears any more, and answers go to the sent-by.
        """
        if self._framer.unbounded:
            self._end_unbounded()
            return self.sip_transport is Transport.TCP
        if self._framer.is_waiting and not self._given_up:
            self._incomplete()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._pipe = None
        self._hub.closed(self)

    # a message that does not end as it should

    def _end_unbounded(self) -> None:
        """Its end is where nothing followed; nothing more can be framed on this connection."""
        assert self._origin is not None
        self._disarm()
        data = self._framer.end_unbounded()
        self._hub.receive(data, self._origin, self._loop.time())
        self._arm(UNBOUNDED_LINGER_S, self.close)

    def _incomplete(self) -> None:
        self._give_up(SipError(400, "the message is not whole in time"))

    def _give_up(self, error: SipError) -> None:
        """Answer what can be answered, then close: nobody knows where the next message begins."""
        assert self._origin is not None
        self._disarm()
        rest = self._framer.rest
        self._framer.error = error
        self._hub.refuse(rest, error, self._origin)
        pipe = self._pipe
        if pipe is None or pipe.is_closing() or not pipe.can_write_eof():
            self.close()
            return
        self._given_up = True
        pipe.write_eof()
        self._arm(LAST_WORD_S, self.close)

    def _arm(self, delay: float, call: Callable[[], None], *, restart: bool = False) -> None:
        if restart:
            self._disarm()
        if self._timer is None:
            self._timer = self._loop.call_later(delay, call)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
