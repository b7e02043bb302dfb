"""The generated secret of a lone balancer, kept in `[state] dir` (SIP-RULES 9)."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

FILE_NAME: Final = "secret"


def kept_secret(directory: Path) -> tuple[str, str | None]:
    """The secret kept there, made at first use, and what is wrong if it could not be kept.

    A secret that is lost at a restart costs the dialogs then under way their marks.
    """
    path = directory / FILE_NAME
    try:
        kept = path.read_text().strip()
        if len(kept) >= 16:
            return kept, None
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        return secrets.token_hex(32), f"{path} cannot be read: {error}"
    made = secrets.token_hex(32)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(made + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return made, f"{path} cannot be written: {error.strerror}"
    return made, None
