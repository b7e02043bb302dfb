"""A dead destination costs nobody else a datagram (HA-RULES 6)."""

from __future__ import annotations

import contextlib
import socket
import threading

from rig import HOST, free_port

from rmlb.routing.counters import Counters
from rmlb.routing.table import Listener
from rmlb.sip.address import Transport
from rmlb.transport.udp import UdpSocket

SENDS = 5000


def test_refusals_between_the_tries_lose_nothing() -> None:
    """Two threads send, as packet thread and router do, and the dead one's ICMP comes any time."""
    listener = Listener(0, Transport.UDP, HOST, free_port(), HOST)
    counters = Counters()
    sender = UdpSocket(listener, counters, receive_buffer=2**20, send_buffer=2**20)
    dead, over = free_port(), threading.Event()

    def bother() -> None:
        with socket.socket(fileno=socket.dup(sender.fileno())) as same:
            while not over.wait(0.0001):
                with contextlib.suppress(OSError):
                    same.sendto(b"anybody there?", (HOST, dead))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as innocent:
        innocent.bind((HOST, 0))
        innocent.setblocking(False)
        port = innocent.getsockname()[1]
        thread = threading.Thread(target=bother)
        thread.start()
        heard = 0
        for _ in range(SENDS):
            sender.send(b"dead", HOST, dead)
            sender.send(b"innocent", HOST, port)
            with contextlib.suppress(BlockingIOError):
                heard += len(innocent.recv(100)) > 0
        over.set()
        thread.join()
        sender.close()
    assert heard == SENDS
