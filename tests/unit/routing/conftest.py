"""What is asked of routing is asked of both engines.

A module that uses packets.Bench (or failing.Trace, which does) runs once with each; RMLB_ENGINE
chooses one. Others are of what both engines share, and run once.
"""

from __future__ import annotations

import os

import packets
import pytest

from rmlb import fastpath

_OF_AN_ENGINE = (
    "Bench", "Trace", "World", "make_bindings", "make_pending", "make_loads", "make_sources",
)  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if any(hasattr(metafunc.module, name) for name in _OF_AN_ENGINE):
        chosen = os.environ.get(fastpath.VARIABLE)
        engines = (chosen,) if chosen else fastpath.CHOICES
        metafunc.parametrize("engine", engines, indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def engine(request: pytest.FixtureRequest) -> str:
    """The engine of this module's routers. One that is not built is an error, no skip."""
    packets.ENGINE = getattr(request, "param", "python")
    if packets.ENGINE == "compiled" and not fastpath.is_built():
        pytest.fail(fastpath.NOT_BUILT)
    return packets.ENGINE
