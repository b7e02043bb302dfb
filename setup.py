"""Builds the compiled engine. Without a compiler or Python.h it is left out, and Python's runs."""

from __future__ import annotations

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FLAGS = ["-O3", "-fno-strict-aliasing"]

MACROS = [("_GNU_SOURCE", None)]  # recvmmsg, sendmmsg

extensions = [
    Extension(
        f"rmlb.fastpath.{source.stem}",
        [str(source)],
        extra_compile_args=FLAGS,
        define_macros=MACROS,
        optional=True,
    )
    for source in sorted(Path("rmlb/fastpath").glob("*.pyx"))
]


class Translate(build_ext):
    """To C where it is compiled, and only there: metadata and an sdist need none."""

    def run(self) -> None:
        translated = cythonize(self.extensions, build_dir="build/cython", nthreads=2)
        sources = {each.name: each.sources for each in translated}
        for extension in self.extensions:
            extension.sources = sources[extension.name]
        super().run()


setup(
    ext_modules=extensions,
    cmdclass={"build_ext": Translate},
    options={"build_ext": {"parallel": 2}},
)
