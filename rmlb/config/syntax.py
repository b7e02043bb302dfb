"""TOML text in, nested dicts out; a line that an RM administrator pasted unquoted is corrected.

Every line that can be corrected becomes one fault that shows it corrected, and reading goes
on with the corrected line, so that all such lines and all that is wrong behind them is
reported at once. Knows TOML and INI habits, no key and no table.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any, NamedTuple

from rmlb.config.kinds import clip
from rmlb.config.problem import Fault

MOST_CORRECTIONS = 200
"""Each costs one more parse of a file of at most 1 MiB."""


def read(text: str) -> tuple[dict[str, Any] | None, list[Fault]]:
    """The tables of a TOML text (None if it cannot be made sense of) and its syntax faults."""
    lines = text.replace("\r\n", "\n").split("\n")
    faults: list[Fault] = []
    for _ in range(MOST_CORRECTIONS):
        try:
            return tomllib.loads("\n".join(lines)), faults
        except RecursionError:
            faults.append(Fault("", "nested too deeply", "tables of keys and values"))
            return None, faults
        except ValueError as error:
            place = _place(str(error), lines)
            fix = correction(lines[place.line - 1])
            faults.append(_fault(str(error), place, lines, fix))
            if fix:
                lines[place.line - 1] = fix.line
            elif str(error).startswith(_TWICE) and is_toml(lines[place.line - 1]):
                lines[place.line - 1] = ""
            else:
                return None, faults
    return None, faults


class Correction(NamedTuple):
    """A line as it should stand, and why the given one is no TOML."""

    line: str
    why: str


_LINE = re.compile(
    r"""(?P<indent>\s*)
        (?P<key>(?:[A-Za-z0-9_-]+|"[^"\\]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"\\]*"|'[^']*'))*)
        (?P<equals>\s*=\s*)
        (?P<value>.*?)
        (?P<comment>(?:(?<=[\s=])\#.*)?)""",
    re.VERBOSE | re.ASCII,
)
_CURLY = str.maketrans("\u201c\u201d\u201e\u2018\u2019", '"""\'\'')  # quotes of word processors


def correction(line: str) -> Correction | None:
    """The line with its value quoted, or another slip mended; None if that makes no TOML."""
    if line.lstrip().startswith(";"):
        return Correction(line.replace(";", "#", 1), "a comment begins with #")
    found = _LINE.fullmatch(line)
    if not found or is_toml(line) or not found["value"].isprintable():
        return None
    if not (mended := _mended(found["value"].strip())):
        return None
    value, why = mended
    comment = f"  {found['comment']}" if found["comment"] else ""
    fixed = f"{found['indent']}{found['key']}{found['equals'].rstrip()} {value}{comment}"
    return Correction(fixed, why) if is_toml(fixed) else None


def _mended(value: str) -> tuple[str, str] | None:
    """A value that is no TOML, as TOML, and what was wrong with it; None for no idea."""
    if not value:
        return '""', "the value is missing"
    if value.startswith(('"""', "'''")):  # it may end on another line
        return None
    if value.lower() in ("true", "false"):
        return value.lower(), "true and false are written in small letters"
    straight = value.translate(_CURLY)
    if straight != value and is_toml(f"x = {straight}"):
        return straight, "quotes are straight in TOML"
    if value[0] in "\"'":
        inner = value.strip("\"'")
        closed = len(value) > 1 and value[-1] == value[0]
        return quoted(inner), (
            "a backslash needs single quotes" if closed else "a quote is not closed"
        )
    if value[0] == "[" and value[-1] == "]":
        parts = [part.strip() for part in value[1:-1].split(",")]
        mended = [part if is_toml(f"x = {part}") else quoted(part) for part in parts if part]
        return f"[{', '.join(mended)}]", "text needs quotes"
    if value[0] in "[{":  # it may end on another line
        return None
    return quoted(value), "text needs quotes"


def quoted(text: str) -> str:
    """The text as a TOML string, in single quotes where that spares escapes."""
    if ("\\" in text or '"' in text) and "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def is_toml(line: str) -> bool:
    """True if the line is TOML by itself."""
    try:
        tomllib.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


# -- where and what ------------------------------------------------------------------------------


class _Place(NamedTuple):
    line: int
    column: int


_AT = re.compile(r" \(at line ([0-9]+), column ([0-9]+)\)$")


def _place(error: str, lines: list[str]) -> _Place:
    """Where tomllib stopped; it says "end of document" for the last line."""
    if found := _AT.search(error):
        return _Place(min(int(found[1]), len(lines)), int(found[2]))
    return _Place(len(lines), len(lines[-1]) + 1)


_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]", re.ASCII)
_KEY = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*=", re.ASCII)


def _key_path(line: int, lines: list[str]) -> str:
    """The key path of a line, from its own key and the last table header above it."""
    if not (key := _KEY.match(lines[line - 1])):
        return ""
    above = (_HEADER.match(lines[i]) for i in range(line - 2, -1, -1))
    table = next((found[1] for found in above if found), "")
    return f"{table}.{key[1]}".strip(".").lower()


_TWICE = "Cannot overwrite a value"

_READABLE = (
    ("Expected newline or end of document", "something follows the value"),
    ("Invalid value", "this is no TOML value"),
    (_TWICE, "the key is given twice"),
    ("Cannot declare", "the table is given twice"),
    ("Cannot mutate immutable", "the table was closed by { } above"),
    ("Cannot redefine", "the key is given twice"),
    ("Duplicate inline table key", "the key is given twice"),
    ("Expected '=' after a key", "a = is missing after the key"),
    ("Invalid initial character for a key part", "this is no key"),
    ("Invalid statement", "this is neither a [table] nor key = value"),
    ("Expected ']' at the end of a table", "the ] of the table's name is missing"),
    ("Expected ']]' at the end of", "the ]] of the table's name is missing"),
    ("Unclosed array", "the ] of a list is missing, or a comma"),
    ("Unclosed inline table", "the } is missing, or a comma"),
    ("Unterminated string", "a quote is not closed"),
    ('Expected "\'"', "a quote is not closed"),
    ("Unescaped '\\' in a string", "a backslash needs single quotes"),
    ("Illegal character '\\n'", "a quote is not closed"),
    ("Illegal character", "a control character"),
    ("Found invalid character", "a control character, or a quote that is not closed"),
    ("Invalid date or datetime", "no such date or time"),
)


def _fault(error: str, place: _Place, lines: list[str], fix: Correction | None) -> Fault:
    line = lines[place.line - 1].strip()
    key = _key_path(place.line, lines)
    if fix:
        return Fault(key, f"line {place.line}: {fix.why}", fix.line.strip())
    what = next((ours for theirs, ours in _READABLE if error.startswith(theirs)), "this is no TOML")
    seen = f": {clip(line)}" if line else ""
    return Fault(
        key,
        f"line {place.line}, column {place.column}: {what}{seen}",
        'a [table], or key = value with text in quotes ("...")',
    )
