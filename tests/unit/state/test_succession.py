"""The loss log and the active member survive a restart and a broken file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rmlb.events import Event, EventName
from rmlb.state.succession import FILE_NAME, KeptLoss, Succession, SuccessionFile

NOW = 1_800_000_000.0
KEPT = Succession(
    number=9,
    losses=(KeptLoss(7, 1, (2,), NOW - 50.5), KeptLoss(9, 2, (), NOW)),
    lost=frozenset({2}),
    active=1,
    elected=2,
    retiring=frozenset({2}),
)


def opened(directory: Path, reports: list[Event]) -> SuccessionFile:
    return SuccessionFile(directory, reports.append, clock=lambda: NOW)


async def test_what_is_put_is_there_after_a_restart(tmp_path: Path) -> None:
    reports: list[Event] = []
    file = opened(tmp_path / "new", reports)
    assert file.load() == Succession()
    file.put(KEPT)
    await file.flush()
    assert opened(tmp_path / "new", reports).load() == KEPT
    assert os.listdir(tmp_path / "new") == [FILE_NAME]
    assert reports == []


async def test_the_newest_wins_and_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    file = opened(tmp_path, [])
    for number in range(50):
        file.put(Succession(number=number))
    await file.flush()
    assert opened(tmp_path, []).load().number == 49
    written = (tmp_path / FILE_NAME).stat().st_ino
    file.put(Succession(number=49))
    await file.flush()
    assert (tmp_path / FILE_NAME).stat().st_ino == written


async def test_flush_waits_for_what_is_put_meanwhile(tmp_path: Path) -> None:
    file = opened(tmp_path, [])
    await file.flush()
    file.put(Succession(number=1))
    file.put(KEPT)
    await file.flush()
    assert opened(tmp_path, []).load() == KEPT


def changed(**values: Any) -> bytes:
    content = {
        "version": 1, "number": 3, "losses": [[3, 1, [2], 5.0]], "lost": [], "active": None,
        "elected": None, "retiring": [],
    }  # fmt: skip
    return json.dumps(content | values).encode()


def test_the_sample_is_right(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(changed())
    assert opened(tmp_path, []).load() == Succession(3, (KeptLoss(3, 1, (2,), 5.0),))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"version":1}',
        changed(version=2),
        changed(number="3"),
        changed(number=-1),
        changed(number=2),
        changed(losses=[[3, 1, [2]]]),
        changed(losses=[[3, 1, 2, 5.0]]),
        changed(losses=[[3, 1, [2], "x"]]),
        changed(losses=[[3, 1, ["2"], 5.0]]),
        changed(losses=[[3, 1, [2], 5.0], [3, 1, [2], 5.0]]),
        changed(losses=[[3, 1, [2], 5.0], [2, 2, [1], 5.0]]),
        changed(losses=7),
        changed(number=1_000_000_000),
        changed(losses=[[3, 65536, [2], 5.0]]),
        changed(losses=[[3, 1, [-2], 5.0]]),
        changed(losses=[[3, 1, [2], "5.0"]]),
        changed(losses=[[3, 1, [2], "inf"]]),
        changed(losses=[[3, 1, [2], 1e300]]),
        changed(turn=2**64 - 1),
        changed(lost=None),
        changed(active=True),
        changed(elected="2"),
        changed(retiring=[[]]),
    ],
)
def test_a_broken_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    """Numbers then begin above any that a mark can carry, so older marks keep their meaning."""
    (tmp_path / FILE_NAME).write_bytes(content)
    reports: list[Event] = []
    found = opened(tmp_path, reports).load()
    assert found == Succession(number=64_310_400)  # seconds since 2025 at NOW
    assert [event.name for event in reports] == [EventName.LOSS_LOG_SET_ASIDE]
    assert (tmp_path / f"{FILE_NAME}.corrupt").read_bytes() == content
    assert opened(tmp_path, reports).load() == Succession()
    assert len(reports) == 1


async def test_an_unwritable_directory_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    reports: list[Event] = []
    file = opened(tmp_path / "file" / "dir", reports)
    for number in (1, 2):
        file.put(Succession(number=number))
        await file.flush()
    assert [event.name for event in reports] == [EventName.LOSS_LOG_NOT_KEPT]
