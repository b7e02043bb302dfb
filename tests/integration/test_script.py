"""The failoverscript as real processes: in order, in time, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from pathlib import Path

import pytest
from rig import until

from rmlb.child import KEPT_OUTPUT
from rmlb.script import FailoverScript, ScriptEnd, argv


class Bench:
    def __init__(self, tmp_path: Path, *lines: str, timeout_s: float = 10.0) -> None:
        self.said = tmp_path / "said"
        self.path = tmp_path / "move"
        self.path.write_text("\n".join(["#!/bin/sh", f'echo "$@" >> {self.said}', *lines, ""]))
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)
        self.ends: list[ScriptEnd] = []
        self.script = FailoverScript(str(self.path), timeout_s, self.ends.append)

    async def ended(self, runs: int) -> None:
        await until(f"{runs} runs", lambda: len(self.ends) == runs)

    @property
    def calls(self) -> list[str]:
        return self.said.read_text().splitlines() if self.said.exists() else []


async def test_the_first_is_enabled_then_each_change_is_followed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for member, runs in ((2, 1), (1, 3), (1, 3), (2, 5)):
        bench.script.follow(member)
        await bench.ended(runs)
    assert bench.calls == ["enable 2", "disable 2", "enable 1", "disable 1", "enable 2"]
    assert [end.fault for end in bench.ends] == [None] * 5
    await bench.script.close()


async def test_changes_during_a_run_are_made_good_at_once(tmp_path: Path) -> None:
    """Only the last counts; one that leads back is none."""
    bench = Bench(tmp_path, "sleep 0.3")
    begun = time.monotonic()
    bench.script.follow(2)
    assert time.monotonic() - begun < 0.1
    await until("it runs", lambda: bench.calls == ["enable 2"])
    for member in (1, 2, 3, 1):
        bench.script.follow(member)
    await bench.ended(3)
    assert bench.calls == ["enable 2", "disable 2", "enable 1"]
    bench.script.follow(3)
    bench.script.follow(1)
    await asyncio.sleep(0.1)
    assert len(bench.calls) == 3
    await bench.script.close()


async def test_the_loop_runs_on_meanwhile(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "sleep 0.4")
    bench.script.follow(1)
    gaps = []
    while not bench.ends:
        begun = time.monotonic()
        await asyncio.sleep(0.005)
        gaps.append(time.monotonic() - begun)
    assert len(gaps) > 20
    assert sorted(gaps)[len(gaps) // 2] < 0.05
    await bench.script.close()


@pytest.mark.parametrize(
    ("line", "status", "fault"),
    [
        ("exit 0", 0, None),
        ("exit 7", 7, "ended with status 7"),
        ("kill -TERM $$", -15, "ended by signal 15"),
        ("sleep 60", None, "killed: still running after 0.3 s"),
        ("trap '' TERM HUP INT; sleep 60; sleep 60", None, "killed: still running after 0.3 s"),
        ("exec yes", None, "killed: still running after 0.3 s"),
        ("sleep 60 & exit 3", 3, "ended with status 3"),  # what it leaves holds up nobody
        ("yes & exit 3", 3, "ended with status 3"),
    ],
)
async def test_how_it_may_end(
    tmp_path: Path, line: str, status: int | None, fault: str | None
) -> None:
    bench = Bench(tmp_path, f"echo $$ > {tmp_path}/pid", line, timeout_s=0.3)
    bench.script.follow(1)
    await bench.ended(1)
    (end,) = bench.ends
    assert (end.action, end.member, end.status, end.fault) == ("enable", 1, status, fault)
    assert end.took_s < 3.0
    assert len(end.output) <= KEPT_OUTPUT
    await bench.script.close()
    group = int((tmp_path / "pid").read_text())
    if fault is not None and fault.startswith("killed"):
        await until("the whole group has gone", lambda: not group_exists(group))
    elif group_exists(group):
        os.killpg(group, 9)


async def test_a_late_disable_does_not_keep_enable_from_running(tmp_path: Path) -> None:
    bench = Bench(tmp_path, '[ "$1" = enable ] || sleep 60', timeout_s=0.3)
    bench.script.follow(2)
    bench.script.follow(1)
    await bench.ended(1)
    bench.script.follow(2)
    await bench.ended(3)
    assert [end.fault is None for end in bench.ends] == [True, False, True]
    await bench.script.close()


async def test_output_of_both_kinds_is_told_its_end_at_least(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "seq 1 5000; echo no such address >&2; exit 1")
    bench.script.follow(1)
    await bench.ended(1)
    assert bench.ends[0].output.endswith("4999\n5000\nno such address")
    assert len(bench.ends[0].output) <= KEPT_OUTPUT
    await bench.script.close()


async def test_stopping_lets_a_run_end_but_not_for_ever(tmp_path: Path) -> None:
    bench = Bench(tmp_path, '[ "$2" = 1 ] && sleep 60; sleep 0.2')
    bench.script.follow(2)
    await until("it runs", lambda: bool(bench.calls))
    await bench.script.close()
    assert [end.fault for end in bench.ends] == [None]
    bench.script.follow(1)
    begun = time.monotonic()
    await until("it runs", lambda: "enable 1" in bench.calls)
    await bench.script.close()
    assert time.monotonic() - begun < 5.0
    assert bench.ends[-1].fault == "killed: the balancer stops"


async def test_without_a_script_nothing_is_run(tmp_path: Path) -> None:
    ends: list[ScriptEnd] = []
    script = FailoverScript("", 1.0, ends.append)
    script.follow(1)
    script.follow(2)
    await asyncio.sleep(0.01)
    assert ends == []
    bench = Bench(tmp_path)
    script.configure(str(bench.path), 1.0)
    script.follow(1)
    await until("it follows from now on", lambda: bench.calls == ["disable 2", "enable 1"])
    await script.close()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/x/move", ["/x/move"]),
        ('"/x y/move" --vip 10.0.0.1', ["/x y/move", "--vip", "10.0.0.1"]),
        ("/x/move; rm -rf $HOME `id`", ["/x/move;", "rm", "-rf", "$HOME", "`id`"]),
    ],
)
def test_how_a_command_is_read(command: str, words: list[str]) -> None:
    assert argv(command) == words


def test_a_path_with_spaces_needs_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "Program Files" / "NLB.sh"
    path.parent.mkdir()
    path.write_text("")
    assert argv(str(path)) == [str(path)]


@pytest.mark.parametrize("command", ["'", "   ", "/nowhere/x", "/etc/passwd", "/"])
async def test_what_cannot_be_run_is_told(command: str) -> None:
    ends: list[ScriptEnd] = []
    script = FailoverScript(command, 1.0, ends.append)
    script.follow(1)
    await until("told", lambda: len(ends) == 1)
    assert (ends[0].status, ends[0].output) == (None, "")
    assert ends[0].fault is not None
    assert ends[0].fault.startswith("cannot be run: ")
    await script.close()


def group_exists(group: int) -> bool:
    """Some process of it, other than a zombie."""
    for stat_file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat_file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False
