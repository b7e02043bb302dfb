"""The compiled framer gives what the Python framer gives, for any octets in any cuts."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from rmlb.fastpath.engine import CompiledFramer
from rmlb.sip.framing import StreamFramer

LINES = (
    b"INVITE sip:a@b SIP/2.0",
    b"SIP/2.0 200 OK",
    b"Via: SIP/2.0/TCP 10.0.0.1;branch=z9hG4bKx",
    b"Content-Length: 3",
    b"content-length :0",
    b"l: 0003 ",
    b"L:2",
    b"Content-Length: 99999",
    b"Content-Lengthy: 1",
    b" folded",
    b"Log: x",
    b"l 1",
    b"Content-Length: 1x",
    b"Content-Length: ",
    b"lone \r return",
    b"lone \n feed",
)
PIECES = st.lists(
    st.one_of(
        st.builds(
            lambda lines, body: b"\r\n".join([*lines, b"", body]),
            st.lists(st.sampled_from(LINES), max_size=5),
            st.sampled_from((b"", b"ab", b"abc", b"\r\n\r\n")),
        ),
        st.sampled_from((b"\r\n\r\n", b"\r\n", b"\r", b"\n", b"x", b"\x00")),
    ),
    max_size=6,
)


def fed(framer: StreamFramer, stream: bytes, cuts: list[int]) -> tuple[object, ...]:
    messages: list[bytes] = []
    at = 0
    for cut in [*sorted(c % (len(stream) + 1) for c in cuts), len(stream)]:
        messages += framer.feed(stream[at:cut])
        at = cut
    error = framer.error
    return (
        messages,
        framer.pings,
        framer.rest,
        framer.unbounded,
        framer.is_waiting,
        None if error is None else (error.status, error.why),
    )


@given(PIECES, st.lists(st.integers(0, 10_000), max_size=4), st.sampled_from((40, 200, 65535)))
def test_as_the_python_framer(pieces: list[bytes], cuts: list[int], most: int) -> None:
    stream = b"".join(pieces)
    assert fed(CompiledFramer(max_message_size=most), stream, cuts) == fed(
        StreamFramer(max_message_size=most), stream, cuts
    )


def test_random_octets() -> None:
    rng = random.Random(1)
    alphabet = b"\r\n\r\n :lL0123abcContent-Length"
    for _ in range(5000):
        stream = bytes(rng.choices(alphabet, k=rng.randrange(60)))
        cuts = [rng.randrange(64)]
        assert fed(CompiledFramer(), stream, cuts) == fed(StreamFramer(), stream, cuts)
