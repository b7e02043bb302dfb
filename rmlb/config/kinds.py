"""Kinds of value: how each is read from TOML, what it allows, how it is shown again.

A kind stands in a field's annotation (`Annotated[float, duration("10ms", "1m")]`) and is the
only validation that field has. This module knows no key, no table and no address.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import no_info_plain_validator_function

from rmlb.config.problem import Fault


class Wrong(ValueError):  # noqa: N818  # reads as a verdict: raise Wrong(why)
    """A value that its kind does not accept: one message, or a fault for each part."""

    def __init__(self, message: str = "", faults: Iterable[Fault] = ()) -> None:
        super().__init__(message)
        self.faults: tuple[Fault, ...] = tuple(faults)


def _as_is(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value. `read` raises Wrong; `show` gives back something TOML can hold."""

    allowed: str
    read: Callable[[Any], Any]
    show: Callable[[Any], Any] = _as_is

    def faults(self, value: object) -> tuple[Fault, ...]:
        """What is wrong with a value as TOML has it; empty when it is accepted."""
        try:
            self.read(value)
        except Wrong as wrong:
            return wrong.faults or (Fault("", str(wrong), self.allowed),)
        return ()

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return no_info_plain_validator_function(self._validate)

    def _validate(self, value: object) -> Any:
        faults = self.faults(value)
        if faults:
            raise PydanticCustomError("rejected", "rejected", {"faults": faults})
        return self.read(value)


def describe(value: object) -> str:
    """A value as a reader of the file would name it, in at most some 60 characters."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(clip(value), ensure_ascii=False)
        case int() | float():
            try:
                return clip(repr(value))
            except ValueError:  # more digits than int() prints (CPython: 4300)
                return "a very large number"
        case dict():
            return "a table"
        case list() | tuple():
            return "a list"
        case _:
            return f"the date or time {value}"


def clip(text: str, limit: int = 60) -> str:
    """The text, cut short after `limit` characters."""
    return text if len(text) <= limit else text[:limit] + "..."


# -- plain values ---------------------------------------------------------------------------


def text(allowed: str, pattern: str = r".*", *, empty: bool = True) -> Kind:
    """Text that matches a pattern as a whole; `empty` says whether "" is accepted too."""
    compiled = re.compile(pattern, re.ASCII)

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise Wrong(f"{describe(value)} is not text in quotes")
        if not value and empty:
            return value
        if not value or not value.isprintable() or not compiled.fullmatch(value):
            raise Wrong(f"{describe(value)} does not fit")
        return value

    return Kind(allowed, read)


def hidden_text(allowed: str, *, shortest: int, empty: bool = True) -> Kind:
    """A secret, or "" for none: never repeated in an error, shown as ***."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise Wrong("the value is not text in quotes")
        if len(value) < shortest and (value or not empty):
            raise Wrong(f"the value has only {len(value)} characters")
        return value

    return Kind(allowed, read, lambda value: HIDDEN if value else "")


HIDDEN = "***"
"""What is shown in place of a secret."""


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"{describe(value)} is neither true nor false")
    return value


flag = Kind("true or false (no quotes)", _flag)
"""A switch, as TOML has it."""


def number(least: int, most: int, what: str = "a whole number") -> Kind:
    """A whole number within bounds, both included."""
    allowed = f"{what} from {least} to {most}"

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(f"{describe(value)} is not a whole number")
        return _within(value, least, most)

    return Kind(allowed, read)


def _within(value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise Wrong(f"{describe(value)} is too {'small' if value < least else 'large'}")
    return value


_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) *(ms|s|m|h)", re.ASCII)


def duration(least: str, most: str) -> Kind:
    """A duration such as "500ms", "30s", "15m", "12h", read as seconds."""
    low, high = seconds(least), seconds(most)
    allowed = f'a duration such as "500ms", "30s", "15m" or "12h", from "{least}" to "{most}"'

    def read(value: object) -> float:
        result = seconds(value)
        if not low <= result <= high:
            raise Wrong(f"{describe(value)} is too {'short' if result < low else 'long'}")
        return result

    return Kind(allowed, read, show_duration)


def seconds(value: object) -> float:
    """The seconds of a duration. Wrong unless it is text with a unit."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Wrong(f"{describe(value)} has no unit")
    if not isinstance(value, str) or not (found := _DURATION.fullmatch(value.strip().lower())):
        raise Wrong(f"{describe(value)} is not a duration")
    return float(found[1]) * _UNITS[found[2]] / 1000


def show_duration(value: float) -> str:
    """Seconds in the largest unit that leaves a whole number: 172800 is "48h"."""
    milliseconds = round(value * 1000, 3)
    if milliseconds == 0:
        return "0s"
    for unit in ("h", "m", "s", "ms"):
        if milliseconds % _UNITS[unit] == 0:
            return f"{round(milliseconds / _UNITS[unit])}{unit}"
    return f"{milliseconds:f}".rstrip("0").rstrip(".") + "ms"


_SIZE = re.compile(r"([0-9]{1,15}) *(|kib|mib|gib)", re.ASCII)
_SIZE_UNITS = {"": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def size(least: str, most: str, *, or_zero: bool = False) -> Kind:
    """A number of octets: an integer, or text such as "64KiB"."""
    low, high = octets(least), octets(most)
    allowed = f'octets as a number or such as "64KiB" or "4MiB", from {least} to {most}'
    if or_zero:
        allowed += ", or 0 for off"

    def read(value: object) -> int:
        result = octets(value)
        return 0 if or_zero and result == 0 else _within(result, low, high)

    return Kind(allowed, read, show_size)


def octets(value: object) -> int:
    """The octets of a size. Wrong unless it is a number or text with a known unit."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not (found := _SIZE.fullmatch(value.strip().lower())):
        raise Wrong(f"{describe(value)} is not a size")
    return int(found[1]) * _SIZE_UNITS[found[2]]


def show_size(value: int) -> int | str:
    """Octets as "4MiB" where that is exact, else as a number."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value and value % unit == 0:
            return f"{value // unit}{name}"
    return value


def choice(*values: StrEnum | str) -> Kind:
    """One of several words, in any case."""
    words = {str(value).lower(): value for value in values}
    allowed = ", ".join(f'"{word}"' for word in words)

    def read(value: object) -> StrEnum | str:
        found = words.get(value.strip().lower()) if isinstance(value, str) else None
        if found is None:
            raise Wrong(f"{describe(value)} is none of these")
        return found

    return Kind(allowed, read, str)


def listed(item: Kind, *, unique: bool = True, allowed: str = "") -> Kind:
    """A list of values of one kind; one value may stand alone. Every bad item is reported."""

    def read(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            return (item.read(value),)
        faults = [
            Fault(f"[{i}]{fault.key}", *fault[1:])
            for i, part in enumerate(value)
            for fault in item.faults(part)
        ]
        if faults:
            raise Wrong(faults=faults)
        parts = tuple(item.read(part) for part in value)
        if unique and len(set(parts)) < len(parts):
            raise Wrong("the same value is given twice")
        return parts

    return Kind(
        allowed or f"a list of: {item.allowed}",
        read,
        lambda parts: [item.show(part) for part in parts],
    )


# -- values in the forms that Resource Managers have them ----------------------------------------

_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


def _rm_flag(value: object) -> bool:
    word = str(value).strip().lower() if isinstance(value, str | bool | int) else ""
    if word not in _TRUE | _FALSE:
        raise Wrong(f"{describe(value)} is neither true nor false")
    return word in _TRUE


rm_flag = Kind('true or false, also in quotes ("TRUE")', _rm_flag)
"""A switch as an RM's options export has it: text in any case, or TOML's own."""

_DIGITS = re.compile(r"[0-9]{1,15}", re.ASCII)


def rm_number(least: int, most: int, unit: str = "") -> Kind:
    """A whole number, also as text: an RM's options export holds text only."""
    allowed = f"a whole number{' of ' + unit if unit else ''} from {least} to {most}"

    def read(value: object) -> int:
        if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(f"{describe(value)} is not a whole number")
        return _within(value, least, most)

    return Kind(allowed, read)


def rm_numbers(least: int, most: int, example: str) -> Kind:
    """Several numbers, as an RM writes them ("1 2") or as a list."""
    allowed = f'numbers from {least} to {most}, such as "{example}"'
    one = rm_number(least, most)

    def read(value: object) -> tuple[int, ...]:
        parts: list[Any] = (
            value.replace(",", " ").split()
            if isinstance(value, str)
            else value
            if isinstance(value, list)
            else [value]
        )
        found = tuple(one.read(part) for part in parts)
        if len(set(found)) < len(found):
            raise Wrong(f"{describe(value)} names a number twice")
        return found

    return Kind(allowed, read, lambda numbers: " ".join(map(str, numbers)))


def numbered(item: Kind, pattern: str, name: str) -> Kind:
    """Keys with a number in them (`member.1`, `nic.eth0`), read as number to value.

    `pattern` has one group, the number; `name` shows the whole key with N for the number.
    """
    compiled = re.compile(pattern, re.ASCII)
    prefix = name.partition(".")[2].removesuffix("N")

    def read(value: object) -> dict[int, Any]:
        if not isinstance(value, dict):
            raise Wrong(f"{describe(value)} stands without a number")
        faults: list[Fault] = []
        result: dict[int, Any] = {}
        for key, part in value.items():
            if not (found := compiled.fullmatch(key)):
                faults.append(Fault(f".{clip(key)}", "this is no such number", f"{name} = ..."))
                continue
            bad = item.faults(part)
            faults += [Fault(f".{key}{fault.key}", *fault[1:]) for fault in bad]
            if not bad:
                result[int(found[1])] = item.read(part)
        if faults:
            raise Wrong(faults=faults)
        return dict(sorted(result.items()))

    return Kind(
        f"{name} = {item.allowed}",
        read,
        lambda values: {f"{prefix}{n}": item.show(part) for n, part in values.items()},
    )
