"""The UDP wire of the simulators, on aiosip 0.2.0; the only module that imports it.

aiosip gives the socket (its Application and UDP protocol) and reads and writes every message
(its Request and Response), so that the balancer meets an independent SIP stack. It is from
2017, therefore here and nowhere else:

- Before import it gets `asyncio.coroutine` and `collections.MutableMapping`, which Python has
  dropped, for as long as the import takes.
- Its dispatch answers to the Contact from a new socket bound to the To address, its Dialog
  says 200 to everything in a dialog, takes a 183 for final and knows no route set. Dispatch
  is overridden: every message goes to the user agent of rmlb.sim, answers leave from the
  listening socket.
- Its parser wants `Name: value` in long form and drops the Request-URI and the line ends of a
  body; a datagram is brought into that form first, the two are kept beside it. It breaks on
  parameters without a value (`;lr`); they are allowed to have none.
"""

from __future__ import annotations

import asyncio
import collections
import collections.abc
import importlib
import os
import re
import types
import warnings
from typing import Any

from multidict import CIMultiDict

from rmlb.sim.sip_text import Headers, SipText
from rmlb.sim.wire import Peer, Receive, Unreachable, WireError
from rmlb.sip.address import Transport, bracketed

_COMPACT = {
    "v": "Via",
    "i": "Call-ID",
    "f": "From",
    "t": "To",
    "l": "Content-Length",
    "m": "Contact",
    "c": "Content-Type",
}
_FOLD = re.compile(r"\r\n[ \t]+")
_HEADER = re.compile(r"(?m)^([^\s:]+)[ \t]*:[ \t]*")


def _load() -> Any:
    """Import aiosip with what it misses in place, its warnings about itself off."""
    shims = {
        (asyncio, "coroutine"): types.coroutine,
        (collections, "MutableMapping"): collections.abc.MutableMapping,
    }
    for (module, name), value in shims.items():
        setattr(module, name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            loaded = importlib.import_module("aiosip")
            importlib.import_module("aiosip.param")
    finally:
        for module, name in shims:
            delattr(module, name)
    loaded.param.Param.__init__ = _read_params
    return loaded


def _read_params(self: dict[str, str | None], param: str = "") -> None:
    for item in param.split(";") if param else ():
        name, equals, value = item.partition("=")
        self[name] = value if equals else None


_aiosip: Any = _load()
_Message: Any = _aiosip.message.Message


class _Request(_aiosip.Request):  # type: ignore[misc]  # aiosip has no types
    """aiosip would take the To header for the Request-URI."""

    start_line = ""

    def __str__(self) -> str:
        return f"{self.start_line}\r\n{_Message.__str__(self)}"


class _Udp(_aiosip.UDP):  # type: ignore[misc]  # aiosip has no types
    """aiosip's protocol, unconnected: it remembers where a datagram came from."""

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.app.dispatch(self, data, addr)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error says nothing that a missing answer does not."""


class _Application(_aiosip.Application):  # type: ignore[misc]  # aiosip has no types
    """aiosip's Application with another dispatch: no Dialog, all to one receiver."""

    def __init__(self, receive: Receive, wire: UdpWire) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._receive = receive
        self._wire = wire

    def dispatch(self, protocol: _Udp, msg: bytes, addr: tuple[Any, ...]) -> None:
        if not msg.strip():
            return  # a keep-alive
        message = _parse(msg)
        if message is None:
            self._wire.unreadable += 1
        else:
            self._receive(message, Peer(addr[0], addr[1]))


class UdpWire:
    """One UDP socket for everything (implements `rmlb.sim.wire.Wire`)."""

    transport = Transport.UDP

    def __init__(self, host: str, port: int = 0) -> None:
        self.host = host
        self.port = port
        self.unreadable = 0
        self._socket: asyncio.DatagramTransport | None = None

    async def open(self, receive: Receive, unreachable: Unreachable) -> None:
        """Bind. Raises WireError. UDP never finds a peer unreachable."""
        application = _Application(receive, self)
        try:
            protocol = await application.create_connection(_Udp, (self.host, self.port), None)
        except OSError as error:
            place = f"udp:{bracketed(self.host)}:{self.port}"
            raise WireError(
                f"cannot listen on {place}: {os.strerror(error.errno or 0).lower()}"
            ) from error
        self._socket = protocol.transport
        self.port = protocol.transport.get_extra_info("sockname")[1]

    def send(self, message: SipText, to: Peer) -> None:
        if self._socket is not None and not self._socket.is_closing():
            self._socket.sendto(str(_build(message)).encode(), to)

    async def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            await asyncio.sleep(0)  # the socket is closed in the next round of the loop


def _parse(data: bytes) -> SipText | None:
    """A datagram read by aiosip, None if it cannot."""
    head, _, body = data.partition(b"\r\n\r\n")
    try:
        start_line, _, fields = _FOLD.sub(" ", head.decode()).partition("\r\n")
        plain = _HEADER.sub(_long_name, fields)
        came = {name.lower() for name in _HEADER.findall(plain)} - {"content-length"}
        parsed = _Message.from_raw_message(f"{start_line}\r\n{plain}\r\n\r\n")
        headers: list[tuple[str, str]] = []
        for name, value in parsed.headers.items():
            if name.lower() in came:  # aiosip invents what it misses, a Via among it
                values = value if isinstance(value, list) else [value]
                headers += ((name, str(each)) for each in values)
        message = SipText(start_line, tuple(headers), body.decode())
        # The user agent relies on these from here on.
        usable = message.branch and message.call_id and message.cseq >= 0 and message.method
    except (ValueError, TypeError, AttributeError, KeyError, IndexError):
        return None  # what aiosip raises on what it cannot read
    return message if usable else None


def _long_name(match: re.Match[str]) -> str:
    return f"{_COMPACT.get(match[1].lower(), match[1])}: "


def _build(message: SipText) -> Any:
    """The aiosip message that writes itself."""
    headers = _multidict(message.headers)
    if message.is_request:
        built = _Request(method=message.method, headers=headers, payload=message.body)
        built.start_line = message.start_line
        return built
    status, _, reason = message.start_line[8:].partition(" ")
    return _aiosip.Response(int(status), reason, headers=headers, payload=message.body)


def _multidict(headers: Headers) -> Any:
    """Repeated headers as aiosip holds them: one name, a list of values."""
    found: CIMultiDict[Any] = CIMultiDict()
    for name, value in headers:
        if name in found:
            before = found[name]
            found[name] = [*(before if isinstance(before, list) else [before]), value]
        else:
            found[name] = value
    return found
