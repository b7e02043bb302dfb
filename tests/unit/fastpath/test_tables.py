"""The tables in C against those of routing/, under whatever order of operations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from rmlb.config.rm_options import MOST_MEMBER_ID
from rmlb.fastpath.bindings import Bindings
from rmlb.fastpath.members import Members
from rmlb.fastpath.overload import Loads
from rmlb.fastpath.pending import PendingRequests
from rmlb.routing import bindings, overload, pending
from rmlb.routing.verdict import Destination, Origin
from rmlb.sip.address import Transport

UDP, TCP = Transport.UDP, Transport.TCP
SEEDS = range(40)
STEPS = 400

NEIGHBOURS = [low | high << 40 for low in (0, 1, 2, 15, 16) for high in range(6)]
"""Keys that want the same few places of the index, some of them its last ones."""


def times(rng: Random) -> Iterator[float]:
    """Sixteenths of a second, with pauses of all sizes."""
    now = 1000.0
    while True:
        yield now
        pause = (0.0, 0.0, 0.0625, 1.0, 7.5, 33.0, 250.0, 4000.0, 90_000.0, 400_000.0)
        now += rng.choice(pause) if rng.random() < 0.5 else 0.0


class TestBindings:
    LIMITS = bindings.BindingLimits(max_bindings=12, ttl_s=2000.0, idle_s=300.0, timer_c_s=60.0)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_as_routing_does(self, seed: int) -> None:
        rng = Random(seed)
        limits = self.LIMITS if seed % 3 else bindings.BindingLimits(max_bindings=25)
        model = bindings.Bindings(limits)
        table = Bindings(limits, Members())
        clock = times(rng)
        for _ in range(STEPS):
            now = next(clock)
            key, number, loss = rng.choice(NEIGHBOURS), rng.choice((1, 2, 9)), rng.randrange(4)
            operation = rng.choice(self.OPERATIONS)
            detail = rng.choice((True, False))
            for each in (model, table):
                self.apply(operation, each, key, number, loss, now, detail)
            self.compare(model, table)
        for each in (model, table):
            each.expire(now + 1e6)
        assert len(table) == 0
        assert +table.calls == +model.calls

    OPERATIONS = (
        "bind", "bind", "bind", "answered", "answered", "touch", "touch", "ended", "failed",
        "moved", "subscribed", "resumed", "ended unknown", "header", "expire",
    )  # fmt: skip

    def apply(
        self, operation: str, on: bindings.Bindings, key: int, member: int, loss: int, now: float,
        detail: bool,
    ) -> None:  # fmt: skip
        if operation == "bind":
            on.bind(key, member, loss, now, redundant=detail).transaction = key ^ 5
        elif operation == "header":
            on.bind_header(key + 1000, member, loss, now)  # no Call-ID hashes like a header
        elif operation == "expire":
            on.expire(now)
        elif operation == "ended unknown":
            on.ended_unknown(member)
        else:
            binding = on.find(key)
            if binding is None:
                return
            if operation == "answered":
                tag = b"t%d" % loss
                on.answered(key, binding, now, member=member, loss=loss, tag=tag, fork=detail)
            elif operation == "touch":
                on.touch(binding, now)
            elif operation == "ended":
                on.ended(key, binding, now)
            elif operation == "failed":
                on.failed(key, binding, now)
            elif operation == "moved":
                on.moved(binding, member, loss)
            elif operation == "resumed":
                on.resumed(key, binding, now)
            else:
                on.subscribed(key, binding, now, 0.0 if detail else 500.0)

    def compare(self, model: bindings.Bindings, table: bindings.Bindings) -> None:
        assert (len(table), table.evicted) == (len(model), model.evicted)
        assert +table.calls == +model.calls
        for key in (*NEIGHBOURS, *(key + 1000 for key in NEIGHBOURS)):
            one, other = model.find(key), table.find(key)
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                for name in ("member", "loss", "phase", "expires", "seen", "counted", "callees",
                             "transaction", "is_over"):  # fmt: skip
                    assert getattr(other, name) == getattr(one, name), name

    def test_smaller_limits_count_at_once(self) -> None:
        """A reload; larger ones than at the start want a restart."""
        table = Bindings(bindings.BindingLimits(max_bindings=5), Members())
        for key in range(5):
            table.bind(key, 1, 0, 0.0, redundant=True)
        table.limits = bindings.BindingLimits(max_bindings=3)
        table.bind(9, 1, 0, 0.0, redundant=True)
        assert (len(table), table.evicted) == (3, 3)
        table.limits = bindings.BindingLimits(max_bindings=50)
        for key in range(10, 30):
            table.bind(key, 1, 0, 0.0, redundant=True)
        assert len(table) == 5

    def test_at_most_64_octets_each(self) -> None:
        """DESIGN 6, issue 4: of the table as it is made by default, all in all."""
        limits = bindings.BindingLimits()
        table = Bindings(limits, Members())
        assert table.__sizeof__() / limits.max_bindings <= 64


class TestPendingRequests:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_as_routing_does(self, seed: int) -> None:
        rng = Random(seed)
        limits = pending.PendingLimits(
            max_requests=rng.choice((4, 12)), max_octets=rng.choice((1500, 40_000)), timer_c_s=60.0
        )
        model = pending.PendingRequests(limits)
        table = PendingRequests(limits, Members())
        clock = times(rng)
        for _ in range(STEPS):
            now = next(clock)
            operation, key = rng.choice(self.OPERATIONS), rng.choice(NEIGHBOURS)
            again = rng.randrange(2**32)
            given_up = [
                self.apply(operation, each, key, now, Random(again)) for each in (model, table)
            ]
            assert given_up[1] == given_up[0], operation
            self.compare(model, table, key)
        for each in (model, table):
            each.expire(now + 1e6)
        assert (len(table), table.octets, table.unanswered) == (0, 0, 0)

    OPERATIONS = (
        "remember", "remember", "remember", "remember", "attempt", "revive", "provisional",
        "answered", "answered", "weigh", "expire", "heard",
    )  # fmt: skip

    def apply(
        self, operation: str, on: pending.PendingRequests, key: int, now: float, rng: Random
    ) -> object:
        """One operation; `rng` decides alike for both."""
        if operation == "expire":
            return on.expire(now)
        if operation == "remember":
            if not on.knows(key):
                self.remember(on, key, now, rng)
            return None
        entry = on.find(key)
        if entry is None:
            return None
        if operation == "attempt":
            number = rng.choice((1, 2, 9))
            if entry.attempt_of(number) is None and not entry.final:
                sent = b"s" * rng.randrange(400)
                to = Destination(UDP, "10.0.0.11", 5060, 0)
                on.add_attempt(entry, pending.Attempt(number, now, UDP, sent=sent, to=to))
        elif operation == "revive" and entry.resent and not entry.final:
            on.revive(entry, entry.attempts[0])
        elif operation == "provisional":
            on.provisional(entry, rng.choice((100, 180)), now)
        elif operation == "answered":
            on.answered(entry, rng.choice((200, 486)), now, by=rng.choice((0, entry.newest.member)))
        elif operation == "weigh":
            entry.answer = b"a" * rng.randrange(700)
            on.weigh(entry)
        elif operation == "heard":
            entry.newest.waiting = False
            entry.newest.tags.add(b"tag")
            on.weigh(entry)
        return None

    def remember(self, on: pending.PendingRequests, key: int, now: float, rng: Random) -> None:
        method = rng.choice((b"INVITE", b"INVITE", b"BYE", b"MESSAGE", b"ALONGMETHODOFOURS"))
        host = rng.choice(("192.0.2.10", "255.255.255.254", "2001:db8::1", "::ffff:192.0.2.1"))
        origin = Origin(rng.choice((UDP, TCP)), rng.randrange(9), rng.randrange(2**40), host, 65535)
        attempt = pending.Attempt(rng.choice((1, 2, 9)), now, rng.choice((UDP, TCP)))
        attempt.waiting = rng.random() < 0.7
        data = b"d" * rng.choice((1, 300, 1024, 1025, 1600, 2048, 4096, 4097, 9000))
        on.remember(
            key, call=key ^ 1, method=method, initial=rng.random() < 0.5, data=data, origin=origin,
            attempt=attempt, now=now,
        )  # fmt: skip

    def compare(
        self, model: pending.PendingRequests, table: pending.PendingRequests, key: int
    ) -> None:
        for name in ("octets", "unanswered", "evicted"):
            assert getattr(table, name) == getattr(model, name), name
        assert [table.knows(k) for k in NEIGHBOURS] == [model.knows(k) for k in NEIGHBOURS]
        for number in (1, 2, 9):
            assert table.waiting_count(number) == model.waiting_count(number)
        if key & 1:  # looking at one makes it Python's, so not always
            one, other = model.find(key), table.find(key)
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                assert replace(other, look_at=0) == replace(one, look_at=0)
        if key & 15 == 15:
            for number in (1, 2, 9):
                waiting = [entry.key for entry in table.waiting_for(number)]
                assert waiting == [entry.key for entry in model.waiting_for(number)]

    def test_the_octets_are_its_own(self) -> None:
        """A block that was given back is used again, and never by two."""
        table = PendingRequests(pending.PendingLimits(max_requests=8), Members())
        rng = Random(1)
        kept: dict[int, bytes] = {}
        for key in range(500):
            data = bytes((key % 256,)) * rng.randrange(1, 5000)
            attempt = pending.Attempt(1, 0.0, UDP)
            origin = Origin(UDP, 0, 0, "192.0.2.10", 5060)
            table.remember(
                key, call=1, method=b"BYE", initial=False, data=data, origin=origin,
                attempt=attempt, now=0.0,
            )  # fmt: skip
            kept[key] = data
        for key in range(492, 500):
            entry = table.find(key)
            assert entry is not None
            assert entry.data == kept[key]


class TestLoads:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_as_routing_does(self, seed: int) -> None:
        rng = Random(seed)
        limits = overload.LoadLimits(
            rng.choice((0, 1, 3, 100)), rng.choice((0, 0, 3, 70)), rng.random() < 0.5
        )
        model, table = overload.Loads(limits), Loads(limits, Members())
        clock = times(rng)
        for _ in range(STEPS):
            now, number = next(clock), rng.choice((1, 2))
            what, took = rng.randrange(9), rng.choice((0.0625, 0.125, 1.0, 4.0))
            assert table.has_room(number, now) == model.has_room(number, now)
            for each in (model, table):
                if what < 3:
                    each.sent(number, now, limited=what < 2)
                elif what < 5:
                    each.first_answer(number, took)
                elif what == 5:
                    each.heard(number)
                elif what == 6:
                    each.gave_up(number, 2)
                elif what == 7:
                    each.forgive_silence(number)
                else:
                    each.forget_silence(number)
            assert table.unanswered_for(number, now) == model.unanswered_for(number, now)
            for name in ("waiting", "patience", "refusals", "limit"):
                assert getattr(table.of(number), name) == getattr(model.of(number), name), name


def test_more_members_than_ever_are_refused() -> None:
    """As many different IDs as members can have; the table never grows into others."""
    loads = Loads(overload.LoadLimits(), Members())
    for number in range(1, MOST_MEMBER_ID + 1):
        loads.heard(number)
    with pytest.raises(OverflowError):
        loads.heard(MOST_MEMBER_ID + 1)
    assert loads.of(MOST_MEMBER_ID).waiting == 0
