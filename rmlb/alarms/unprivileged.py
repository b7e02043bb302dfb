"""Runs a program that can do less than we can: `python -I -S unprivileged.py PROGRAM ARGUMENT...`

The balancer holds CAP_NET_ADMIN and CAP_NET_RAW, and where it runs as root every capability
there is; a command of a `[[reaction]]` needs none. This file is a program of its own, started as a
child: it takes every capability from itself for good, and becomes PROGRAM. Standard library only.

The bounding set can be emptied by root alone; for the others it is enough that nothing is
permitted, inherited or ambient, and that no_new_privs keeps a set-user-ID or capable file from
giving anything back (capabilities(7), prctl(2)).
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
CAPABILITY_VERSION_3: Final = 0x20080522

CANNOT_DROP: Final = 126
CANNOT_RUN: Final = 127


def drop_capabilities() -> None:
    """From this process and all that it becomes. Raises OSError when that cannot be had."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prctl(option: int, argument: int = 0) -> int:
        return int(libc.prctl(option, argument, 0, 0, 0))

    for capability in range(64):
        if prctl(PR_CAPBSET_READ, capability) < 0:
            break
        prctl(PR_CAPBSET_DROP, capability)  # refused but for root; see above
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if prctl(PR_SET_NO_NEW_PRIVS, 1) < 0 or libc.capset(header, nothing) < 0:
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")


def main(command: list[str]) -> int:
    """Become the command. The exit status when that fails."""
    try:
        drop_capabilities()
    except (OSError, AttributeError) as error:
        sys.stderr.write(f"capabilities cannot be dropped: {error}\n")
        return CANNOT_DROP
    try:
        os.execvp(command[0], command)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        sys.stderr.write(f"cannot be run: {reason}\n")
        return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
