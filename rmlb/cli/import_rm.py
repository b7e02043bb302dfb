"""`rmlb import-rm`: reads the files, writes the configuration, prints the report."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rmlb.cli.failure import FAILED, CliError
from rmlb.config import ConfigError, parse
from rmlb.rm_import.conversion import Imported, NotEnough, Report, convert
from rmlb.rm_import.export import LARGEST_EXPORT, Export, read_export


def import_rm(
    files: Sequence[Path], out: Path | None, beside: int | None, force: bool, as_json: bool
) -> int:
    """The exit code: 0, or 1 when the result would not pass `rmlb check`."""
    try:
        imported = convert([(path.name, _export(path)) for path in files], beside)
    except NotEnough as error:
        raise CliError(str(error)) from None
    try:
        parse(imported.text, str(out or "rmlb.toml"))
        problems = []
    except ConfigError as error:
        problems = [str(problem) for problem in error.problems]
    if out is not None:
        _write(out, imported.text, force)
    if as_json:
        print(json.dumps(_as_json(imported, out, problems), indent=2))
    else:
        _print(imported, out, problems)
    return FAILED if problems else 0


def _export(path: Path) -> Export:
    try:
        with path.open("rb") as file:
            octets = file.read(LARGEST_EXPORT + 1)
        if len(octets) > LARGEST_EXPORT:
            raise ValueError(f"larger than {LARGEST_EXPORT // 2**20} MiB")
        return read_export(octets)
    except OSError as error:
        raise CliError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:
        raise CliError(f"{path}: {error}") from None


def _write(out: Path, text: str, force: bool) -> None:
    try:
        with out.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CliError(f"{out} exists; --force writes over it") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CliError(f"{out} cannot be written: {reason}") from None


def _as_json(imported: Imported, out: Path | None, problems: list[str]) -> dict[str, object]:
    report = imported.report
    return {
        "file": None if out is None else str(out),
        "config": imported.text,
        "taken": report.taken,
        "changed": report.changed,
        "left": report.left,
        "problems": problems,
    }


def _print(imported: Imported, out: Path | None, problems: list[str]) -> None:
    """The report goes where the configuration does not."""
    stream = sys.stdout if out is not None else sys.stderr
    if out is None:
        print(imported.text, end="")
    for line in _lines(imported.report):
        print(line, file=stream)
    for problem in problems:
        print(f"rmlb check would refuse: {problem}", file=sys.stderr)
    if out is not None:
        print(f"written: {out}; next: rmlb check {out}")


def _lines(report: Report) -> list[str]:
    lines = []
    for title, entries in (
        ("taken", report.taken),
        ("changed", report.changed),
        ("left", report.left),
    ):
        lines.append(f"{title}: {len(entries)}")
        lines += [f"  {entry}" for entry in entries]
    return lines
