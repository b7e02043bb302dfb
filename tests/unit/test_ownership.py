"""The shared page, from both sides."""

from __future__ import annotations

import os

import pytest

from rmlb.ownership import FOREVER, WILL_OCTETS, Page, clock_ns
from rmlb.will import write


def test_both_sides_see_the_same() -> None:
    keeper = Page()
    worker = Page(os.dup(keeper.handle))
    assert not worker.may_forward(), "nobody owns at first"
    keeper.may_forward_until = clock_ns() + 10**12
    assert worker.may_forward()
    keeper.may_forward_until = clock_ns() - 1
    assert not worker.may_forward()
    keeper.may_forward_until = FOREVER
    assert worker.may_forward()
    assert keeper.stamps == (0, 0)
    worker.stamp(packets=False)
    assert keeper.stamps[0] == 0 < keeper.stamps[1] <= clock_ns()
    worker.stamp(packets=True)
    assert keeper.stamps[0] == keeper.stamps[1]
    keeper.clear_stamps()
    assert keeper.stamps == (0, 0)
    worker.close()
    keeper.close()


def test_the_will_is_replaced_as_a_whole() -> None:
    page = Page()
    assert page.will() == b""
    for will in (b"first", b"x" * (WILL_OCTETS - 4), b"", b"last"):
        page.put_will(will)
        assert page.will() == will
    with pytest.raises(ValueError, match="a last will of"):
        page.put_will(b"x" * WILL_OCTETS)
    assert page.will() == b"last"
    page.close()


def test_an_empty_will() -> None:
    assert write([], []) == b""
    assert write([b"\1"], [(("10.0.0.1", 9811), b"\2")]) == (
        b'{"netlink":["01"],"send":[["10.0.0.1",9811,"02"]]}'
    )
