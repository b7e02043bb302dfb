"""Runs the RM's own FailOverScript: `SCRIPT disable N`, then `SCRIPT enable N`. SHELL: processes.

What NLB.bat and IPTakeOver.bat expect (seed). Owns one run at a time, its time limit and its end;
a change during a run is made good after it, and only the last of several. No shell; nothing waits
for it. Knows nothing of why the active member changed.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rmlb.child import collect, kill_group

_GRACE_S: Final = 2.0
"""A script that runs when the balancer stops has this long before it is killed."""


@dataclass(frozen=True, slots=True)
class ScriptEnd:
    """How a run ended. `fault` says why it did not end by itself with status 0."""

    action: str
    member: int
    took_s: float
    status: int | None
    output: str
    fault: str | None


class FailoverScript:
    """Follows the active member with `enable` and `disable`."""

    def __init__(
        self,
        command: str,
        timeout_s: float,
        on_end: Callable[[ScriptEnd], object],
        now_enabled: int | None = None,
    ) -> None:
        """`command` as in `[cluster] failoverscript`; empty: nothing is ever run.

        `on_end` is called in the event loop's thread. `now_enabled` is the member for which the
        script was run last, before a restart.
        """
        self._command = command
        self._timeout_s = timeout_s
        self._on_end = on_end
        self._enabled = now_enabled
        self._wanted = now_enabled
        self._task: asyncio.Task[None] | None = None
        self._running: subprocess.Popen[bytes] | None = None
        self._killed = False

    def configure(self, command: str, timeout_s: float) -> None:
        """Of the next run on."""
        self._command, self._timeout_s = command, timeout_s

    def follow(self, member: int) -> None:
        """This member is active now; returns at once."""
        self._wanted = member
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._catch_up(), name="failoverscript")

    def assume(self, member: int) -> None:
        """This member is active now, and another balancer has run it for that."""
        self._wanted = self._enabled = member

    async def close(self) -> None:
        """Let a run end, for a moment; then kill it. Nothing is run afterwards."""
        self._wanted = self._enabled
        if self._task is None or self._task.done():
            return
        await asyncio.wait({self._task}, timeout=_GRACE_S)
        if not self._task.done():
            self._killed = True
            self._kill()
            await self._task

    async def run(self, action: str, member: int) -> None:
        """Run it once with this action, beside what `follow` does; `on_end` is told."""
        await self._run(action, member)

    async def _catch_up(self) -> None:
        while self._wanted is not None and self._wanted != self._enabled:
            former, self._enabled = self._enabled, self._wanted
            if not self._command:
                continue
            if former is not None:
                await self._run("disable", former)
            if not self._killed:
                await self._run("enable", self._enabled)

    async def _run(self, action: str, member: int) -> None:
        self._on_end(await asyncio.to_thread(self._run_blocking, action, member))

    def _run_blocking(self, action: str, member: int) -> ScriptEnd:
        """In a thread, so that neither the start of a process nor a slow disk holds up packets."""
        begun = time.monotonic()

        def ended(status: int | None, output: str, fault: str | None) -> ScriptEnd:
            return ScriptEnd(action, member, time.monotonic() - begun, status, output, fault)

        try:
            child = subprocess.Popen(
                [*argv(self._command), action, str(member)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            return ended(None, "", f"cannot be run: {reason or error}")
        self._running = child
        assert child.stdout is not None
        try:
            output, late = collect(child, child.stdout, begun + self._timeout_s)
        finally:
            self._running = None
            child.stdout.close()
        status = child.wait()
        if late:
            return ended(None, output, f"killed: still running after {self._timeout_s:g} s")
        if self._killed:
            return ended(None, output, "killed: the balancer stops")
        if status < 0:
            return ended(status, output, f"ended by signal {-status}")
        return ended(status, output, None if status == 0 else f"ended with status {status}")

    def _kill(self) -> None:
        child = self._running
        if child is not None and child.returncode is None:
            kill_group(child)


def argv(command: str) -> list[str]:
    """Program and arguments: a path as it is, spaces and all, else split as a shell would.

    Raises ValueError where quotes do not match or nothing is left.
    """
    if os.path.isfile(command):
        return [command]
    parts = shlex.split(command)
    if not parts:
        raise ValueError("there is no program to run")
    return parts
