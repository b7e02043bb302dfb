"""The corpora through the pure core: outcome, and what the forwarded copy must satisfy.

The same over real sockets: tests/integration/test_torture.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from packets import CALLER, RM, TCP, UDP, VIP, Bench, answer, headers_of, listeners

from rmlb.routing.verdict import Drop, Forward, Reason, Reply, Verdict
from rmlb.sip.framing import StreamFramer
from rmlb.sip.message import SipError, scan

CORPUS = Path(__file__).parents[2] / "corpus"
EXPECTED: dict[str, list[str]] = {}
for file in ("expected.json", "expected-own.json"):
    for folder, entries in json.loads((CORPUS / file).read_text()).items():
        if isinstance(entries, dict):
            EXPECTED |= {f"{folder}/{name}": entry[1] for name, entry in entries.items()}

FORWARDED = [name for name, outcomes in EXPECTED.items() if outcomes[0] == "FWD"]


def message(name: str) -> bytes:
    return (CORPUS / f"{name}.dat").read_bytes()


def outcome(verdict: Verdict) -> str:
    if isinstance(verdict, Forward):
        assert verdict.to.host in RM.values()
        return "FWD"
    if isinstance(verdict, Reply):
        assert verdict.to.host == CALLER
        return str(verdict.status)
    return "DROP"


def test_every_file_has_its_expectation() -> None:
    files = {f"{path.parent.name}/{path.stem}" for path in CORPUS.glob("*/*.dat")}
    assert files == set(EXPECTED)
    assert len(files) >= 70


@pytest.mark.parametrize("name", EXPECTED)
def test_over_udp(name: str) -> None:
    verdict = Bench().receive(message(name))
    assert outcome(verdict) in EXPECTED[name], verdict


@pytest.mark.parametrize("name", EXPECTED)
def test_over_tcp(name: str) -> None:
    """What the stream has to show for it: whole messages, or why there will be none."""
    bench, framer = Bench(), StreamFramer()
    messages = framer.feed(message(name))
    found = [outcome(bench.receive(m, port=40000, transport=TCP)) for m in messages]
    if framer.unbounded:
        whole = framer.end_unbounded()
        found.append(outcome(bench.receive(whole, port=40000, transport=TCP)))
    elif framer.error is not None or framer.is_waiting:
        error = framer.error
        if error is None:  # time runs out for the rest
            error = SipError(400, "incomplete")
        origin = bench.origin(port=40000, transport=TCP)
        found.append(outcome(bench.router.refuse(framer.rest, error, origin)))
    if name == "rfc4475/dblreq":
        assert found == ["FWD", "FWD", "DROP"]  # the last octets are none of either message
    else:
        assert len(found) == 1
        assert found[0] in EXPECTED[name], framer.error
    assert bench.router.counted().imbalance() == 0


@pytest.mark.parametrize("name", FORWARDED)
def test_the_copy_differs_where_a_proxy_must_change_it_and_nowhere_else(name: str) -> None:
    data = message(name)
    bench = Bench(record_route=False)
    sent = bench.forwarded(data, CALLER, 5061)
    assert undone(sent.data, sent) == normal(data)


@pytest.mark.parametrize("name", FORWARDED)
def test_answers_to_it_return(name: str) -> None:
    bench = Bench()
    sent = bench.forwarded(message(name), CALLER, 5061)
    back = bench.forwarded(answer(sent.data, 200), RM[sent.to.member])
    assert back.to.host == CALLER
    assert headers_of(back.data, "Via") == headers_of(sent.data, "Via")[1:]


def normal(data: bytes) -> bytes:
    """Without what a proxy drops (empty lines before, octets after) and changes (hop count,
    what was received)."""
    kept = scan(data).data
    for stamp in (b";received=[2001:db8::9:255]", b";received=2001:db8::9:255"):
        kept = kept.replace(stamp, b"", 1)
    return without_hops(kept)


def without_hops(data: bytes) -> bytes:
    field = scan(data).field(b"max-forwards")
    return data if field is None else data[: field.start] + data[field.end + 2 :]


def undone(data: bytes, sent: Forward) -> bytes:
    """The forwarded copy without our Via, what was stamped, and the hop count."""
    start_line, _, rest = data.partition(b"\r\n")
    before, ours, after = rest.partition(b"Via: SIP/2.0/UDP " + VIP.encode())
    own_line, _, after = after.partition(b"\r\n")
    assert ours
    assert b";rmlb=" in own_line
    whole = without_hops(start_line + b"\r\n" + before + after)
    stamp = b";received=" + CALLER.encode()
    assert whole.count(stamp) == 1
    return whole.replace(b";rport=5061", b";rport", 1).replace(stamp, b"", 1)


class TestParticulars:
    """The notes of expected.json."""

    def test_max_forwards_of_wsinv(self) -> None:
        assert scan(Bench().forwarded(message("rfc4475/wsinv")).data).max_forwards == 67

    def test_max_forwards_of_inv2543(self) -> None:
        assert scan(Bench().forwarded(message("rfc4475/inv2543")).data).max_forwards == 70

    def test_body_of_mpart01(self) -> None:
        body = scan(Bench().forwarded(message("rfc4475/mpart01")).data).body
        assert body == message("rfc4475/mpart01").partition(b"\r\n\r\n")[2]
        assert len(body) == 553

    def test_second_message_of_dblreq(self) -> None:
        sent = Bench().forwarded(message("rfc4475/dblreq"))
        assert sent.data.count(b"SIP/2.0\r\n") == 1
        assert sent.data.endswith(b"\r\n\r\n")

    def test_unsupported_of_bext01(self) -> None:
        reply = Bench().replied(message("rfc4475/bext01"))
        listed = scan(reply.data).header("Unsupported")
        assert listed == b"noProxiesSupportThis, norDoAnyProxiesSupportThis"

    def test_length_of_longreq(self) -> None:
        assert len(message("rfc4475/longreq")) > 3000
        assert len(Bench().forwarded(message("rfc4475/longreq")).data) > 3515

    @pytest.mark.parametrize("name", ["rfc4475/unreason", "rfc4475/noreason"])
    def test_odd_reasons_under_our_via(self, name: str) -> None:
        """Variant with our Via on top: forwarded unchanged."""
        bench = Bench()
        theirs = scan(message(name))
        sent = bench.forwarded(
            b"INVITE sip:x@example.com SIP/2.0\r\n"
            + b"".join(theirs.data[f.start : f.end] + b"\r\n" for f in theirs.fields
                       if f.name in (b"via", b"from", b"call-id", b"cseq"))
            + b"To: <sip:x@example.com>\r\nContent-Length: 0\r\n\r\n"
        )  # fmt: skip
        own, below = headers_of(sent.data, "Via")
        via = theirs.field(b"via")
        assert via is not None
        line = f"Via: {own}\r\nVia: {below}".encode()
        data = theirs.data[: via.start] + line + theirs.data[via.end :]
        back = bench.forwarded(data, RM[sent.to.member])
        assert back.data == data.replace(f"Via: {own}\r\n".encode(), b"")
        assert scan(back.data).reason == theirs.reason

    def test_bcast_under_our_via(self) -> None:
        """It must not be sent to 255.255.255.255, however the Via above came to be."""
        bench = Bench()
        sent = bench.forwarded(
            b"INVITE sip:x@example.com SIP/2.0\r\n"
            b"Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23\r\n"
            b"From: <sip:user@example.com>;tag=11141343\r\nTo: <sip:x@example.com>\r\n"
            b"Call-ID: bcast\r\nCSeq: 35 INVITE\r\n\r\n"
        )
        back = bench.forwarded(answer(sent.data, 200), RM[sent.to.member])
        assert back.to.host == CALLER
        stripped = answer(sent.data, 200).replace(b";received=" + CALLER.encode(), b"")
        assert bench.dropped(stripped, RM[1]).reason is Reason.UNVERIFIED_RESPONSE

    def test_own_branch_of_badbranch(self) -> None:
        """Its branch is the cookie alone, so others of the same name are other transactions."""
        data = message("rfc4475/badbranch")
        other = data.replace(b"OPTIONS sip:user", b"OPTIONS sip:other")
        assert other != data
        vias = [headers_of(Bench().forwarded(d).data, "Via")[0] for d in (data, other)]
        branches = {via.partition("branch=")[2] for via in vias}
        assert len(branches) == 2


@pytest.mark.parametrize(
    "name", [name for name in EXPECTED if name.startswith("rfc5118") and EXPECTED[name][0] == "FWD"]
)
def test_ipv6_over_ipv6(name: str) -> None:
    """From an IPv6 caller to IPv4 members and back."""
    six = "2001:db8::100"
    bench = Bench(listeners=listeners(VIP, six), vips=frozenset({VIP, six}))
    for transport in (UDP, TCP):
        where = ("2001:db8::77", 5061, transport)
        data = message(name).replace(b"branch=z9hG4bK", b"branch=z9hG4bK" + transport.encode())
        sent = bench.forwarded(data, *where)
        back = bench.forwarded(answer(sent.data, 200), RM[sent.to.member])
        assert (back.to.host, back.to.transport) == ("2001:db8::77", transport)
        assert headers_of(back.data, "Via")[0].count("received=2001:db8::77") == 1


def test_nothing_is_sent_for_what_is_dropped() -> None:
    for name, outcomes in EXPECTED.items():
        if outcomes[0] == "DROP":
            bench = Bench()
            assert isinstance(bench.receive(message(name)), Drop)
            assert bench.router.take_outbox() == []
