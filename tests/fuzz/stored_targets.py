"""What others left behind: records in Redis and files in `[state] dir`, by any version or hand.

The first octet says which record it is. What is understood goes all the way: into both engines'
bindings, into the roles, and with their loss log into the tables that both engines route by.
"""

from __future__ import annotations

import asyncio
import atexit
import re
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from target import Run, Target, mutate_octets

from rmlb.config import Config, parse
from rmlb.events import Event
from rmlb.fastpath.engine import CompiledRouter
from rmlb.roles import Roles
from rmlb.routing.affinity import Memory
from rmlb.routing.bindings import BindingLimits, Bindings
from rmlb.routing.keys import Keyring, affinity_key
from rmlb.routing.mark import make_mark, read_mark
from rmlb.routing.member import AdminState, Health, Member
from rmlb.routing.pending import PendingLimits, PendingRequests
from rmlb.routing.router import Router
from rmlb.routing.table import RoutingTable
from rmlb.settings import store_place
from rmlb.sharing import GuardedBindings, Sharing
from rmlb.sip.address import SipAddress, Transport
from rmlb.state.agreement import Word
from rmlb.state.operator import FILE_NAME as WORDS_FILE
from rmlb.state.operator import OperatorStates
from rmlb.state.records import decode_binding
from rmlb.state.store import Look
from rmlb.state.succession import FILE_NAME as LOSSES_FILE

KEY = 77
TEXT = """
[cluster]
ha-mode = "{mode}"
virtual-ip = "127.0.0.1"
name = "site"
[rm.1]
sip = "127.0.0.1:7001"
[rm.2]
sip = "127.0.0.1:7002"
[state]
url = "redis://127.0.0.1:1/3"
dir = "{directory}"
"""


def _table() -> RoutingTable:
    members = {
        n: Member(n, (SipAddress(Transport.UDP, "127.0.0.1", 7000 + n),), Health.IN_SERVICE)
        for n in (1, 2)
    }
    return RoutingTable(members, (), Keyring(["a secret of the tests"]), affinity_key("site"))


TABLE = _table()


def _memory() -> Memory:
    """Tables that are made quickly: each input gets new ones."""
    bindings = Bindings(BindingLimits(max_bindings=64))
    return Memory(bindings, PendingRequests(PendingLimits(max_requests=64)))


class _Balancer:
    """As far as records reach into one. `words` are what its operator learnt."""

    def __init__(self, directory: Path, config: Config) -> None:
        place = store_place(config)
        assert place is not None
        self.told: list[Event] = []
        self.routers = Router(TABLE, _memory()), CompiledRouter(TABLE, _memory())
        self.roles = Roles(config, self.told.append, lambda _: 0)
        self.roles._file.put = lambda kept: None  # type: ignore[method-assign]  # tests of its own
        self.roles.load({}, time.monotonic())
        self.operator = OperatorStates(directory, set(AdminState), self.told.append)
        self.operator.load()
        self.sharings = [
            Sharing(config, place, "0a", GuardedBindings(router), self.roles, self.operator, self,
                    self.told.append)
            for router in self.routers
        ]  # fmt: skip

    def learn_words(self, words: dict[int, Word]) -> None:
        self.operator._words.update(words)

    def publish(self) -> None:
        losses = self.roles.standing.losses
        for router in self.routers:
            router.publish(replace(router.table, losses=losses), 1.0)

    def routes(self) -> None:
        """Whatever it has learnt: a mark made now is read, and a dialog has the same home in both
        engines."""
        self.publish()
        table = self.routers[0].table
        number = table.losses.number
        mark = make_mark(table.keys, 1, number, b"x", b"f")
        read = read_mark(table.keys, mark, b"x", b"f")
        assert read is not None, f"loss {number} does not fit a mark"
        assert read.loss == number
        one, other = (router.memory.bindings.find(KEY) for router in self.routers)
        if one is None or other is None:
            assert one is other, "one engine took the binding up"
            return
        for name in "member", "loss", "phase":
            assert getattr(one, name) == getattr(other, name), name
        table.losses.holder(one.member, one.loss, KEY, table.affinity_key)


class _Stored:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = TemporaryDirectory(prefix="rmlb-fuzz-")
        atexit.register(self.folder.cleanup)
        self.path = Path(self.folder.name)
        self.configs = [
            parse(TEXT.format(mode=mode, directory=self.folder.name), "site.toml", environ={})
            for mode in ("active-active", "active-standby")
        ]

    def take(self, data: bytes) -> None:
        self.loop.run_until_complete(self._take(data[0] if data else 0, data[1:]))

    async def _take(self, kind: int, data: bytes) -> None:
        names = WORDS_FILE, LOSSES_FILE
        for name in names:
            (self.path / name).unlink(missing_ok=True)
        if kind % 6 >= 4:
            (self.path / names[kind % 2]).write_bytes(data)
        balancer = _Balancer(self.path, self.configs[kind >> 6 & 1])
        match kind % 6:
            case 0:
                found = decode_binding(data)
                for sharing in balancer.sharings:
                    sharing.told(KEY, found)
            case 1:
                self._agree(balancer, "losses", data)
            case 2:
                self._agree(balancer, "active", data)
            case 3:
                self._agree(balancer, "operator", data)
        balancer.routes()
        document = balancer.operator._content()
        assert orjson.loads(orjson.dumps(document)) == document

    def _agree(self, balancer: _Balancer, name: str, data: bytes) -> None:
        """What is proposed instead is understood, and then there is nothing more to say."""
        sharing = balancer.sharings[0]
        proposals = sharing.agree(_look(name, data))
        for proposal in proposals:
            if proposal.key.endswith(name):
                assert proposal.before == data
                again = sharing.agree(_look(name, proposal.after))
                assert all(
                    each.after == each.before for each in again if each.key.endswith(name)
                ), "no end to it"
        assert len(balancer.told) < 10


def _look(name: str, data: bytes) -> Look:
    documents = {"losses": None, "active": None, "operator": None} | {name: data}
    return Look(True, calls={1: 3, 2: 0}, **documents)


@cache
def _stored() -> Run:
    """One for the process: its loop and its folder end with that."""
    return _Stored().take


_BINDINGS = (
    b"1 2 17 live", b"1 1 0 ended", b"1 65535 999999999 bound", b"2 1 1 live", b"0 1 1 live more",
    b"1 -1 -1 live", b"1 4294967296 4294967296 live", b"x", b"",
)  # fmt: skip


def _seeds() -> list[bytes]:
    now = time.time()
    losses = [[8, 1, [2], now - 900], [9, 2, [1], now - 60], [9, 7, [], now]]
    documents: list[tuple[int, Any]] = [
        (1, {"format": 1, "number": 9, "losses": losses, "new": {"x": 1}}),
        (1, {"format": 1, "number": 0, "losses": []}),
        (2, {"format": 1, "turn": 7, "active": 1, "elected": None, "retiring": [2]}),
        (66, {"format": 1, "turn": 7, "active": 1, "elected": 2, "retiring": [2]}),
        (3, {"format": 1, "members": {"2": {"state": "draining", "number": 3, "by": "x"}}}),
        (3, {"format": 1, "members": {"1": {"state": "resting", "number": 3}}}),
        (4, {"version": 1, "members": {"1": "disabled"}, "numbers": {"1": 4}}),
        (5, {"version": 1, "number": 9, "losses": losses, "lost": [2], "active": 1,
             "elected": None, "retiring": [2], "turn": 5}),
    ]  # fmt: skip
    documents.append((71, documents[-1][1]))
    found = [b"\x00" + value for value in _BINDINGS]
    return found + [bytes((kind,)) + orjson.dumps(content) for kind, content in documents]


_PIECES = (
    b"0", b"-1", b"1", b"9", b"999999999", b"1000000000", b"4294967295", b"4294967296",
    b"9223372036854775808", b"18446744073709551616", b"1e400", b"1.5", b"1e99", b"null", b"true",
    b'""', b'"1"', b'"-1"', b'"' + b"1" * 4400 + b'"', b"[]", b"{}", b"[1]", b'{"a":1}',
    b"[" * 1100,
    b'"draining"', b'"enabled"', b'"\\u00b2"', b'"members"', b",", b":", b"NaN",
)  # fmt: skip
_VALUE = re.compile(rb'-?\d[\d.e+]*|"[^"]*"|null|true|false|\[[^\[\]]*\]')


def _mutate(data: bytes, rng: Random) -> bytes:
    """Mostly one value of the record for another."""
    if rng.random() < 0.15:
        return mutate_octets(data, rng)
    values = list(_VALUE.finditer(data, 1))
    if not values:
        return data + rng.choice(_PIECES)
    value = rng.choice(values)
    if rng.random() < 0.2:
        return data[: value.end()] + b"," + value[0] + data[value.end() :]
    return data[: value.start()] + rng.choice(_PIECES) + data[value.end() :]


TARGETS = (
    Target(
        "stored",
        "understood or left alone; what is proposed instead is understood and ends it; both "
        "engines take up the same; loss numbers fit a mark",
        _stored,
        _seeds,
        mutate=_mutate,
        short=300,
        floor_s=0.5,
        us_per_octet=100.0,
    ),
)
