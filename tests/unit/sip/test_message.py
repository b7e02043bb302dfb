"""Scanning: what is read, what is refused, and that nothing but SipError comes out."""

from __future__ import annotations

import pytest

from rmlb.sip.message import SipError, scan, tag_of

MINIMAL = (
    b"INVITE sip:ivr@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKone\r\n"
    b"From: <sip:caller@example.com>;tag=caller\r\n"
    b"To: <sip:ivr@example.com>\r\n"
    b"Call-ID: one@caller\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Content-Length: 4\r\n"
    b"\r\n"
    b"body"
)


def changed(old: bytes, new: bytes) -> bytes:
    assert MINIMAL.count(old) == 1
    return MINIMAL.replace(old, new)


def refusal(data: bytes) -> int:
    with pytest.raises(SipError) as caught:
        scan(data)
    return caught.value.status


class TestWhatIsRead:
    def test_request(self) -> None:
        message = scan(MINIMAL)
        assert message.is_request
        assert (message.method, message.uri) == (b"INVITE", b"sip:ivr@example.com")
        assert (message.call_id, message.from_tag, message.to_tag) == (
            b"one@caller",
            b"caller",
            b"",
        )
        assert (message.cseq, message.cseq_method) == (1, b"INVITE")
        assert message.max_forwards is None
        assert message.content_length == 4
        assert message.body == b"body"
        assert message.is_initial

    @pytest.mark.parametrize(
        ("line", "status", "reason"),
        [
            (b"SIP/2.0 200 OK", 200, b"OK"),
            (b"sip/2.0 183 Session Progress", 183, b"Session Progress"),
            (b"SIP/2.0 100 ", 100, b""),
            (b"SIP/2.0 100", 100, b""),
            ("SIP/2.0 699 Ökö".encode(), 699, "Ökö".encode()),
        ],
    )
    def test_response(self, line: bytes, status: int, reason: bytes) -> None:
        message = scan(changed(b"INVITE sip:ivr@example.com SIP/2.0", line))
        assert not message.is_request
        assert (message.status, message.reason, message.method) == (status, reason, b"INVITE")

    def test_compact_names_and_odd_case(self) -> None:
        data = MINIMAL
        for long, short in [
            (b"Via:", b"v:"),
            (b"From:", b"F :"),
            (b"To:", b"t\t:"),
            (b"Call-ID:", b"I:"),
            (b"CSeq:", b"cSEQ:"),
            (b"Content-Length:", b"l:"),
        ]:
            data = data.replace(long, short)
        message = scan(data)
        assert (message.call_id, message.from_tag, message.body) == (
            b"one@caller",
            b"caller",
            b"body",
        )
        assert message.vias == [b"SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKone"]

    def test_folded_values(self) -> None:
        data = changed(b"CSeq: 1 INVITE", b"CSeq:\r\n 1\r\n\tINVITE").replace(
            b";tag=caller", b"\r\n ;\r\n tag\r\n =\r\n caller "
        )
        message = scan(data)
        assert (message.cseq, message.cseq_method, message.from_tag) == (1, b"INVITE", b"caller")

    def test_empty_lines_before_the_start_line_are_ignored(self) -> None:
        assert scan(b"\r\n\r\n" + MINIMAL).data == MINIMAL

    def test_octets_after_the_body_are_cut_off(self) -> None:
        assert scan(MINIMAL + b"INVITE sip:smuggled SIP/2.0\r\n\r\n").data == MINIMAL

    def test_without_content_length_the_rest_is_the_body(self) -> None:
        message = scan(changed(b"Content-Length: 4\r\n", b"") + b" and more")
        assert message.body == b"body and more"
        assert message.content_length is None

    @pytest.mark.parametrize(
        ("value", "tag"),
        [
            (b"<sip:a@b>", b""),
            (b"sip:a@b;tag=x", b"x"),
            (b"<sip:a@b;tag=inside>", b""),
            (b"<sip:a@b;tag=inside>;tag=x", b"x"),
            (b'"a;tag=quoted" <sip:a@b>;TAG=x', b"x"),
            (b'"a \\"; <sip:z>" <sip:a@b> ; tag = x', b"x"),
            (b"Mr. A. Nonymous <sip:a@b>;x;y=z;tag=x", b"x"),
            (b"tel:+1-201-555-0123;tag=x", b"x"),
            (b"<sip:a@[2001:db8::1]>;tag=x", b"x"),
            (b"sip:a@[2001:db8::1];tag=x", b"x"),
        ],
    )
    def test_tag(self, value: bytes, tag: bytes) -> None:
        assert tag_of(value) == tag

    @pytest.mark.parametrize(
        "call_id",
        [
            b"a", b"a@b", b"<odd>@[::1]", b'"quoted"', b"{}()\\/%%:;,?", "ünïcode@höst".encode(),
            b"x" * 4000,
        ],
    )  # fmt: skip
    def test_odd_call_ids(self, call_id: bytes) -> None:
        assert scan(changed(b"one@caller", call_id)).call_id == call_id

    def test_header_values_by_name(self) -> None:
        message = scan(changed(b"CSeq: 1", b"x-some: a,\r\n b\r\nX-SOME: c\r\nCSeq: 1"))
        assert message.headers("X-Some") == [b"a,  b", b"c"]
        assert message.header("i") == b"one@caller"
        assert message.header("absent") is None


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("old", "new", "status"),
        [
            pytest.param(b"SIP/2.0\r\nVia", b"SIP/7.0\r\nVia", 505, id="version"),
            pytest.param(b"SIP/2.0\r\nVia", b"HTTP/1.1\r\nVia", 400, id="protocol"),
            pytest.param(b"INVITE sip", b"INV(ITE sip", 501, id="method is no token"),
            pytest.param(b"INVITE sip", b"INVITE  sip", 400, id="two spaces in the request line"),
            pytest.param(b"SIP/2.0\r\nVia", b"SIP/2.0 \r\nVia", 400, id="space after the version"),
            pytest.param(b"1 INVITE", b"1 BYE", 400, id="CSeq of another method"),
            pytest.param(b"1 INVITE", b"4294967296 INVITE", 400, id="CSeq too large"),
            pytest.param(b"1 INVITE", b"-1 INVITE", 400, id="CSeq negative"),
            pytest.param(b"1 INVITE", b"INVITE", 400, id="CSeq without number"),
            pytest.param(b"Call-ID: one@caller\r\n", b"", 400, id="no Call-ID"),
            pytest.param(b"Call-ID: one@caller", b"Call-ID: ", 400, id="empty Call-ID"),
            pytest.param(b"one@caller", b"one two", 400, id="space in the Call-ID"),
            pytest.param(b"one@caller", b"one@caller\r\ni: two", 400, id="two Call-IDs"),
            pytest.param(b"CSeq: 1", b"To: <sip:b@c>\r\nCSeq: 1", 400, id="two To"),
            pytest.param(b"tag=caller", b"tag=a;tag=b", 400, id="two tags"),
            pytest.param(b"tag=caller", b"tag=", 400, id="empty tag"),
            pytest.param(b";tag=caller", b";tag", 400, id="tag without value"),
            pytest.param(b"<sip:ivr@example.com>", b'"open <sip:a@b>', 400, id="open quote"),
            pytest.param(b"Content-Length: 4", b"Content-Length: 5", 400, id="body too short"),
            pytest.param(b"Content-Length: 4", b"Content-Length: -4", 400, id="negative length"),
            pytest.param(b"Length: 4", b"Length: 4\r\nl: 4", 400, id="two lengths"),
            pytest.param(b"Length: 4", b"Length: 4 4", 400, id="length with a space"),
            pytest.param(b"CSeq: 1", b"Max-Forwards: x\r\nCSeq: 1", 400, id="Max-Forwards"),
            pytest.param(b"CSeq: 1", b"nonsense\r\nCSeq: 1", 400, id="line without a colon"),
            pytest.param(b"CSeq: 1", b": x\r\nCSeq: 1", 400, id="line without a name"),
            pytest.param(b"CSeq: 1", b"A B: x\r\nCSeq: 1", 400, id="space in a header name"),
            pytest.param(b"Via: ", b" Via: ", 400, id="the first header is indented"),
            pytest.param(b"CSeq: 1", b"X: a\nRoute: <sip:v>\r\nCSeq: 1", 400, id="lone LF"),
            pytest.param(b"CSeq: 1", b"X: a\rRoute: <sip:v>\r\nCSeq: 1", 400, id="lone CR"),
            pytest.param(b"Call-ID: ", b"R\r\n : x\r\nCall-ID: ", 400, id="a folded header name"),
            pytest.param(b"\r\n\r\nbody", b"\r\n", 400, id="no empty line"),
        ],
    )
    def test_status(self, old: bytes, new: bytes, status: int) -> None:
        assert refusal(changed(old, new)) == status

    @pytest.mark.parametrize("line", [b"SIP/2.0 99 x", b"SIP/2.0 700 x", b"SIP/2.0 4294967301 x"])
    def test_status_codes_out_of_range(self, line: bytes) -> None:
        assert refusal(changed(b"INVITE sip:ivr@example.com SIP/2.0", line)) == 400

    @pytest.mark.parametrize("data", [b"", b"\r\n", b"x", b"\x00" * 64, b"INVITE", b"\r\n\r\n\r\n"])
    def test_no_message_at_all(self, data: bytes) -> None:
        assert refusal(data) == 400

    def test_too_many_headers(self) -> None:
        data = changed(b"CSeq: 1", b"X: y\r\n" * 300 + b"CSeq: 1")
        assert refusal(data) == 513
        assert scan(data, max_headers=400).cseq == 1

    def test_what_was_read_before_comes_with_the_refusal(self) -> None:
        with pytest.raises(SipError) as caught:
            scan(changed(b"1 INVITE", b"1 BYE"))
        partial = caught.value.partial
        assert partial is not None
        assert partial.method == b"INVITE"
        assert partial.header("Via") is not None
