"""Of the rig: user agents whose every octet a test decides, over UDP, TCP and TLS.

An `Agent` listens, connects, answers health probes by itself and keeps all else for the test.
Its sockets live on one event loop in a thread of their own, so that tests are plain functions.
Framing and parsing here are this file's own: they share no code with the balancer.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import re
import ssl
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from rig_process import HOST

T = TypeVar("T")
Place = tuple[str, int]

_LISTS = ("via", "route", "record-route")
_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*(\d+)", re.IGNORECASE)


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True)
class Heard:
    """One message as it came. `answer` sends octets back the way it came."""

    data: bytes
    source: Place
    transport: str
    """udp, tcp or tls."""
    answer: Callable[[bytes], None] = field(repr=False)
    stream: Stream | None = field(default=None, repr=False)

    @property
    def start_line(self) -> str:
        return self.data.partition(b"\r\n")[0].decode()

    @property
    def method(self) -> str:
        """Of the start line; for a response, that of its CSeq."""
        return self.header("CSeq").split()[1] if self.status else self.start_line.split()[0]

    @property
    def uri(self) -> str:
        return self.start_line.split()[1]

    @property
    def status(self) -> int:
        """0 for a request."""
        line = self.start_line
        return int(line.split()[1]) if line.startswith("SIP/2.0 ") else 0

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    def headers(self, name: str) -> list[str]:
        """Values in order; those of Via, Route and Record-Route taken apart."""
        found = []
        for line in self.data.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]:
            given, _, value = line.partition(":")
            if given.strip().lower() == name.lower():
                found += value.split(",") if name.lower() in _LISTS else [value]
        return [value.strip() for value in found]

    def header(self, name: str) -> str:
        """The first value. AssertionError where there is none."""
        values = self.headers(name)
        assert values, f"no {name} in\n{self.data.decode(errors='replace')}"
        return values[0]


def request(
    method: str,
    uri: str,
    *,
    via: str,
    call_id: str,
    branch: str | None = None,
    sender: str = "<sip:caller@example.com>;tag=c1",
    to: str | None = None,
    cseq: int = 1,
    contact: str = "",
    routes: list[str] | None = None,
    extra: tuple[str, ...] = (),
    body: bytes = b"",
    length: bool = True,
) -> bytes:
    """A request. `via` is transport and sent-by: "UDP 127.0.0.1:5070". `length=False`: without
    Content-Length."""
    branch = branch or f"z9hG4bK-{call_id.partition('@')[0]}-{cseq}-{method.lower()}"
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/{via};branch={branch}",
        *(f"Route: {route}" for route in routes or ()),
        "Max-Forwards: 70",
        f"From: {sender}",
        f"To: {to or f'<{uri}>'}",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}",
        *([f"Contact: <{contact}>"] if contact else []),
        *extra,
        *([f"Content-Length: {len(body)}"] if length else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def response(
    heard: Heard,
    status: int,
    *,
    tag: str = "",
    contact: str = "",
    extra: tuple[str, ...] = (),
    body: bytes = b"",
    length: bool = True,
) -> bytes:
    """A response as RFC 3261 8.2.6.2 makes it; `tag` is added where To has none."""
    lines = [f"SIP/2.0 {status} {'OK' if status < 300 else 'No'}"]
    for line in heard.data.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]:
        name = line.partition(":")[0].strip().lower()
        if name in ("via", "from", "call-id", "cseq", "record-route"):
            lines.append(line)
        elif name == "to":
            lines.append(line if ";tag=" in line or not tag else f"{line};tag={tag}")
    lines += [f"Contact: <{contact}>"] if contact else []
    lines += [*extra, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def next_message(buffer: bytes) -> tuple[bytes, bytes] | None:
    """(message, rest) of a stream; None while it is not whole."""
    head, blank, rest = buffer.partition(b"\r\n\r\n")
    if not blank:
        return None
    match = _LENGTH.search(head)
    length = int(match[1]) if match else 0
    if len(rest) < length:
        return None
    return head + blank + rest[:length], rest[length:]


class Stream(asyncio.Protocol):
    """One connection of an agent."""

    def __init__(self, agent: Agent, transport: str) -> None:
        self.sip_transport = transport
        self.closed = threading.Event()
        self.closing = False
        """From here."""
        self.received = b""
        """Everything that came, keep-alives included."""
        self.local: Place = ("", 0)
        self.remote: Place = ("", 0)
        self._agent = agent
        self._buffer = b""
        self._pipe: asyncio.Transport | None = None

    def send(self, data: bytes) -> None:
        self._agent.on_loop(self._write, data)

    def close(self) -> None:
        self.closing = True
        self._agent.on_loop(self._close)

    def end_sending(self) -> None:
        """Half-close: no more octets from here, but it still reads."""
        self._agent.on_loop(self._end)

    def peer_certificate(self) -> bytes:
        """DER, TLS only."""
        assert self._pipe is not None
        tls: ssl.SSLObject = self._pipe.get_extra_info("ssl_object")
        found = tls.getpeercert(binary_form=True)
        assert found is not None
        return found

    def _write(self, data: bytes) -> None:
        assert self._pipe is not None
        self._pipe.write(data)

    def _close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()

    def _end(self) -> None:
        assert self._pipe is not None
        self._pipe.write_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._pipe = cast("asyncio.Transport", transport)
        self.remote = transport.get_extra_info("peername")[:2]
        self.local = transport.get_extra_info("sockname")[:2]
        self._agent.streams.append(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._buffer += data
        while True:
            self._buffer = self._buffer.lstrip(b"\r\n")
            found = next_message(self._buffer)
            if found is None:
                return
            message, self._buffer = found
            self._agent.take(Heard(message, self.remote, self.sip_transport, self.send, self))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        if self in self._agent.streams:
            self._agent.streams.remove(self)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.socket: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.socket = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        source = (addr[0], addr[1])

        def answer(octets: bytes) -> None:
            self._agent.send_udp(octets, source)

        self._agent.take(Heard(data, source, "udp", answer))


class Agent:
    """A user agent on one port: `transports` of "udp", "tcp", "tls" that it listens on.

    `server_tls` and `client_tls` are its contexts. With `options` it answers OPTIONS outside a
    dialog (health probes) with that status, by itself; 0 is silence. A 100 is never told of.
    """

    def __init__(
        self,
        transports: str,
        port: int,
        *,
        host: str = HOST,
        server_tls: ssl.SSLContext | None = None,
        client_tls: ssl.SSLContext | None = None,
        options: int = 200,
        name: str = "agent",
    ) -> None:
        self.host = host
        self.port = port
        self.name = name
        self.options = options
        self.streams: list[Stream] = []
        self.accepted = 0
        """Connections taken so far."""
        self._transports = transports.split()
        self._server_tls = server_tls
        self._client_tls = client_tls
        self._heard: queue.Queue[Heard] = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name)
        self._udp: _Udp | None = None
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.run(self._open())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every socket and end the thread."""
        if self._loop.is_closed():
            return
        self.run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """For those who build on it: everything below `take` runs here."""
        return self._loop

    # what tests call

    def via(self, transport: str) -> str:
        """Transport and sent-by for `request`."""
        return f"{transport.upper()} {bracketed(self.host)}:{self.port}"

    def contact(self, transport: str, user: str = "ua") -> str:
        how = "" if transport == "udp" else f";transport={transport}"
        return f"sip:{user}@{bracketed(self.host)}:{self.port}{how}"

    def send_udp(self, data: bytes, to: Place) -> None:
        assert self._udp is not None, f"{self.name} has no UDP"
        assert self._udp.socket is not None
        self.on_loop(self._udp.socket.sendto, data, to)

    def connect(
        self,
        to: Place,
        *,
        tls: bool = False,
        server_hostname: str | None = None,
        context: ssl.SSLContext | None = None,
        local_port: int = 0,
    ) -> Stream:
        """A new connection. OSError (ssl.SSLError is one) where it fails."""

        async def connect() -> Stream:
            _, stream = await asyncio.get_running_loop().create_connection(
                lambda: Stream(self, "tls" if tls else "tcp"),
                *to,
                ssl=(context or self._client_tls) if tls else None,
                server_hostname=(server_hostname or to[0]) if tls else None,
                local_addr=(self.host, local_port),
            )
            return stream

        return self.run(connect())

    def send(self, data: bytes, transport: str, to: Place) -> None:
        """By that transport to that place; streams over an open connection or a new one."""
        if transport == "udp":
            self.send_udp(data, to)
            return
        for stream in self.streams:
            if (stream.remote, stream.sip_transport, stream.closing) == (to, transport, False):
                stream.send(data)
                return
        self.connect(to, tls=transport == "tls").send(data)

    def hear(self, what: str = "", timeout_s: float = 5.0) -> Heard:
        """The next message; `what` is its method or status, AssertionError if it is another."""
        try:
            heard = self._heard.get(timeout=timeout_s)
        except queue.Empty:
            raise AssertionError(f"{self.name} heard no {what or 'message'}") from None
        assert what in ("", heard.method, str(heard.status)), (
            f"{self.name} wants {what}, heard\n{heard.data.decode(errors='replace')}"
        )
        return heard

    def hears_nothing(self, for_s: float = 0.3) -> None:
        with contextlib.suppress(queue.Empty):
            heard = self._heard.get(timeout=for_s)
            raise AssertionError(f"{self.name} heard\n{heard.data.decode(errors='replace')}")

    # of its sockets, on the loop's thread

    def take(self, heard: Heard) -> None:
        if heard.start_line.startswith("OPTIONS ") and "sip:rmlb@" in heard.header("From"):
            if self.options:
                heard.answer(response(heard, self.options, tag="probe"))
            return
        if heard.status != 100:  # hop by hop, and nobody's concern
            self._heard.put(heard)

    def on_loop(self, call: Callable[..., object], *args: object) -> None:
        if threading.current_thread() is self._thread:
            call(*args)
        else:
            self._loop.call_soon_threadsafe(call, *args)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        for transport in self._transports:
            if transport == "udp":
                _, self._udp = await loop.create_datagram_endpoint(
                    lambda: _Udp(self), (self.host, self.port)
                )
                continue
            server = await loop.create_server(
                self._accept(transport),
                self.host,
                self.port,
                ssl=self._server_tls if transport == "tls" else None,
            )
            self._servers.append(server)

    def _accept(self, transport: str) -> Callable[[], Stream]:
        def make() -> Stream:
            self.accepted += 1
            return Stream(self, transport)

        return make

    async def _shut(self) -> None:
        for server in self._servers:
            server.close()
        for stream in list(self.streams):
            stream._close()
        if self._udp is not None and self._udp.socket is not None:
            self._udp.socket.close()
        for _ in range(50):
            if not self.streams:
                break
            await asyncio.sleep(0.01)
        for stream in list(self.streams):
            if stream._pipe is not None:
                stream._pipe.abort()
        await asyncio.sleep(0)
