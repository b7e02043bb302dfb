"""The store: each command of the balancer as one method, whatever kind of Redis answers. SHELL.

Everything that can go wrong there (silence, refusal, a full or read-only server, a wrong password)
is one StoreError. Knows how to speak to Redis, nothing of when and why.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from rmlb.state import records
from rmlb.state.client import ANSWER_S, Client, Place, make_client
from rmlb.state.records import Change, Keys, StoredBinding

PATIENCE_S: Final = 2.5 * ANSWER_S
"""A command with all that it may bring along: finding the master, connecting, a script to load."""


_WRITE_SHA: Final = hashlib.sha1(records.WRITE_BINDINGS.encode()).hexdigest()  # as EVALSHA has it


class StoreError(Exception):
    """The store did not do it; the text is one line for an operator."""


class Look(NamedTuple):
    """What a look at the store shows."""

    known: bool
    """Our last word is still there: nothing has been emptied since."""
    losses: bytes | None
    active: bytes | None
    operator: bytes | None
    calls: dict[int, int]
    """Each member's calls, whichever balancer carries them."""


class Store:
    """One cluster's keys in one Redis."""

    def __init__(self, place: Place, name: str, instance: str) -> None:
        """`name` is the cluster's, `instance` stands for this process."""
        self.keys = Keys(name)
        self._own = self.keys.balancer(instance)
        self._place = place
        self._client: Client | None = None
        self._writer: Connection | None = None
        self._writing = asyncio.Lock()

    async def write(self, changes: Sequence[Change], now: float, counted_s: float) -> None:
        """Write changed bindings, all in one command. `counted_s`: a silent call counts so long."""
        keys = self.keys
        args = (keys.bindings, keys.calls, records.encode_changes(changes, now), int(counted_s))
        async with self._answering(), self._writing:
            client = self._connect()
            if isinstance(client, Redis):
                try:
                    await self._write_directly(client, args)
                except RedisConnectionError:  # it was closed meanwhile
                    await self._write_directly(client, args)
            else:
                await self._run(records.WRITE_BINDINGS, args[:2], args[2:])

    async def find(self, keys: Sequence[int]) -> list[StoredBinding | None]:
        """The bindings of these Call-IDs, in one command."""
        names = [self.keys.binding(key) for key in keys]
        async with self._answering():
            values = await self._connect().mget(names)
        return [records.decode_binding(value) for value in values]  # type: ignore[arg-type]

    async def look(self, presence: bytes, members: Sequence[int]) -> Look:
        """Say that this balancer is there, and see what the others have said."""
        keys = self.keys
        async with self._answering():
            found = await self._run(
                records.LOOK,
                (keys.losses, keys.active, keys.operator, self._own, keys.calls),
                (presence, records.PRESENCE_S, *members),
            )
        known, losses, active, operator, *counts = found
        calls = dict(zip(members, map(int, counts), strict=True))
        return Look(known is not None, losses, active, operator, calls)

    async def replace(self, key: str, before: bytes | None, after: bytes, ttl_s: float) -> bool:
        """Compare and set a document; `ttl_s` of 0 is for good. False: it has changed meanwhile."""
        async with self._answering():
            args = (before or b"", after, int(ttl_s))
            return bool(await self._run(records.REPLACE, (key,), args))

    async def leave(self) -> None:
        """This balancer goes."""
        async with self._answering():
            await self._connect().delete(self._own)

    async def close(self) -> None:
        """Close the connections, within ANSWER_S; they are opened again when needed."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):  # it is of no use any more, in whatever way it ends
                async with asyncio.timeout(ANSWER_S):
                    await self._drop_writer(client)
                    await client.aclose()

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """All that may go wrong inside is a StoreError."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                yield
        except TimeoutError as error:
            raise StoreError(str(error) or "no answer") from error
        except Exception as error:
            # what redis-py lets out has no common root: a connection closed meanwhile is an
            # AttributeError there
            raise StoreError(str(error) or type(error).__name__) from error

    def _connect(self) -> Client:
        if self._client is None:
            self._client = make_client(self._place)
        return self._client

    async def _run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        return await self._connect().register_script(script)(keys=keys, args=args)

    async def _write_directly(self, client: Redis, args: Sequence[Any]) -> None:
        """WRITE_BINDINGS over a connection of its own, past the client: half the processor time.

        Whatever fails drops the connection, so that no late answer is taken for the next one.
        """
        try:
            if self._writer is None:
                self._writer = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
                # the whole command has a limit already; one for each step costs as much again
                self._writer.socket_timeout = None
            writer = self._writer
            try:
                await self._say(writer, "EVALSHA", _WRITE_SHA, 2, *args)
            except NoScriptError:
                await self._say(writer, "EVAL", records.WRITE_BINDINGS, 2, *args)
        except BaseException:
            with suppress(Exception):
                await self._drop_writer(client)
            raise

    @staticmethod
    async def _say(writer: Connection, *words: bytes | str | int) -> None:
        packed = pack_command(words)  # type: ignore[arg-type]  # its type names one word only
        await writer.send_packed_command(packed, check_health=False)
        await writer.read_response()

    async def _drop_writer(self, client: Client) -> None:
        writer, self._writer = self._writer, None
        if writer is not None and isinstance(client, Redis):
            await writer.disconnect(nowait=True)
            await client.connection_pool.release(writer)
