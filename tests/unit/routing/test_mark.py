"""The mark: read back only in its own dialog, with the direction of the From tag."""

from __future__ import annotations

import pytest
from packets import NEW_SECRET, SECRET

from rmlb.routing.keys import Keyring
from rmlb.routing.mark import make_mark, read_mark

KEYS = Keyring([SECRET])


def made(member: int = 2, loss: int = 7) -> bytes:
    return make_mark(KEYS, member, loss, b"one@caller", b"caller")


@pytest.mark.parametrize(("tag", "outward"), [(b"caller", False), (b"callee", True), (b"", True)])
def test_direction(tag: bytes, outward: bool) -> None:
    mark = read_mark(KEYS, made(), b"one@caller", tag)
    assert mark is not None
    assert (mark.member, mark.loss, mark.outward) == (2, 7, outward)


def test_a_dialog_begun_without_a_tag() -> None:
    """RFC 2543 callers have none."""
    mark = read_mark(KEYS, make_mark(KEYS, 1, 0, b"x", b""), b"x", b"")
    assert mark is not None
    assert not mark.outward


def test_of_another_dialog() -> None:
    assert read_mark(KEYS, made(), b"two@caller", b"caller") is None


@pytest.mark.parametrize("at", range(len(made())))
def test_every_octet_counts(at: int) -> None:
    value = bytearray(made())
    for mask in (1, 2, 4, 64):
        value[at] ^= mask
        assert read_mark(KEYS, bytes(value), b"one@caller", b"caller") is None
        value[at] ^= mask


@pytest.mark.parametrize("value", [b"", b".", b"x" * 500, made() + b"0", made()[:-1], b"a.b.c.d.e"])
def test_nonsense(value: bytes) -> None:
    assert read_mark(KEYS, value, b"one@caller", b"caller") is None


def test_rotation() -> None:
    assert read_mark(Keyring([NEW_SECRET, SECRET]), made(), b"one@caller", b"caller") is not None
    assert read_mark(Keyring([NEW_SECRET]), made(), b"one@caller", b"caller") is None


def test_it_fits_into_a_uri_parameter() -> None:
    assert made(member=999_999_999, loss=999_999_999).isascii()
    assert not set(made().decode()) & set(';,<>"= \t')
