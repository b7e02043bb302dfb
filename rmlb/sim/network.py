"""The network around a pair of balancers on loopback: to which of them the virtual IP leads.

Every address of loopback is on this host for good, so the virtual IP cannot move there. Each
balancer listens on an address of its own instead; who sends to it from here, callers and members,
sends to the owner, as a switch does by its table of MACs. A takeover is told as it is told to a
router or a cloud: `failoverscript enable N` ([vip] provider = "script"). Knows no calls, no scenes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rmlb.config.addresses import HostPort
from rmlb.sim.aiosip_adapter import UdpWire
from rmlb.sim.sip_text import SipText
from rmlb.sim.wire import Peer

VIP: Final = "127.0.0.100"
ADDRESSES: Final = {1: "127.0.0.101", 2: "127.0.0.102"}
"""The balancers' own: everything in 127.0.0.0/8 is on every Linux host."""

_OWNER: Final = "owner"
"""A symbolic link that leads to the owner's number: read and changed in one step."""

_SCRIPT: Final = """\
#!/bin/sh
cd {directory} || exit 1
case $1 in
enable)  ln -s "$2" new.$2 && mv new.$2 {owner} ;;
disable) test "$(readlink {owner})" != "$2" || rm -f {owner} ;;
esac
"""

_LOOK_S: Final = 0.005
_CHUNK: Final = 65536


class Network:
    """Where the virtual IP is. Its state is in a directory, the same for every process."""

    def __init__(self, directory: Path, port: int) -> None:
        """`port`: the balancers' SIP port."""
        self._directory = directory
        self._port = port

    def write_script(self) -> str:
        """Write what moves the virtual IP: the value for [cluster] failoverscript. OSError."""
        script = self._directory / "failoverscript"
        here = shlex.quote(str(self._directory))
        script.write_text(_SCRIPT.format(directory=here, owner=_OWNER))
        return f"/bin/sh {shlex.quote(str(script))}"

    @property
    def owner(self) -> int:
        """The balancer that has the virtual IP; 0: none, what is sent there is lost."""
        try:
            return int(os.readlink(self._directory / _OWNER))
        except OSError:
            return 0

    def leads(self, to: Peer) -> Peer | None:
        """Where a datagram goes; None: nowhere. Only the virtual IP's port is of concern here."""
        if to.port != self._port:
            return to
        owner = self.owner
        return Peer(ADDRESSES[owner], self._port) if owner else None

    async def wait_owner(self, *, other_than: int = 0) -> int:
        """Wait until a balancer has it, and another one than that: its number."""
        while (owner := self.owner) in (0, other_than):  # noqa: ASYNC110 - a file tells
            await asyncio.sleep(_LOOK_S)
        return owner


class VirtualWire(UdpWire):
    """A UDP socket in such a network."""

    def __init__(self, host: str, port: int, network: Network) -> None:
        super().__init__(host, port)
        self._network = network

    def send(self, message: SipText, to: Peer) -> None:
        place = self._network.leads(to)
        if place is not None:
            super().send(message, place)


class Door:
    """One address for the admin API of the owner, whoever that is."""

    def __init__(self, network: Network, admin: Mapping[int, HostPort]) -> None:
        self._network = network
        self._admin = admin
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, place: HostPort) -> None:
        """Listen there. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, *place)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, both ways, until either side ends it."""
        connection = asyncio.create_task(self._lead(reader, writer), name="door")
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            place = self._admin.get(self._network.owner)
            if place is None:
                return
            there, back = await asyncio.open_connection(*place)
            ways = [
                asyncio.create_task(_pass_on(*way), name="way")
                for way in ((reader, back), (there, writer))
            ]
            with contextlib.closing(back):
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
