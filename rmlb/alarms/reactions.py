"""`[[reaction]]`: a command run once per event, the event as JSON on its standard input.

SHELL: processes. No shell, no capabilities (see unprivileged), a fresh environment, a time limit
after which the command and all that it started is killed. Started in threads of its own, so that
neither the start of a process nor a slow disk holds up packets.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from rmlb.alarms import unprivileged
from rmlb.alarms.document import Document
from rmlb.alarms.lane import Item
from rmlb.child import collect, kill_group
from rmlb.config import ReactionConfig
from rmlb.events import EventName, Value

MOST_RUNNING: Final = 4
"""Commands at a time, of all reactions together: a burst of events is no burst of processes."""

_KEPT_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "TZ", "HOME")
"""Of our environment; the rest may hold tokens, and sockets of the service manager."""

Tell = Callable[[EventName, dict[str, Value]], object]


class Threads:
    """The threads in which commands are waited for."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(MOST_RUNNING, thread_name_prefix="reaction")

    async def run(self, work: Callable[[], bool]) -> bool:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Nothing is begun any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Reaction:
    """One `[[reaction]]` (a lane.Receiver)."""

    def __init__(self, config: ReactionConfig, threads: Threads, tell: Tell) -> None:
        self._config = config
        self._threads = threads
        self._tell = tell
        self._running: subprocess.Popen[bytes] | None = None
        self._closed = False

    async def deliver(self, item: Item) -> bool:
        document = item[1]
        fault: list[str] = []
        done = await self._threads.run(lambda: self._run(document, fault))
        if not done:
            command = self._config.command[0]
            why = fault[0] if fault else "the balancer stops"
            self._tell(
                EventName.REACTION_FAILED,
                {"command": command, "for": str(document.name), "why": why},
            )
        return done

    async def close(self) -> None:
        self._closed = True
        child = self._running
        if child is not None and child.poll() is None:
            kill_group(child)

    def _run(self, document: Document, fault: list[str]) -> bool:
        """In a thread. True: it ended by itself with status 0; else why not, in `fault`."""
        if self._closed:
            return False
        limit_s = self._config.timeout_s
        deadline = time.monotonic() + limit_s
        launcher = [sys.executable, "-I", "-S", str(Path(unprivileged.__file__))]
        event = _as_file(document.body)
        try:
            child = subprocess.Popen(
                [*launcher, *self._config.command],
                stdin=event,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(document),
                cwd="/",
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            fault.append(f"cannot be run: {error}")
            return False
        finally:
            os.close(event)
        self._running = child
        assert child.stdout is not None
        try:
            output, late = collect(child, child.stdout, deadline)
        finally:
            self._running = None
            child.stdout.close()
        status = child.wait()
        if late:
            fault.append(f"killed: still running after {limit_s:g} s")
        elif status < 0:
            fault.append("the balancer stops" if self._closed else f"ended by signal {-status}")
        elif status:
            said = f": {output}" if output else ""
            fault.append(f"ended with status {status}{said}")
        return not fault


def _as_file(content: bytes) -> int:
    """A descriptor that the content is read from: a child that reads nothing blocks nobody."""
    descriptor = os.memfd_create("rmlb-event")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _environment(document: Document) -> dict[str, str]:
    kept = {key: os.environ[key] for key in _KEPT_VARIABLES if key in os.environ}
    return {**kept, "RMLB_EVENT": str(document.name), "RMLB_SEVERITY": document.severity}
