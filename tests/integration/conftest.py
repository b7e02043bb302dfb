"""Fixtures of the integration tests: what they start is ended with the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol, TypeVar

import pytest
import rig

P = TypeVar("P", bound=rig.Process)


class Start(Protocol):
    def __call__(self, process: P) -> P: ...


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(process)` starts a process of the rig, and ends it with the test, last first."""
    with ExitStack() as stack:

        def start(process: P) -> P:
            return stack.enter_context(process)

        yield start
