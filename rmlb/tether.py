"""What keeper and worker say to each other: JSON objects over a pair of sockets.

One object a packet, `is` names it. The end of the one process is the end of the pair, which the
other one sees at once. Works in asyncio and in uvloop. Knows nothing of what is said.

From the keeper: `standing`, `event`, `succession`, `answer`, `stop`. From the worker: `started`,
`configured`, `health`, `succession`, `command`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import orjson

Message = dict[str, Any]

_LARGEST: Final = 1 << 18
_BUFFER: Final = 1 << 20


def pair() -> tuple[socket.socket, socket.socket]:
    """The keeper's end and the worker's."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return ends


class Tether:
    """One end."""

    def __init__(
        self,
        end: socket.socket,
        on_message: Callable[[Message], object],
        on_end: Callable[[], object],
    ) -> None:
        """Reads from now on, in the running loop. `on_end`: the other process is dead."""
        self._end = end
        self._on_message = on_message
        self._on_end = on_end
        end.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end.fileno(), self._ready)
        self._open = True

    def say(self, what: str, **fields: object) -> bool:
        """False if the other side is dead, or has not read a megabyte of what was said."""
        if not self._open:
            return False
        try:
            self._end.send(orjson.dumps({"is": what, **fields}))
        except OSError:
            return False
        return True

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._end.fileno())
            self._end.close()

    def _ready(self) -> None:
        while self._open:
            try:
                data = self._end.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                self._on_end()
                return
            self._on_message(orjson.loads(data))
