"""What one source may send: [security] source-rate and source-penalty (SIP-RULES 1 F)."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from packets import CALLER, RM, TCP, UDP, Bench, make_sources, member, request

from rmlb.routing.affinity import Memory
from rmlb.routing.sources import MOST_SOURCES, MOST_TOLD, SourceLimits, Sources
from rmlb.routing.verdict import Forward, Reason

NOW = 1000.0
A, B = "192.0.2.1", "192.0.2.2"


def heard(sources: Sources, host: str, messages: int, now: float) -> int:
    return sum(sources.may_send(host, now) for _ in range(messages))


def test_no_limit_is_the_default() -> None:
    sources = make_sources(SourceLimits())
    assert heard(sources, A, 1000, NOW) == 1000
    assert len(sources) == 0, "nobody has to be remembered"


def test_a_second_of_messages_at_once_and_then_the_rate() -> None:
    sources = make_sources(SourceLimits(rate=10, penalty_s=0.0))
    assert heard(sources, A, 100, NOW) == 10
    assert heard(sources, A, 100, NOW + 0.5) == 5
    assert heard(sources, A, 100, NOW + 60.0) == 10, "no more than a second is saved up"


def test_over_it_nothing_is_heard_for_the_penalty() -> None:
    sources = make_sources(SourceLimits(rate=10, penalty_s=5.0))
    assert heard(sources, A, 11, NOW) == 10
    assert heard(sources, A, 100, NOW + 4.9) == 0
    assert heard(sources, A, 100, NOW + 5.0) == 10


def test_it_is_told_once_while_it_goes_on() -> None:
    sources = make_sources(SourceLimits(rate=1, penalty_s=5.0))
    for second in range(100):
        heard(sources, A, 10, NOW + second)
    assert sources.take_limited() == [A]
    assert sources.take_limited() == []
    heard(sources, A, 10, NOW + 200)
    assert sources.take_limited() == [A], "after a pause it is news again"


def test_sources_are_apart() -> None:
    sources = make_sources(SourceLimits(rate=1))
    assert heard(sources, A, 10, NOW) == 1
    assert heard(sources, B, 10, NOW) == 1


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
        ("192.0.2.1/32", "192.0.2.1", "192.0.2.2"),
        ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
        ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
        ("::/0", "2001:db8::1", "192.0.2.1"),
    ],
)
def test_trusted_networks_have_none(network: str, inside: str, outside: str) -> None:
    sources = make_sources(SourceLimits(rate=1, trusted=(ip_network(network),)))
    assert heard(sources, inside, 10, NOW) == 10
    assert heard(sources, outside, 10, NOW) == 1


def test_members_have_none() -> None:
    sources = make_sources(SourceLimits(rate=1))
    sources.spare([A, "2001:db8::1"])
    assert heard(sources, A, 10, NOW) == 10
    assert heard(sources, "2001:db8::1", 10, NOW) == 10
    assert heard(sources, B, 10, NOW) == 1
    sources.spare([B])
    assert heard(sources, A, 10, NOW) == 1


def test_limits_change_under_way() -> None:
    sources = make_sources(SourceLimits(rate=1))
    sources.spare([B])
    assert heard(sources, A, 10, NOW) == 1
    sources.limits = SourceLimits(rate=0)
    assert heard(sources, A, 10, NOW) == 10
    sources.limits = SourceLimits(rate=1, trusted=(ip_network("192.0.2.1"),))
    assert heard(sources, A, 10, NOW) == 10
    assert heard(sources, B, 10, NOW) == 10, "still a member"


def test_an_ipv6_network_is_one_source() -> None:
    sources = make_sources(SourceLimits(rate=2))
    assert heard(sources, "2001:db8::1", 2, NOW) == 2
    assert heard(sources, "2001:db8::ffff:2", 2, NOW) == 0
    assert heard(sources, "2001:db8:0:1::1", 2, NOW) == 2
    assert sources.take_limited() == ["2001:db8::/64"]


def test_memory_is_bounded() -> None:
    """The one that was silent longest is forgotten, and no more than some are told of."""
    sources = make_sources(SourceLimits(rate=1))
    for i in range(MOST_SOURCES + 10):
        host = f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}"
        assert heard(sources, host, 2, NOW) == 1
        assert not sources.may_send("10.0.0.0", NOW), "it goes on, so it is not forgotten"
    assert len(sources) == MOST_SOURCES
    assert sources.may_send("10.0.0.1", NOW), "forgotten"
    assert len(sources.take_limited()) == MOST_TOLD


def test_a_flood_is_dropped_unread_and_counted() -> None:
    bench = Bench(Memory(sources=Sources(SourceLimits(rate=5))))
    verdicts = [bench.receive(request(call_id=f"{i}@caller")) for i in range(20)]
    assert sum(isinstance(verdict, Forward) for verdict in verdicts) == 5
    assert bench.router.counted().dropped[Reason.SOURCE_RATE] == 15
    assert bench.router.take_limited() == [CALLER]


def test_over_streams_it_is_the_same_source() -> None:
    bench = Bench(Memory(sources=Sources(SourceLimits(rate=2))))
    assert isinstance(bench.receive(request(), CALLER), Forward)
    for transport in (TCP, UDP, TCP):
        bench.receive(request(call_id="x@caller"), CALLER, 5060, transport)
    assert bench.router.counted().dropped[Reason.SOURCE_RATE] == 2


def test_a_new_member_is_spared_from_its_first_message_on() -> None:
    bench = Bench(Memory(sources=Sources(SourceLimits(rate=1))), members=[member(1)])
    for _ in range(3):
        bench.receive(b"\r\n", RM[1])
        bench.receive(b"\r\n", RM[2])
    assert bench.router.counted().dropped[Reason.SOURCE_RATE] == 2
    bench.change(members=[member(1), member(2)])
    for _ in range(3):
        bench.receive(b"\r\n", RM[2])
    assert bench.router.counted().dropped[Reason.SOURCE_RATE] == 2
