"""Kinds of value that name a store: `memory://`, Redis alone, behind Sentinel, or as a Cluster.

Passwords in URLs are never repeated in an error and never shown.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from rmlb.config.addresses import HostPort, read_host_port, read_text
from rmlb.config.kinds import HIDDEN, Kind, Wrong, describe

Backend = Literal["memory", "redis", "sentinel", "cluster"]

_SCHEMES: dict[str, Backend] = {
    "memory": "memory",
    "redis": "redis",
    "rediss": "redis",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}


def backend(url: str) -> Backend:
    """What a (checked) state URL names."""
    return _SCHEMES[url.partition("://")[0]]


def store_hosts(url: str) -> tuple[HostPort, ...]:
    """The Redis (or Sentinel, or Cluster) servers that a state URL names."""
    servers = urlsplit(url).netloc.rpartition("@")[2]
    default = 26379 if backend(url) == "sentinel" else 6379
    return tuple(read_host_port(server, default) for server in servers.split(",") if server)


def _read_store_url(value: object) -> str:
    given = read_text(value).strip()
    scheme, found, rest = given.partition("://")
    url = f"{scheme.lower()}://{rest}"
    shown = describe(mask_password(given))
    if not found or scheme.lower() not in _SCHEMES or not given.isprintable() or " " in given:
        raise Wrong(f"{shown} is not a state URL")
    try:
        parts, hosts = urlsplit(url), store_hosts(url)
    except ValueError:  # its message may hold a part of the password
        raise Wrong(f"{shown} names no server: it needs host or host:port") from None
    path = parts.path.strip("/").split("/") if parts.path.strip("/") else []
    kind = backend(url)
    if kind == "memory":
        if rest:
            raise Wrong(f"{shown} has something after memory://")
        return url
    if not hosts or (kind == "redis" and len(hosts) > 1):
        raise Wrong(f"{shown} must name {'one server' if kind == 'redis' else 'a server'}")
    if kind == "sentinel" and not (path and path[0] and not path[0].isdigit()):
        raise Wrong(f"{shown} does not name Sentinel's service")
    database = path[1:] if kind == "sentinel" else path
    if len(database) > (kind != "cluster") or not all(
        re.fullmatch(r"[0-9]{1,5}", part, re.ASCII) for part in database
    ):
        raise Wrong(f"{shown} does not end in a database number")
    return url


_PASSWORD = re.compile(r"(?<=[?&]password=)[^&]*", re.IGNORECASE)


def mask_password(url: str) -> str:
    """The URL with *** for its password, wherever one stands."""
    scheme, separator, rest = url.partition("://")
    if not separator:  # no URL at all: nothing before an @ is repeated
        return f"{HIDDEN}@{url.rpartition('@')[2]}" if "@" in url else url
    user, at, place = rest.rpartition("@")
    if at and ":" in user:
        user = f"{user.partition(':')[0]}:{HIDDEN}"
    return _PASSWORD.sub(HIDDEN, f"{scheme}{separator}{user}{at}{place}")


store_url = Kind(
    '"memory://", "redis://[user:password@]host:6379/0", "rediss://..." (TLS), '
    '"redis+sentinel://host:26379,host:26379/SERVICE/0" or "redis+cluster://host:6379,host:6379" '
    "(rediss+ for TLS)",
    _read_store_url,
    mask_password,
)


def _read_witness(value: object) -> str:
    given = read_text(value).strip()
    if given.lower() in ("", "none"):
        return given.lower()
    url = _read_store_url(given)
    if backend(url) != "redis":
        raise Wrong(f"{describe(mask_password(given))} is not one Redis server")
    return url


witness_url = Kind(
    'one Redis server such as "redis://10.0.0.50:6379/0", "" for that of [state] url, or "none"',
    _read_witness,
    mask_password,
)
