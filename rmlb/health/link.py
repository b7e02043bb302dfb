"""The way to one member for probes: OPTIONS out, its final answer in. SHELL: sockets.

Owns the transaction of a probe (RFC 3261 17.1.2) and a UDP socket or kept connection per
member, leaving from the private address. Knows nothing of when to probe or of what an answer
means.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Final

from rmlb.sip.address import SipAddress, Transport, bracketed
from rmlb.sip.framing import StreamFramer
from rmlb.sip.message import Message, SipError, scan
from rmlb.sip.via import COOKIE, top_via

LINGER_S: Final = 5.0
"""A socket whose probe went unanswered reads on for so long: a member that was only slow is not
met by a reset or by ICMP for its late answer, which some user agents take for the end. At ten
probes a second these are 50 sockets."""


def link_to(
    to: SipAddress,
    source: str = "",
    ssl_context: ssl.SSLContext | None = None,
    user: str = "",
    certificate_name: str = "",
) -> Link:
    """The link to a member's address. `source` is the local address, empty for the system's
    choice; `ssl_context` is for TLS, by default one that trusts the system's authorities;
    `certificate_name` is what the member's certificate must carry, by default its address.
    """
    if to.transport is Transport.UDP:
        return UdpLink(to, source, user)
    if to.transport is Transport.TLS:
        context = ssl_context or ssl.create_default_context()
        return StreamLink(to, source, user, context, certificate_name)
    return StreamLink(to, source, user, None)


@dataclass(frozen=True, slots=True)
class Probe:
    """One OPTIONS transaction (RFC 3261 11.1)."""

    branch: bytes = field(default_factory=lambda: COOKIE + secrets.token_hex(8).encode())
    call_id: bytes = field(default_factory=lambda: secrets.token_hex(12).encode())
    tag: str = field(default_factory=lambda: secrets.token_hex(4))

    def request(self, to: SipAddress, local_host: str, local_port: int, user: str = "") -> bytes:
        """The OPTIONS from the local address to a member's."""
        target = f"{user}@" if user else ""
        uri = f"sip:{target}{bracketed(to.host)}:{to.port}"
        host = bracketed(local_host)
        return (
            f"OPTIONS {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/{to.transport.via_name.decode()} {host}:{local_port}"
            f";branch={self.branch.decode()};rport\r\n"
            "Max-Forwards: 70\r\n"
            f"From: <sip:rmlb@{host}>;tag={self.tag}\r\n"
            f"To: <{uri}>\r\n"
            f"Call-ID: {self.call_id.decode()}@{host}\r\n"
            "CSeq: 1 OPTIONS\r\n"
            "Accept: application/sdp\r\n"
            "User-Agent: rmlb\r\n"
            "Content-Length: 0\r\n\r\n"
        ).encode()

    def is_answered_by(self, message: Message) -> bool:
        """True for a final response to this very transaction (RFC 3261 17.1.3)."""
        if message.is_request or message.status < 200 or message.cseq_method != b"OPTIONS":
            return False
        if message.call_id.partition(b"@")[0] != self.call_id:
            return False
        try:
            return top_via(message).branch == self.branch
        except SipError:
            return False


class Link(ABC):
    """Opened when needed, kept while it works. One probe at a time."""

    def __init__(self, to: SipAddress, source: str, user: str) -> None:
        self._to = to
        self._source = (source, 0) if source else None
        self._user = user
        self._socket: _Socket | None = None
        self._lingering: set[_Socket] = set()
        self.waiting_for = ""
        """What the link waits for before it can send; empty once a probe is on its way."""

    @abstractmethod
    async def ask(self, repeat_s: float) -> Message:
        """Send a probe and wait for its final answer, however long that takes.

        UDP repeats it every `repeat_s`. Raises OSError when the member cannot be reached.
        """

    def start_anew(self) -> None:
        """No answer in time: the next probe opens a new socket, the old one reads on a while."""
        old, self._socket = self._socket, None
        if old is None or not old.is_open:
            return
        self._lingering.add(old)
        asyncio.get_running_loop().call_later(LINGER_S, self._end, old)

    def close(self) -> None:
        """Drop every socket; the next probe opens a new one."""
        if self._socket is not None:
            self._lingering.add(self._socket)
            self._socket = None
        while self._lingering:
            self._lingering.pop().close()

    def _end(self, old: _Socket) -> None:
        if old in self._lingering:
            self._lingering.discard(old)
            old.close()

    def _new_socket(self) -> _Socket:
        return _Socket(stream=self._to.transport.is_stream)


class UdpLink(Link):
    """A connected socket of its own, so that an ICMP refusal is seen at once."""

    async def ask(self, repeat_s: float) -> Message:
        self.waiting_for = "its address"
        if self._socket is None:
            _, self._socket = await asyncio.get_running_loop().create_datagram_endpoint(
                self._new_socket,
                local_addr=self._source,
                remote_addr=(self._to.host, self._to.port),
            )
        self.waiting_for = ""
        socket = self._socket
        probe, answered = socket.begin()
        request = probe.request(self._to, *socket.local, user=self._user)
        try:
            while True:
                socket.send(request)
                done, _ = await asyncio.wait({answered}, timeout=repeat_s)
                if done:
                    return answered.result()
        except OSError:
            self.close()
            raise
        finally:
            answered.cancel()


class StreamLink(Link):
    """One kept connection, TCP or TLS."""

    def __init__(
        self,
        to: SipAddress,
        source: str,
        user: str,
        ssl_context: ssl.SSLContext | None,
        certificate_name: str = "",
    ) -> None:
        super().__init__(to, source, user)
        self._ssl = ssl_context
        self._certificate_name = certificate_name or to.host

    async def ask(self, repeat_s: float) -> Message:
        if self._socket is not None and self._socket.is_open:
            try:
                return await self._ask_once(self._socket)
            except OSError:
                pass  # it closed an idle connection: a new one tells how the member is
        self.waiting_for = "a connection"
        _, self._socket = await asyncio.get_running_loop().create_connection(
            self._new_socket,
            self._to.host,
            self._to.port,
            ssl=self._ssl,
            server_hostname=self._certificate_name if self._ssl else None,
            local_addr=self._source,
        )
        return await self._ask_once(self._socket)

    async def _ask_once(self, socket: _Socket) -> Message:
        self.waiting_for = ""
        probe, answered = socket.begin()
        socket.send(probe.request(self._to, *socket.local, user=self._user))
        try:
            return await answered
        finally:
            answered.cancel()


class _Socket(asyncio.DatagramProtocol, asyncio.Protocol):
    """A socket and the one probe that is under way on it."""

    def __init__(self, *, stream: bool) -> None:
        self._framer = StreamFramer() if stream else None
        self._transport: Any = None
        self._open: tuple[Probe, asyncio.Future[Message]] | None = None
        self.is_open = False

    @property
    def local(self) -> tuple[str, int]:
        """Own address, without a zone (fe80::1%eth0)."""
        name = self._transport.get_extra_info("sockname")
        return str(name[0]).partition("%")[0], int(name[1])

    def begin(self) -> tuple[Probe, asyncio.Future[Message]]:
        """A new probe and its answer to come; the one before is forgotten."""
        self._open = (Probe(), asyncio.get_running_loop().create_future())
        if not self.is_open:
            self._fail(ConnectionResetError("connection closed"))
        return self._open

    def send(self, data: bytes) -> None:
        if self._framer is None:
            self._transport.sendto(data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close at once; a stream's peer may never read again."""
        self.is_open = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        lost = exc if isinstance(exc, OSError) else ConnectionResetError("connection closed")
        self._fail(lost)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._fail(exc)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._take(data)

    def data_received(self, data: bytes) -> None:
        assert self._framer is not None
        for message in self._framer.feed(data):
            self._take(message)
        if self._framer.pings:
            self.send(b"\r\n" * self._framer.pings)  # RFC 5626 4.4.1
            self._framer.pings = 0
        if self._framer.error is not None:
            self._fail(ConnectionAbortedError(f"malformed answer: {self._framer.error.why}"))
            self.close()

    def _take(self, data: bytes) -> None:
        if self._open is None:
            return
        probe, answered = self._open
        try:
            message = scan(data)
        except SipError:
            return
        if not answered.done() and probe.is_answered_by(message):
            answered.set_result(message)

    def _fail(self, error: OSError) -> None:
        if self._open is not None and not self._open[1].done():
            self._open[1].set_exception(error)
