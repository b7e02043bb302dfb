"""Builds the compiled engine. Without a compiler or Python.h it is left out, and Python's runs."""

from __future__ import annotations

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

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

setup(
    ext_modules=cythonize(extensions, build_dir="build/cython", nthreads=2),
    options={"build_ext": {"parallel": 2}},
)
