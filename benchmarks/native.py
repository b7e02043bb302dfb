"""Builds the native tools when their sources have changed; knows nothing of measuring."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "native"
BUILT = HERE.parent / ".benchmarks"

FLAGS = ["-O2", "-g", "-std=gnu11", "-Werror", "-Wall", "-Wextra", "-Wshadow", "-Wconversion"]
FLAGS += ["-Wno-sign-conversion"]
PARTS = {
    "sipload": ("sipload", "flows", "compose", "scan", "link", "histogram", "scrape"),
    "blindrelay": ("blindrelay",),
    "flood": ("flood",),
}


def build(tool: str) -> Path:
    """The program, built anew if a source is younger. RuntimeError with the compiler's words."""
    program = BUILT / tool
    sources = [SOURCES / f"{part}.c" for part in PARTS[tool]]
    watched = [*sources, *SOURCES.glob("*.h")]
    if program.exists() and program.stat().st_mtime > max(s.stat().st_mtime for s in watched):
        return program
    if shutil.which("gcc") is None:
        raise RuntimeError("the load generator needs gcc")
    BUILT.mkdir(exist_ok=True)
    begun = BUILT / f"{tool}.{os.getpid()}"  # two builds at once do not meet
    command = ["gcc", *FLAGS, "-o", str(begun), *map(str, sources)]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    if compiled.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{compiled.stderr}")
    return begun.replace(program)
