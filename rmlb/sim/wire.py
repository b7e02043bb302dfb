"""What carries messages for a user agent: UDP (aiosip_adapter) or TCP (tcp), same to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from rmlb.sim.sip_text import SipText
from rmlb.sip.address import Transport


class Peer(NamedTuple):
    """The other end of a datagram or of a connection."""

    host: str
    port: int


class WireError(OSError):
    """A wire cannot be opened; the text is one line that names the address."""


Receive = Callable[[SipText, Peer], None]
Unreachable = Callable[[Peer, str], None]


class Wire(Protocol):
    """One listening address. `unreadable` counts what came in and was no SIP."""

    unreadable: int

    @property
    def transport(self) -> Transport: ...

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int:
        """The port that was bound; of use where 0 was asked for."""

    async def open(self, receive: Receive, unreachable: Unreachable) -> None:
        """Listen. Raises WireError. `unreachable` tells of a peer that cannot be sent to."""

    def send(self, message: SipText, to: Peer) -> None:
        """Send, never wait. TCP uses the connection with that peer or opens one."""

    async def close(self) -> None: ...
