"""What the compiled engine has room for, and that it says so where there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rmlb import fastpath
from rmlb.config.rm_options import MOST_MEMBER_ID
from rmlb.fastpath.engine import CompiledRouter
from rmlb.routing.affinity import Memory
from rmlb.routing.bindings import BindingLimits, Bindings
from rmlb.routing.keys import Keyring, affinity_key
from rmlb.routing.member import Health, Member
from rmlb.routing.overload import START_ADAPTIVE
from rmlb.routing.table import Listener, RoutingTable
from rmlb.routing.verdict import Forward, Origin
from rmlb.sip.address import SipAddress, Transport

UDP, TCP = Transport.UDP, Transport.TCP
ORIGIN = Origin(UDP, 0, 0, "192.0.2.10", 5060)
LONG = "a" * 61 + ".com"
INVITE = (
    b"INVITE sip:ivr@10.0.0.100 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKx\r\n"
    b"From: <sip:a@b>;tag=f\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def listeners(count: int, host: str = "10.0.0.100") -> tuple[Listener, ...]:
    return tuple(Listener(i, UDP, host, 5060 + i, host) for i in range(count))


TABLE = RoutingTable(
    members={1: Member(1, (SipAddress(UDP, "10.0.0.11", 5060),), Health.IN_SERVICE)},
    listeners=listeners(1),
    keys=Keyring(["a secret of sixteen"]),
    affinity_key=affinity_key("limits"),
    vips=frozenset(("10.0.0.100",)),
)
SECRETS = [f"secret number {i} of many" for i in range(9)]

WITHIN = [
    TABLE,
    replace(TABLE, listeners=listeners(16)),
    replace(TABLE, listeners=(*TABLE.listeners, Listener(1, UDP, "2001:db8::1", 5060, "::1"))),
    replace(TABLE, keys=Keyring(SECRETS[:8])),
    replace(TABLE, aliases=frozenset(((LONG[1:], 5060),)), vips=TABLE.vips | {LONG[1:]}),
]
BEYOND = [
    (replace(TABLE, listeners=listeners(17)), "sip.listen: 17 addresses, more than 16: Python"),
    (replace(TABLE, listeners=listeners(2, "2001:db8::1")), "sip.listen: IPv6 alone: Python"),
    (replace(TABLE, keys=Keyring(SECRETS)), "security.secret: 9 secrets, more than 8: Python"),
    (replace(TABLE, vips=TABLE.vips | {LONG}), f"sip.via-host: {LONG} is longer than 64 octets"),
    (replace(TABLE, aliases=frozenset(((LONG, None),))), f"sip.aliases: {LONG} is longer than 64"),
]  # fmt: skip


def router(table: RoutingTable) -> CompiledRouter:
    return CompiledRouter(table, Memory(Bindings(BindingLimits(max_bindings=10))))


@pytest.mark.parametrize("table", WITHIN)
def test_within(table: RoutingTable) -> None:
    assert fastpath.warnings("compiled", table) == ()
    made = router(table)
    assert made.core.decide(INVITE, ORIGIN, 1.0) is not None
    assert made.packets is not None


@pytest.mark.parametrize(("table", "said"), BEYOND)
def test_beyond(table: RoutingTable, said: str) -> None:
    (why,) = fastpath.warnings("compiled", table)
    assert why.startswith(said)
    assert fastpath.warnings("python", table) == ()
    assert router(table).core.decide(INVITE, ORIGIN, 1.0) is None


def test_a_reload_may_go_beyond_and_come_back() -> None:
    made = router(TABLE)
    for table, plain in ((BEYOND[2][0], False), (TABLE, True)):
        made.publish(table, 1.0)
        verdict = made.receive(INVITE, ORIGIN, 1.0)
        assert isinstance(verdict, Forward)
        assert (made.core.decide(INVITE, ORIGIN, 1.0) is not None) is plain


def test_every_member_id_in_one_life() -> None:
    """Reload after reload gave the member another ID."""
    (one,) = TABLE.members.values()
    made = router(TABLE)
    for first in range(1, MOST_MEMBER_ID + 1, 13_107):
        members = {n: replace(one, id=n) for n in range(first, first + 13_107)}
        made.publish(replace(TABLE, members=members), 1.0)
    number = MOST_MEMBER_ID
    made.publish(replace(TABLE, members={number: replace(one, id=number)}), 1.0)
    verdict = made.receive(INVITE, ORIGIN, 1.0)
    assert isinstance(verdict, Forward)
    assert verdict.to.member == number
    load = made.memory.loads.of(number)
    assert (load.waiting, load.patience, load.limit) == (1, 1, START_ADAPTIVE)
    assert made.memory.pending.waiting_count(number) == 1
    assert made.counted().member(number).initial_requests == 1


def test_more_listeners_than_the_thread_has_room_for() -> None:
    """They are read by the event loop."""
    assert router(BEYOND[0][0]).packets is None
