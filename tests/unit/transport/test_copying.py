"""Copies of the packet thread and of Python's path, in one row."""

from __future__ import annotations

from typing import Any

from rmlb.routing.table import Listener
from rmlb.sip.address import Transport
from rmlb.trace.copies import Copy, CopyRing, Direction
from rmlb.transport.copying import copy_source, place_of

LISTENERS = (
    Listener(0, Transport.UDP, "192.0.2.100", 5060, "192.0.2.100"),
    Listener(1, Transport.TCP, "0.0.0.0", 5060, "192.0.2.100"),
    Listener(2, Transport.UDP, "::", 5060, "vip.example.com"),
)


class Thread:
    """The copies of a packet thread."""

    def __init__(self) -> None:
        self.copies: list[tuple[float, bool, int, str, int, bytes]] = []
        self.copies_lost = 0
        self.said: list[bool] = []

    def copy(self, on: bool) -> None:
        self.said.append(on)

    def take_copies(self) -> list[tuple[float, bool, int, str, int, bytes]]:
        taken, self.copies = self.copies, []
        return taken


def test_where_we_are() -> None:
    assert [place_of(each) for each in LISTENERS] == [
        ("192.0.2.100", 5060), ("192.0.2.100", 5060), ("::", 5060),
    ]  # fmt: skip


def test_without_a_thread_it_is_the_ring() -> None:
    ring = CopyRing()
    assert copy_source(ring, None, LISTENERS) is ring


def test_both_by_time() -> None:
    ring, thread = CopyRing(), Thread()
    packets: Any = thread
    source = copy_source(ring, packets, LISTENERS)
    source.on = True
    source.on = True
    assert (ring.on, thread.said) == (True, [True])
    odd = Copy(2.0, Direction.IN, "udp", "192.0.2.1", 9, "192.0.2.100", 5060, b"odd")
    ring.put(odd)
    thread.copies = [
        (1.0, True, 0, "192.0.2.1", 5070, b"came"),
        (1.0, False, 0, "192.0.2.11", 5060, b"left"),
        (3.0, True, 0, "192.0.2.1", 5070, b"later"),
    ]
    came, left, third, later = source.take()
    assert came == Copy(1.0, Direction.IN, "udp", "192.0.2.1", 5070, "192.0.2.100", 5060, b"came")
    assert left == Copy(1.0, Direction.OUT, "udp", "192.0.2.100", 5060, "192.0.2.11", 5060, b"left")
    assert (third, later.data) == (odd, b"later")
    assert source.take() == []
    source.on = False
    assert (ring.on, thread.said) == (False, [True, False])


def test_losses_add_up() -> None:
    ring, thread = CopyRing(most=0), Thread()
    packets: Any = thread
    ring.put(Copy(2.0, Direction.IN, "udp", "192.0.2.1", 9, "192.0.2.100", 5060, b"odd"))
    thread.copies_lost = 2
    assert copy_source(ring, packets, LISTENERS).lost == 3
