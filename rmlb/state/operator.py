"""What the operator said of each member, kept in `[state] dir` so that it survives a restart.

Written before the operator gets his answer; where that fails, his word holds in memory. Knows
nothing of what the words mean: `allowed` names them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any, Final

from rmlb.events import Event, EventName
from rmlb.state.agreement import Word
from rmlb.state.document import Document

FILE_NAME: Final = "operator-states.json"

_MAX_OCTETS: Final = 64 * 1024
"""Some 30 octets a member."""


class OperatorStates:
    """Operator states by member ID. `report` gets an event when the disk does not cooperate."""

    def __init__(
        self,
        directory: Path,
        allowed: Container[str],
        report: Callable[[Event], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is the wall clock that stamps the events."""
        self._document = Document(
            directory / FILE_NAME,
            report,
            not_kept=EventName.OPERATOR_STATE_NOT_KEPT,
            aside=EventName.OPERATOR_STATE_SET_ASIDE,
            max_octets=_MAX_OCTETS,
            clock=clock,
        )
        self._allowed = allowed
        self._words: dict[int, Word] = {}

    def load(self) -> dict[int, str]:
        """Read the file; blocks for one small read. No file is no states; never raises."""
        content = self._document.read()
        if content is not None:
            self._words, fault = _parse(content, self._allowed)
            if fault is not None:
                self._document.set_aside(fault)
        return self.states

    @property
    def states(self) -> dict[int, str]:
        """A copy of what is known, by member ID."""
        return {member: word.state for member, word in self._words.items()}

    @property
    def words(self) -> dict[int, Word]:
        """The same with the number of each word."""
        return dict(self._words)

    async def keep(self, member_id: int, state: str) -> bool:
        """Remember a state at once, and write it; False when it holds in memory only."""
        before = self._words.get(member_id)
        self._words[member_id] = Word(1 if before is None else before.number + 1, state)
        return await self._document.keep(self._content)

    async def learn(self, words: Mapping[int, Word]) -> bool:
        """The same for words that another balancer was told, with their numbers."""
        self._words.update(words)
        return await self._document.keep(self._content)

    def _content(self) -> dict[str, Any]:
        words = sorted(self._words.items())
        return {
            "members": {str(member): word.state for member, word in words},
            "numbers": {str(member): word.number for member, word in words},
        }


def _parse(content: Any, allowed: Container[str]) -> tuple[dict[int, Word], str | None]:
    """The words that can be read, and what is wrong with the rest."""
    members, numbers = content.get("members"), content.get("numbers", {})
    if not isinstance(members, dict) or not isinstance(numbers, dict):
        return {}, "not a file of operator states"
    words: dict[int, Word] = {}
    fault = None
    for key, state in members.items():
        if key.isascii() and key.isdigit() and isinstance(state, str) and state in allowed:
            number = numbers.get(key, 1)
            words[int(key)] = Word(number if isinstance(number, int) else 1, state)
        else:
            fault = f"no operator state of a member: {key[:40]!r}"
    return words, fault
