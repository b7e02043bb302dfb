"""`[log] syslog`: events as RFC 5424 messages, over UDP (5426), TCP (6587, octet counting) or unix.

SHELL: sockets. UDP and unix sockets are fire and forget; over TCP a message waits for a connection.
The first failure of an outage is told; the metrics count the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import orjson

from rmlb.alarms.lane import Item
from rmlb.config import LogConfig, SyslogTarget
from rmlb.events import Event, EventName, Severity, Value, as_text

FACILITY: Final = 3
"""System daemons."""

SEVERITIES: Final = {Severity.INFO: 6, Severity.WARNING: 4, Severity.ERROR: 3}

LONGEST: Final = 2048
"""Octets of a message: what every receiver should take (RFC 5424 6.1)."""

TIMEOUT_S: Final = 5.0
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0

Tell = Callable[[EventName, dict[str, Value]], object]

_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")


def message(event: Event, host: str, process: int, *, as_json: bool) -> bytes:
    """One RFC 5424 message: MSGID is the event's name, the text is as in the log."""
    priority = FACILITY * 8 + SEVERITIES[event.severity]
    moment = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds")
    head = (
        f"<{priority}>1 {moment.replace('+00:00', 'Z')} {_word(host, 255)} rmlb {process} "
        f"{_word(str(event.name), 32)} - "
    )
    if as_json:
        text = orjson.dumps({"event": str(event.name), **event.fields}, default=str)
    else:
        text = as_text(event).encode()
    return (head.encode() + text)[:LONGEST].decode(errors="ignore").encode()


def _word(text: str, most: int) -> str:
    return _UNPRINTABLE.sub("", text)[:most] or "-"


class Syslog:
    """One server (a lane.Receiver)."""

    def __init__(self, config: LogConfig, target: SyslogTarget, tell: Tell) -> None:
        self._json = config.format == "json"
        self._target = target
        self._tell = tell
        self._host = socket.gethostname()
        self._failing = False
        self._socket: socket.socket | None = None
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def deliver(self, item: Item) -> bool:
        octets = message(item[0].event, self._host, os.getpid(), as_json=self._json)
        wait_s = FIRST_WAIT_S
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._send(octets)
            except OSError as error:  # TimeoutError is one
                self._failed(error)
            else:
                self._failing = False
                return True
            if self._target.transport != "tcp":
                return False
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def close(self) -> None:
        self._hang_up()

    def _failed(self, error: OSError) -> None:
        self._hang_up()
        if not self._failing:
            self._failing = True
            why = error.strerror or str(error) or "no answer"
            self._tell(EventName.SYSLOG_FAILED, {"to": str(self._target), "why": why})

    async def _send(self, octets: bytes) -> None:
        if self._target.transport == "tcp":
            await self._send_stream(b"%d %b" % (len(octets), octets))
            return
        for last in (False, True):
            if self._socket is None:
                self._socket = await self._connected()
            try:
                self._socket.send(octets)
            except OSError:
                # the error may be that of an earlier datagram, or the receiver was restarted
                self._hang_up()
                if last:
                    raise
            else:
                return

    async def _connected(self) -> socket.socket:
        target = self._target
        if target.transport == "unix":
            family, address = socket.AF_UNIX, target.host
        else:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
            family, address = found[0][0], found[0][4]  # type: ignore[assignment]
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.setblocking(False)
        try:
            made.connect(address)
        except OSError:
            made.close()
            raise
        return made

    async def _send_stream(self, octets: bytes) -> None:
        if self._stream is not None and (self._stream[0].at_eof() or self._stream[1].is_closing()):
            self._hang_up()
        if self._stream is None:
            self._stream = await asyncio.open_connection(self._target.host, self._target.port)
        self._stream[1].write(octets)
        await self._stream[1].drain()

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream[1].close()
            self._stream = None
