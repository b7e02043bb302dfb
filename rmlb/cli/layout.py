"""Tables and lines for people: rich on a terminal, plain columns elsewhere.

Colours only on a terminal and never against NO_COLOR (rich sees to both). What comes from
the network is printed without its control characters. Knows nothing of balancers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Cell(NamedTuple):
    """A value and its style (rich's words); the style is for terminals only."""

    text: str
    style: str = ""


Row = Sequence[Cell | str]


def print_table(heads: Sequence[str], rows: Sequence[Row]) -> None:
    """Columns under heads; columns of numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    right = [
        all(row[i].text.replace(".", "").isdigit() for row in cells) for i in range(len(heads))
    ]
    if not sys.stdout.isatty():
        _print_plain(heads, cells, right)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, head in enumerate(heads):
        is_last = i == len(heads) - 1  # the only one that may be long
        table.add_column(head, justify="right" if right[i] else "left", no_wrap=not is_last)
    for row in cells:
        table.add_row(*(Text(cell.text, cell.style) for cell in row))
    Console().print(table)


def print_pairs(pairs: Sequence[tuple[str, Cell | str]]) -> None:
    """Name and value, one pair a line."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print_line(Cell(f"{name:<{width}}  "), _cell(value))


def print_line(*values: Cell | str) -> None:
    """One line of several cells, nothing between them."""
    cells = [_cell(value) for value in values]
    if not sys.stdout.isatty():
        print("".join(cell.text for cell in cells).rstrip())
        return
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(*((cell.text, cell.style) for cell in cells))
    Console(soft_wrap=True).print(line)


def has_colours() -> bool:
    """Escape sequences are welcome; for who writes them without rich, which knows by itself."""
    unwanted = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return sys.stdout.isatty() and not unwanted


def clean(value: object) -> str:
    """Text that cannot steer a terminal or start a new line."""
    text = "-" if value is None else str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def duration(seconds: float) -> str:
    """The two largest units: "3 d 4 h", "1 min 15 s", "12 s"."""
    rest = int(seconds)
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _cell(value: Cell | str) -> Cell:
    cell = value if isinstance(value, Cell) else Cell(value)
    return Cell(clean(cell.text), cell.style)


def _print_plain(
    heads: Sequence[str], rows: Sequence[Sequence[Cell]], right: Sequence[bool]
) -> None:
    lines = [list(heads), *([cell.text for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    for line in lines:
        parts = [
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(line, widths, right, strict=True)
        ]
        print("  ".join(parts).rstrip())
