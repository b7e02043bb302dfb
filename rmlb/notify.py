"""sd_notify(3): one datagram to the service manager, where there is one."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

_WATCHDOG_SHARE: Final = 3
"""The watchdog is fed three times in its time; once may be late."""


def notify(*lines: str) -> None:
    """Tell systemd: READY=1, RELOADING=1, STOPPING=1, WATCHDOG=1, STATUS=..."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    address = "\0" + path[1:] if path[0] == "@" else path
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.setblocking(False)
        sock.sendto("\n".join(lines).encode(), address)


def watchdog_interval_s() -> float | None:
    """How often the watchdog is to be fed; None without one."""
    given, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not given.isdigit() or int(given) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(given) / 1e6 / _WATCHDOG_SHARE
