"""A Redis client for a place: one server, behind Sentinel, or a Cluster; TLS or not.

A connection that was closed is opened once more; nothing else is tried twice, because whoever uses
the client decides when it is worth another try.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError

ANSWER_S: Final = 1.0
"""A command, or a connection, not answered for so long is given up: a store in the same network
answers within a millisecond, and nothing waits for it but the backlog."""

Client = Redis | RedisCluster


@dataclass(frozen=True, slots=True)
class Place:
    """Where the store is and what it takes to be let in."""

    kind: Literal["redis", "sentinel", "cluster"]
    hosts: tuple[tuple[str, int], ...]
    """The server, the Sentinels, or some of the Cluster's servers."""
    database: int = 0
    service: str = ""
    """What Sentinel calls the master."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca: str = ""
    """PEM file of the authorities for TLS; empty: the system's."""


def make_client(place: Place) -> Client:
    """A client that connects at its first command."""
    waits: dict[str, Any] = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S}
    tls: dict[str, Any] = {}
    if place.tls:
        tls = {"ssl": True, "ssl_ca_certs": place.ca or None, "ssl_check_hostname": True}
    retry = Retry(NoBackoff(), 1, supported_errors=(ConnectionError,))
    options = {**waits, **tls, "retry": retry}
    options |= {"username": place.user, "password": place.password}
    if place.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in place.hosts]
        return RedisCluster(startup_nodes=nodes, **options)
    if place.kind == "sentinel":
        sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py has no types there
            list(place.hosts), sentinel_kwargs={**waits, **tls}, **options
        )
        found: Redis = sentinel.master_for(place.service, db=place.database)
        return found
    ((host, port),) = place.hosts
    return Redis(host=host, port=port, db=place.database, **options)
