"""What aiosip reads and writes here."""

from __future__ import annotations

import asyncio
import collections

import pytest

from rmlb.sim import aiosip_adapter
from rmlb.sim.sip_text import request, respond

DATAGRAM = (
    b"INVITE sip:pool@192.0.2.9;x SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKtop\r\n"
    b"v:SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKlow\r\n"
    b"f: <sip:a@192.0.2.1;lr>;tag=from\r\n"
    b"To : <sip:pool@192.0.2.9>\r\n"
    b"Call-ID:\r\n 77\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"m: <sip:a@192.0.2.1:5070;ob>\r\n"
    b"Content-Length: 11\r\n\r\nv=0\r\ns=-\r\n\r\n"
)


def test_the_shims_are_gone_after_the_import() -> None:
    assert not hasattr(asyncio, "coroutine")
    assert not hasattr(collections, "MutableMapping")


async def test_reads_what_aiosip_alone_would_not() -> None:
    message = aiosip_adapter._parse(DATAGRAM)
    assert message is not None
    assert message.uri == "sip:pool@192.0.2.9;x"
    assert message.branch == "z9hG4bKtop"
    assert len(message.all("Via")) == 2
    assert (message.from_tag, message.call_id, message.method) == ("from", "77", "INVITE")
    assert message.header("Contact") == "<sip:a@192.0.2.1:5070;ob>"
    assert message.body == "v=0\r\ns=-\r\n\r\n"
    assert message.header("User-Agent") == ""  # aiosip would have made one up


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"nothing",
        b"SIP/2.0 200 OK\r\n\r\n",
        DATAGRAM.replace(b"z9hG4bKtop", b""),
        DATAGRAM.replace(b"CSeq: 1", b"CSeq: x"),
        DATAGRAM.replace(b"<sip:a@192.0.2.1:5070;ob>", b"*"),
        DATAGRAM.replace(b"Via", b"X").replace(b"v:", b"y:"),
    ],
)
async def test_says_none_to_what_it_cannot_read(data: bytes) -> None:
    assert aiosip_adapter._parse(data) is None


async def test_writes_a_request() -> None:
    message = request(
        "INVITE",
        "sip:b@192.0.2.9;transport=udp",
        [
            ("Via", "SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa%20"),
            ("From", "<sip:a@192.0.2.1>;tag=from"),
            ("To", "<sip:b@192.0.2.9>"),
            ("Route", "<sip:192.0.2.5;lr>"),
            ("Route", "<sip:192.0.2.6;lr>"),
            ("Call-ID", "1"),
            ("CSeq", "1 INVITE"),
        ],
        "grün\r\n",
    )
    text = str(aiosip_adapter._build(message))
    head, _, body = text.partition("\r\n\r\n")
    lines = head.split("\r\n")
    assert lines[0] == "INVITE sip:b@192.0.2.9;transport=udp SIP/2.0"
    assert "Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa%20" in lines
    routes = [line for line in lines if line.startswith("Route")]
    assert routes == ["Route: <sip:192.0.2.5;lr>", "Route: <sip:192.0.2.6;lr>"]
    assert "Content-Length: 7" in lines
    assert body == "grün\r\n"


async def test_an_answer_comes_back_as_it_was() -> None:
    asked = aiosip_adapter._parse(DATAGRAM)
    assert asked is not None
    answer = respond(asked, 200, source=("192.0.2.2", 5060), tag="m1-x", body="v=0\r\n")
    back = aiosip_adapter._parse(str(aiosip_adapter._build(answer)).encode())
    assert back is not None
    assert (back.start_line, back.body) == (answer.start_line, answer.body)
    assert set(answer.headers) <= set(back.headers)
