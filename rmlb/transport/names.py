"""Host names to addresses, off the packet path, remembered for a while."""

from __future__ import annotations

import asyncio
import socket

KEPT_S = 30.0
"""The system resolver tells no TTL; half a minute follows a moved host soon enough."""

_MOST = 1024


class NameCache:
    """Bounded cache in front of the system resolver; failures are remembered too."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], tuple[float, asyncio.Future[str | None]]] = {}

    async def resolve(self, name: str, family: socket.AddressFamily) -> str | None:
        """The first address of that family; None if the name has none."""
        loop = asyncio.get_running_loop()
        key = (name, int(family))
        known = self._found.get(key)
        if known is None or (known[1].done() and known[0] < loop.time()):
            if len(self._found) >= _MOST:
                self._found.clear()
            look_up: asyncio.Future[str | None] = asyncio.ensure_future(_look_up(name, family))
            known = self._found[key] = (loop.time() + KEPT_S, look_up)
        return await asyncio.shield(known[1])


async def _look_up(name: str, family: socket.AddressFamily) -> str | None:
    loop = asyncio.get_running_loop()
    try:
        answers = await loop.getaddrinfo(name, None, family=family, type=socket.SOCK_DGRAM)
    except OSError:
        return None
    return str(answers[0][4][0]) if answers else None
