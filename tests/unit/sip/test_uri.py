"""URIs and Route values: taken apart, compared, never changed."""

from __future__ import annotations

import pytest

from rmlb.sip import uri as uri_module
from rmlb.sip.message import SipError, scan
from rmlb.sip.uri import Uri, canonical_host, parse_uri, routes


def message_with(*route_lines: bytes) -> bytes:
    head = (
        b"BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n"
    )
    lines = b"".join(line + b"\r\n" for line in route_lines)
    return head + b"Call-ID: x\r\nCSeq: 1 BYE\r\n" + lines + b"\r\n"


class TestUri:
    @pytest.mark.parametrize(
        ("raw", "expected"),
        [
            (b"sip:host", Uri(b"sip", None, "host")),
            (b"SIPS:User@HOST.Example.:5061", Uri(b"sips", b"User", "host.example", 5061)),
            (b"sip:u:pw@10.0.0.1", Uri(b"sip", b"u:pw", "10.0.0.1")),
            (b"sip:[2001:DB8:0::0001]:5060", Uri(b"sip", None, "2001:db8::1", 5060)),
            (b"sip:[::ffff:10.0.0.1]", Uri(b"sip", None, "10.0.0.1")),
            (b"sip:h;lr;transport=TCP", Uri(b"sip", None, "h", None, b";lr;transport=TCP")),
            (b"sip:h?a=b", Uri(b"sip", None, "h", None, b"", b"?a=b")),
            (b"sip:u;p=u%40e@h", Uri(b"sip", b"u;p=u%40e", "h")),
            (b"sip:null-%00-null@h", Uri(b"sip", b"null-%00-null", "h")),
            (b"sip:h:05060", Uri(b"sip", None, "h", 5060)),
            (b"tel:+12015550123;x=y", Uri(b"tel")),
            (b"soap.beep://192.0.2.103:3002", Uri(b"soap.beep")),
        ],
    )
    def test_parts(self, raw: bytes, expected: Uri) -> None:
        assert parse_uri(raw) == expected

    @pytest.mark.parametrize(
        "raw",
        [
            *(
                b"",
                b"sip:",
                b"sip:@h",
                b"sip:u@",
                b"sip:h:",
                b"sip:h:0",
                b"sip:h:65536",
                b"sip:h:x",
            ),
            *(
                b"sip:a@b@c",
                b"sip:h;a;;b",
                b"sip:h;",
                b"<sip:h>",
                b"sip:h x",
                b"sip:[::1",
                b"sip:::1",
            ),
            *(b"sip:[12345::]", b"sip:[fe80::1%eth0]", b"sip:h>\r\nX: y", b"sip:h\x00", b"nocolon"),
            *(b"sip:" + b"h" * 300, b"sip:h\xe9"),
            *(b"sip:.", b"sip:u@.:5060", b"sip:..;lr"),
        ],
    )
    def test_malformed(self, raw: bytes) -> None:
        with pytest.raises(SipError) as caught:
            parse_uri(raw)
        assert caught.value.status == 400

    def test_params(self) -> None:
        uri = parse_uri(b"sip:h;LR;Transport=Tcp;gvp.rm.datanodes=2%7C1;x=a=b")
        assert uri.lr
        assert uri.transport == b"tcp"
        assert uri.param(b"gvp.rm.datanodes") == b"2%7C1"
        assert uri.param(b"x") == b"a=b"
        assert uri.param(b"y") is None
        assert uri.param(b"lr") == b""

    def test_a_user_that_looks_like_parameters_is_none(self) -> None:
        assert not parse_uri(b"sip:user;lr@host").lr

    def test_no_long_uri_is_kept_in_memory(self) -> None:
        """4096 datagrams with a URI of 64 KB each must not fill a cache with them."""
        before = uri_module._parse_known.cache_info().currsize
        parse_uri(b"sip:" + b"u" * 60_000 + b"@host")
        assert uri_module._parse_known.cache_info().currsize == before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"EXAMPLE.com", b"example.com."),
        (b"[2001:db8:0:0:0:0:0:1]", b"[2001:DB8::1]"),
        (b"[::1]", b"::1"),
        (b"[::FFFF:192.0.2.1]", b"192.0.2.1"),
    ],
)
def test_one_name_for_one_host(one: bytes, other: bytes) -> None:
    assert canonical_host(one) == canonical_host(other)


class TestRoutes:
    @pytest.mark.parametrize(
        "lines",
        [
            (b"Route: <sip:a;lr>, <sip:b>,<sip:c>",),
            (b"Route: <sip:a;lr>", b"ROUTE:<sip:b>", b"route :\t<sip:c>"),
            (b'Route: "A, <x>" <sip:a;lr>;p="q,r" , \r\n B <sip:b> ; x', b"Route: <sip:c>"),
        ],
    )
    def test_order_over_fields_and_commas(self, lines: tuple[bytes, ...]) -> None:
        message = scan(message_with(*lines))
        found = routes(message)
        assert [r.uri.host for r in found] == ["a", "b", "c"]
        assert [r.uri.lr for r in found] == [True, False, False]
        for route in found:
            assert route.raw_uri in message.data[route.start : route.end]

    @pytest.mark.parametrize(
        "line",
        [
            *(b"Route: sip:a", b"Route: <sip:a", b"Route: <sip:a>,", b"Route: <sip:a> <sip:b>"),
            *(b"Route:", b"Route: ,<sip:a>", b'Route: "open <sip:a>', b"Route: <sip:a b>"),
        ],
    )
    def test_malformed(self, line: bytes) -> None:
        with pytest.raises(SipError):
            routes(scan(message_with(line)))
