"""UDP on the virtual IP: batches of datagrams in, single datagrams out, refusals told apart.

ICMP errors are asked for (IP_RECVERR), because they tell of a dead member within a round trip.
They come back through the error queue with the address that was refused; the kernel also fails
the next send on the socket, to whomever that goes, so such a send is made again.

Reading is the event loop's under the Python engine (UdpReader), the packet thread's otherwise.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
from collections.abc import Callable
from typing import Final

from rmlb.routing.counters import Counters
from rmlb.routing.table import Listener
from rmlb.routing.verdict import Origin
from rmlb.sip.address import Transport
from rmlb.transport.ports import listening_socket

BATCH: Final = 64
"""Datagrams per turn of the event loop: 64 x ~100 us keeps timers and TCP within 10 ms."""

_MAX_DATAGRAM: Final = 65535
_SO_SNDBUFFORCE: Final = 32  # <asm-generic/socket.h>
_SO_RCVBUFFORCE: Final = 33
_IP_RECVERR: Final = 11  # <linux/in.h>
_IPV6_RECVERR: Final = 25  # <linux/in6.h>
_ERRORS_AT_ONCE: Final = 256
_INNOCENT: Final = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)
"""Errors that an earlier datagram to somebody else may have left on the socket."""

_TRIES: Final = 16
"""Each error of that kind costs one try; another one may have come meanwhile, when somebody dead
is sent to from another thread or answers late: two in a row are usual, sixteen are not."""

Receive = Callable[[bytes, Origin, float], None]
Refused = Callable[[str, int], None]


class UdpSocket:
    """One UDP listener: the socket, and sending."""

    def __init__(
        self, listener: Listener, counters: Counters, *, receive_buffer: int, send_buffer: int
    ) -> None:
        self.listener = listener
        self._counters = counters
        sock = self._sock = listening_socket(listener, socket.SOCK_DGRAM)
        _set_buffer(sock, _SO_RCVBUFFORCE, socket.SO_RCVBUF, receive_buffer)
        _set_buffer(sock, _SO_SNDBUFFORCE, socket.SO_SNDBUF, send_buffer)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)

    def send(self, data: bytes, host: str, port: int) -> None:
        """Send one datagram; a refusal by the kernel is counted by its errno name."""
        for tries_left in reversed(range(_TRIES)):
            try:
                self._sock.sendto(data, (host, port))
                return
            except OSError as error:
                if error.errno not in _INNOCENT or not tries_left:
                    self._count(error)
                    return

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def _count(self, error: OSError) -> None:
        cause = errno.errorcode.get(error.errno or 0, "unknown").lower()
        self._counters.send_errors[cause] += 1

    # reading

    def receive(self) -> tuple[bytes, tuple[str, int]] | None:
        """One datagram and its source; None if there is none. Raises OSError, see the module."""
        try:
            data, source = self._sock.recvfrom(_MAX_DATAGRAM)
        except BlockingIOError:
            return None
        return data, (source[0].partition("%")[0], source[1])

    def refusals(self) -> set[tuple[str, int]]:
        """Drain the error queue: the address of each datagram that was refused."""
        refused: set[tuple[str, int]] = set()
        for _ in range(_ERRORS_AT_ONCE):
            try:
                _, _, _, to = self._sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)
            except OSError:
                break
            refused.add((to[0].partition("%")[0], to[1]))
        self._counters.send_errors["refused"] += len(refused)
        return refused


class UdpReader:
    """Reads one listener on the event loop.

    `receive` gets every datagram with the batch's one `now`, `refused` the host and port that
    answered a datagram with ICMP.
    """

    def __init__(self, udp: UdpSocket, receive: Receive, refused: Refused) -> None:
        self._udp = udp
        self._receive = receive
        self._refused = refused
        # libuv stops watching a descriptor that reports EPOLLERR, which a filled error queue
        # does; an epoll of our own in between reports only that there is something to do.
        self._epoll = select.epoll()
        self._epoll.register(udp.fileno(), select.EPOLLIN)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._ready)

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _ready(self) -> None:
        for _, events in self._epoll.poll(0):
            if events & select.EPOLLERR:
                for host, port in self._udp.refusals():
                    self._refused(host, port)
            if events & select.EPOLLIN:
                self._read_datagrams()

    def _read_datagrams(self) -> None:
        now = self._loop.time()
        index = self._udp.listener.index
        for _ in range(BATCH):
            try:
                received = self._udp.receive()
            except OSError:  # an ICMP error for an earlier datagram; the queue tells whose
                continue
            if received is None:
                return
            data, (host, port) = received
            self._receive(data, Origin(Transport.UDP, index, index, host, port), now)


def _set_buffer(sock: socket.socket, force: int, option: int, size: int) -> None:
    """Ask for the size past the system's limit, which needs CAP_NET_ADMIN, else within it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, option, size)
