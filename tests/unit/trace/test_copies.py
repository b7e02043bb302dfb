"""The ring between the packet path and traces: bounded, and never in the way."""

from __future__ import annotations

from trace_samples import received

from rmlb.trace.copies import CopyRing


def test_copies_come_out_once_in_their_order() -> None:
    ring = CopyRing()
    copies = [received(b"1"), received(b"2")]
    for copy in copies:
        ring.put(copy)
    assert ring.take() == copies
    assert ring.take() == []
    assert ring.lost == 0


def test_it_is_off_at_first() -> None:
    assert CopyRing().on is False


def test_too_many_are_lost_and_counted() -> None:
    ring = CopyRing(most=2)
    for number in range(5):
        ring.put(received(b"%d" % number))
    assert [copy.data for copy in ring.take()] == [b"0", b"1"]
    assert ring.lost == 3
    ring.put(received(b"5"))
    assert len(ring.take()) == 1


def test_octets_are_bounded_too() -> None:
    ring = CopyRing(most_octets=100)
    for _ in range(3):
        ring.put(received(b"x" * 40))
    assert len(ring.take()) == 2
    ring.put(received(b"x" * 100))
    ring.put(received(b"x"))
    assert (len(ring.take()), ring.lost) == (1, 2)
