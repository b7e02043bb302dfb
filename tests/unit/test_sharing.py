"""What a look at the store makes of this balancer, and what it proposes; nothing is connected."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from rmlb.config import parse
from rmlb.events import Event
from rmlb.roles import Roles
from rmlb.routing.affinity import Memory
from rmlb.routing.keys import Keyring, affinity_key
from rmlb.routing.member import AdminState, Health, Member
from rmlb.routing.router import Router
from rmlb.routing.table import RoutingTable
from rmlb.settings import store_place
from rmlb.sharing import GuardedBindings, Sharing
from rmlb.state.agreement import Word
from rmlb.state.link import Proposal
from rmlb.state.operator import OperatorStates
from rmlb.state.records import StoredBinding
from rmlb.state.store import Look


def _table() -> RoutingTable:
    return RoutingTable({}, (), Keyring(["a secret of the tests"]), affinity_key("site"))


class Waiting:
    not_held = 2
    timed_out = 1

    def __init__(self) -> None:
        self.told: list[int] = []

    def answered(self, key: int) -> None:
        self.told.append(key)


class Balancer:
    """Everything around it, as far as it is needed."""

    def __init__(self, directory: Path, url: str = "redis://127.0.0.1:1/3") -> None:
        text = f"""
            [cluster]
            ha-mode = "active-standby"
            virtual-ip = "127.0.0.1"
            name = "site"
            [rm.1]
            sip = "127.0.0.1:7001"
            [rm.2]
            sip = "127.0.0.1:7002"
            [state]
            url = "{url}"
            dir = "{directory}"
            """
        config = parse(text, "site.toml", environ={})
        place = store_place(config)
        assert place is not None
        self.told: list[Event] = []
        self.words: dict[int, Word] = {}
        self.published = 0
        router = Router(_table(), Memory())
        self.bindings = router.memory.bindings
        self.roles = Roles(config, self.told.append, lambda _: 0)
        self.roles.load({}, time.monotonic())
        self.operator = OperatorStates(directory, set(AdminState), self.told.append)
        self.sharing = Sharing(
            config, place, "0a", GuardedBindings(router), self.roles, self.operator, self,
            self.told.append,
        )  # fmt: skip

    def learn_words(self, words: dict[int, Word]) -> None:
        self.words.update(words)
        self.operator._words.update(words)

    def publish(self) -> None:
        self.published += 1

    def members(self, *healths: Health) -> None:
        members = {n: Member(n, (), health) for n, health in enumerate(healths, start=1)}
        self.roles.update(members, set(), time.monotonic())

    def look(self, calls: dict[int, int] | None = None, **documents: Any) -> list[Proposal]:
        values = {
            name: None if document is None else json.dumps(document).encode()
            for name, document in documents.items()
        }
        get = values.get
        return self.sharing.agree(
            Look(True, get("losses"), get("active"), get("operator"), calls or {})
        )


def proposed(proposals: list[Proposal]) -> dict[str, Any]:
    return {each.key.rpartition(":")[2]: json.loads(each.after) for each in proposals}


async def test_an_empty_store_gets_what_is_here(tmp_path: Path) -> None:
    lb = Balancer(tmp_path)
    assert lb.look() == []
    await lb.operator.keep(1, "draining")
    lb.members(Health.IN_SERVICE, Health.IN_SERVICE)
    lb.members(Health.IN_SERVICE, Health.OUT_OF_SERVICE)
    found = proposed(lb.look())
    assert found["operator"] == {
        "format": 1, "members": {"1": {"state": "draining", "number": 1}},
    }  # fmt: skip
    assert found["active"] == {
        "format": 1, "turn": 2, "active": 1, "elected": None, "retiring": [],
    }  # fmt: skip
    assert (found["losses"]["number"], found["losses"]["losses"][0][:3]) == (1, [1, 2, [1]])
    assert {each.ttl_s for each in lb.look()} == {0.0, 172800.0}
    await lb.roles.close()


async def test_a_standby_puts_no_losses_and_elections_into_the_store(tmp_path: Path) -> None:
    """What it recorded while its own cable was being cut is nobody else's."""
    lb = Balancer(tmp_path)
    lb.members(Health.IN_SERVICE, Health.IN_SERVICE)
    lb.members(Health.IN_SERVICE, Health.OUT_OF_SERVICE)
    lb.roles.is_owner = False
    assert proposed(lb.look()).keys().isdisjoint({"losses", "active"})
    lb.roles.is_owner = True
    assert proposed(lb.look()).keys() >= {"losses", "active"}
    await lb.roles.close()


async def test_what_is_there_is_taken_up(tmp_path: Path) -> None:
    lb = Balancer(tmp_path)
    lb.members(Health.IN_SERVICE, Health.IN_SERVICE)
    proposals = lb.look(
        losses={"format": 1, "number": 9, "losses": [[9, 1, [2], time.time() - 60]]},
        active={"format": 1, "turn": 7, "active": 1, "elected": 1, "retiring": [2], "new": 0},
        operator={"format": 1, "members": {"2": {"state": "draining", "number": 3}}},
    )
    assert [each.before == each.after for each in proposals] == [True, True], "refreshed alone"
    assert lb.words == {2: Word(3, "draining")}
    assert (lb.roles.standing.active, lb.roles.standing.losses.number) == (1, 9)
    assert lb.published >= 2
    await lb.roles.close()


async def test_what_is_not_understood_is_told_once_and_left_alone(tmp_path: Path) -> None:
    lb = Balancer(tmp_path)
    await lb.operator.keep(1, "draining")
    for _ in range(2):
        assert lb.look(operator={"format": 2, "words": []}) == []
    assert [event.name for event in lb.told] == ["state-store-not-understood"]
    for nonsense in (
        {"format": 1},
        {"format": 1, "members": 7},
        {"format": 1, "members": {"x": 1}},
    ):
        assert lb.look(operator=nonsense) == []
    await lb.roles.close()


async def test_recalled(tmp_path: Path) -> None:
    lb, waiting = Balancer(tmp_path), Waiting()
    lb.sharing.serve(waiting)
    lb.look({1: 4, 2: 0})
    assert lb.bindings.load(1) == 4
    lb.sharing.told(77, StoredBinding(1, 5, live=True, ended=False))
    lb.sharing.told(77, StoredBinding(2, 5, live=True, ended=False))
    lb.sharing.told(78, None)
    found = lb.bindings.find(77)
    assert found is not None
    assert (found.member, found.loss) == (1, 5)
    assert (lb.bindings.calls[1], lb.bindings.load(1)) == (1, 4), "counted once"
    assert waiting.told == [77, 77, 78]
    view = lb.sharing.view()
    assert (view.backend, view.connected) == ("redis", False)
    assert view.store is not None
    assert view.store.asked == {"found": 0, "missing": 0, "timeout": 1, "not_held": 2}
    await lb.roles.close()


async def test_one_alarm_each_way(tmp_path: Path) -> None:
    lb = Balancer(tmp_path)
    lb.sharing.on_link(False, "no answer")
    lb.sharing.on_link(True, "")
    assert [(str(event.name), str(event.severity)) for event in lb.told] == [
        ("state-store-lost", "error"),
        ("state-store-back", "info"),
    ]
    assert not lb.sharing.ask(1), "nobody to ask"
    await lb.roles.close()


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://h", ("redis", (("h", 6379),), 0, "", None, None, False)),
        ("rediss://u:p%40@h:1/2", ("redis", (("h", 1),), 2, "", "u", "p@", True)),
        ("redis+sentinel://a,b:2/rm/3",
         ("sentinel", (("a", 26379), ("b", 2)), 3, "rm", None, None, False)),
        ("rediss+cluster://:p@a:1,b:2", ("cluster", (("a", 1), ("b", 2)), 0, "", None, "p", True)),
        ("redis://h/1?password=x", ("redis", (("h", 6379),), 1, "", None, "x", False)),
    ],
)  # fmt: skip
async def test_places(tmp_path: Path, url: str, found: tuple[Any, ...]) -> None:
    lb = Balancer(tmp_path, url)
    place = store_place(lb.sharing._config)
    assert place is not None
    assert (
        place.kind, place.hosts, place.database, place.service, place.user, place.password,
        place.tls,
    ) == found  # fmt: skip
    assert "password" not in repr(place)
