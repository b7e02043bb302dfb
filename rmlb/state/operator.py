"""What the operator said of each member, kept in `[state] dir` so that it survives a restart.

One small JSON file, replaced as a whole and synced before the operator gets his answer. A
directory that cannot be written costs a warning, not the operator's word: it holds in
memory. A file that cannot be understood is set aside, never a reason not to start. Knows
nothing of what the words mean: `allowed` names them.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, Final

import orjson

from rmlb.events import Event, EventName, Severity

FILE_NAME: Final = "operator-states.json"

_VERSION: Final = 1
_MAX_OCTETS: Final = 64 * 1024
"""Some 30 octets a member; what is larger was not written here."""


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
        self.path = directory / FILE_NAME
        self._allowed = allowed
        self._report = report
        self._clock = clock
        self._states: dict[int, str] = {}
        self._writing = threading.Lock()
        self._failing = False

    def load(self) -> dict[int, str]:
        """Read the file; blocks for one small read. No file is no states; never raises."""
        try:
            with self.path.open("rb") as file:
                data = file.read(_MAX_OCTETS + 1)
        except FileNotFoundError:
            return self.states
        except OSError as error:
            self._warn(EventName.OPERATOR_STATE_NOT_KEPT, f"cannot be read: {_reason(error)}")
            return self.states
        self._states, fault = _parse(data, self._allowed)
        if fault is not None:
            self._set_aside(fault)
        return self.states

    @property
    def states(self) -> dict[int, str]:
        """A copy of what is known, by member ID."""
        return dict(self._states)

    async def keep(self, member_id: int, state: str) -> bool:
        """Remember a state at once, and write it; False when it holds in memory only.

        The write runs in a thread: a slow disk must not hold up the event loop.
        """
        self._states[member_id] = state
        try:
            await asyncio.to_thread(self._write)
        except OSError as error:
            if not self._failing:
                why = f"cannot be written: {_reason(error)}; it holds until the next restart"
                self._warn(EventName.OPERATOR_STATE_NOT_KEPT, why)
            self._failing = True
            return False
        self._failing = False
        return True

    def _write(self) -> None:
        """Replace the file; after a crash it is the old or the new one, never a part."""
        with self._writing:
            members = {str(member): state for member, state in sorted(self._states.items())}
            data = orjson.dumps({"version": _VERSION, "members": members}) + b"\n"
            directory = self.path.parent
            directory.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f".{FILE_NAME}.", dir=directory)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self.path)
            except BaseException:
                os.unlink(temporary)
                raise
            _sync_directory(directory)

    def _set_aside(self, fault: str) -> None:
        aside = self.path.with_name(f"{FILE_NAME}.corrupt")
        try:
            os.replace(self.path, aside)
        except OSError as error:
            fault = f"{fault}; cannot be set aside: {_reason(error)}"
        else:
            fault = f"{fault}; kept as {aside.name}"
        self._warn(EventName.OPERATOR_STATE_SET_ASIDE, fault)

    def _warn(self, name: EventName, why: str) -> None:
        fields = {"file": str(self.path), "why": why}
        self._report(Event(name, self._clock(), Severity.WARNING, fields))


def _parse(data: bytes, allowed: Container[str]) -> tuple[dict[int, str], str | None]:
    """The states that can be read, and what is wrong with the rest."""
    if len(data) > _MAX_OCTETS:
        return {}, "too large"
    try:
        content: Any = orjson.loads(data)
    except ValueError:
        return {}, "not JSON"
    members = content.get("members") if isinstance(content, dict) else None
    if not isinstance(members, dict) or content.get("version") != _VERSION:
        return {}, "not a file of operator states"
    states: dict[int, str] = {}
    fault = None
    for key, state in members.items():
        if key.isascii() and key.isdigit() and isinstance(state, str) and state in allowed:
            states[int(key)] = state
        else:
            fault = f"no operator state of a member: {key[:40]!r}"
    return states, fault


def _sync_directory(directory: Path) -> None:
    """Make the new name durable as well (fsync(2), NOTES)."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
