"""How much one source may send: a token bucket each, and silence for those over it.

`[security] source-rate` and `source-penalty`. A source is an IPv4 address, or the /64 that an IPv6
address is in: whoever has one address of such a network has all of them. Trusted networks and the
members have no limit. At most MOST_SOURCES are known at a time; the one that has been silent
longest is forgotten. Pure: `now` is a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_network
from math import inf

from rmlb.routing.table import Network, is_in

MOST_SOURCES = 16384
MOST_TOLD = 16
"""Sources that can wait to be told of; of a flood from everywhere some examples are enough."""


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """What a source may send."""

    rate: int = 0
    """Messages per second, and at once; 0 is no limit."""
    penalty_s: float = 10.0
    """Not heard for so long afterwards."""
    trusted: tuple[Network, ...] = ()


@dataclass(slots=True)
class _Source:
    tokens: float
    filled_at: float
    silent_until: float = -inf


class Sources:
    """All sources that have a limit, as far as they are remembered."""

    def __init__(self, limits: SourceLimits) -> None:
        self.limits = limits
        self._members: frozenset[str] = frozenset()
        self._known: dict[str, _Source] = {}
        self._told: list[str] = []

    def __len__(self) -> int:
        return len(self._known)

    def spare(self, hosts: Iterable[str]) -> None:
        """The members' hosts, which have no limit."""
        self._members = frozenset(hosts)

    def may_send(self, host: str, now: float) -> bool:
        """Whether one more message of that host, an IP literal, is to be heard."""
        rate = self.limits.rate
        if not rate or host in self._members or is_in(self.limits.trusted, host):
            return True
        key = source_of(host)
        source = self._known.pop(key, None) or _Source(float(rate), now)
        if len(self._known) >= MOST_SOURCES:
            del self._known[next(iter(self._known))]
        self._known[key] = source
        if now < source.silent_until:
            return False
        since = max(now - source.filled_at, 0.0)
        source.tokens = min(float(rate), source.tokens + since * rate)
        source.filled_at = now
        if source.tokens >= 1.0:
            source.tokens -= 1.0
            return True
        goes_on = now < source.silent_until + self.limits.penalty_s
        source.silent_until = now + self.limits.penalty_s
        if not goes_on and len(self._told) < MOST_TOLD:
            self._told.append(key)
        return False

    def take_limited(self) -> list[str]:
        """Sources that went over the limit since the last call, the first MOST_TOLD of them.

        One that goes over it again as soon as it may send is not told again.
        """
        told, self._told = self._told, []
        return told


@lru_cache(maxsize=MOST_SOURCES)
def source_of(host: str) -> str:
    """What is counted as one source."""
    if ":" not in host:
        return host
    return str(ip_network(f"{host.partition('%')[0]}/64", strict=False))
