"""SIP octets: messages, URIs, Vias, and streams cut anywhere."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from random import Random

from target import Run, Target, mutate_octets

from rmlb.fastpath.engine import CompiledFramer
from rmlb.sip.address import bracketed
from rmlb.sip.framing import StreamFramer
from rmlb.sip.message import Field, Message, SipError, scan, scan_again
from rmlb.sip.response import apply_edits, build_response, refusal, stamp_edits
from rmlb.sip.uri import _parse, canonical_host, parse_uri, routes, with_host
from rmlb.sip.via import Via, parse_via, top_via, via_after

CORPUS = Path(__file__).parents[1] / "corpus"
SOURCE = ("192.0.2.1", 5070)


def messages() -> list[bytes]:
    """The corpora of RFC 4475, RFC 5118 and the field."""
    return [path.read_bytes() for path in sorted(CORPUS.glob("*/*.dat"))]


def _answerable(error: SipError) -> None:
    assert 400 <= error.status < 700
    assert refusal(error) < 700


# message


def _scan() -> Run:
    return _read_message


def _read_message(data: bytes) -> None:
    try:
        message = scan(data)
    except SipError as error:
        _answerable(error)
        assert error.partial is not None
        _stands_in_order(error.partial)
        with suppress(SipError):
            build_response(error.partial, top_via(error.partial), 400, SOURCE, b"tag")
        return
    _stands_in_order(message)
    again = scan_again(message.data)
    assert (again.fields, again.body_start) == (message.fields, message.body_start)
    assert (again.call_id, again.cseq, again.method) == (
        message.call_id, message.cseq, message.method,
    )  # fmt: skip
    assert message.method
    assert message.call_id
    with suppress(SipError):
        for route in routes(message):
            assert message.data.startswith(route.raw_uri, route.uri_start)
    try:
        via = top_via(message)
    except SipError as error:
        _answerable(error)
        return
    _is_answered(message, via)
    with suppress(SipError):
        below: Via | None = via
        while below is not None:
            assert 0 < below.start < below.end <= len(message.data)
            below = via_after(message, below)


def _stands_in_order(message: Message) -> None:
    at = message.start_line_end
    assert at <= message.body_start <= len(message.data)
    for field in message.fields:
        assert at <= field.start < field.value <= field.end <= message.body_start
        at = field.end


def _is_answered(message: Message, via: Via) -> None:
    """What is accepted can be answered, and the answer belongs to it (8.2.6.2)."""
    made = build_response(message, via, 400, SOURCE, b"ours")
    assert made is not None
    answer = scan_again(made)
    assert (answer.call_id, answer.cseq, answer.from_tag) == (
        message.call_id, message.cseq, message.from_tag,
    )  # fmt: skip
    assert answer.to_tag == (message.to_tag or b"ours")
    assert top_via(answer).branch == via.branch
    assert top_via(answer).received == SOURCE[0].encode()


# URI


def _uri() -> Run:
    return _read_uri


def _read_uri(data: bytes) -> None:
    try:
        uri = parse_uri(data)
    except SipError as error:
        _answerable(error)
        return
    assert uri == _parse(data)
    assert uri.scheme == uri.scheme.lower()
    assert data.lower().startswith(uri.scheme + b":")
    assert uri.lr is (uri.param(b"lr") is not None)
    if uri.scheme not in (b"sip", b"sips"):
        assert not uri.host
        return
    assert uri.host or b"." in data
    if not uri.host.endswith("."):  # of two dots one is left: no name, and nobody's
        assert canonical_host(bracketed(uri.host).encode()) == uri.host
    assert uri.port is None or 0 < uri.port < 65536
    assert data.endswith(uri.params + uri.headers)
    assert uri.user is None or uri.user + b"@" in data
    moved = parse_uri(with_host(data, "2001:db8::1", 7))
    assert moved == uri._replace(host="2001:db8::1", port=7)


_URIS = (
    b"sip:ivr@10.0.0.100:5060;transport=tcp;lr", b"sips:[2001:db8::1]", b"tel:+493012345",
    b"sip:a;b=c@h.example.org;gvp.rm.datanodes=2|1?x=y&z=%20", b"SIP:[::ffff:1.2.3.4]:5061;LR",
    b"sip:0x196e@10.0.0.100:5060;lr;rmlb=0000.1.0.00000000.0000000000000000",
)  # fmt: skip


def _uri_seeds() -> list[bytes]:
    found = {*_URIS}
    for data in messages():
        found.add(data.partition(b" ")[2].partition(b" ")[0][:300])
        found |= {part.partition(b">")[0][:300] for part in data.split(b"<")[1:]}
    return sorted(found)


# Via


def _via() -> Run:
    return _read_vias


def _read_vias(data: bytes) -> None:
    whole = b"Via:" + data
    field = Field(b"via", 0, 4, len(whole))
    at = field.value
    for _ in range(64):
        try:
            via = parse_via(whole, field, 0, at)
        except SipError as error:
            _answerable(error)
            return
        assert at <= via.start < via.end <= len(whole)
        assert via.port is None or 0 < via.port < 65536
        assert via.sent_by == via.sent_by.lower()
        _is_stamped(whole, via)
        if not via.next:
            return
        assert via.end < via.next <= len(whole)
        at = via.next


def _is_stamped(whole: bytes, via: Via) -> None:
    """Stamped with where it came from, it says that and all else that it said before (3581 4)."""
    stamped = apply_edits(whole, via.start, via.end, stamp_edits(via, SOURCE))
    again = parse_via(b"Via:" + stamped, Field(b"via", 0, 4, 4 + len(stamped)), 0, 4)
    assert again.received == SOURCE[0].encode()
    assert again.rport == (None if via.rport is None else b"%d" % SOURCE[1])
    for name in "transport", "raw_host", "host", "port", "branch", "own":
        assert getattr(again, name) == getattr(via, name), name
    assert not again.next


_VIAS = (
    b" SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKx;rport",
    b" SIP / 2.0 / TCP [2001:db8::1] : 5061 ; received = 1.2.3.4 ; rport=9,SIP/2.0/UDP h",
    b' SIP/2.0/UDP h;a="b,\\"c";branch=z9hG4bK , SIP/2.0/TLS h;rmlb=0a.1.ff.00;alias',
    b"SIP/2.0/UDP first;received=1;received=2;rport;rport\r\n ,\r\n SIP/2.0/UDP second",
)


def _via_seeds() -> list[bytes]:
    found = {*_VIAS}
    for data in messages():
        for line in data.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() in (b"via", b"v"):
                found.add(value[:500])
    return sorted(found)


# stream


def _framing() -> Run:
    return _read_stream


_SIZES = (65535, 65535, 4096, 200, 40)


def _read_stream(data: bytes) -> None:
    """The first octet is the limit, the next two are how the stream is cut."""
    most, rng, stream = _SIZES[data[0] % 5 if data else 0], Random(data[1:3]), data[3:]
    whole = _fed(StreamFramer(max_message_size=most), stream, [])
    cuts = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.choice((1, 2, 5))))
    ways = [[], cuts]
    if len(stream) <= 300:
        ways.append(list(range(len(stream))))
    for way in ways:
        for kind in StreamFramer, CompiledFramer:
            found = _fed(kind(max_message_size=most), stream, way)
            assert found == whole, (kind.__name__, way, found, whole)


def _fed(framer: StreamFramer, stream: bytes, cuts: list[int]) -> tuple[object, ...]:
    """All that a connection sees of it; once it is broken, nobody looks at what is left."""
    found: list[bytes] = []
    at = 0
    for cut in [*cuts, len(stream)]:
        found += framer.feed(stream[at:cut])
        at = cut
    error = None if framer.error is None else (framer.error.status, framer.error.why)
    assert all(len(each) <= framer.max_message_size for each in found)
    if error is not None:
        return found, framer.pings, error
    assert b"".join(found) + framer.rest in stream or b"\r\n" in stream
    return found, framer.pings, framer.rest, framer.unbounded, framer.is_waiting


def _framing_seeds() -> list[bytes]:
    found = messages()
    framed = [b"l: %d\r\n" % len(each) for each in found]
    streams = [
        b"A b SIP/2.0\r\n" + line + b"\r\n" + each + b"\r\n\r\n" + each
        for line, each in zip(framed, found, strict=True)
    ]
    streams.append(b"\r\n\r\n" * 3 + b"A\r\nContent-Length: 2\r\n\r\nab" * 4)
    return [
        bytes((number % 5, number, 1)) + each[:1200] for number, each in enumerate(found + streams)
    ]


TARGETS = (
    Target(
        "scan",
        "offsets in order; scanned again it is the same; what is accepted can be answered, and the "
        "answer belongs to it",
        _scan,
        messages,
        short=1500,
        most=16384,
    ),
    Target(
        "uri",
        "canonical hosts stay so; moved to another host everything else stays; remembered or not",
        _uri,
        _uri_seeds,
        short=4000,
        most=2048,
    ),
    Target(
        "via",
        "stamped with its source it says that, and all else that it said before",
        _via,
        _via_seeds,
        short=4000,
    ),
    Target(
        "framing",
        "any cutting gives the same messages, pings and errors, from both framers",
        _framing,
        _framing_seeds,
        mutate=lambda data, rng: _mutate_stream(data, rng),
        short=1500,
        floor_s=0.3,
        us_per_octet=50.0,
    ),
)


def _mutate_stream(data: bytes, rng: Random) -> bytes:
    if rng.random() < 0.3:
        return mutate_octets(data, rng)
    from mutations import mutate

    return data[:3] + mutate(data[3:], rng)
