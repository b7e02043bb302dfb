"""A child process of ours: its output within a time limit, and its end. SHELL: processes.

For children that lead a session of their own, so that what they start ends with them. Blocks:
to be called in a thread. Knows nothing of what is run or why.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import IO, Final

KEPT_OUTPUT: Final = 1000
"""Octets of a child's output that are told: its last lines."""

_READ: Final = 65536


def collect(child: subprocess.Popen[bytes], pipe: IO[bytes], deadline: float) -> tuple[str, bool]:
    """The end of its output, and whether it was late and killed.

    Ends with the child, also when something it left behind keeps the pipe open.
    """
    kept = b""
    late = False
    os.set_blocking(pipe.fileno(), False)
    while True:
        ended = child.poll() is not None
        chunk = _read(pipe)
        kept = (kept + chunk)[-KEPT_OUTPUT:]
        overdue = time.monotonic() >= deadline
        if ended and (overdue or not chunk):
            break
        if overdue:
            late = True
            kill_group(child)
            child.wait()
            break
        if chunk:
            continue
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.02)
    return kept.decode(errors="replace").strip(), late


def _read(pipe: IO[bytes]) -> bytes:
    try:
        return os.read(pipe.fileno(), _READ)
    except BlockingIOError:
        return b""


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """The child and all that it started: they are the process group of its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
