"""The worker as the keeper has it: a child process, and the tether to it. SHELL: processes.

Starts it, starts it again when it dies, and ends it. Knows nothing of what it does, or of what is
said to it; an event that no worker can take is logged here.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from rmlb.events import Event, EventName, Severity, Value, write_log
from rmlb.ownership import Page, clock
from rmlb.tether import Message, Tether, pair

STEADY_S: Final = 10.0
"""A worker that lived so long is started again at once, others after a growing pause."""

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 10.0


class Worker:
    """One after the other."""

    def __init__(
        self,
        path: str,
        page: Page,
        on_message: Callable[[Message], object],
        on_begin: Callable[[], object],
        on_end: Callable[[], object],
    ) -> None:
        """`path` of the configuration. `on_begin` and `on_end` are called once for each: before it
        starts, and as soon as its end is seen."""
        self._path = path
        self._page = page
        self._on_message = on_message
        self._on_begin = on_begin
        self._on_end = on_end
        self._child: asyncio.subprocess.Process | None = None
        self._tether: Tether | None = None
        self._running = False
        self._no_more = asyncio.Event()
        self.started = False
        """One has begun to serve, since the keeper's start."""
        self._serves = False

    @property
    def up(self) -> bool:
        """The present one has begun to serve, and lives."""
        return self._running and self._serves

    @property
    def heard(self) -> bool:
        """Something said to it would arrive."""
        return self._tether is not None

    async def keep_running(self) -> int:
        """Until `no_more`, or until it cannot start; the exit status of the last one."""
        pause_s = FIRST_PAUSE_S
        while True:
            begun = clock()
            status = await self._live()
            if self._no_more.is_set():
                return status
            if not self.started:
                if status < 0:
                    why = f"the worker was ended by signal {-status} before it had started"
                    self.report("fault", True, {"why": why})
                return status
            lived_s = clock() - begun
            self.report("worker-died", True, {"status": status, "lived_s": round(lived_s, 1)})
            if lived_s >= STEADY_S:
                pause_s = FIRST_PAUSE_S
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._no_more.wait()
                    return status
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def no_more(self) -> None:
        """The present one is the last."""
        self._no_more.set()

    async def end_within(self, limit_s: float) -> None:
        """Told to stop already; killed if it has not ended by then."""
        if self._child is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._child.wait()
                return
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)

    def say(self, what: str, **fields: object) -> bool:
        """False if nobody takes it."""
        return self._tether is not None and self._tether.say(what, **fields)

    def report(self, name: str, grave: bool, fields: Mapping[str, Value]) -> None:
        """An event: the worker keeps and logs it; without a worker it is logged here."""
        severity = Severity.WARNING if grave else Severity.INFO
        told = Event(EventName(name), time.time(), severity, fields)
        if not self.started or not self.say(
            "event", name=name, at=told.at, severity=str(severity), fields=dict(fields)
        ):
            write_log(told)

    def close(self) -> None:
        if self._tether is not None:
            self._tether.close()
            self._tether = None

    async def _live(self) -> int:
        """One worker, from start to end; its exit status."""
        ours, theirs = pair()
        self._page.clear_stamps()
        self._running, self._serves = True, False
        self._tether = Tether(ours, self._take, self._ended)
        self._on_begin()
        command = [sys.executable, "-m", "rmlb.worker", self._path]
        command += [str(theirs.fileno()), str(self._page.handle)]
        self._child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), self._page.handle),
            process_group=0,  # a Ctrl-C on the terminal is the keeper's to relay
        )
        theirs.close()
        status = await self._child.wait()
        self._ended()
        return status

    def _take(self, message: Message) -> None:
        if message["is"] == "started":
            self.started = self._serves = True
        self._on_message(message)

    def _ended(self) -> None:
        """Seen by the end of the tether, or by its exit status."""
        if self._running:
            self._running = False
            self._on_end()
            self.close()
