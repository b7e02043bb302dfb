"""Messages out of a stream, whatever the cuts."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmlb.sip.framing import StreamFramer


def message(body: bytes = b"", *, length: bytes | None = None, filler: bytes = b"") -> bytes:
    if length is None:
        length = b"Content-Length: %d\r\n" % len(body)
    return b"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: x\r\n" + filler + length + b"\r\n" + body


ONE, TWO = message(b"12345"), message(b"\r\n\r\nnot an end\r\n", length=b"l :\t16\r\n")


def test_one_message_after_another() -> None:
    framer = StreamFramer()
    assert framer.feed(ONE + TWO + ONE[:10]) == [ONE, TWO]
    assert framer.is_waiting
    assert framer.feed(ONE[10:]) == [ONE]
    assert not framer.is_waiting


def test_keep_alives() -> None:
    framer = StreamFramer()
    assert framer.feed(b"\r\n\r\n\r\n\r\n" + ONE + b"\r\n") == [ONE]
    assert framer.pings == 2
    assert not framer.is_waiting
    assert framer.feed(b"\r\n" + ONE + b"\r\n" + TWO) == [ONE, TWO]
    assert framer.pings == 3  # the lone CRLF before TWO is a pong, or nothing


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (message(length=b"Content-Length: 1\r\nl: 1\r\n"), 400),
        (message(length=b"Content-Length: -1\r\n"), 400),
        (message(length=b"Content-Length: \r\n"), 400),
        (message(length=b"Content-Length: 5, 5\r\n"), 400),
        (message(length=b"Content-Length: 5 5\r\n"), 400),
        (message(length=b"Content-Length: 5\nX: y\r\n"), 400),
        (message(length=b"Content-Length: +5\r\n"), 400),
        (message(length=b"Content-Length: 0x5\r\n"), 400),
        (message(length=b"Content-Length: 99999999999999999999\r\n"), 400),
        (message(length=b"Content-Length: 70000\r\n"), 513),
        (message(filler=b"X: " + b"y" * 70000 + b"\r\n"), 513),
        (message(filler=b"X: " + b"y" * 70000 + b"\r\n", length=b"l: 1\r\nl: 2\r\n"), 513),
        (b"\nOPTIONS", 400),
        (b"\r\rOPTIONS", 400),
    ],
)
def test_a_stream_that_cannot_be_framed_stays_broken(data: bytes, status: int) -> None:
    framer = StreamFramer()
    assert framer.feed(ONE + data) == [ONE]
    assert framer.error is not None
    assert framer.error.status == status
    assert framer.feed(ONE) == []


def test_folded_content_length() -> None:
    data = message(b"12345", length=b"Content-Length:\r\n 5 \r\n")
    assert StreamFramer().feed(data + ONE) == [data, ONE]


def test_a_header_that_only_looks_like_a_length() -> None:
    data = message(b"12345", filler=b"X: y\r\n l: 3\r\nX-Content-Length: 9\r\n")
    assert StreamFramer().feed(data + ONE) == [data, ONE]


def test_without_a_length_only_silence_ends_it() -> None:
    framer = StreamFramer()
    data = message(b"body", length=b"")
    assert framer.feed(data) == []
    assert framer.unbounded
    assert framer.feed(b" and more") == []
    assert framer.end_unbounded() == data + b" and more"
    assert framer.feed(ONE) == []
    assert framer.broken


PARTS = st.sampled_from(
    [
        *(ONE, TWO, b"\r\n\r\n", b"\r\n", b"\r\n\r\n\r\n", message(b"x" * 300)),
        message(length=b"Content-Length: 0\r\nl: 0\r\n"),
        message(b"x" * 500),
        message(filler=b"X: " + b"y" * 700 + b"\r\n", length=b"l: 1\r\nl: 1\r\n"),
        *(message(length=b""), b"\r", b"\n", b"garbage"),
    ]
)


@given(st.lists(PARTS, max_size=8), st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_cuts_change_nothing(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    whole, cut = StreamFramer(max_message_size=600), StreamFramer(max_message_size=600)
    expected = whole.feed(stream)
    found: list[bytes] = []
    at = turn = 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        found += cut.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert found == expected
    assert cut.pings == whole.pings
    assert (cut.error is None) == (whole.error is None)
    if whole.error is not None and cut.error is not None:
        assert cut.error.status == whole.error.status
    else:
        assert (cut.is_waiting, cut.unbounded) == (whole.is_waiting, whole.unbounded)


@given(st.binary(max_size=300))
def test_any_octets(data: bytes) -> None:
    framer = StreamFramer(max_message_size=200)
    framer.feed(data)
    assert len(framer.rest) <= len(data)


def test_octet_by_octet_is_linear() -> None:
    def drip(size: int) -> float:
        data = message(filler=b"X: " + b"y" * size + b"\r\n")
        framer = StreamFramer()
        begun = time.perf_counter()
        for octet in data:
            framer.feed(bytes((octet,)))
        return time.perf_counter() - begun

    drip(1000)
    assert min(drip(32_000) for _ in range(3)) < 8 * min(drip(8_000) for _ in range(3)) + 0.02


def test_too_large_is_too_large_whatever_the_cuts() -> None:
    """Also when all of it comes at once: else its size would depend on how TCP cuts it."""
    large = message(b"x" * 200)
    whole, cut = (StreamFramer(max_message_size=200) for _ in range(2))
    assert whole.feed(ONE + large) == cut.feed(ONE) == [ONE]
    assert [found for octet in large for found in cut.feed(bytes((octet,)))] == []
    for framer in whole, cut:
        assert framer.error is not None
        assert framer.error.status == 513
    assert whole.rest == large
