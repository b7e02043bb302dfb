"""Host names to addresses, off the packet path: a cache, and the members that have names.

Asks the system resolver and nobody else. Knows no sockets and no routing table.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable

from rmlb.sip.address import SipAddress, is_ip_literal

KEPT_S = 30.0
"""The system resolver tells no TTL; half a minute follows a moved host soon enough."""

FAILURE_KEPT_S = 2.0
"""A name that fails is asked for again soon: somebody is probably mending it."""

PATIENCE_S = 2.0
"""How long the members that have addresses wait for the others' names: resolvers may take 10 s
and more to give up. What comes later is used the next time."""

_MOST = 1024

LookUp = Callable[[str, socket.AddressFamily], Awaitable[str | None]]
"""The first address of a name in a family; None if it has none."""


class NameCache:
    """Bounded cache in front of the system resolver; failures are remembered too, for less."""

    def __init__(self, look_up: LookUp | None = None) -> None:
        self._look_up = look_up or _look_up
        self._found: dict[tuple[str, int], tuple[float, asyncio.Future[str | None]]] = {}

    async def resolve(self, name: str, family: socket.AddressFamily) -> str | None:
        """The first address of that family; None if the name has none."""
        key = (name, int(family))
        known = self._found.get(key)
        if known is None or self._is_old(*known):
            if len(self._found) >= _MOST:
                self._found.clear()
            asked = asyncio.ensure_future(self._look_up(name, family))
            known = self._found[key] = (asyncio.get_running_loop().time(), asked)
        return await asyncio.shield(known[1])

    def _is_old(self, asked_at: float, answer: asyncio.Future[str | None]) -> bool:
        if not answer.done():
            return False
        failed = answer.cancelled() or answer.exception() is not None or answer.result() is None
        kept_s = FAILURE_KEPT_S if failed else KEPT_S
        return asked_at + kept_s <= asyncio.get_running_loop().time()


class MemberNames:
    """The addresses of members that are configured by name, followed as they change.

    A name that can no longer be resolved keeps its last address: a broken resolver is no reason
    to lose a member.
    """

    def __init__(self, cache: NameCache, families: Iterable[socket.AddressFamily]) -> None:
        """`families`: in which to look for addresses, the best first."""
        self.unresolved: frozenset[str] = frozenset()
        """Names without an address, old or new."""
        self._cache = cache
        self._families = tuple(dict.fromkeys(families)) or (socket.AF_INET,)
        self._known: dict[str, str] = {}

    async def refresh(self, addresses: Iterable[SipAddress]) -> bool:
        """Look up every name among them, all at once; True if an address has changed.

        Takes at most PATIENCE_S.
        """
        names = {a.host for a in addresses if not is_ip_literal(a.host)}
        tasks = {name: asyncio.ensure_future(self._resolve(name)) for name in names}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=PATIENCE_S)
        changed = False
        for name, task in tasks.items():
            if not task.done():
                task.cancel()
                continue
            host = task.result()
            if host is not None and self._known.get(name) != host:
                self._known[name] = host
                changed = True
        self.unresolved = frozenset(names - self._known.keys())
        return changed

    def addresses(self, given: Iterable[SipAddress]) -> tuple[SipAddress, ...]:
        """These with IP literals for names; those of unresolved names are left out."""
        found = ((address, self._host(address.host)) for address in given)
        return tuple(address._replace(host=host) for address, host in found if host is not None)

    def certificate_names(self, given: Iterable[SipAddress]) -> dict[tuple[str, int], str]:
        """IP address and port -> the name or address that its certificate must carry."""
        found = ((address, self._host(address.host)) for address in given)
        return {(host, a.port): a.host for a, host in found if host is not None}

    def _host(self, host: str) -> str | None:
        return host if is_ip_literal(host) else self._known.get(host)

    async def _resolve(self, name: str) -> str | None:
        for family in self._families:
            host = await self._cache.resolve(name, family)
            if host is not None:
                return host
        return None


async def _look_up(name: str, family: socket.AddressFamily) -> str | None:
    loop = asyncio.get_running_loop()
    try:
        answers = await loop.getaddrinfo(name, None, family=family, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):  # a label that IDNA refuses
        return None
    return str(answers[0][4][0]).partition("%")[0] if answers else None
