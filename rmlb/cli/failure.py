"""How a command fails: one line for a person, and the exit code for a script."""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
MISUSED: Final = 2
"""Wrong usage or configuration."""


class CliError(Exception):
    """Ends the command; the text is one line without a full stop."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code
