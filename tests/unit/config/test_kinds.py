from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmlb.config.kinds import (
    HIDDEN,
    Kind,
    choice,
    describe,
    duration,
    flag,
    hidden_text,
    listed,
    number,
    numbered,
    rm_flag,
    rm_number,
    rm_numbers,
    show_duration,
    size,
    text,
)
from rmlb.config.syntax import quoted


@pytest.mark.parametrize(
    ("given", "seconds", "shown"),
    [
        ("500ms", 0.5, "500ms"),
        ("30s", 30.0, "30s"),
        ("15m", 900.0, "15m"),
        ("12h", 43200.0, "12h"),
        ("1.5s", 1.5, "1500ms"),
        ("0.5ms", 0.0005, "0.5ms"),
        ("90 S", 90.0, "90s"),
        ("0s", 0.0, "0s"),
        ("60s", 60.0, "1m"),
    ],
)
def test_durations(given: str, seconds: float, shown: str) -> None:
    kind = duration("0s", "12h")
    assert kind.read(given) == pytest.approx(seconds)
    assert kind.show(kind.read(given)) == shown


@pytest.mark.parametrize(
    "given",
    [5, 5.0, True, "5", "s", "", "5 d", "-5s", "1h30m", "٣s", "1e3s", [], {}, "9" * 400 + "s"],
)
def test_what_is_no_duration(given: object) -> None:
    (fault,) = duration("0s", "12h").faults(given)
    assert "duration such as" in fault.allowed


def test_bounds_are_said() -> None:
    (short,) = duration("10ms", "1m").faults("9ms")
    (long,) = duration("10ms", "1m").faults("61s")
    assert short.message == '"9ms" is too short'
    assert long.message == '"61s" is too long'
    assert 'from "10ms" to "1m"' in long.allowed


@given(st.integers(0, 10**9))
def test_a_shown_duration_reads_back(milliseconds: int) -> None:
    kind = duration("0s", "999999h")
    assert kind.read(show_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("given", "octets", "shown"),
    [
        (65535, 65535, 65535),
        ("65535", 65535, 65535),
        ("64KiB", 65536, "64KiB"),
        ("1 mib", 2**20, "1MiB"),
        (2**30, 2**30, "1GiB"),
    ],
)
def test_sizes(given: object, octets: int, shown: object) -> None:
    kind = size("1KiB", "1GiB")
    assert kind.read(given) == octets
    assert kind.show(octets) == shown


@pytest.mark.parametrize(
    "given", [True, 1.5, "64KB", "x", 0, 2**31, -1, pytest.param(16**5000, id="5000 digits")]
)
def test_what_is_no_size(given: object) -> None:
    assert size("1KiB", "1GiB").faults(given)


def test_a_size_may_be_off() -> None:
    assert size("1KiB", "1GiB", or_zero=True).read(0) == 0
    assert size("1KiB", "1GiB", or_zero=True).faults(1)


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (flag, True, True),
        (rm_flag, "TRUE", True),
        (rm_flag, "false", False),
        (rm_flag, " Yes ", True),
        (rm_flag, 0, False),
        (rm_flag, True, True),
        (number(1, 3), 3, 3),
        (rm_number(1, 5000), "3000", 3000),
        (rm_number(1, 5000), 3000, 3000),
        (rm_number(1, 5000), " 0012 ", 12),
        (rm_numbers(1, 9, "1 2"), "1 2", (1, 2)),
        (rm_numbers(1, 9, "1 2"), "2,1", (2, 1)),
        (rm_numbers(1, 9, "1 2"), 1, (1,)),
        (rm_numbers(1, 9, "1 2"), [1, "2"], (1, 2)),
        (rm_numbers(1, 9, "1 2"), "", ()),
        (choice("hash", "least-calls"), "Least-Calls", "least-calls"),
        (listed(number(1, 3)), [1, 2], (1, 2)),
        (listed(number(1, 3)), 2, (2,)),
        (listed(number(1, 3)), [], ()),
        (text("letters", "[a-z]+"), "abc", "abc"),
        (text("letters", "[a-z]+"), "", ""),
        (numbered(number(1, 3), "n([0-9])", "t.nN"), {"n2": 1, "n1": 3}, {1: 3, 2: 1}),
    ],
)
def test_accepted(kind: Kind, given: object, value: object) -> None:
    assert kind.faults(given) == ()
    assert kind.read(given) == value


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (flag, "true", '"true" is neither true nor false'),
        (flag, 1, "1 is neither"),
        (rm_flag, "maybe", '"maybe" is neither'),
        (rm_flag, 2, "2 is neither"),
        (rm_flag, [], "a list is neither"),
        (number(1, 3), 4, "4 is too large"),
        (number(1, 3), 0, "0 is too small"),
        (number(1, 3), True, "true is not a whole number"),
        (number(1, 3), "2", '"2" is not a whole number'),
        (rm_number(1, 3), "2.5", '"2.5" is not a whole number'),
        (rm_numbers(1, 9, "1 2"), "1 1", "names a number twice"),
        (rm_numbers(1, 9, "1 2"), "1 x", '"x" is not a whole number'),
        (rm_numbers(1, 9, "1 2"), [[1]], "a list is not a whole number"),
        (choice("a", "b"), "c", '"c" is none of these'),
        (choice("a", "b"), 1, "1 is none of these"),
        (listed(number(1, 3)), [1, 1], "the same value is given twice"),
        (text("letters", "[a-z]+"), "a1", '"a1" does not fit'),
        (text("letters", "[a-z]+"), 7, "7 is not text in quotes"),
        (text("letters", "[a-z]+", empty=False), "", '"" does not fit'),
        (text("anything"), "a\nb", "does not fit"),
        (numbered(number(1, 3), "n([0-9])", "t.nN"), 7, "7 stands without a number"),
    ],
)
def test_refused(kind: Kind, given: object, message: str) -> None:
    (fault,) = kind.faults(given)
    assert message in fault.message
    assert fault.allowed


def test_a_secret_is_text() -> None:
    (fault,) = hidden_text("long text", shortest=16).faults(1234567890123456)
    assert fault.message == "the value is not text in quotes"


def test_every_bad_item_is_reported_with_its_place() -> None:
    faults = listed(number(1, 3)).faults([0, 1, "x"])
    assert [(fault.key, fault.message) for fault in faults] == [
        ("[0]", "0 is too small"),
        ("[2]", '"x" is not a whole number'),
    ]
    faults = numbered(number(1, 3), "n([0-9])", "t.nN").faults({"n1": 9, "m": 1, "n2": 2})
    assert [(fault.key, fault.allowed) for fault in faults] == [
        (".n1", "a whole number from 1 to 3"),
        (".m", "t.nN = ..."),
    ]


@given(st.text(min_size=1, max_size=15))
def test_a_secret_is_never_repeated(secret: str) -> None:
    kind = hidden_text("long text", shortest=16)
    (fault,) = kind.faults(secret)
    assert fault.message == f"the value has only {len(secret)} characters"
    assert kind.show(secret) == HIDDEN
    assert kind.show("") == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "true"),
        ("x" * 100, '"' + "x" * 60 + '..."'),
        (1.5, "1.5"),
        pytest.param(16**5000, "a very large number", id="5000 digits"),
        ({}, "a table"),
        (date(2024, 2, 29), "the date or time 2024-02-29"),
        ([], "a list"),
    ],
)
def test_values_are_described_in_few_words(value: Any, words: str) -> None:
    assert describe(value) == words


@given(st.text())
def test_quoted_text_is_one_line(value: str) -> None:
    assert "\n" not in quoted(value)
