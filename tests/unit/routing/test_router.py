"""Properties of the whole packet path: it never raises, the counters balance, work is linear."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import (
    CALLER,
    MCP,
    RM,
    STRANGER,
    TCP,
    UDP,
    VIP,
    Bench,
    answer,
    headers_of,
    look_alike,
    member,
    request,
    response,
    through_rm,
)

from rmlb.routing.member import Health
from rmlb.routing.verdict import Forward, Reply, Verdict
from rmlb.sip.message import scan

CORPUS = [p.read_bytes() for p in sorted((Path(__file__).parents[2] / "corpus").glob("*/*.dat"))]
TELLING = b'\r\n \t:;,=<>"\\/@[]?.\x00\xff0z'
HOSTS = (CALLER, STRANGER, MCP, *RM.values(), VIP, "127.0.0.1", "255.255.255.255")


def traffic() -> list[bytes]:
    """Every sort of packet that a call consists of, as it would arrive."""
    bench = Bench()
    sent = bench.forwarded(request(body=b"v=0\r\n"))
    number = sent.to.member
    dialog = bench.establish("two@caller", via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bKtwo")
    return [
        *CORPUS,
        request(body=b"v=0\r\n"),
        request("CANCEL"),
        answer(sent.data, 100, to_tag=None),
        answer(sent.data, 183),
        answer(sent.data, 200),
        answer(sent.data, 503, extra=["Retry-After: 5"]),
        answer(through_rm(sent.data, number, joined=True), 200),
        dialog.from_caller(),
        dialog.from_caller("INFO", routes=[*dialog.recorded, look_alike(number)]),
        dialog.from_callee(),
        request("OPTIONS", f"sip:{VIP}"),
        request("SUBSCRIBE", extra=["Expires: 60"]),
        response([f"SIP/2.0/UDP {VIP}:5060;branch=z9hG4bKrm;received={RM[1]}"]),
        request("ACK", to_tag="rmlb-69ed-0123456789abcdef"),
    ]


TRAFFIC = traffic()


def mutated(data: bytes, choice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(choice.randint(0, 4)):
        at = choice.randrange(len(changed) + 1)
        what = choice.randrange(4)
        if what == 0:
            del changed[at : at + choice.choice((1, 2, 30))]
        elif what == 1:
            changed[at : at + 1] = bytes((choice.choice(TELLING),))
        elif what == 2:
            changed[at:at] = changed[at : at + choice.choice((1, 8, 40))]
        else:
            changed[at:at] = choice.choice(TRAFFIC)[: choice.choice((5, 60, 300))]
    return bytes(changed)


def is_safe(bench: Bench, verdict: Verdict, host: str) -> None:
    """What leaves is a message, goes to one host, and never to ourselves."""
    if not isinstance(verdict, Forward | Reply):
        return
    assert not bench.table.is_own_endpoint(verdict.to.host, verdict.to.port)
    assert 0 < verdict.to.port < 65536
    assert verdict.to.host not in ("255.255.255.255", "0.0.0.0")
    if isinstance(verdict, Reply):
        assert verdict.to.host == host
    elif host not in RM.values():  # an outsider: to a member, or back by Via
        assert verdict.to.host in RM.values() or not scan(verdict.data).is_request
    if isinstance(verdict, Forward):
        assert scan(verdict.data)


@given(st.binary(max_size=500), st.sampled_from(HOSTS), st.sampled_from([UDP, TCP]))
def test_any_octets(data: bytes, host: str, transport: object) -> None:
    bench = Bench()
    assert not isinstance(bench.receive(data, host, transport=transport), Forward)


@settings(max_examples=600, deadline=None)
@given(st.randoms(use_true_random=False))
def test_any_traffic(choice: random.Random) -> None:
    """Mutated packets of real calls from anywhere, members coming and going meanwhile."""
    bench = Bench()
    for _ in range(choice.randint(1, 12)):
        host = choice.choice(HOSTS)
        verdict = bench.receive(
            mutated(choice.choice(TRAFFIC), choice),
            host,
            choice.choice((5060, 5070, 40000)),
            choice.choice((UDP, UDP, TCP)),
        )
        is_safe(bench, verdict, host)
        bench.now += choice.choice((0.0, 0.01, 0.6, 40.0, 300.0))
        what = choice.randrange(12)
        if what == 0:
            bench.lose(choice.choice((1, 2)))
        elif what == 1:
            bench.set_member(choice.choice((1, 2)), health=choice.choice(list(Health)))
        elif what == 2:
            bench.router.expire(bench.now)
        elif what == 3:
            bench.router.look(bench.now)
        for own in bench.router.take_outbox():
            assert not bench.table.is_own_endpoint(own.to.host, own.to.port)
            assert scan(own.data)
    assert bench.router.counted().imbalance() == 0
    assert all(count >= 0 for count in bench.memory.bindings.calls.values())
    bench.now += 10 * 86400
    bench.router.expire(bench.now)
    assert len(bench.memory.bindings) == len(bench.memory.pending) == 0
    assert bench.memory.pending.unanswered == bench.memory.pending.octets == 0
    assert bench.memory.bindings.calls.total() == 0


@settings(max_examples=200)
@given(
    st.sampled_from([d for d in TRAFFIC if not d.startswith(b"SIP/") and b"Via" in d]),
    st.randoms(use_true_random=False),
)
def test_push_then_pop_is_the_identity(data: bytes, choice: random.Random) -> None:
    """A response brings our Via back; without it, its Vias are those of the request, stamped."""
    bench = Bench()
    given = mutated(data, choice) if choice.random() < 0.5 else data
    verdict = bench.receive(given)
    if not isinstance(verdict, Forward):
        return
    sent = scan(verdict.data)
    if sent.method == b"ACK":
        return
    ok = answer(verdict.data, 200)
    back = bench.receive(ok, RM[verdict.to.member])
    assert isinstance(back, Forward), back
    top = sent.field(b"via")
    assert top is not None
    own = sent.data[top.start : top.end + 2]
    assert back.data == ok.replace(own, b"", 1)
    before = headers_of(scan(given).data, "Via")[0].partition(";")[0]
    assert headers_of(back.data, "Via")[0].startswith(before)


def quickest(work: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


MARK = "69ed.1.0.bac2698f.4b190dcb7c748ad9"
OWN_PARAM = "0000000a.u0.6a544fb5.2222222222222222"
OWN_VIA = f"SIP/2.0/UDP {VIP};branch=z9hG4bK69ed.1.859d45931363891d;rmlb={OWN_PARAM}"

LONG: dict[str, Callable[[int], bytes]] = {
    "Call-ID and marks": lambda n: request(
        "BYE", to_tag="x", call_id="c" * (n // 2),
        routes=[", ".join([f"<sip:{VIP};lr;rmlb={MARK}>"] * (n // 160))]),
    "own Vias and Routes": lambda n: request(
        "BYE", to_tag="x", via=[", ".join([OWN_VIA] * (n // 240))],
        routes=[", ".join([f"<sip:{VIP};lr>"] * (n // 50))]),
    "own Routes": lambda n: request(
        "BYE", to_tag="x", routes=[",".join([f"<sip:{VIP};lr>"] * (n // 20))]),
    "Routes to members": lambda n: request(
        "BYE", to_tag="x", routes=[",".join([f"<sip:{RM[1]};lr>"] * (n // 20))]),
    "strict Routes": lambda n: request(
        "BYE", f"sip:{VIP};rmlb={MARK}", to_tag="x", routes=[",".join(["<sip:a>"] * (n // 8))]),
    "datanodes": lambda n: request(
        "BYE", to_tag="x", routes=[f"<sip:{VIP};lr;gvp.rm.datanodes={'7|' * (n // 2)}>"]),
    "session header": lambda n: request(
        extra=[f"X-Genesys-GVP-Session-ID: x{';gvp.rm.datanodes=' * (n // 20)}"]),
    "session header of semicolons": lambda n: request(
        extra=[f"X-Genesys-GVP-Session-ID: {'; ' * (n // 2)}"]),
    "Proxy-Require": lambda n: request(extra=[f"Proxy-Require: {'a,' * (n // 2)}"]),
    "parameters of the Request-URI": lambda n: request(uri=f"sip:x@{VIP}{';a' * (n // 2)}"),
    "response with many Vias": lambda n: response([", ".join(["SIP/2.0/UDP a"] * (n // 15))]),
    "response with our form on top": lambda n: response(
        [", ".join([OWN_VIA] * (n // 120))], call_id="c" * (n // 2)),
    "body": lambda n: request(body=b"\r\n\r\n" * (n // 4)),
}  # fmt: skip


@pytest.mark.parametrize("kind", LONG)
def test_work_is_linear(kind: str) -> None:
    """56 KB take some four times as long as 14 KB; quadratic work would take sixteen."""
    bench = Bench(header_keys=(b"x-genesys-calluuid",), members=[member(1), member(2)])
    small, large = LONG[kind](14_000), LONG[kind](56_000)
    limit = 9 * quickest(lambda: bench.receive(small)) + 0.002
    assert quickest(lambda: bench.receive(large)) < limit


def test_counters_of_a_call() -> None:
    bench = Bench()
    dialog = bench.establish("one@caller")
    bye = bench.forwarded(dialog.from_caller())
    bench.forwarded(answer(bye.data, 200), RM[dialog.member])
    bench.receive(b"\r\n\r\n")
    bench.receive(b"garbage", transport=TCP)
    bench.receive(request("OPTIONS", f"sip:{VIP}"))
    counters = bench.router.counted()
    assert counters.received == {"udp": 6, "tcp": 1}
    assert counters.forwarded == 4
    assert counters.answered == {200: 1}
    assert counters.absorbed == {"keepalive": 1}
    assert counters.dropped == {"malformed": 1}
    assert counters.kinds == {"A": 2, "B": 2, "E": 1, "F": 2}
    assert counters.affinity == {"algorithm": 1, "mark": 1}
    of = counters.member(dialog.member)
    assert (of.requests, of.initial_requests, of.responses) == (2, 1, {2: 2})


def test_a_retransmission_is_no_new_call() -> None:
    bench = Bench()
    for _ in range(3):
        sent = bench.forwarded(request())
    bench.forwarded(request("CANCEL"))
    of = bench.router.counted().member(sent.to.member)
    assert (of.requests, of.initial_requests) == (4, 1)


@pytest.mark.parametrize("status", [180, 503])
def test_as_many_headers_as_allowed(status: int) -> None:
    """What we add goes beyond the limit; what was accepted once is never refused by ourselves."""
    bench = Bench(max_headers=40)
    bare = len(scan(request()).fields)
    sent = bench.forwarded(request(extra=["X: y"] * (40 - bare)))
    bench.receive(answer(sent.data, status), RM[sent.to.member])
    bench.lose(sent.to.member)
    bench.now += 1
    bench.router.look(bench.now)
    assert {own.what for own in bench.router.take_outbox()} >= {"resend"}
