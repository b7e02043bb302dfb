"""What waits while a connection comes up: whole, in order, and not more than there is room for."""

from __future__ import annotations

import asyncio

import pytest
from rig import HOST, free_port, until

from rmlb.routing.affinity import Memory
from rmlb.routing.bindings import BindingLimits, Bindings
from rmlb.routing.keys import Keyring, affinity_key
from rmlb.routing.router import Router
from rmlb.routing.table import Listener, RoutingTable
from rmlb.routing.verdict import Destination
from rmlb.sip.address import Transport
from rmlb.transport.exchange import MAX_WAITING, Exchange, ExchangeSettings

TCP = Transport.TCP


@pytest.mark.parametrize("size", [300, 1000, 60_000, 250_000])
async def test_as_many_octets_as_there_is_room_for(size: int) -> None:
    """However many messages are joined in a piece; the others are counted."""
    came = bytearray()
    open_ends: set[asyncio.StreamWriter] = set()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ends.add(writer)
        while data := await reader.read(65536):
            came.extend(data)
        writer.close()
        await writer.wait_closed()
        open_ends.discard(writer)

    listener = Listener(0, TCP, HOST, free_port(), HOST)
    table = RoutingTable(
        members={},
        listeners=(listener,),
        keys=Keyring(["a secret of sixteen"]),
        affinity_key=affinity_key("connecting"),
    )
    router = Router(table, Memory(Bindings(BindingLimits(max_bindings=10))))
    exchange = Exchange(router, (listener,), ExchangeSettings(), lambda *_: None)
    server = await asyncio.start_server(read, HOST, 0)
    to = Destination(TCP, HOST, server.sockets[0].getsockname()[1], 0)
    fits, too_many = MAX_WAITING // size, 7
    await exchange.start()
    try:
        for number in range(fits + too_many):
            exchange.send(to, bytes((number % 256,)) * size)
        await until("all of it came", lambda: len(came) == fits * size)
    finally:
        await exchange.stop()
        await until("all is closed", lambda: not open_ends)
        server.close()
    assert bytes(came) == b"".join(bytes((number % 256,)) * size for number in range(fits))
    assert router.counters.send_errors == {"connect_queue_full": too_many}
