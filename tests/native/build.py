"""The compiled engine once more, instrumented: `python tests/native/build.py [DIRECTORY]`.

AddressSanitizer and UndefinedBehaviorSanitizer are in it; beside it lie rmlb's Python files, so
that DIRECTORY on the path is a whole rmlb. The compiled engine in use is not touched.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension
from setuptools.dist import Distribution

ROOT = Path(__file__).parents[2]
FLAGS = ["-O1", "-g1", "-fno-strict-aliasing", "-fno-omit-frame-pointer"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def build(directory: Path) -> None:
    """Compile what has changed. Raises whatever the compiler says."""
    for source in (ROOT / "rmlb").rglob("*.p*"):
        if source.suffix in (".py", ".pyx", ".pxd"):
            _bring(source, directory / source.relative_to(ROOT))
    _bring(ROOT / "tests/native/exact.pyx", directory / "exact.pyx")
    os.chdir(directory)
    names = [f"rmlb.fastpath.{p.stem}" for p in sorted(Path("rmlb/fastpath").glob("*.pyx"))]
    extensions = [
        Extension(
            name,
            [name.replace(".", "/") + ".pyx"],
            extra_compile_args=FLAGS + SANITIZERS,
            extra_link_args=SANITIZERS,
            define_macros=[("_GNU_SOURCE", None)],
        )
        for name in (*names, "exact")
    ]
    made = cythonize(extensions, build_dir="c", quiet=True)
    distribution = Distribution({"name": "instrumented", "ext_modules": made})
    command = distribution.get_command_obj("build_ext")
    command.ensure_finalized()
    command.inplace = True
    command.parallel = 2
    command.run()


def _bring(source: Path, target: Path) -> None:
    """Copied if it is another one: what has not changed is not compiled anew."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or target.read_bytes() != source.read_bytes():
        shutil.copyfile(source, target)


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/instrumented").absolute())
