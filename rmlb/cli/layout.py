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

_GAP = "  "


def print_table(heads: Sequence[str], rows: Sequence[Row]) -> None:
    """Columns under heads; columns of numbers to the right.

    A terminal too narrow for the last column, the only one that may be long, gets it below each
    row; what does not fit even so is cut.
    """
    cells = [[Cell(head) for head in heads], *([_cell(value) for value in row] for row in rows)]
    right = [
        all(row[i].text.replace(".", "").isdigit() for row in cells[1:]) for i in range(len(heads))
    ]
    widths = [max(len(row[i].text) for row in cells) for i in range(len(heads))]
    whole = sum(widths) + len(_GAP) * (len(widths) - 1)
    if not sys.stdout.isatty():
        for row in cells:
            print(_GAP.join(_padded(row, widths, right)).rstrip())
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    below = whole > console.width and len(heads) > 1
    shown = len(heads) - 1 if below else len(heads)
    for number, row in enumerate(cells):
        styles = [cell.style if number else "bold" for cell in row]
        texts = zip(_padded(row[:shown], widths, right), styles, strict=False)
        line = Text(_GAP).join(Text(text, style) for text, style in texts)
        lines = [line, Text(f"    {row[-1].text}", "dim")] if below and number else [line]
        for each in lines:
            each.rstrip()
            console.print(each, no_wrap=True, overflow="ellipsis", crop=True)


def print_pairs(pairs: Sequence[tuple[str, Cell | str]]) -> None:
    """Name and value, one pair a line; a long value goes on below itself on a terminal."""
    width = max(len(name) for name, _ in pairs)
    if not sys.stdout.isatty():
        for name, value in pairs:
            print(f"{name:<{width}}{_GAP}{_cell(value).text}".rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, len(_GAP), 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        cell = _cell(value)
        grid.add_row(name, Text(cell.text, cell.style))
    Console().print(grid)


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


def _padded(row: Sequence[Cell], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    return [
        cell.text.rjust(width) if is_right else cell.text.ljust(width)
        for cell, width, is_right in zip(row, widths, right, strict=False)
    ]
