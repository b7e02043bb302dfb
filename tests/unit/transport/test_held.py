"""Messages that wait: together, in order, not too many, not too long."""

from __future__ import annotations

import asyncio

from rmlb.routing.verdict import Origin
from rmlb.sip.address import Transport
from rmlb.transport import held as module
from rmlb.transport.held import Held

ORIGIN = Origin(Transport.UDP, 0, 0, "192.0.2.1", 5060)


class Desk:
    def __init__(self, *, open: bool = True) -> None:
        self.released: list[bytes] = []
        self.asked: list[int] = []
        self.held = Held(lambda messages: self.released.extend(data for data, _ in messages))
        self._open = open

    def ask(self, key: int) -> bool:
        if self._open:
            self.asked.append(key)
        return self._open

    def hold(self, key: int, data: bytes) -> bool:
        return self.held.hold(key, (data, ORIGIN), self.ask)


async def test_those_of_one_key_leave_together_in_order() -> None:
    desk = Desk()
    assert all((desk.hold(1, b"ACK"), desk.hold(2, b"INFO"), desk.hold(1, b"BYE")))
    assert (desk.asked, desk.released) == ([1, 2], [])
    desk.held.answered(1)
    desk.held.answered(1)
    assert desk.released == [b"ACK", b"BYE"]
    assert desk.hold(1, b"again")
    assert desk.asked == [1, 2, 1]
    desk.held.close()
    assert sorted(desk.released[2:]) == [b"INFO", b"again"]


async def test_nobody_to_ask() -> None:
    desk = Desk(open=False)
    assert not desk.hold(1, b"INFO")
    assert desk.held.not_held == 1
    desk.held.answered(1)
    assert desk.released == []


async def test_too_many() -> None:
    desk = Desk()
    assert all(desk.hold(number % 10, b"%d" % number) for number in range(module.MAX_HELD))
    assert not desk.hold(3, b"one more")
    assert desk.held.not_held == 1
    desk.held.answered(3)
    assert desk.hold(3, b"there is room again")
    desk.held.close()


async def test_the_answer_takes_too_long() -> None:
    desk = Desk()
    desk.hold(1, b"INFO")
    async with asyncio.timeout(5):
        while not desk.released:  # noqa: ASYNC110 - a timer releases it
            await asyncio.sleep(0.005)
    assert (desk.released, desk.held.timed_out) == ([b"INFO"], 1)
    desk.held.answered(1)  # too late
    assert desk.released == [b"INFO"]
