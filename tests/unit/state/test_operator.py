"""Operator states survive a restart, a crash, a broken file and a broken disk."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from rmlb.events import Event, EventName, Severity
from rmlb.state.agreement import Word
from rmlb.state.operator import FILE_NAME, OperatorStates

ALLOWED = frozenset({"enabled", "draining", "disabled"})


class Reports(list[Event]):
    @property
    def names(self) -> list[EventName]:
        return [event.name for event in self]


def opened(directory: Path, reports: Reports) -> OperatorStates:
    return OperatorStates(directory, ALLOWED, reports.append, clock=lambda: 5.0)


async def test_states_survive_a_restart(tmp_path: Path) -> None:
    reports = Reports()
    before = opened(tmp_path / "new" / "dir", reports)
    assert before.load() == {}
    assert await before.keep(1, "draining")
    assert await before.keep(2, "disabled")
    assert await before.keep(1, "enabled")
    assert opened(tmp_path / "new" / "dir", reports).load() == {1: "enabled", 2: "disabled"}
    assert os.listdir(tmp_path / "new" / "dir") == [FILE_NAME]
    assert reports == []


async def test_concurrent_writes_end_with_the_newest_of_each(tmp_path: Path) -> None:
    states = opened(tmp_path, Reports())
    await asyncio.gather(*(states.keep(n % 4, "draining") for n in range(20)))
    await asyncio.gather(*(states.keep(n, "disabled") for n in range(4)))
    assert opened(tmp_path, Reports()).load() == dict.fromkeys(range(4), "disabled")


@pytest.mark.parametrize(
    ("content", "states"),
    [
        (b"", {}),
        (b"{", {}),
        (b"\xff\xfe\x00", {}),
        (b"[]", {}),
        (b"null", {}),
        (b'{"version":2,"members":{}}', {}),
        (b'{"version":1,"members":[]}', {}),
        (b'{"version":1,"members":{"1":"disabled","2":"asleep"}}', {1: "disabled"}),
        (b'{"version":1,"members":{"1":"disabled","x":"enabled"}}', {1: "disabled"}),
        (b'{"version":1,"members":{"1":7,"2":"draining"}}', {2: "draining"}),
        (b" " * 70_000, {}),
    ],
)
def test_a_broken_file_is_set_aside_once(
    tmp_path: Path, content: bytes, states: dict[int, str]
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    reports = Reports()
    assert opened(tmp_path, reports).load() == states
    assert reports.names == [EventName.OPERATOR_STATE_SET_ASIDE]
    assert reports[0].severity is Severity.WARNING
    assert reports[0].fields["file"] == str(tmp_path / FILE_NAME)
    assert (tmp_path / f"{FILE_NAME}.corrupt").read_bytes() == content
    assert opened(tmp_path, reports).load() == {}
    assert len(reports) == 1


async def test_an_unwritable_directory_is_one_warning_and_the_word_holds(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    reports = Reports()
    states = opened(tmp_path / "file" / "dir", reports)
    assert not await states.keep(1, "draining")
    assert not await states.keep(2, "disabled")
    assert states.states == {1: "draining", 2: "disabled"}
    assert reports.names == [EventName.OPERATOR_STATE_NOT_KEPT]
    why = "cannot be written: Not a directory; it holds until the next restart"
    assert reports[0].fields["why"] == why
    (tmp_path / "file").unlink()
    assert await states.keep(2, "enabled")
    assert opened(tmp_path / "file" / "dir", reports).load() == {1: "draining", 2: "enabled"}


def test_an_unreadable_file_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    reports = Reports()
    assert opened(tmp_path, reports).load() == {}
    assert reports.names == [EventName.OPERATOR_STATE_NOT_KEPT]


async def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = opened(tmp_path, Reports())
    await states.keep(1, "draining")

    def full_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    assert not await states.keep(1, "disabled")
    assert json.loads((tmp_path / FILE_NAME).read_text())["members"] == {"1": "draining"}
    assert os.listdir(tmp_path) == [FILE_NAME]


async def test_every_word_has_a_number(tmp_path: Path) -> None:
    events: list[Event] = []
    states = OperatorStates(tmp_path, ALLOWED, events.append)
    states.load()
    await states.keep(1, "draining")
    await states.keep(1, "enabled")
    await states.learn({2: Word(7, "disabled")})
    await states.keep(2, "enabled")
    again = OperatorStates(tmp_path, ALLOWED, events.append)
    again.load()
    assert again.words == {1: Word(2, "enabled"), 2: Word(8, "enabled")}


def test_words_of_a_version_that_did_not_count_them(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b'{"version":1,"members":{"1":"draining"}}')
    states = OperatorStates(tmp_path, ALLOWED, lambda _: None)
    assert (states.load(), states.words) == ({1: "draining"}, {1: Word(1, "draining")})
