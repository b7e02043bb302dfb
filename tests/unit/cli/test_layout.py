"""Plain output, durations, and nothing that steers a terminal."""

from __future__ import annotations

import pytest

from rmlb.cli.layout import Cell, clean, duration, print_line, print_pairs, print_table


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
