"""An options export as its sections: INI-style text, as lenient as Windows files need it.

Takes UTF-8, UTF-16 and Windows-1252, with or without byte order mark; `;` and `#` comments; values
in quotes; sections that stand twice; options in any case. Knows no option by name. Pure.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import Final

LARGEST_EXPORT: Final = 2**22
"""Octets: an Application has some 1,000 options of 100 octets."""

_SECTION = re.compile(r"\[([^\]]+)\]\s*(?:[;#].*)?")


@dataclass(slots=True)
class Export:
    """One file. Names of sections and options are in lower case."""

    sections: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What was odd about it, one line each."""

    def option(self, section: str, name: str) -> str:
        """Its value; empty where there is none."""
        return self.sections.get(section, {}).get(name, "")


def read_export(octets: bytes) -> Export:
    """The sections of a file. Raises ValueError for what is no text or has no section."""
    export = Export()
    section: dict[str, str] | None = None
    for number, line in enumerate(_decoded(octets).splitlines(), 1):
        text = line.strip()
        if not text or text[0] in ";#":
            continue
        if found := _SECTION.fullmatch(text):
            section = export.sections.setdefault(found[1].strip().lower(), {})
        elif "=" not in text or section is None:
            export.notes.append(f"line {number} is no option: {text[:60]}")
        else:
            name, _, value = text.partition("=")
            _put(export, section, name.strip().lower(), _unquoted(value.strip()), number)
    if not export.sections:
        raise ValueError("no [section] in it: it is no export of options")
    return export


def _put(export: Export, section: dict[str, str], name: str, value: str, number: int) -> None:
    before = section.get(name, value)
    if before != value:
        export.notes.append(f"line {number}: {name} is given again: {value} (before: {before})")
    section[name] = value


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] in "\"'" and value[-1] == value[0]:
        return value[1:-1].strip()
    return value


def _decoded(octets: bytes) -> str:
    if octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    elif octets[1:2] == b"\0":
        encodings = ["utf-16-le"]
    elif octets[:1] == b"\0":
        encodings = ["utf-16-be"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = octets.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise ValueError("it is no text")
