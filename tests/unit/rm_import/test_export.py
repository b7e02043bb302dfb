"""Exports as Windows and Linux write them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmlb.rm_import.export import Export, read_export

TEXT = '[Cluster]\r\nMembers = 1 2\r\n; note\r\n\r\n[gvp]\r\nnic.eth0="00-0F"\r\n'
EXPECTED = {"cluster": {"members": "1 2"}, "gvp": {"nic.eth0": "00-0F"}}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"]
)
def test_any_encoding(encoding: str) -> None:
    assert read_export(TEXT.encode(encoding)).sections == EXPECTED


def read(text: str) -> Export:
    return read_export(text.encode())


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("a = b", "b"),
        ("A=b", "b"),
        ("a = 'b c'", "b c"),
        ('a = "b"', "b"),
        ("a = ", ""),
        ("a", None),
        ("a = b = c", "b = c"),
        (r"a = C:\GCTI\bin\NLB.bat", r"C:\GCTI\bin\NLB.bat"),
        ("a = x;y#z", "x;y#z"),
        ("; a = b", None),
        ("  a = b  ", "b"),
    ],
)
def test_an_option(line: str, value: str | None) -> None:
    assert read(f"[s]\n{line}\n").sections["s"].get("a") == value


def test_a_section_that_stands_twice_is_one() -> None:
    assert read("[s]\na=1\n[t]\nb=2\n[S] ; again\nc=3").sections == {
        "s": {"a": "1", "c": "3"},
        "t": {"b": "2"},
    }


def test_what_is_odd_is_noted() -> None:
    export = read("before = 1\n[s]\nnonsense\na = 1\na = 2\n")
    assert export.sections == {"s": {"a": "2"}}
    assert export.notes == [
        "line 1 is no option: before = 1",
        "line 3 is no option: nonsense",
        "line 5: a is given again: 2 (before: 1)",
    ]


@pytest.mark.parametrize("octets", [b"", b"hello", b"<xml/>", b"\x00\xff\xfe" * 5])
def test_what_is_no_export(octets: bytes) -> None:
    with pytest.raises(ValueError, match=r"no text|no \[section\]"):
        read_export(octets)


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    with suppress(ValueError):
        assert read_export(octets).sections
