"""From a file to a `Config`: read, fold keys, validate each table, fill defaults in, cross-check.

Each step hands on what it could make sense of, so that one run reports everything that is
wrong. A cross-check runs only when the tables it looks at are themselves in order.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from rmlb.config import syntax
from rmlb.config.checks import cross_check
from rmlb.config.completion import complete
from rmlb.config.keys import fold, unknown_key
from rmlb.config.kinds import clip, describe
from rmlb.config.problem import ConfigError, Fault, Problem
from rmlb.config.rm_options import MOST_MEMBER_ID, RmConfig
from rmlb.config.schema import LISTS, TABLE_NAMES, TABLES, Config
from rmlb.config.table import Table

LARGEST_FILE = 2**20
"""Octets. A configuration of 128 members with every key set has some 40,000."""


def load(path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file. ConfigError with every problem, also if it cannot be read."""
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            octets = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise _unusable(name, f"cannot be read: {reason.lower()}") from None
    if len(octets) > LARGEST_FILE:
        raise _unusable(name, f"larger than {LARGEST_FILE // 2**20} MiB")
    try:
        text = octets.decode("utf-8-sig")  # Windows editors put a byte order mark in front
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise _unusable(name, f"line {line}: not UTF-8; save it as UTF-8") from None
    return parse(text, name, environ=environ)


def parse(text: str, path_name: str, *, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a text; `path_name` is for messages and relative paths.

    `environ` (default: the process's) gives $STATE_DIRECTORY, $XDG_STATE_HOME and $HOME.
    """
    raw, faults = syntax.read(text)
    if raw is None:
        raise _error(path_name, faults)
    if not raw and not faults:
        raise _unusable(path_name, "empty")
    draft = _Draft(*fold(raw))
    config, incomplete = complete(
        draft.config(path_name), draft.bad, os.environ if environ is None else environ
    )
    faults += draft.faults + incomplete
    bad = draft.bad | {fault.key.partition(".")[0] for fault in incomplete}
    faults += cross_check(config, bad)
    if faults:
        raise _error(path_name, faults)
    return config


def _unusable(file: str, message: str) -> ConfigError:
    allowed = "a TOML file with at least [cluster] virtual-ip and one [rm.N] sip"
    return ConfigError([Problem(file, "", message, allowed)])


def _error(file: str, faults: list[Fault]) -> ConfigError:
    return ConfigError(Problem(file, *fault) for fault in dict.fromkeys(faults))


T = TypeVar("T", bound=Table)


class _Draft:
    """Every table validated on its own; `bad` names those with `faults`."""

    def __init__(self, tables: dict[str, Any], faults: list[Fault]) -> None:
        unknown = [name for name in tables if name not in TABLE_NAMES]
        self.faults = [*faults, *(unknown_key("", name, TABLE_NAMES) for name in unknown)]
        self.bad = {fault.key.partition(".")[0] for fault in faults}
        self._tables = tables
        self._given: set[str] = set()

    def config(self, path: str) -> Config:
        """All tables; one with faults has its defaults, or lacks what has none."""
        single = {
            name: self._table(model, name, self._tables.get(name, {}))
            for name, model in TABLES.items()
        }
        rm = self._members()
        lists = {name: self._list(model, name) for name, model in LISTS.items()}
        return Config(
            path=path,
            given=frozenset(self._given),
            rm=rm,
            **single,  # type: ignore[arg-type]  # each by its own model
            **lists,  # type: ignore[arg-type]
        )

    def _fault(self, key: str, message: str, allowed: str) -> None:
        self.faults.append(Fault(key, message, allowed))
        self.bad.add(key.partition(".")[0].partition("[")[0])

    def _table(self, model: type[T], path: str, body: Any) -> T:
        if not isinstance(body, dict):
            self._fault(path, f"{describe(body)} stands where a table belongs", f"[{path}]")
            return model.unvalidated()
        known = model.fields()
        for key in body:
            if key not in known:
                self._fault(*unknown_key(path, key, known))
        self._given.update(f"{path}.{key}" for key in body if key in known)
        try:
            return model.model_validate({k: v for k, v in body.items() if k in known})
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                key = str(detail["loc"][0])
                if detail["type"] == "missing":
                    self._fault(f"{path}.{key}", "is missing", model.kind(key).allowed)
                    continue
                for fault in detail["ctx"]["faults"]:
                    self._fault(f"{path}.{key}{fault.key}", fault.message, fault.allowed)
            return model.unvalidated()

    def _members(self) -> dict[int, RmConfig]:
        body = self._tables.get("rm", {})
        example = '[rm.1] with sip = "10.0.0.11:5060"'
        if not isinstance(body, dict) or not body:
            seen = f"{describe(body)} stands where tables belong" if body else "there is no member"
            self._fault("rm", seen, f"{example}, one table for each member")
            return {}
        found: dict[int, RmConfig] = {}
        for name, table in body.items():
            number = int(name) if name.isascii() and name.isdecimal() and len(name) <= 5 else 0
            if not 1 <= number <= MOST_MEMBER_ID or name != str(number):
                self._fault(
                    f"rm.{clip(name)}",
                    "this is no member ID",
                    f"{example}; IDs are whole numbers from 1 to {MOST_MEMBER_ID}",
                )
            else:
                found[number] = self._table(RmConfig, f"rm.{number}", table)
        return dict(sorted(found.items()))

    def _list(self, model: type[T], name: str) -> tuple[T, ...]:
        body = self._tables.get(name, [])
        if not isinstance(body, list):
            self._fault(
                name,
                f"{describe(body)} stands where a list of tables belongs",
                f"[[{name}]], in double brackets, once for each",
            )
            return ()
        return tuple(self._table(model, f"{name}[{i}]", table) for i, table in enumerate(body))
