"""How health, operator states and severities look on a terminal (rich), everywhere alike."""

from __future__ import annotations

from typing import Final

HEALTH: Final = {
    "in service": "green",
    "suspect": "yellow",
    "refusing": "yellow",
    "out of service": "bold red",
}
ADMIN: Final = {"enabled": "", "draining": "yellow", "disabled": "red"}
SEVERITY: Final = {"info": "", "warning": "yellow", "error": "bold red"}
