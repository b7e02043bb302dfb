"""Listening and outgoing sockets: shares of the ephemeral ports, families, vanished peers."""

from __future__ import annotations

import resource
import socket
from pathlib import Path

import pytest

from rmlb.routing.table import Listener
from rmlb.sip.address import Transport
from rmlb.transport.ports import (
    PortShare,
    allow_connections,
    family_of,
    listening_socket,
    watch_peer,
)


def _listener(host: str, transport: Transport = Transport.TCP) -> Listener:
    return Listener(0, transport, host, 0, host)


def test_shares_of_two_balancers_do_not_meet() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    seen = []
    for balancer_id in (1, 2, 3, 4):
        share, ports = PortShare(balancer_id), set()
        for _ in range(50):
            with socket.socket() as sock:
                share.bind(sock, "127.0.0.1")
                ports.add(sock.getsockname()[1])
        assert low <= min(ports) <= max(ports) <= high
        seen.append(ports)
    assert all(not a & b for i, a in enumerate(seen) for b in seen[i + 1 :])


def test_a_lone_balancer_leaves_it_to_the_kernel() -> None:
    with socket.socket() as sock:
        PortShare(0).bind(sock, "127.0.0.1")
        assert sock.getsockname()[1] > 0


def test_no_port_to_bind_to() -> None:
    with socket.socket() as sock, pytest.raises(OSError, match="Cannot assign"):
        PortShare(1).bind(sock, "192.0.2.1")


def test_an_address_that_is_not_here_yet() -> None:
    """IP_FREEBIND: the standby listens on the virtual IP before it owns it."""
    listening_socket(_listener("192.0.2.1"), socket.SOCK_STREAM).close()
    listening_socket(_listener("192.0.2.1", Transport.UDP), socket.SOCK_DGRAM).close()


def test_both_families_on_one_port() -> None:
    with listening_socket(_listener("::1"), socket.SOCK_STREAM) as six:
        port = six.getsockname()[1]
        four = Listener(1, Transport.TCP, "127.0.0.1", port, "127.0.0.1")
        listening_socket(four, socket.SOCK_STREAM).close()
        six.listen()
        again = Listener(2, Transport.TCP, "::1", port, "::1")
        with pytest.raises(OSError, match="in use"):
            listening_socket(again, socket.SOCK_STREAM)
    assert (family_of("::1"), family_of("10.0.0.1")) == (socket.AF_INET6, socket.AF_INET)


def test_accepted_connections_are_watched() -> None:
    """What the listening socket is told holds for what it accepts."""
    with listening_socket(_listener("127.0.0.1"), socket.SOCK_STREAM) as server:
        server.setblocking(True)
        server.listen()
        with socket.create_connection(server.getsockname()):
            accepted, _ = server.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                tcp = socket.IPPROTO_TCP
                assert accepted.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 32_000
                assert accepted.getsockopt(tcp, socket.TCP_KEEPIDLE) == 60


def test_outgoing_connections_are_watched() -> None:
    with socket.socket() as sock:
        watch_peer(sock)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 32_000


def test_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised as far as it may be, never lowered."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: asked.append(limits))
    for limits in ((1024, 4096), (1024, 1_000_000), (8192, 8192), (-1, -1), (1024, -1)):
        monkeypatch.setattr(resource, "getrlimit", lambda what, limits=limits: limits)
        allow_connections(4096)
    assert asked == [(4096, 4096), (5120, 1_000_000), (5120, -1)]
