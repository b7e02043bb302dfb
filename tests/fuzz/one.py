"""One target under atheris, in a process of its own: `one.py NAME FOLDER libFuzzer-options...`.

What it found out besides libFuzzer's own figures stands in FOLDER/NAME.json, written whenever an
input was slower per octet than all before: libFuzzer ends the process without a word to Python.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["rmlb"], enable_loader_override=False):
    from target import Watch
    from targets import TARGETS

OURS = 0.5
"""Share of the mutations that are the target's own; libFuzzer's know no lines and no fields."""


def fuzz(name: str, folder: Path, options: list[str]) -> None:
    """Does not return."""
    target = TARGETS[name]
    seeds = folder / f"{name}-seeds"
    seeds.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (seeds / f"{number:04}").write_bytes(data[: target.most])

    def on_slower(watch: Watch) -> None:
        slowest = folder / f"{name}-slowest"
        slowest.write_bytes(watch.slowest)
        (folder / f"{name}.json").write_text(
            json.dumps({"us_per_octet": watch.slowest_us, "octets": len(watch.slowest)})
        )

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rng = Random(seed)
        if rng.random() < OURS:
            return target.mutate(data, rng)[:most]
        changed: bytes = atheris.Mutate(data, most)
        return changed

    watch = Watch(target, on_slower)
    atheris.Setup(
        [sys.argv[0], *options, f"-max_len={target.most}", "-len_control=0", str(seeds)],
        watch.run,
        custom_mutator=mutate,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    fuzz(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
