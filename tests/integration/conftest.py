"""Fixtures of the integration tests: what they start is ended with the test."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
import rig

P = TypeVar("P", bound=rig.Process)


HERE = Path(__file__).parent
LOAD = ("test_calls", "test_failover", "test_active_standby", "test_rotation", "test_merge")
"""Modules that put some hundred calls a second through a balancer: one at a time."""


@pytest.hookimpl(wrapper=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """One test runner has the load tests, the other all the rest, module by module."""
    for item in items:
        if item.path.parent == HERE:
            group = "load" if item.path.stem in LOAD else item.path.stem
            item.add_marker(pytest.mark.xdist_group(group))
    return (yield)


class Start(Protocol):
    def __call__(self, process: P) -> P: ...


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(process)` starts a process of the rig, and ends it with the test, last first."""
    with ExitStack() as stack:

        def start(process: P) -> P:
            return stack.enter_context(process)

        yield start
