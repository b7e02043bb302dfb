"""The child process of a keeper: `python -m rmlb.worker CONFIG PAIR PAGE`, two descriptors.

Not for people: `rmlb run` starts it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from typing import Final

from rmlb import config as configuration
from rmlb import node
from rmlb.config import ConfigError
from rmlb.duty import Duty
from rmlb.events import log_setup
from rmlb.ownership import Page

PRIORITY: Final = -10
"""Nice value of a worker whose standing still would be noticed; needs CAP_SYS_NICE."""


def main(arguments: list[str]) -> int:
    """The exit status; 2 when the configuration has become wrong meanwhile."""
    path, end, page = arguments
    try:
        config = configuration.load(path)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
        return 2
    log_setup(config.log.level, config.log.format)
    if config.heartbeat.peers:  # a starved worker would cost an owner change
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    duty = Duty(config, Page(int(page)), socket.socket(fileno=int(end)))
    return node.run(config, duty)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
