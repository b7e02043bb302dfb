"""The loss log and the active member, kept in `[state] dir` over a restart (SIP-RULES 4).

Plain numbers in one JSON file, replaced as a whole; times in it are those of the wall clock.
Knows nothing of what the numbers mean for calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from rmlb.events import Event, EventName
from rmlb.state.document import Document

FILE_NAME: Final = "succession.json"

_MAX_OCTETS: Final = 4 * 2**20
"""Some 40 octets a loss: a hundred thousand of them."""

_NUMBERS_FROM: Final = 1_735_689_600
"""2025-01-01 in seconds since 1970. After a broken file, losses are numbered from the seconds since
then: more than any cluster has had, so older marks still find their holder, and nine digits until
2056, which is what a mark holds."""


LARGEST_LOSS: Final = 999_999_999
"""Nine digits are what a mark holds."""

LARGEST_MEMBER: Final = 65_535
"""As member IDs go in the configuration and in heartbeats."""

_LARGEST: Final = 2**53
"""Of anything that counts: JSON numbers are exact up to here, and one more still is a number."""


class KeptLoss(NamedTuple):
    """A loss; `at` in seconds since 1970."""

    number: int
    member: int
    survivors: tuple[int, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Succession:
    """What is kept."""

    number: int = 0
    """Of the newest loss ever."""
    losses: tuple[KeptLoss, ...] = ()
    lost: frozenset[int] = frozenset()
    """Members whose loss is in the log and that have not come back since."""
    active: int | None = None
    elected: int | None = None
    """The member that the Resource Managers' own election chose, when we were told."""
    retiring: frozenset[int] = frozenset()
    """Former active members that kept their dialogs."""
    turn: int = 0
    """How many times `active`, `elected` or `retiring` were decided on."""


class SuccessionFile:
    """Reads it once, and writes the newest in the background."""

    def __init__(
        self,
        directory: Path,
        report: Callable[[Event], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`report` gets an event when the disk does not cooperate; `clock` is the wall clock."""
        self._document = Document(
            directory / FILE_NAME,
            report,
            not_kept=EventName.LOSS_LOG_NOT_KEPT,
            aside=EventName.LOSS_LOG_SET_ASIDE,
            max_octets=_MAX_OCTETS,
            clock=clock,
        )
        self._clock = clock
        self._newest: Succession | None = None
        self._written: Succession | None = None
        self._writer: asyncio.Task[None] | None = None

    def load(self) -> Succession:
        """What was kept; nothing at the first start. Blocks for one read, never raises."""
        there = self._document.path.exists()
        content = self._document.read()
        if content is None:
            return Succession(number=self._fresh_number()) if there else Succession()
        try:
            kept = _parse(content)
        except (KeyError, TypeError, ValueError, AttributeError):
            self._document.set_aside("not a loss log")
            return Succession(number=self._fresh_number())
        self._written = kept
        return kept

    def put(self, kept: Succession) -> None:
        """Have it written soon; returns at once. What comes meanwhile replaces it."""
        self._newest = kept
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="write the loss log")

    async def flush(self) -> None:
        """Wait until the newest is on disk, or could not be written."""
        if self._writer is not None:
            await self._writer

    async def _write(self) -> None:
        while self._newest is not None and self._newest != self._written:
            newest = self._newest
            await self._document.keep(partial(_content, newest))
            self._written = newest

    def _fresh_number(self) -> int:
        return min(max(0, int(self._clock()) - _NUMBERS_FROM), LARGEST_LOSS)


def _content(kept: Succession) -> dict[str, Any]:
    return {
        "number": kept.number,
        "losses": [list(loss) for loss in kept.losses],
        "lost": sorted(kept.lost),
        "active": kept.active,
        "elected": kept.elected,
        "retiring": sorted(kept.retiring),
        "turn": kept.turn,
    }


def _parse(content: dict[str, Any]) -> Succession:
    """Raises KeyError, TypeError or ValueError where it is not what `_content` makes."""
    losses = read_losses(content["losses"])
    if losses and losses[-1].number > content["number"]:
        raise ValueError("losses out of order")
    active, elected = content["active"], content["elected"]
    return Succession(
        number=whole(content["number"], LARGEST_LOSS),
        losses=losses,
        lost=frozenset(map(member_id, content["lost"])),
        active=None if active is None else member_id(active),
        elected=None if elected is None else member_id(elected),
        retiring=frozenset(map(member_id, content["retiring"])),
        turn=whole(content.get("turn", 0)),
    )


def read_losses(content: Any) -> tuple[KeptLoss, ...]:
    """Losses as JSON has them. Raises KeyError, TypeError or ValueError for what is none."""
    losses = tuple(
        KeptLoss(
            whole(number, LARGEST_LOSS),
            member_id(member),
            tuple(map(member_id, survivors)),
            moment(at),
        )
        for number, member, survivors, at in content
    )
    names = [(loss.number, loss.member) for loss in losses]
    if names != sorted(set(names)):
        raise ValueError("losses out of order")
    return losses


def whole(value: object, most: int = _LARGEST) -> int:
    """The value as a number from 0 to `most`. Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{value!r:.40} is no number from 0 to {most}")
    return value


def member_id(value: object) -> int:
    """The value as a member ID. Raises ValueError."""
    return whole(value, LARGEST_MEMBER)


def moment(value: object) -> float:
    """The value as seconds since 1970. Raises ValueError; infinity could not be written again."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        raise ValueError(f"{value!r:.40} is no time")
    return float(value)
