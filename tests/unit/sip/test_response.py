"""Own answers: what a request's sender gets to see."""

from __future__ import annotations

import pytest

from rmlb.sip.message import SipError, scan
from rmlb.sip.response import REASONS, apply_edits, build_response, refusal, stamp_edits
from rmlb.sip.via import top_via

REQUEST = (
    b"INVITE sip:ivr@example.com SIP/2.0\r\n"
    b"v: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKone;rport, SIP/2.0/TCP below;x=y\r\n"
    b"Via: SIP/2.0/TLS lowest\r\n"
    b"f: <sip:caller@example.com>;tag=caller\r\n"
    b"To: <sip:ivr@example.com>\r\n"
    b"Call-ID: one@caller\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"\r\n"
)


def answered(request: bytes = REQUEST, status: int = 403) -> bytes:
    message = scan(request)
    built = build_response(message, top_via(message), status, ("198.51.100.1", 7777), b"ours")
    assert built is not None
    return built


def test_what_a_response_copies() -> None:
    assert answered() == (
        b"SIP/2.0 403 Forbidden\r\n"
        b"v: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKone;rport=7777;received=198.51.100.1"
        b", SIP/2.0/TCP below;x=y\r\n"
        b"Via: SIP/2.0/TLS lowest\r\n"
        b"f: <sip:caller@example.com>;tag=caller\r\n"
        b"To: <sip:ivr@example.com>;tag=ours\r\n"
        b"Call-ID: one@caller\r\n"
        b"CSeq: 1 INVITE\r\n"
        b"Content-Length: 0\r\n\r\n"
    )


@pytest.mark.parametrize("status", REASONS)
def test_every_answer_is_a_message(status: int) -> None:
    response = scan(answered(status=status))
    assert (response.status, response.reason) == (status, REASONS[status])
    assert response.content_length == 0


def test_a_to_tag_that_is_there_stays_the_only_one() -> None:
    request = REQUEST.replace(b"<sip:ivr@example.com>", b"<sip:ivr@example.com>;tag=theirs")
    assert scan(answered(request)).to_tag == b"theirs"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b"SIP/2.0\r\nv", b"SIP/3.0\r\nv", id="version"),
        pytest.param(b"1 INVITE", b"1 BYE", id="CSeq"),
        pytest.param(b"INVITE sip", b"IN(VITE sip", id="method"),
        pytest.param(b"\r\n\r\n", b"\r\nX: a\nb\r\n\r\n", id="lone LF"),
        pytest.param(b"Call-ID: one@caller", b"Call-ID: a b", id="Call-ID"),
    ],
)
def test_a_refused_message_gets_no_second_tag(old: bytes, new: bytes) -> None:
    """Scanning ended before its To was read, yet the tag is there (8.2.6.2)."""
    request = REQUEST.replace(b"<sip:ivr@example.com>", b"<sip:ivr@example.com>;tag=theirs")
    with pytest.raises(SipError) as caught:
        scan(request.replace(old, new))
    partial = caught.value.partial
    assert partial is not None
    built = build_response(partial, top_via(partial), 400, ("192.0.2.1", 5060), b"ours")
    assert built is not None
    assert built.count(b"tag=") == 2
    assert b"tag=ours" not in built


@pytest.mark.parametrize(
    ("value", "stamped"),
    [
        (b"SIP/2.0/UDP h", b"SIP/2.0/UDP h;received=192.0.2.1"),
        (b"SIP/2.0/UDP h;rport", b"SIP/2.0/UDP h;rport=99;received=192.0.2.1"),
        (b"SIP/2.0/UDP h;rport;x=y", b"SIP/2.0/UDP h;rport=99;x=y;received=192.0.2.1"),
        (b"SIP/2.0/UDP h;rport=1 ;received=6.6.6.6 ;x",
         b"SIP/2.0/UDP h;rport=99 ;received=192.0.2.1 ;x"),
        (b"SIP/2.0/UDP h ; received = 6.6.6.6", b"SIP/2.0/UDP h ;received=192.0.2.1"),
    ],
)  # fmt: skip
def test_stamp(value: bytes, stamped: bytes) -> None:
    message = scan(REQUEST.replace(REQUEST.split(b"\r\n")[1], b"v: " + value))
    via = top_via(message)
    edits = stamp_edits(via, ("192.0.2.1", 99))
    found = apply_edits(message.data, via.start, via.end, edits)
    assert found.strip() == stamped


def test_without_a_cseq_nobody_can_be_answered() -> None:
    with pytest.raises(SipError) as caught:
        scan(REQUEST.replace(b"CSeq: 1 INVITE\r\n", b""))
    partial = caught.value.partial
    assert partial is not None
    assert build_response(partial, top_via(partial), 400, ("192.0.2.1", 1), b"t") is None


def test_refusals_without_a_phrase_are_400() -> None:
    assert refusal(SipError(513, "")) == 513
    assert refusal(SipError(499, "")) == 400


def test_an_insertion_stands_before_what_is_taken_out_at_its_place() -> None:
    """Whatever the order in which they were noted; insertions at one place keep theirs."""
    cuts = [(2, 4, b""), (2, 2, b"x"), (2, 2, b"y"), (4, 4, b"z")]
    assert apply_edits(b"abcdef", 0, 6, cuts) == b"abxyzef"
