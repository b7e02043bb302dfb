"""Where sockets and router meet: what arrives is decided, what is decided leaves.

Owns every socket of the packet path and the connections to members and callers, which are
reused in both directions (RFC 3261 18.1.1, 18.2.2).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Protocol

from rmlb.reasons import reason_of
from rmlb.routing.counters import Counters
from rmlb.routing.router import Packets
from rmlb.routing.table import Listener
from rmlb.routing.verdict import Decision, Destination, Forward, Hold, Origin, Own, Reply, Verdict
from rmlb.sip.address import Transport, is_ip_literal, is_unicast
from rmlb.sip.framing import StreamFramer
from rmlb.sip.message import SipError
from rmlb.trace.copies import Copy, CopyRing, Direction, Tap
from rmlb.transport.copying import place_of
from rmlb.transport.gather import Gather
from rmlb.transport.held import Held, Message
from rmlb.transport.names import NameCache
from rmlb.transport.odd import OddReader
from rmlb.transport.ports import (
    PortShare,
    allow_connections,
    family_of,
    listening_socket,
    watch_peer,
)
from rmlb.transport.stream import Connection, StreamLimits
from rmlb.transport.udp import UdpReader, UdpSocket

FIRST_CHANNEL = 1024
"""Connections are numbered from here; lower channel numbers are listeners."""

MAX_WAITING = 2**20
"""Octets that wait for one connection to come up, some 1,000 messages; what comes on top of that is
dropped, counted. It is less than MAX_UNSENT, so all of it may leave at once."""


class Engine(Protocol):
    """What decides: the Python router or its compiled twin."""

    counters: Counters
    framer: type[StreamFramer]
    packets: Packets | None
    """The thread that reads the UDP sockets; None: the event loop does."""

    def receive(self, data: bytes, origin: Origin, now: float) -> Verdict: ...

    def resume(self, data: bytes, origin: Origin, now: float) -> Decision: ...

    def refuse(self, data: bytes, error: SipError, origin: Origin) -> Verdict: ...

    def receive_odd(self, data: bytes, origin: Origin, now: float) -> Verdict: ...

    def receive_plain(
        self, messages: list[bytes], origin: Origin, now: float
    ) -> list[bytes | tuple[Destination, bytes]]: ...

    def tell_changes(self) -> None: ...

    def take_outbox(self) -> list[Own]: ...


Trouble = Callable[[str, int, str], None]
"""Host and port that refused a datagram, a connection or dropped one, and what happened."""

Ask = Callable[[int], bool]
"""Has the store asked for a Call-ID's binding; False where that is of no use now."""


def _nobody_to_ask(_: int) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """[sip] and [tls], as sockets need them."""

    limits: StreamLimits = field(default_factory=StreamLimits)
    receive_buffer: int = 4 * 2**20
    send_buffer: int = 4 * 2**20
    connect_timeout_s: float = 4.0
    idle_timeout_s: float = 1800.0
    max_connections: int = 4096
    max_connections_per_source: int = 1024
    balancer_id: int = 0
    server_tls: ssl.SSLContext | None = None
    client_tls: ssl.SSLContext | None = None
    certificate_names: dict[tuple[str, int], str] = field(default_factory=dict)
    """Member address -> the name its certificate must carry."""


Remote = tuple[Transport, str, int]


@dataclass(slots=True)
class _Waiting:
    """What leaves when a connection is up; one piece may be several messages, joined."""

    pieces: list[bytes] = field(default_factory=list)
    octets: int = 0

    def takes(self, data: bytes) -> bool:
        """False: there is no room for it."""
        if self.octets + len(data) > MAX_WAITING:
            return False
        self.pieces.append(data)
        self.octets += len(data)
        return True


class Exchange:
    """All sockets of one balancer."""

    def __init__(
        self,
        engine: Engine,
        listeners: tuple[Listener, ...],
        settings: ExchangeSettings,
        trouble: Trouble,
        ask: Ask = _nobody_to_ask,
        tap: Tap | None = None,
    ) -> None:
        """`tap` gets a copy of every message while it is on."""
        self._ask = ask
        self.held = Held(self._resume)
        """Messages that wait for the store; `held.answered(key)` lets them go on."""
        self._tap: Tap = CopyRing() if tap is None else tap
        self.counters = engine.counters
        self._trouble = trouble
        self._engine = engine
        self._listeners = listeners
        self._own = {(x.host, x.port) for x in listeners}
        self._places = [place_of(x) for x in listeners]
        self._settings = settings
        self._ports = PortShare(settings.balancer_id)
        self._names = NameCache()
        self._gather = Gather()
        self._udp: dict[int, UdpSocket] = {}
        self._readers: list[UdpReader | OddReader] = []
        self._servers: dict[int, asyncio.Server] = {}
        self._tls_sockets: dict[int, socket.socket] = {}
        self._connections: dict[int, Connection] = {}
        self._by_remote: dict[Remote, Connection] = {}
        self._per_source: Counter[str] = Counter()
        self._connecting: dict[Remote, _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_channel = FIRST_CHANNEL
        self._closing = False
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> Counter[str]:
        """Open connections by transport."""
        return Counter(c.sip_transport.value for c in self._connections.values())

    async def start(self) -> None:
        """Open every listener. Raises OSError with the listener named."""
        allow_connections(self._settings.max_connections)
        for listener in self._listeners:
            try:
                await self._open(listener)
            except OSError as error:
                await self.stop()
                where = f"{listener.transport}:{listener.host}:{listener.port}"
                raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
        self._begin_to_read()
        self._sweep()

    async def stop(self) -> None:
        """Close listeners and connections; what is queued on a connection still leaves."""
        self.held.close()
        self._closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for reader in self._readers:
            reader.close()
        self._readers.clear()
        for udp in self._udp.values():
            udp.close()
        self._udp.clear()
        for server in self._servers.values():
            server.close()
        for sock in self._tls_sockets.values():
            sock.close()
        for connection in list(self._connections.values()):
            connection.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset_connections(self) -> None:
        """Break every connection: the address they had is another host's now."""
        for connection in list(self._connections.values()):
            connection.idle = True  # nobody's fault
            connection.abort()

    async def renew_tls(self, server: ssl.SSLContext | None, client: ssl.SSLContext | None) -> None:
        """Handshakes use these from now on; connections that are up stay as they are."""
        self._settings = replace(self._settings, server_tls=server, client_tls=client)
        for index, sock in self._tls_sockets.items():
            old = self._servers[index]
            self._servers[index] = await self._serve(self._listeners[index], sock.dup())
            old.close()  # closes its own descriptor: the socket listens on

    def expect_certificates(self, names: dict[tuple[str, int], str]) -> None:
        """Member address -> the name its certificate must carry, from now on."""
        self._settings = replace(self._settings, certificate_names=names)

    def send(self, to: Destination, data: bytes) -> None:
        """Send octets where a verdict says, over a connection that is there or a new one."""
        if not is_ip_literal(to.host):
            self._keep(self._resolve_and_send(to, data), f"resolve {to.host}")
            return
        if self._tap.on:
            self._copy_sent(data, to)
        if to.transport is Transport.UDP:
            udp = self._udp.get(to.listener)
            if udp is None:
                self.counters.send_errors["no_socket"] += 1
            else:
                udp.send(data, to.host, to.port)
        else:
            self._send_stream(to, data)

    def flush(self) -> None:
        """Send what the engine made itself: re-sends, ACK, CANCEL, late answers."""
        for own in self._engine.take_outbox():
            self.send(own.to, own.data)

    # copies, while somebody asks for them; our side is the listener's address

    def _copy_received(self, data: bytes, origin: Origin) -> None:
        ours, theirs = self._places[origin.listener], (origin.host, origin.port)
        self._tap.put(Copy(time.time(), Direction.IN, origin.transport, *theirs, *ours, data))

    def _copy_sent(self, data: bytes, to: Destination) -> None:
        ours, theirs = self._places[to.listener], (to.host, to.port)
        self._tap.put(Copy(time.time(), Direction.OUT, to.transport, *ours, *theirs, data))

    # Hub: what connections and UDP sockets call

    def receive(self, data: bytes, origin: Origin, now: float) -> None:
        if self._tap.on:
            self._copy_received(data, origin)
        self._carry_out(self._engine.receive(data, origin, now), data, origin)

    def receive_all(self, messages: list[bytes], origin: Origin, now: float) -> None:
        """Messages that came over a connection, at once: plain ones leave joined."""
        self._gather.read(len(messages))
        if self._tap.on:
            for data in messages:
                self.receive(data, origin, now)
            return
        for item in self._engine.receive_plain(messages, origin, now):
            if isinstance(item, bytes):
                self.receive(item, origin, now)
                continue
            to, data = item
            connection = self._connections.get(to.channel)
            if connection is not None and connection.usable:
                connection.send(data)
            else:
                self.send(to, data)

    def receive_odd(self, data: bytes, origin: Origin, now: float) -> None:
        if self._tap.on:
            self._copy_received(data, origin)
        self._carry_out(self._engine.receive_odd(data, origin, now), data, origin)

    def _carry_out(self, verdict: Verdict, data: bytes, origin: Origin) -> None:
        if isinstance(verdict, Hold):
            if not self.held.hold(verdict.key, (data, origin), self._ask):
                self._resume([(data, origin)])
            return
        if isinstance(verdict, Forward | Reply):
            self.send(verdict.to, verdict.data)
        self.flush()

    def _resume(self, messages: list[Message]) -> None:
        """What was held goes on, with what is known by now."""
        now = asyncio.get_running_loop().time()
        for data, origin in messages:
            verdict = self._engine.resume(data, origin, now)
            if isinstance(verdict, Forward | Reply):
                self.send(verdict.to, verdict.data)
        self.flush()

    def refuse(self, data: bytes, error: SipError, origin: Origin) -> None:
        if self._tap.on:
            self._copy_received(data, origin)
        verdict = self._engine.refuse(data, error, origin)
        if isinstance(verdict, Reply):
            self.send(verdict.to, verdict.data)

    def opened(self, connection: Connection) -> bool:
        source = connection.remote[0]
        if connection.accepted and (
            len(self._connections) >= self._settings.max_connections
            or self._per_source[source] >= self._settings.max_connections_per_source
        ):
            return False
        self._per_source[source] += 1
        self._connections[connection.channel] = connection
        self._by_remote[(connection.sip_transport, *connection.remote)] = connection
        return True

    def closed(self, connection: Connection) -> None:
        if self._connections.pop(connection.channel, None) is None:
            return
        source = connection.remote[0]
        self._per_source[source] -= 1
        if not self._per_source[source]:
            del self._per_source[source]
        remote = (connection.sip_transport, *connection.remote)
        if self._by_remote.get(remote) is connection:
            del self._by_remote[remote]
        if not connection.accepted and not connection.idle and not self._closing:
            self._trouble(*connection.remote, "the connection to it was closed")

    # listeners

    async def _open(self, listener: Listener) -> None:
        settings = self._settings
        if listener.transport is Transport.UDP:
            self._udp[listener.index] = UdpSocket(
                listener,
                self.counters,
                receive_buffer=settings.receive_buffer,
                send_buffer=settings.send_buffer,
            )
            return
        sock = listening_socket(listener, socket.SOCK_STREAM)
        if listener.transport is Transport.TLS:
            self._tls_sockets[listener.index] = sock
            sock = sock.dup()
        self._servers[listener.index] = await self._serve(listener, sock)

    def _begin_to_read(self) -> None:
        """Datagrams come from here on."""
        packets = self._engine.packets
        if packets is None:
            self._readers += [
                UdpReader(udp, self.receive, self._refused) for udp in self._udp.values()
            ]
        else:  # without a UDP listener, too: the thread shows the keeper that it turns
            reader = OddReader(
                packets, self.receive_odd, self.send, self._refused, self._engine.tell_changes
            )
            reader.start(self._udp.values())
            self._readers.append(reader)

    async def _serve(self, listener: Listener, sock: socket.socket) -> asyncio.Server:
        """Accept on `sock`, which is the server's own from here on."""
        tls = self._settings.server_tls if listener.transport is Transport.TLS else None
        return await asyncio.get_running_loop().create_server(
            self._factory(listener, accepted=True),
            sock=sock,
            ssl=tls,
            ssl_handshake_timeout=self._settings.connect_timeout_s if tls else None,
            backlog=1024,
        )

    def _factory(
        self, listener: Listener, *, accepted: bool, transport: Transport | None = None
    ) -> Callable[[], Connection]:
        def make() -> Connection:
            self._next_channel += 1
            return Connection(
                self,
                self._next_channel,
                transport or listener.transport,
                listener.index,
                self._settings.limits,
                self._engine.framer(max_message_size=self._settings.limits.max_message_size),
                accepted=accepted,
            )

        return make

    # connections that we make

    def _send_stream(self, to: Destination, data: bytes, name: str = "") -> None:
        """`name` is the host name that led there, for the certificate."""
        connection = self._connections.get(to.channel) if to.channel else None
        if connection is None or not connection.usable:
            remote = (to.transport, to.host, to.port)
            connection = self._by_remote.get(remote)
            if connection is None or not connection.usable:
                if (to.host, to.port) in self._own:
                    self.counters.send_errors["to_ourselves"] += 1
                else:
                    self._queue(remote, to, data, name)
                return
        connection.send(data)

    def _queue(self, remote: Remote, to: Destination, data: bytes, name: str) -> None:
        waiting = self._connecting.get(remote)
        if waiting is None:
            waiting = self._connecting[remote] = _Waiting()
            place = f"{to.transport}:{to.host}:{to.port}"
            self._keep(self._connect(remote, to, name), f"connect {place}")
        if not waiting.takes(data):
            self.counters.send_errors["connect_queue_full"] += 1

    async def _connect(self, remote: Remote, to: Destination, name: str) -> None:
        """Connect and send what waits; what cannot be sent is counted."""
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                connection = await self._dial(to, name)
        except TimeoutError:
            cause, why = "connect_timeout", "timed out"
        except OSError as error:  # ssl.SSLError is one
            cause, why = "connect_failed", reason_of(error)
        except ValueError as error:  # a name that TLS takes for no host
            cause, why = "connect_failed", str(error)
        except asyncio.CancelledError:
            del self._connecting[remote]
            raise
        else:
            for data in self._connecting.pop(remote).pieces:
                connection.send(data)
            return
        self.counters.send_errors[cause] += len(self._connecting.pop(remote).pieces)
        self._trouble(to.host, to.port, f"cannot connect to it: {why}")

    async def _dial(self, to: Destination, name: str) -> Connection:
        loop = asyncio.get_running_loop()
        listener = self._listeners[to.listener]
        sock = socket.socket(family_of(to.host), socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            watch_peer(sock)
            self._ports.bind(sock, listener.host)
            await loop.sock_connect(sock, (to.host, to.port))
        except BaseException:
            sock.close()
            raise
        tls = self._settings.client_tls if to.transport is Transport.TLS else None
        if to.transport is Transport.TLS and tls is None:
            sock.close()
            raise ConnectionError("no [tls] settings for an outgoing TLS connection")
        if not name:
            name = self._settings.certificate_names.get((to.host, to.port), to.host)
        _, connection = await loop.create_connection(
            self._factory(listener, accepted=False, transport=to.transport),
            sock=sock,
            ssl=tls,
            server_hostname=name if tls else None,
        )
        return connection

    async def _resolve_and_send(self, to: Destination, data: bytes) -> None:
        listener, name = self._listeners[to.listener], to.host
        host = await self._names.resolve(name, family_of(listener.host))
        if host is None or not is_unicast(host):
            self.counters.send_errors["name_not_resolved"] += 1
        elif (host, to.port) in self._own:
            self.counters.send_errors["to_ourselves"] += 1
        elif to.transport is Transport.UDP:
            self.send(to._replace(host=host), data)
        else:
            to = to._replace(host=host)
            if self._tap.on:
                self._copy_sent(data, to)
            self._send_stream(to, data, name=name)

    def _refused(self, host: str, port: int) -> None:
        self._trouble(host, port, "a message to it was refused")

    # housekeeping

    def _keep(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _sweep(self) -> None:
        """Every few seconds: close what has been idle too long."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._settings.idle_timeout_s
        for connection in list(self._connections.values()):
            if connection.used_at < oldest:
                connection.idle = True
                connection.close()
        self._sweeper = loop.call_later(min(10.0, self._settings.idle_timeout_s), self._sweep)
