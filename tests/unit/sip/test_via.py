"""Via values: the grammar that real elements use, in all its spellings."""

from __future__ import annotations

import pytest

from rmlb.sip.message import Message, SipError, scan
from rmlb.sip.via import Via, top_via, via_after


def message_with(*via_lines: bytes) -> Message:
    lines = b"".join(line + b"\r\n" for line in via_lines)
    return scan(
        b"BYE sip:a@b SIP/2.0\r\n" + lines + b"From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n"
        b"Call-ID: x\r\nCSeq: 1 BYE\r\n\r\n"
    )


def only(value: bytes) -> Via:
    return top_via(message_with(b"Via: " + value))


@pytest.mark.parametrize(
    ("value", "transport", "host", "port", "branch"),
    [
        (b"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa", b"UDP", "192.0.2.1", 5060, b"z9hG4bKa"),
        (b"SIP / 2.0 / tcp Host.Example : 4000 ; branch = b", b"TCP", "host.example", 4000, b"b"),
        (b"SIP\r\n /2.0\r\n /UDP\r\n 192.0.2.2;branch=390skdjuw", b"UDP", "192.0.2.2", None,
         b"390skdjuw"),
        (b"SIP/2.0/UDP [2001:db8::9:1]:5070;received=[2001:db8::9:255];branch=z9hG4bKas3-111",
         b"UDP", "2001:db8::9:1", 5070, b"z9hG4bKas3-111"),
        (b"SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z", b"UDP",
         "2001:db8::9:1", None, b"z"),
        (b"SIP/2.0/UNKNOWN t4.example.com", b"UNKNOWN", "t4.example.com", None, b""),
        (b"SIP/7.0/UDP c.example.com;branch=z9hG4bKx", b"UDP", "c.example.com", None, b"z9hG4bKx"),
        (b'SIP/2.0/UDP h;x="a,b;branch=no";branch=yes', b"UDP", "h", None, b"yes"),
    ],
)  # fmt: skip
def test_parts(value: bytes, transport: bytes, host: str, port: int | None, branch: bytes) -> None:
    via = only(value)
    assert (via.transport, via.host, via.port, via.branch) == (transport, host, port, branch)


@pytest.mark.parametrize(
    ("value", "received", "rport"),
    [
        (b"SIP/2.0/UDP h", None, None),
        (b"SIP/2.0/UDP h;rport", None, b""),
        (b"SIP/2.0/UDP h;rport=;received=1.2.3.4", b"1.2.3.4", b""),
        (b"SIP/2.0/UDP h;RPORT=9;Received=::1", b"::1", b"9"),
    ],
)
def test_received_and_rport(value: bytes, received: bytes | None, rport: bytes | None) -> None:
    via = only(value)
    assert (via.received, via.rport) == (received, rport)


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"SIP/2.0/UDP", b"SIP/2.0 h", b"SIP/2.0/UDP h:", b"SIP/2.0/UDP h:0;branch=x"),
        *(b"SIP/2.0/UDP h:65536", b"SIP/2.0/UDP h;;,;,,", b"SIP/2.0/UDP [::1", b"SIP/2.0/UDP ::1"),
        *(b'SIP/2.0/UDP h;x="open', b"SIP/2.0/UDP h branch=x", b"SIP/2.0/UDPh", b",SIP/2.0/UDP h"),
        b"SIP/2.0/UDP " + b"h" * 300,
    ],
)
def test_malformed(value: bytes) -> None:
    with pytest.raises(SipError) as caught:
        only(value)
    assert caught.value.status == 400


def test_no_via() -> None:
    with pytest.raises(SipError):
        top_via(message_with())


@pytest.mark.parametrize(
    "lines",
    [
        (b'Via: SIP/2.0/UDP a;branch=1, SIP/2.0/TCP b:1 , \r\n SIP/2.0/TLS c;x="p,q"',),
        (b"v: SIP/2.0/UDP a", b"VIA : SIP/2.0/TCP b, SIP/2.0/TLS c"),
        (b"Via: SIP/2.0/UDP a,SIP/2.0/TCP b", b"X: y", b"Via: SIP/2.0/TLS c"),
    ],
)
def test_order_over_fields_and_commas(lines: tuple[bytes, ...]) -> None:
    message = message_with(*lines)
    hosts = []
    via: Via | None = top_via(message)
    while via is not None:
        hosts.append(via.host)
        assert message.data[via.start : via.end].strip().startswith(b"SIP/2.0/")
        via = via_after(message, via)
    assert hosts == ["a", "b", "c"]


def test_the_cookie_alone_makes_no_branch_unique() -> None:
    assert only(b"SIP/2.0/UDP h;branch=z9hG4bKx").has_cookie
    assert not only(b"SIP/2.0/UDP h;branch=z9hG4bK").has_cookie
    assert not only(b"SIP/2.0/UDP h;branch=old").has_cookie


def test_sent_by_compares_hosts_in_any_spelling() -> None:
    assert (
        only(b"SIP/2.0/UDP [2001:DB8:0::1]:5").sent_by
        == only(b"SIP/2.0/UDP [2001:db8::1]:5").sent_by
    )
    assert only(b"SIP/2.0/UDP h").sent_by != only(b"SIP/2.0/UDP h:5060").sent_by
