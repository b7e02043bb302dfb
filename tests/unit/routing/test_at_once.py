"""Messages of one connection at once: what one after the other would have sent, joined."""

from __future__ import annotations

from collections import defaultdict

import packets
import pytest
from packets import CALLER, RM, TCP, UDP, Bench, request

from rmlb.routing.member import Member
from rmlb.routing.verdict import Destination, Forward, Origin
from rmlb.sip.address import SipAddress, Transport


def to(number: int, transport: Transport) -> Member:
    """A member that is reached by that transport alone."""
    return packets.member(number, SipAddress(transport, RM[number], 5060))


def call(number: int, method: str = "INVITE", **more: object) -> bytes:
    via = f"SIP/2.0/TCP {CALLER}:5060;branch=z9hG4bK{number}"
    return request(method, via=via, call_id=f"{number}@caller", **more)  # type: ignore[arg-type]


ODD = request(
    "OPTIONS", via=f"SIP/2.0/TCP {CALLER}:5060;branch=z9hG4bKo", max_forwards=0, call_id="odd"
)


def one_by_one(bench: Bench, messages: list[bytes], origin: Origin) -> dict[Destination, bytes]:
    sent: dict[Destination, bytes] = defaultdict(bytes)
    for data in messages:
        verdict = bench.router.receive(data, origin, bench.now)
        if isinstance(verdict, Forward):
            sent[verdict.to] += verdict.data
    return sent


def at_once(bench: Bench, messages: list[bytes], origin: Origin) -> dict[Destination, bytes]:
    sent: dict[Destination, bytes] = defaultdict(bytes)
    for item in bench.router.receive_plain(messages, origin, bench.now):
        if isinstance(item, bytes):
            assert item is ODD or packets.ENGINE == "python"
            verdict = bench.router.receive(item, origin, bench.now)
            if isinstance(verdict, Forward):
                sent[verdict.to] += verdict.data
        else:
            to, data = item
            sent[to] += data
    return sent


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 200])
@pytest.mark.parametrize(
    ("method", "member"), [("INVITE", TCP), ("MESSAGE", TCP), ("MESSAGE", UDP)]
)
def test_the_same_octets_to_the_same_places(count: int, method: str, member: Transport) -> None:
    messages: list[bytes] = []
    for number in range(count):
        messages.append(call(number, method))
        if number % 7 == 3:
            messages.append(ODD)
    alone, joined = (Bench(members=[to(n, member) for n in (1, 2)])
                     for _ in range(2))  # fmt: skip
    origin = alone.origin(CALLER, 40000, TCP, 77)
    assert one_by_one(alone, messages, origin) == at_once(joined, messages, origin)
    ours, theirs = alone.router.counted(), joined.router.counted()
    assert (ours.received, ours.forwarded, ours.affinity) == (
        theirs.received, theirs.forwarded, theirs.affinity,
    )  # fmt: skip
    assert theirs.imbalance() == 0


def test_streams_are_joined_and_datagrams_are_not() -> None:
    """By the compiled engine; to the other one nothing is plain."""
    joined = 1 if packets.ENGINE == "compiled" else 10
    for transport, pieces in ((TCP, joined), (UDP, 10)):
        bench = Bench(members=[to(1, transport)])
        origin = bench.origin(CALLER, 40000, TCP, 77)
        done = bench.router.receive_plain(
            [call(n, "MESSAGE") for n in range(10)], origin, bench.now
        )
        assert len(done) == pieces
        assert isinstance(done[0], tuple) is (packets.ENGINE == "compiled")


def test_what_is_not_plain_keeps_its_place() -> None:
    bench = Bench(members=[to(1, TCP)])
    origin = bench.origin(CALLER, 40000, TCP, 77)
    done = bench.router.receive_plain([call(1), call(2), ODD, call(3)], origin, bench.now)
    if packets.ENGINE == "compiled":
        assert [isinstance(item, bytes) for item in done] == [False, True, False]
    else:
        assert [item for item in done if item is ODD] == [ODD]


def test_large_messages_fit() -> None:
    bench = Bench(members=[to(1, TCP)])
    origin = bench.origin(CALLER, 40000, TCP, 77)
    messages = [call(n, body=b"x" * 60_000) for n in range(12)]
    done = bench.router.receive_plain(messages, origin, bench.now)
    sent = [item if isinstance(item, bytes) else item[1] for item in done]
    assert sum(map(len, sent)) > 12 * 60_000


def test_a_router_that_may_not_forward_hands_them_all_back() -> None:
    bench = Bench()
    bench.router.ownership = type("Never", (), {"may_forward": lambda self: False})()
    origin = bench.origin(CALLER, 40000, TCP, 77)
    messages = [call(1), call(2)]
    assert bench.router.receive_plain(messages, origin, bench.now) == messages
