"""When the event loop rests to make reads of streams larger, and when not."""

from __future__ import annotations

import asyncio

import pytest

from rmlb.transport.gather import BUSY_S, FULL, REST_S, Gather


class Turns:
    """Turns of a loop in which streams were read, at times of the test's own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.rests = 0
        self.gather = Gather(lambda: self.now, self._rest)

    def _rest(self, seconds: float) -> None:
        self.rests += 1
        self.now += seconds

    def turn(self, *reads: int, after: float, takes: float = 0.0) -> int:
        """How often it rested in one turn with these reads, so long after the last one; to see to
        them takes so long."""
        before = self.rests
        self.now += after

        async def turn() -> None:
            for messages in reads:
                self.gather.read(messages)
                self.now += takes
            await asyncio.sleep(0)

        asyncio.run(turn())
        return self.rests - before


def test_a_message_alone_is_seen_to_at_once() -> None:
    turns = Turns()
    assert [turns.turn(1, after=2 * BUSY_S) for _ in range(3)] == [0, 0, 0]


def test_reads_that_follow_each_other_are_gathered() -> None:
    turns = Turns()
    assert [turns.turn(1, after=BUSY_S / 2) for _ in range(4)] == [0, 1, 1, 1]
    assert turns.now == pytest.approx(100.0 + 4 * BUSY_S / 2 + 3 * REST_S)
    assert turns.turn(1, after=2 * BUSY_S) == 0, "quiet again"


def test_work_is_no_quiet() -> None:
    turns = Turns()
    assert [turns.turn(9, 9, after=0.0, takes=BUSY_S) for _ in range(3)] == [0, 1, 1]


def test_one_rest_a_turn() -> None:
    turns = Turns()
    turns.turn(1, after=0.0)
    assert turns.turn(1, 2, 1, after=BUSY_S / 2) == 1


def test_no_rest_where_there_is_plenty() -> None:
    turns = Turns()
    turns.turn(1, after=0.0)
    assert turns.turn(FULL - 1, after=BUSY_S / 2) == 1
    assert turns.turn(FULL // 2, FULL // 2, after=BUSY_S / 2) == 0
