"""Keys of the configuration: case ignored, dotted keys taken apart, unknown ones explained.

Knows the tables' keys from the schema, nothing of values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from rmlb.config.kinds import clip
from rmlb.config.problem import Fault
from rmlb.config.schema import TABLES

DEEPEST = 4
"""No known key lies deeper (`cluster.member.1` is 3); what does is unknown as a whole."""


def fold(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The tables with keys in lower case and `"member.1"` as `member.1`, and every clash."""
    result: dict[str, Any] = {}
    faults: list[Fault] = []
    _merge(result, raw, (), faults)
    return result, faults


def _merge(
    into: dict[str, Any], raw: Mapping[str, Any], path: tuple[str, ...], faults: list[Fault]
) -> None:
    for given, value in raw.items():
        *tables, key = given.lower().split(".") if len(path) < DEEPEST else [given.lower()]
        place, here = into, path
        for table in tables:
            here = (*here, table)
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                faults.append(_twice(here))
                break
        else:
            _put(place, key, value, (*here, key), faults)


def _put(
    into: dict[str, Any], key: str, value: Any, path: tuple[str, ...], faults: list[Fault]
) -> None:
    if isinstance(value, dict) and len(path) <= DEEPEST:
        known = into.setdefault(key, {})
        if isinstance(known, dict):
            _merge(known, value, path, faults)
            return
    elif isinstance(value, list) and len(path) == 1 and key not in into:
        into[key] = [_folded(part, faults) for part in value]
        return
    elif key not in into:
        into[key] = value
        return
    faults.append(_twice(path))


def _folded(part: Any, faults: list[Fault]) -> Any:
    """One `[[table]]` of a list, its keys in lower case."""
    if not isinstance(part, dict):
        return part
    into: dict[str, Any] = {}
    _merge(into, part, (), faults)
    return into


def _twice(path: tuple[str, ...]) -> Fault:
    return Fault(
        ".".join(map(clip, path)), "the key is given twice (case is ignored)", "each key once"
    )


def unknown_key(table: str, key: str, known: Iterable[str]) -> Fault:
    """The fault of a key that its table does not have: the nearest one, or where it belongs."""
    path = f"{table}.{clip(key)}" if table else clip(key)
    names = list(known)
    hyphens = key.replace("_", "-")
    if hyphens in names and hyphens != key:
        return Fault(path, "unknown key: names have hyphens, not underscores", hyphens)
    elsewhere = [name for name, model in TABLES.items() if hyphens in model.fields()]
    near = get_close_matches(hyphens, names, n=1, cutoff=0.8 if elsewhere else 0.6)
    if near:
        return Fault(path, f"unknown key; nearest: {near[0]}", near[0])
    what = "unknown key"
    if elsewhere:
        what += f"; {hyphens} belongs to {' or '.join(f'[{name}]' for name in elsewhere)}"
    return Fault(path, what, ", ".join(_NUMBERED.get(name, name) for name in names))


_NUMBERED = {"member": "member.N", "nic": "nic.ethN", "rm": "rm.N"}
"""Keys as they are written, where a number belongs to them."""
