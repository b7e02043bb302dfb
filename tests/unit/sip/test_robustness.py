"""Any octets at all: the SIP error type and nothing else, and work linear in their number."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rmlb.sip.framing import StreamFramer
from rmlb.sip.message import Message, SipError, scan
from rmlb.sip.response import build_response
from rmlb.sip.uri import parse_uri, routes
from rmlb.sip.via import Via, top_via, via_after

CORPUS = [
    path.read_bytes() for path in sorted((Path(__file__).parents[2] / "corpus").glob("*/*.dat"))
]
assert len(CORPUS) >= 49

TELLING = b'\r\n \t:;,=<>"\\/@[]?.\x00\xff0z'
"""Octets that mean something to a SIP scanner."""


def assert_status(error: SipError) -> None:
    assert 400 <= error.status < 700


def read_everything(data: bytes) -> None:
    """All that routing ever asks of a message."""
    try:
        message = scan(data)
    except SipError as error:
        assert_status(error)
        message = error.partial or Message(b"")
    try:
        via: Via | None = top_via(message)
        assert via is not None
        build_response(message, via, 400, ("192.0.2.1", 5060), b"tag")
        while via is not None:
            assert 0 < via.start <= via.end <= len(message.data)
            via = via_after(message, via)
    except SipError as error:
        assert_status(error)
    with suppress(SipError):
        routes(message)
    with suppress(SipError):
        parse_uri(message.uri)
    assert message.body_start <= len(message.data)
    for field in message.fields:
        assert field.start < field.value <= field.end <= len(message.data)


@given(st.binary(max_size=600))
@example(b"SIP/2.0 200 OK\r\n\r\n")
@example(b"A b SIP/2.0\r\n:\r\n\r\n")
def test_random_octets(data: bytes) -> None:
    read_everything(data)


@settings(max_examples=500)
@given(st.sampled_from(CORPUS), st.randoms(use_true_random=False))
def test_mutated_messages(data: bytes, choice: random.Random) -> None:
    changed = bytearray(data)
    for _ in range(choice.randint(1, 8)):
        at = choice.randrange(len(changed) + 1)
        size = choice.choice((0, 1, 1, 2, 30))
        what = choice.randrange(4)
        if what == 0:
            del changed[at : at + size]
        elif what == 1:
            changed[at : at + 1] = bytes((choice.choice(TELLING),))
        elif what == 2:
            changed[at:at] = changed[at : at + size]
        else:
            changed[at:at] = bytes(choice.choices(TELLING, k=size))
    read_everything(bytes(changed))


@given(st.text(alphabet='sip:@[];=?."<>\\,% \r\n0a', max_size=80))
def test_uris_of_telling_characters(text: str) -> None:
    with suppress(SipError):
        assert parse_uri(text.encode()).scheme


HEAD = b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n"
REST = b"From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n"


def built(
    *, head: tuple[bytes, bytes] = (b"", b""), rest: tuple[bytes, bytes] = (b"", b"")
) -> bytes:
    """The message with one part of its Via and start line, or of the rest, replaced."""
    return HEAD.replace(*head, 1) + REST.replace(*rest, 1) + b"\r\n"


def headed(lines: bytes) -> bytes:
    return HEAD + REST + lines + b"\r\n"


LONG: dict[str, Callable[[int], bytes]] = {
    "empty lines in front": lambda n: b"\r\n" * (n // 2) + headed(b""),
    "one long line": lambda n: headed(b"X: " + b"y" * n + b"\r\n"),
    "folds": lambda n: headed(b"X: y" + b"\r\n z" * (n // 4) + b"\r\n"),
    "white space": lambda n: headed(b"Route:" + b" " * n + b"\r\n"),
    "white space in CSeq": lambda n: built(rest=(b"1 INV", b" " * n + b"1 INV")),
    "quotes in From": lambda n: built(rest=(b"From: ", b"From: " + b'"' * n)),
    "backslashes": lambda n: built(rest=(b"From: ", b'From: "' + b"\\" * n)),
    "semicolons in From": lambda n: built(rest=(b";tag", b";a" * (n // 2) + b";tag")),
    "angle brackets": lambda n: built(rest=(b"From: ", b"From: " + b"<" * n)),
    "Via values": lambda n: built(head=(b"Via: ", b"Via: " + b"SIP/2.0/UDP h," * (n // 14))),
    "Via parameters": lambda n: built(head=(b"UDP h", b"UDP h" + b";a=b" * (n // 4))),
    "Via quotes": lambda n: built(head=(b"UDP h", b"UDP h" + b';a="' * (n // 4))),
    "Via quotes and commas": lambda n: built(head=(b"UDP h", b"UDP h" + b'","' * (n // 3))),
    "Route values": lambda n: headed(b"Route: <sip:a>" + b",<sip:a>" * (n // 8) + b"\r\n"),
    "Route quotes": lambda n: headed(b'Route: "' + b"a," * (n // 2) + b"\r\n"),
    "Route parameters": lambda n: headed(b"Route: <sip:a>" + b";b" * (n // 2) + b"\r\n"),
    "Route commas": lambda n: headed(b"Route: <sip:a>" + b" ,\t" * (n // 3) + b"\r\n"),
    "user part": lambda n: built(head=(b"a@b", b"a" * n)),
    "URI parameters": lambda n: built(head=(b"a@b", b"b" + b";a" * (n // 2))),
    "dots": lambda n: built(head=(b"a@b", b"a@" + b"." * n)),
    "zeros": lambda n: built(rest=(b"1 INV", b"0" * n + b"1 INV")),
    "large number": lambda n: built(rest=(b"1 INV", b"9" * n + b" INV")),
    "carriage returns": lambda n: headed(b"X: " + b"\r" * n + b"\r\n"),
}


def quickest(work: Callable[[], None]) -> float:
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


@pytest.mark.parametrize("kind", LONG)
def test_work_is_linear(kind: str) -> None:
    """64 KB take at most some four times as long as 16 KB; quadratic work would take sixteen."""
    small, large = LONG[kind](16_000), LONG[kind](64_000)
    limit = 9 * quickest(lambda: read_everything(small)) + 0.001
    assert quickest(lambda: read_everything(large)) < limit
    limit = 9 * quickest(lambda: _frame(small)) + 0.001
    assert quickest(lambda: _frame(large)) < limit


def _frame(data: bytes) -> None:
    StreamFramer(max_message_size=1_000_000).feed(data)
