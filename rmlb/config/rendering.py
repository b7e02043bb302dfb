"""The effective configuration as text: what `rmlb check` prints. Secrets are shown as ***."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rmlb.config.schema import LISTS, TABLES, Config
from rmlb.config.table import Table


def render(config: Config) -> str:
    """Every key with its value in effect, as TOML; what the file does not say is marked."""
    lines = ["# what is in effect; (default) marks what the file does not say"]
    for name in TABLES:
        lines += ["", f"[{name}]", *_keys(name, getattr(config, name), config)]
        if name == "gvp":
            for number, member in config.rm.items():
                lines += ["", f"[rm.{number}]", *_keys(f"rm.{number}", member, config)]
    for name in LISTS:
        for i, table in enumerate(getattr(config, name)):
            lines += ["", f"[[{name}]]", *_keys(f"{name}[{i}]", table, config)]
    return "\n".join(lines) + "\n"


def _keys(path: str, table: Table, config: Config) -> Iterator[str]:
    for key, value in table.shown().items():
        mark = "" if f"{path}.{key}" in config.given else "  # (default)"
        if isinstance(value, dict):
            yield from (f"{key}.{part} = {toml(each)}" for part, each in value.items())
        elif value is None:
            yield f"# {key} is not set"
        else:
            yield f"{key} = {toml(value)}{mark}"


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
