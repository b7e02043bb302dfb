"""What is wrong with a configuration, and the one exception that carries all of it.

Knows no key, no table and no TOML: it only holds the four things every report names, file,
key path, what is wrong and what is allowed, and prints them on one line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Fault(NamedTuple):
    """One thing wrong, before the file is known. `key` is a key path or continues one."""

    key: str
    message: str
    allowed: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration file. `key` is empty when no key is to blame."""

    file: str
    key: str
    message: str
    allowed: str = ""

    def __str__(self) -> str:
        """One line: `FILE: key.path: what is wrong; allowed: ...`."""
        head = ": ".join(part for part in (self.file, self.key, self.message) if part)
        return one_line(f"{head}; allowed: {self.allowed}" if self.allowed else head)


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds everything found, at least one."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def one_line(text: str) -> str:
    """The text with every unprintable character (line breaks, controls) escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
