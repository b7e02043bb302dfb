"""Fixtures of the integration tests: what they start is ended with the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol, TypeVar

import pytest
import rig

from rmlb import fastpath

BOTH_ENGINES = ("test_scenarios", "test_bridging")
"""Modules that run with each engine; all others with the one that `rmlb run` takes by itself, which
is the compiled one. What routing decides is compared in tests/unit, these show the whole path. Not
those with load: the Python engine does not carry 300 calls/s beside a second runner on two cores;
`RMLB_ENGINE=python make test ARGS="-n 1 tests/integration/test_calls.py"` has it alone."""

P = TypeVar("P", bound=rig.Process)


class Start(Protocol):
    def __call__(self, process: P) -> P: ...


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__ in BOTH_ENGINES and fastpath.VARIABLE not in os.environ:
        metafunc.parametrize("engine", fastpath.CHOICES, indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """The engine of the balancers that this module starts. Not built is an error, no skip."""
    wanted = getattr(request, "param", os.environ.get(fastpath.VARIABLE, "compiled"))
    if wanted == "compiled" and not fastpath.is_built():
        pytest.fail(fastpath.NOT_BUILT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(fastpath.VARIABLE, wanted)
        yield wanted


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(process)` starts a process of the rig, and ends it with the test, last first."""
    with ExitStack() as stack:

        def start(process: P) -> P:
            return stack.enter_context(process)

        yield start
