"""Sockets by which messages leave the virtual IP, made so that two balancers never collide."""

from __future__ import annotations

import contextlib
import random
import resource
import socket
from pathlib import Path

from rmlb.routing.table import Listener

_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
UNHEARD_S = 32
"""64 T1: by then every transaction whose message waits has ended (RFC 3261 17)."""

QUIET_S = 60
"""Silence after which a connection's peer is probed."""

_TRIES = 16
_SHARES = 4
_OTHER_FILES = 1024
"""Listeners, connections to members, admin API, handshakes under way, files."""


class PortShare:
    """This balancer's share of the ephemeral ports.

    After a takeover the new owner speaks from the same address: had it the same ports, a peer
    could take its SYN for a stray packet of the old connection. `balancer_id` 0 (no peers):
    the kernel picks.
    """

    def __init__(self, balancer_id: int) -> None:
        self._range: range | None = None
        if balancer_id:
            low, high = (int(x) for x in _PORT_RANGE.read_text().split())
            size = (high - low + 1) // _SHARES
            first = low + (balancer_id - 1) % _SHARES * size
            self._range = range(first, first + size)

    def bind(self, sock: socket.socket, host: str) -> None:
        """Bind to `host` and a free port of the share. Raises OSError if none is found."""
        if self._range is None:
            sock.bind((host, 0))
            return
        for tries_left in reversed(range(_TRIES)):
            try:
                sock.bind((host, random.choice(self._range)))
                return
            except OSError:
                if not tries_left:
                    raise


def allow_connections(count: int) -> None:
    """Raise this process's limit of open files to that many connections and some more.

    As far as the hard limit goes: accepting stops there, it does not fail.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def watch_peer(sock: socket.socket) -> None:
    """Let the kernel find out that a peer has vanished; accepted connections inherit it.

    What it has not acknowledged for UNHEARD_S, or probes while nothing is sent, end the
    connection; without this, octets for a host without power wait for some 15 minutes.
    """
    tcp = socket.IPPROTO_TCP
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(tcp, socket.TCP_KEEPIDLE, QUIET_S)
    sock.setsockopt(tcp, socket.TCP_KEEPINTVL, 10)
    sock.setsockopt(tcp, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(tcp, socket.TCP_USER_TIMEOUT, UNHEARD_S * 1000)


def family_of(host: str) -> socket.AddressFamily:
    """AF_INET6 for an IPv6 literal, else AF_INET."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def listening_socket(listener: Listener, kind: socket.SocketKind) -> socket.socket:
    """A bound, non-blocking socket for a listener.

    IP_FREEBIND: it can be made before this host owns the virtual IP. IPv6 sockets take IPv6
    alone, so that a v4 listener beside it is its own. Raises OSError (address in use, ...).
    """
    sock = socket.socket(family_of(listener.host), kind)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        _let_finish(sock)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            watch_peer(sock)
        sock.bind((listener.host, listener.port))
    except OSError:
        sock.close()
        raise
    return sock


def _let_finish(sock: socket.socket) -> None:
    """Answers still leave when the address has gone (HA-RULES 4); needs CAP_NET_ADMIN."""
    with contextlib.suppress(OSError):
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)


_IP_TRANSPARENT = 19  # <linux/in.h>
_IPV6_TRANSPARENT = 75  # <linux/in6.h>
_IP_FREEBIND = 15  # <linux/in.h>; the socket module of Python 3.11 has no name for it
