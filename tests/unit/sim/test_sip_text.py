from __future__ import annotations

import pytest

from rmlb.sim.sip_text import (
    SipText,
    address_of,
    answer_port,
    member_of,
    request,
    respond,
    split_list,
    tag_of,
    uri_of,
)

INVITE = SipText(
    "INVITE sip:pool@192.0.2.9 SIP/2.0",
    (
        ("Via", "SIP/2.0/UDP 192.0.2.5:5060;branch=z9hG4bKtop, SIP/2.0/UDP h;branch=z9hG4bKlow"),
        ("via", "SIP/2.0/TCP x:5061;branch=z9hG4bKend"),
        ("From", '"a;tag=no" <sip:a;tag=no@h>;tag=from'),
        ("To", "<sip:pool@192.0.2.9>"),
        ("Call-ID", "77"),
        ("CSeq", "5 INVITE"),
        ("Record-Route", "<sip:p1;lr>, <sip:p2;lr;x=1>"),
    ),
)


def test_reads_a_request() -> None:
    assert INVITE.is_request
    assert (INVITE.method, INVITE.uri, INVITE.status) == ("INVITE", "sip:pool@192.0.2.9", 0)
    assert (INVITE.call_id, INVITE.cseq) == ("77", 5)
    assert (INVITE.from_tag, INVITE.to_tag, INVITE.branch) == ("from", "", "z9hG4bKtop")
    assert len(INVITE.all("Via")) == 3
    assert INVITE.all("record-route") == ["<sip:p1;lr>", "<sip:p2;lr;x=1>"]
    assert INVITE.header("Route") == ""


def test_answers_it() -> None:
    answer = respond(INVITE, 486, source=("192.0.2.5", 4000), tag="m1-x")
    assert answer.start_line == "SIP/2.0 486 Busy Here"
    assert (answer.method, answer.status) == ("INVITE", 486)
    assert answer.all("Via") == INVITE.all("Via")
    assert answer.header("To") == "<sip:pool@192.0.2.9>;tag=m1-x"
    assert answer.header("CSeq") == "5 INVITE"
    assert answer.header("Content-Type") == ""


def test_keeps_the_tag_of_a_dialog() -> None:
    bye = request("BYE", "sip:x", [("Via", "SIP/2.0/UDP h;branch=b"), ("To", "<sip:x>;tag=m2-y")])
    assert respond(bye, 200, source=("h", 1), tag="m1-x").to_tag == "m2-y"


@pytest.mark.parametrize(
    ("via", "stamped"),
    [
        ("SIP/2.0/UDP 192.0.2.5:9;branch=b", "SIP/2.0/UDP 192.0.2.5:9;branch=b"),
        ("SIP/2.0/UDP host:9;branch=b", "SIP/2.0/UDP host:9;branch=b;received=192.0.2.5"),
        (
            "SIP/2.0/UDP 192.0.2.5;rport;branch=b",
            "SIP/2.0/UDP 192.0.2.5;rport=4000;branch=b;received=192.0.2.5",
        ),
    ],
)
def test_stamps_received_and_rport(via: str, stamped: str) -> None:
    asked = request("BYE", "sip:x", [("Via", via)])
    assert respond(asked, 200, source=("192.0.2.5", 4000)).header("Via") == stamped


@pytest.mark.parametrize(
    ("via", "port"),
    [
        ("SIP/2.0/UDP h:5070;branch=b", 5070),
        ("SIP/2.0/UDP h;branch=b", 5060),
        ("SIP/2.0/UDP [2001:db8::1]:5071;branch=b", 5071),
        ("SIP/2.0/UDP h:5070;branch=b;rport", 4000),
        ("SIP/2.0/UDP h:5070;rport ;branch=b", 4000),
    ],
)
def test_answers_go_to_the_via(via: str, port: int) -> None:
    assert answer_port(via, 4000) == port


def test_encodes_with_its_length() -> None:
    data = request("INFO", "sip:x", [("Call-ID", "1")], "grün").encode()
    assert data == (
        b"INFO sip:x SIP/2.0\r\nCall-ID: 1\r\nContent-Type: application/sdp\r\n"
        b"Content-Length: 5\r\n\r\ngr\xc3\xbcn"
    )


def test_splits_lists_at_real_commas() -> None:
    assert split_list('"a, \\", b" <sip:x,y>;z, <sip:w>') == ['"a, \\", b" <sip:x,y>;z', "<sip:w>"]


@pytest.mark.parametrize(
    ("value", "tag"),
    [("<sip:x>;tag=a", "a"), ("<sip:x;tag=a>", ""), ("sip:x ; TAG = b;c", "b"), ("<sip:x>", "")],
)
def test_tags(value: str, tag: str) -> None:
    assert tag_of(value) == tag


def test_uris() -> None:
    assert uri_of('"<" <sip:a@h;lr>;x=1'.replace('"<" ', "")) == "sip:a@h;lr"
    assert uri_of("sip:a@h;tag=1") == "sip:a@h"


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("sip:a@192.0.2.1:5070;transport=TCP", "tcp:192.0.2.1:5070"),
        ("sip:192.0.2.1;lr", "udp:192.0.2.1:5060"),
        ("sip:[2001:db8::1]:5070", "udp:[2001:db8::1]:5070"),
    ],
)
def test_where_a_uri_points(uri: str, place: str) -> None:
    assert str(address_of(uri)) == place


@pytest.mark.parametrize("uri", ["tel:1", "sip:h;transport=ws"])
def test_where_it_points_nowhere(uri: str) -> None:
    with pytest.raises(ValueError, match=r"tel:1|ws"):
        address_of(uri)


def test_members() -> None:
    assert [member_of(tag) for tag in ("m1-a", "m12-b", "x1-", "m1", "am1-")] == [
        1, 12, None, None, None,
    ]  # fmt: skip
