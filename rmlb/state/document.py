"""One small JSON file in `[state] dir`, replaced as a whole and synced. SHELL: the disk.

A directory that cannot be written costs a warning, not what was to be kept: it holds in memory.
A file that cannot be understood is set aside, never a reason not to start. Knows nothing of what
stands in it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson

from rmlb.events import Event, EventName, Severity

VERSION: Final = 1


class Document:
    """The file. `report` gets an event when the disk does not cooperate."""

    def __init__(
        self,
        path: Path,
        report: Callable[[Event], object],
        *,
        not_kept: EventName,
        aside: EventName,
        max_octets: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`not_kept` and `aside` name the two warnings; `clock` is the wall clock of the events.

        A file of more than `max_octets` was not written here.
        """
        self.path = path
        self._report = report
        self._not_kept = not_kept
        self._aside = aside
        self._max_octets = max_octets
        self._clock = clock
        self._writing = threading.Lock()
        self._failing = False

    def read(self) -> Any:
        """What was kept, None where there is nothing; blocks for one read, never raises."""
        try:
            with self.path.open("rb") as file:
                data = file.read(self._max_octets + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(self._not_kept, f"cannot be read: {_reason(error)}")
            return None
        if len(data) > self._max_octets:
            self.set_aside("too large")
            return None
        try:
            content = orjson.loads(data)
        except ValueError:
            self.set_aside("not JSON")
            return None
        if not isinstance(content, dict) or content.get("version") != VERSION:
            self.set_aside("not a file of this version")
            return None
        return content

    async def keep(self, content: Callable[[], dict[str, Any]]) -> bool:
        """Replace the file by what `content` says when it is written; False if that failed.

        The write runs in a thread: a slow disk must not hold up the event loop.
        """
        try:
            await asyncio.to_thread(self._write, content)
        except OSError as error:
            if not self._failing:
                why = f"cannot be written: {_reason(error)}; it holds until the next restart"
                self._warn(self._not_kept, why)
            self._failing = True
            return False
        self._failing = False
        return True

    def set_aside(self, fault: str) -> None:
        """Its content cannot be understood: keep it for people under another name, and tell."""
        aside = self.path.with_name(f"{self.path.name}.corrupt")
        try:
            os.replace(self.path, aside)
        except OSError as error:
            fault = f"{fault}; cannot be set aside: {_reason(error)}"
        else:
            fault = f"{fault}; kept as {aside.name}"
        self._warn(self._aside, fault)

    def _write(self, content: Callable[[], dict[str, Any]]) -> None:
        """Replace the file; after a crash it is the old or the new one, never a part."""
        with self._writing:
            data = orjson.dumps({"version": VERSION, **content()}) + b"\n"
            directory = self.path.parent
            directory.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=directory)
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

    def _warn(self, name: EventName, why: str) -> None:
        fields = {"file": str(self.path), "why": why}
        self._report(Event(name, self._clock(), Severity.WARNING, fields))


def _sync_directory(directory: Path) -> None:
    """Make the new name durable as well (fsync(2), NOTES)."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
