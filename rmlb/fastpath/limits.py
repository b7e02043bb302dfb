"""What the compiled engine has room for; beyond that, Python routes every message."""

from __future__ import annotations

from collections.abc import Iterator

from rmlb.fastpath.snapshot import room
from rmlb.routing.table import RoutingTable

HOST_ROOM, MOST_KEYS, MOST_LISTENERS = room()

_SLOW = "Python routes every message (100 to 200 us each)"


def beyond(table: RoutingTable) -> tuple[str, ...]:
    """Why nothing under this table is plain; each reason begins with its key path."""
    return tuple(f"{why}: {_SLOW}" for why in _beyond(table))


def _beyond(table: RoutingTable) -> Iterator[str]:
    listeners, keys = table.listeners, table.keys.all
    if len(listeners) > MOST_LISTENERS:
        yield f"sip.listen: {len(listeners)} addresses, more than {MOST_LISTENERS}"
    if listeners and all(listener.is_ipv6 for listener in listeners):
        yield "sip.listen: IPv6 alone"
    if len(keys) > MOST_KEYS:
        yield f"security.secret: {len(keys)} secrets, more than {MOST_KEYS}"
    names = {*table.vips, *(listener.sent_by for listener in listeners)}
    for name in sorted(filter(_is_long, names)):
        yield f"sip.via-host: {name} is longer than {HOST_ROOM} octets"
    for name in sorted({host for host, _ in table.aliases if _is_long(host)}):
        yield f"sip.aliases: {name} is longer than {HOST_ROOM} octets"


def _is_long(name: str) -> bool:
    return len(name) > HOST_ROOM
