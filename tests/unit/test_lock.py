"""The lock of the bundle fits what pyproject.toml asks for; `make lock` makes it anew."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / ".ci" / "requirements.lock").read_text()
PINS = {
    canonicalize_name(found[1]): found[2]
    for found in re.finditer(r"^([a-z0-9._-]+)==(\S+)", LOCK, re.MULTILINE | re.IGNORECASE)
}
WANTED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


@pytest.mark.parametrize("wanted", WANTED)
def test_each_dependency_is_pinned_within_its_bounds(wanted: str) -> None:
    requirement = Requirement(wanted)
    pin = PINS.get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name}: make lock"
    assert pin in requirement.specifier, f"{requirement.name}: make lock"


def test_each_pin_has_hashes_and_no_registry_is_named() -> None:
    assert LOCK.count("sha256:") >= len(PINS)
    assert "://" not in LOCK
    assert "-index" not in LOCK
