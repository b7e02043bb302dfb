"""Remembered requests go from the former owner's worker to the new one's (HA-RULES 4). SHELL: TCP.

Every worker with peers listens at its `[heartbeat] listen` addresses over TCP. At a planned
hand-over the former owner connects to its successor, sends what it has not seen answered, a little
later what was answered after all, and forgets it. Nothing waits for this: calls go on without.

    successor -> nonce, 16 octets
    former    -> frames: key id, length, JSON, MAC (BLAKE2b over nonce, place of the frame, JSON)
    successor -> how many were of use, 4 octets, when an empty frame has come

Knows nothing of what a record holds (routing.handover).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

import orjson

from rmlb.events import Event, EventName, Severity
from rmlb.routing import handover
from rmlb.routing.affinity import Moment
from rmlb.routing.pending import Remembered
from rmlb.routing.router import Router

Where = tuple[str, int]

NONCE_OCTETS: Final = 16

RECORDS: Final = 64
"""Of one frame: some 5 ms of work for the successor, between packets."""

LARGEST: Final = 64 * 2**20
"""Octets of one frame: 64 requests of 64 KiB, sent twice each, as JSON may write them."""

GUESTS: Final = 4
"""Connections at a time: one hand-over needs one."""

TIMEOUT_S: Final = 5.0
"""A hand-over that takes longer is given up: requests of then are answered or repeated by now."""

SUCCESSOR_S: Final = 2.0
"""So long is waited for a new owner to be heard."""

QUEUED_S: Final = 0.2
"""After its release the former owner still deals with what is in its sockets (HA-RULES 4)."""

_FRAME: Final = struct.Struct("!2sI")
_PLACE: Final = struct.Struct("!I")
_COUNT: Final = struct.Struct("!I")
_MAC_OCTETS: Final = 16


class Standing(Protocol):
    """Another balancer (admin.views.PeerView)."""

    @property
    def address(self) -> str: ...

    @property
    def owner(self) -> bool: ...


class Keys:
    """Of the secrets: the first signs, all verify."""

    def __init__(self, given: Sequence[str]) -> None:
        self._keys = {_sub(s, b"hand id")[:2]: _sub(s, b"hand-over") for s in reversed(given)}
        self._id = _sub(given[0], b"hand id")[:2] if given else b""

    def sign(self, nonce: bytes, place: int, data: bytes) -> bytes:
        """The whole frame."""
        mac = _mac(self._keys[self._id], nonce, place, data)
        return _FRAME.pack(self._id, len(data)) + data + mac

    def verifies(self, key_id: bytes, nonce: bytes, place: int, data: bytes, mac: bytes) -> bool:
        key = self._keys.get(key_id)
        return key is not None and hmac.compare_digest(mac, _mac(key, nonce, place, data))


class Handover:
    """One worker's part in it, as former owner and as successor."""

    def __init__(
        self,
        router: Router,
        listen: Sequence[Where],
        peers: dict[str, Where],
        given: Sequence[str],
        report: Callable[[Event], object],
    ) -> None:
        """`peers`: where each is to be found, by the name that `Standing.address` has."""
        self.keys = Keys(given)
        self._router = router
        self._listen = listen
        self._peers = peers
        self._report = report
        self._servers: list[asyncio.Server] = []
        self._guests = 0
        self._owner = False
        self._wait: asyncio.Future[Where] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; an address that cannot be had is told, and others will not hand over to it."""
        for host, port in self._listen:
            try:
                self._servers.append(await asyncio.start_server(self._serve, host, port))
            except OSError as error:
                why = f"[heartbeat] listen: TCP {host}:{port}: {error.strerror or error}"
                self._tell(EventName.CONFIG_WARNING, Severity.WARNING, why=why)

    @property
    def places(self) -> list[Where]:
        """Where it listens."""
        names = [sock.getsockname() for each in self._servers for sock in each.sockets]
        return [(name[0], name[1]) for name in names]

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for server in self._servers:
            server.close()

    async def finished(self) -> None:
        """What has to be handed over was, or cannot be."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=TIMEOUT_S)

    def standing_changed(self, owner: bool, planned: bool, others: Sequence[Standing]) -> None:
        """Who owns. `planned`: if not this balancer any more, it has let go in good order."""
        found = next((self._peers.get(each.address) for each in others if each.owner), None)
        if self._owner and not owner:
            self._stop()
            if planned and self._peers:
                self._wait = asyncio.get_running_loop().create_future()
                work = self._hand_over(self._wait)
                self._task = asyncio.get_running_loop().create_task(work, name="hand over")
        elif owner and not self._owner:
            self._stop()
        self._owner = owner
        if owner or found is None:
            return
        if self._wait is not None:
            if not self._wait.done():
                self._wait.set_result(found)
        elif self._task is None:
            self._forget(self._unanswered())  # another one has carried on without knowing of it

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = self._wait = None

    # the former owner

    async def _hand_over(self, wait: asyncio.Future[Where]) -> None:
        begun = time.monotonic()
        entries: list[Remembered] = []
        try:
            async with asyncio.timeout(SUCCESSOR_S):
                where = await wait
            entries = self._unanswered()
            async with asyncio.timeout(TIMEOUT_S):
                taken = await self._send(where, entries, begun + QUEUED_S)
        except (OSError, TimeoutError, EOFError) as error:
            why = f"remembered requests: {str(error) or 'timed out'}"
            self._tell(EventName.NOT_HANDED_OVER, Severity.WARNING, why=why)
        else:
            if entries:
                took_s = round(time.monotonic() - begun, 3)
                self._tell(
                    EventName.REQUESTS_HANDED_OVER, requests=len(entries), taken=taken,
                    took_s=took_s,
                )  # fmt: skip
        self._forget(entries)
        self._task = self._wait = None

    async def _send(self, where: Where, entries: list[Remembered], second: float) -> int:
        """How many were of use to it. `second`: when to say what was answered meanwhile."""
        reader, writer = await asyncio.open_connection(*where)
        with contextlib.closing(writer):
            nonce = await reader.readexactly(NONCE_OCTETS)
            place = 0
            for data in self._frames(entries):
                writer.write(self.keys.sign(nonce, place, data))
                await writer.drain()
                place += 1
            await asyncio.sleep(max(0.0, second - time.monotonic()))
            answered = [entry.key for entry in entries if entry.final]
            if answered:
                writer.write(self.keys.sign(nonce, place, orjson.dumps({"answered": answered})))
                place += 1
            writer.write(self.keys.sign(nonce, place, b""))
            await writer.drain()
            (taken,) = _COUNT.unpack(await reader.readexactly(_COUNT.size))
            return int(taken)

    def _frames(self, entries: list[Remembered]) -> Iterator[bytes]:
        for at in range(0, len(entries), RECORDS):
            with self._router.held():
                moment = self._moment()
                some = [e for e in entries[at : at + RECORDS] if not e.final]
                records = [handover.write(entry, moment) for entry in some]
            yield orjson.dumps({"requests": records})

    def _unanswered(self) -> list[Remembered]:
        with self._router.held():
            return handover.unanswered(self._moment())

    def _forget(self, entries: list[Remembered]) -> None:
        with self._router.held():
            for entry in entries:
                self._router.memory.pending.forget(entry)

    # the successor

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = str(writer.get_extra_info("peername")[0]).partition("%")[0]
        with contextlib.closing(writer):
            if self._guests >= GUESTS or all(source != host for host, _ in self._peers.values()):
                return
            self._guests += 1
            try:
                async with asyncio.timeout(TIMEOUT_S + SUCCESSOR_S):
                    await self._take_all(reader, writer)
            except (OSError, TimeoutError, EOFError, ValueError, KeyError, TypeError):
                return  # who sent it tells
            except asyncio.CancelledError:
                return  # the worker ends; asyncio takes a cancelled stream for a fault
            finally:
                self._guests -= 1

    async def _take_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonce = secrets.token_bytes(NONCE_OCTETS)
        writer.write(nonce)
        place = taken = 0
        while True:
            key_id, size = _FRAME.unpack(await reader.readexactly(_FRAME.size))
            if size > LARGEST:
                raise ValueError("too large")
            data = await reader.readexactly(size)
            mac = await reader.readexactly(_MAC_OCTETS)
            if not self.keys.verifies(key_id, nonce, place, data, mac):
                raise ValueError("not signed by a balancer of this cluster")
            if not data:
                break
            place += 1
            taken += self._take(orjson.loads(data))
        writer.write(_COUNT.pack(taken))
        await writer.drain()

    def _take(self, content: dict[str, Any]) -> int:
        with self._router.held():
            moment = self._moment()
            for key in content.get("answered", ()):
                handover.answered_elsewhere(int(key), moment)
            return sum(handover.take(record, moment) for record in content.get("requests", ()))

    # both

    def _moment(self) -> Moment:
        return Moment(self._router.table, self._router.memory, time.monotonic())

    def _tell(self, name: EventName, severity: Severity = Severity.INFO, **fields: Any) -> None:
        self._report(Event(name, time.time(), severity, fields))


def _mac(key: bytes, nonce: bytes, place: int, data: bytes) -> bytes:
    said = nonce + _PLACE.pack(place) + data
    return hashlib.blake2b(said, digest_size=_MAC_OCTETS, key=key).digest()


def _sub(secret: str, use: bytes) -> bytes:
    return hashlib.blake2b(secret.encode(), digest_size=32, person=b"rmlb " + use).digest()
