"""UDP on the virtual IP: batches of datagrams in, single datagrams out."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from rmlb.routing.counters import Counters
from rmlb.routing.table import Listener
from rmlb.routing.verdict import Origin
from rmlb.sip.address import Transport
from rmlb.transport.ports import listening_socket

BATCH = 64
"""Datagrams per turn of the event loop: 64 x ~100 us keeps timers and TCP within 10 ms."""

_MAX_DATAGRAM = 65535

Receive = Callable[[bytes, Origin, float], None]


class UdpSocket:
    """One UDP listener. `receive` gets every datagram with the batch's one `now`."""

    def __init__(
        self,
        listener: Listener,
        receive: Receive,
        counters: Counters,
        *,
        receive_buffer: int,
        send_buffer: int,
    ) -> None:
        self._listener = listener
        self._receive = receive
        self._counters = counters
        self._sock = listening_socket(listener, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock, self._readable)

    def send(self, data: bytes, host: str, port: int) -> None:
        """Send one datagram; a refusal by the kernel is counted by its errno name."""
        try:
            self._sock.sendto(data, (host, port))
        except OSError as error:
            cause = errno.errorcode.get(error.errno or 0, "unknown").lower()
            self._counters.send_errors[cause] += 1

    def close(self) -> None:
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _readable(self) -> None:
        now = self._loop.time()
        index = self._listener.index
        for _ in range(BATCH):
            try:
                data, source = self._sock.recvfrom(_MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error for an earlier datagram
                continue
            host = source[0].partition("%")[0]
            self._receive(data, Origin(Transport.UDP, index, index, host, source[1]), now)
