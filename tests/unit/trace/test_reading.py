"""Which call a message belongs to, and what it says: for any octets at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trace_samples import UUID, received, request, response, traced

from rmlb.trace.ladder import Parties, arrow
from rmlb.trace.reading import Reader, start, summary
from rmlb.trace.recorder import Recorder


def test_a_call_is_known_by_its_call_id() -> None:
    (one,) = traced(received(request("INVITE", "x@y")))
    assert (one.number, one.call_id, one.correlation) == (1, "x@y", "x@y")


def test_or_by_its_uuid_from_the_first_message_that_has_it() -> None:
    before, first, later, other = traced(
        received(request("INVITE", "1")),
        received(request("INVITE", "1", uuid=UUID)),
        received(response(200, "OK", "INVITE", "1")),
        received(request("INVITE", "2")),
    )
    assert [each.correlation for each in (before, first, later, other)] == ["1", UUID, UUID, "2"]


def test_two_dialogs_of_one_call_share_it() -> None:
    both = traced(
        received(request("INVITE", "1", uuid=UUID)), received(request("INVITE", "2", uuid=UUID))
    )
    assert {each.correlation for each in both} == {UUID}


def test_the_oldest_calls_are_forgotten() -> None:
    reader = Reader(most_calls=2)
    for number in range(3):
        reader.read(received(request("INVITE", f"{number}", uuid=f"u{number}")))
    found = [reader.read(received(request("BYE", f"{n}"))).correlation for n in range(3)]
    assert found == ["0", "u1", "u2"]


@pytest.mark.parametrize(
    ("data", "label", "status", "method", "cseq"),
    [
        (request("INVITE"), "INVITE", 0, "INVITE", 1),
        (response(180, "Ringing", "INVITE"), "180 Ringing", 180, "INVITE", 1),
        (b"SIP/2.0 200\r\nCSeq: 7 BYE\r\n\r\n", "200", 200, "BYE", 7),
        (b"\r\n\r\nOPTIONS sip:a SIP/2.0\r\n\r\n", "OPTIONS", 0, "OPTIONS", 0),
        (b"", "?", 0, "?", 0),
        (b"\xff\xfe", "?", 0, "?", 0),
        (b"SIP/2.0 200 OK\r\nCSeq: x\r\n\r\n", "200 OK", 200, "", 0),
    ],
)
def test_start(data: bytes, label: str, status: int, method: str, cseq: int) -> None:
    assert start(data) == (label, status, method, cseq)


def test_people() -> None:
    said = summary(request("INVITE", to_tag="t"))
    assert (said.sender, said.receiver, said.in_dialog) == ("alice", "service", True)
    assert not summary(request("INVITE")).in_dialog
    assert summary(b"X sip:a SIP/2.0\r\nFrom: <sip:192.0.2.7:5060>\r\n\r\n").sender == (
        "192.0.2.7:5060"
    )


@given(st.binary(max_size=300))
def test_nothing_is_too_broken(data: bytes) -> None:
    recorder = Recorder(3)
    for octets in (data, b"INVITE " + data, b"SIP/2.0 200 " + data, b"x\r\ncall-id:" + data):
        (one,) = traced(received(octets))
        arrow(one, Parties())
        recorder.add(one)
    assert len(recorder) == 3
