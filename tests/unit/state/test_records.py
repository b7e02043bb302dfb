"""What stands in Redis, octet by octet: later versions have to live with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmlb.routing.bindings import Change
from rmlb.state.records import (
    FORMAT,
    Keys,
    StoredBinding,
    decode_binding,
    decode_document,
    encode_changes,
    encode_document,
)


def test_keys() -> None:
    keys = Keys("10.99.0.100")
    assert keys.binding(255) == "rmlb:{10.99.0.100}:binding:00000000000000ff"
    assert keys.balancer("0a0b") == "rmlb:{10.99.0.100}:balancer:0a0b"
    assert (keys.losses, keys.active, keys.operator) == (
        "rmlb:{10.99.0.100}:losses",
        "rmlb:{10.99.0.100}:active",
        "rmlb:{10.99.0.100}:operator",
    )


def test_a_batch() -> None:
    changes = [
        Change(1, 2, 17, live=True, ended=False, expires=1100.5),
        Change(2**64 - 1, 1, 0, live=False, ended=True, expires=1600.0),
        Change(3, 1, 0, live=False, ended=False, expires=900.0),
    ]
    assert encode_changes(changes, 1000.0).decode().splitlines() == [
        "0000000000000001 1 2 17 live 101",
        "ffffffffffffffff 1 1 0 ended 601",
        "0000000000000003 1 1 0 bound 1",
    ]
    assert encode_changes([], 1000.0) == b""


@given(
    st.integers(1, 65_535),
    st.integers(0, 999_999_999),
    st.sampled_from([(True, False), (False, True), (False, False)]),
)
def test_a_binding_comes_back(member: int, loss: int, phase: tuple[bool, bool]) -> None:
    (line,) = encode_changes([Change(7, member, loss, *phase, 10.0)], 1.0).splitlines()
    value = line.split(b" ", 1)[1].rpartition(b" ")[0]
    assert decode_binding(value) == StoredBinding(member, loss, *phase)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, None),
        (b"1 2 17 live more of=later", StoredBinding(2, 17, True, False)),
        (b"1 2 17 resting", StoredBinding(2, 17, False, False)),
        (b"2 2 17 live", None),
        (b"", None),
        (b"1 65535 999999999 live", StoredBinding(65535, 999999999, True, False)),
        (b"1 0 17 live", None),
        (b"1 -2 17 live", None),
        (b"1 65536 17 live", None),
        (b"1 2 -1 live", None),
        (b"1 2 4294967296 live", None),
        (b"1 2 1000000000 live", None),
        (b"1 2 17", None),
        (b"1 two 17 live", None),
        (b"\xff\x00", None),
    ],
)
def test_what_is_understood(value: bytes | None, found: StoredBinding | None) -> None:
    assert decode_binding(value) == found


def test_documents() -> None:
    value = encode_document({"turn": 3}, {"turn": 1, "later": [1], "format": 1})
    assert value == b'{"format":1,"later":[1],"turn":3}'
    assert decode_document(value) == {"format": 1, "later": [1], "turn": 3}
    assert decode_document(None) is None


@pytest.mark.parametrize(
    "value", [b"", b"[]", b"{}", b'{"format":"1"}', b'{"format":%d}' % (FORMAT + 1)]
)
def test_documents_to_leave_alone(value: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_document(value)
