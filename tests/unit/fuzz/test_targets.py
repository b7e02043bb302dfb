"""Every fuzz target over its seeds and the same mutations each time, so that none rots."""

from __future__ import annotations

import pytest
from target import short_run
from targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_short(name: str) -> None:
    target = TARGETS[name]
    watch = short_run(target)
    assert watch.executions == len(target.seeds()) + target.short
