"""Plain output, durations, and nothing that steers a terminal."""

from __future__ import annotations

import io
import re

import pytest

from rmlb.cli.layout import (
    Cell,
    clean,
    duration,
    has_colours,
    print_line,
    print_pairs,
    print_table,
)


def test_plain_columns_with_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(
        ["ID", "HEALTH", "CALLS"],
        [["1", Cell("in service", "green"), "7"], ["12", Cell("suspect", "yellow"), "1234"]],
    )
    assert capsys.readouterr().out == (
        "ID  HEALTH      CALLS\n"
        " 1  in service      7\n"
        "12  suspect      1234\n"
    )  # fmt: skip


def test_a_table_without_rows_is_its_heads(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["ID", "CALLS"], [])
    assert capsys.readouterr().out == "ID  CALLS\n"


def test_pairs_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs([("state", "memory"), ("virtual IP", Cell("10.0.0.1", "bold"))])
    assert capsys.readouterr().out == "state       memory\nvirtual IP  10.0.0.1\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (7, "7"),
        ("ä b", "ä b"),
        ("\x1b[31mred\x07", "?[31mred?"),
        ("two\nlines", "two?lines"),
        ("\u202ereversed", "?reversed"),
    ],
)
def test_clean(value: object, text: str) -> None:
    assert clean(value) == text


def test_lines_are_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("why: ", Cell("\x1b]0;title\x07", "red"))
    assert capsys.readouterr().out == "why: ?]0;title?\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.9, "0 s"),
        (12, "12 s"),
        (60, "1 min"),
        (75.9, "1 min 15 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (86_400 + 7200, "1 d 2 h"),
        (172_800, "2 d"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# -- on a terminal ---------------------------------------------------------------------------------

HEADS = ["ID", "HEALTH", "CALLS", "WHY"]
ROWS = [["1", Cell("out of service", "red"), "12", "unreachable: Connection refused"]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> Terminal:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    found = Terminal()
    monkeypatch.setattr("sys.stdout", found)
    return found


def plain(out: Terminal) -> list[str]:
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()]


def test_a_table_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    out = terminal(monkeypatch, 60)
    print_table(HEADS, ROWS)
    assert plain(out) == [
        "ID  HEALTH          CALLS  WHY",
        " 1  out of service     12  unreachable: Connection refused",
    ]


def test_what_is_long_goes_below(monkeypatch: pytest.MonkeyPatch) -> None:
    out = terminal(monkeypatch, 40)
    print_table(HEADS, ROWS)
    assert plain(out) == [
        "ID  HEALTH          CALLS",
        " 1  out of service     12",
        "    unreachable: Connection refused",
    ]


def test_what_is_wider_still_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    out = terminal(monkeypatch, 20)
    print_table(HEADS, ROWS)
    assert all(len(line) <= 20 for line in plain(out))
    assert plain(out)[1] == " 1  out of service …"


def test_a_long_value_goes_on_below_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    out = terminal(monkeypatch, 24)
    print_pairs([("state", "memory"), ("messages", "received 7 = forwarded 7")])
    assert plain(out) == [
        "state     memory",
        "messages  received 7 =",
        "          forwarded 7",
    ]


def test_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    out = terminal(monkeypatch)
    assert has_colours()
    print_table(HEADS, ROWS)
    assert "\x1b[31mout of service" in out.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colours()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colours()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert not has_colours()
