"""The octets that leave: those that came, but for what a proxy has to change (16.6, 16.7)."""

from __future__ import annotations

import pytest
from packets import CALLER, RM, TCP, VIP, Bench, answer, look_alike, request

ODD = (
    b"MESSAGE sip:IVR%20x@Example.COM;Param=1 SIP/2.0\r\n"
    b"x-before:  kept\tas it is \r\n"
    b"v :SIP / 2.0/UDP  192.0.2.10:5060\r\n ;rport ;branch=z9hG4bKodd,SIP/2.0/TCP below.example\r\n"
    b'ROUTE:\t<sip:10.0.0.100;lr>  ,  "RM" <sip:10.0.0.11:5060;lr> ;p=q\r\n'
    b"Route:<sip:10.0.0.12;lr>\r\n"
    b"max-forwards :\r\n 0017 \r\n"
    b"f:sip:caller@example.com;tag=caller\r\n"
    b't: "T\\"o" <sip:ivr@example.com>\r\n'
    b"i:odd@caller\r\n"
    b"CSeq: 0001\tMESSAGE\r\n"
    b"Empty:\r\n"
    b"l:    0006\r\n"
    b"\r\n"
    b"\r\n\x00\xff\r\n"
)


def test_an_odd_request() -> None:
    sent = Bench().forwarded(ODD, CALLER, 7777).data
    at = sent.index(b"Via: ")
    own = sent[at : sent.index(b"\r\n", at) + 2]
    assert sent.replace(own, b"", 1) == (
        ODD.replace(b";rport ;branch", b";rport=7777 ;branch")
        .replace(b"bKodd,", b"bKodd;received=192.0.2.10,")
        .replace(b"\t<sip:10.0.0.100;lr>  ,", b"")
        .replace(b":\r\n 0017 \r\n", b": 16\r\n")
    )
    assert sent.index(b"x-before") < at < sent.index(b"v :SIP")


@pytest.mark.parametrize(
    ("routes", "left"),
    [
        ([f"<sip:{VIP};lr>,<sip:a;lr>, <sip:b;lr>"], ["<sip:a;lr>, <sip:b;lr>"]),
        ([f"<sip:{VIP};lr> , <sip:{VIP};lr>", "<sip:a;lr>"], ["<sip:a;lr>"]),
        ([f"<sip:{VIP};lr>", f"<sip:{VIP};lr>,<sip:a;lr>"], ["<sip:a;lr>"]),
        ([f"<sip:{VIP};lr>"], []),
        ([look_alike(1), f"<sip:{VIP};lr>"], [look_alike(1), f"<sip:{VIP};lr>"]),
    ],
)
def test_route_lines(routes: list[str], left: list[str]) -> None:
    sent = Bench().forwarded(request("BYE", to_tag="x", routes=routes), RM[1], 40000).data
    lines = [line[6:].decode() for line in sent.split(b"\r\n") if line.startswith(b"Route:")]
    assert [line.strip() for line in lines] == left


def test_what_is_added_to_a_bare_request() -> None:
    sent = Bench(record_route=False).forwarded(
        request(max_forwards=None, length=None), transport=TCP
    )
    lines = sent.data.split(b"\r\n")
    assert lines[1].startswith(b"Via: SIP/2.0/TCP 10.0.0.100:5060;branch=z9hG4bK")
    assert lines[2].startswith(b"Via: SIP/2.0/UDP 192.0.2.10")
    assert lines[3:5] == [b"Max-Forwards: 70", b"Content-Length: 0"]


def test_over_udp_nothing_is_added_to_the_body() -> None:
    sent = Bench().forwarded(request(length=None, body=b"x\r\n\r\ny"))
    assert sent.data.endswith(b"\r\n\r\nx\r\n\r\ny")
    assert b"Content-Length" not in sent.data


@pytest.mark.parametrize("joined", [False, True])
def test_an_odd_response(joined: bool) -> None:
    bench = Bench(record_route=False)
    sent = bench.forwarded(request())
    ok = answer(sent.data, 200, extra=["X:  odd\t", "Y:", 'Warning: 399 x "a,b"'])
    ok = ok.replace(b"SIP/2.0 200 Whatever", "sip/2.0 200 Ünïcode".encode())
    ok = ok.replace(b"\r\nVia: SIP/2.0/UDP 192", b"\r\n ,\tSIP/2.0/UDP 192") if joined else ok
    own = ok[ok.index(b"Via: ") : ok.index(b"Via: " if not joined else b"\t", 60)]
    back = bench.forwarded(ok + b"trailing", RM[sent.to.member]).data
    expected = ok.replace(own, b"Via: " if joined else b"", 1)
    assert back == (expected.replace(b"Via: \tSIP", b"Via: SIP"))


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
@pytest.mark.parametrize("max_forwards", [70, None])
def test_our_route_right_below_the_vias_is_gone(method: str, max_forwards: int | None) -> None:
    """Record-Route and Max-Forwards are put where the Route stood that is taken out."""
    data = request(method, routes=[f"<sip:{VIP};lr>"], max_forwards=max_forwards)
    sent = Bench().forwarded(data).data
    assert b"\r\nRoute:" not in sent
    assert sent.count(b"\r\nMax-Forwards:") == 1
    assert (b"\r\nRecord-Route:" in sent) is (method == "INVITE")
