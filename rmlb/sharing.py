"""What this balancer shares with others through the store (HA-RULES 5).

SHELL around state.link: gives it the changed bindings, takes up what other balancers know (calls
of a Call-ID, losses, the active member, the operator's words), and says what they should know.
Decides nothing about SIP. The path of a packet works on without all of this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from rmlb import __version__
from rmlb.admin.views import StateView, StoreView
from rmlb.config import Config
from rmlb.events import Event, EventName, Severity
from rmlb.roles import Roles
from rmlb.routing.bindings import Change
from rmlb.routing.member import AdminState
from rmlb.routing.router import Router
from rmlb.state import agreement
from rmlb.state.agreement import Word
from rmlb.state.client import Place
from rmlb.state.link import Link, Proposal
from rmlb.state.operator import OperatorStates
from rmlb.state.records import FORMAT, StoredBinding, decode_document, encode_document
from rmlb.state.store import Look, Store

START_S: Final = 1.0
"""A start waits so long for what the others know: twice a round trip to a store that has to be
connected first, and no long delay where there is none."""

REFRESHED: Final = 4
"""A document that expires is written again that many times before it would."""


class GuardedBindings:
    """The bindings of a router, for whoever is not on the path of a packet: one call, one lock."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._bindings = router.memory.bindings

    def keep_journal(self) -> None:
        """Changes are kept from now on."""
        with self._router.held():
            self._bindings.journal = True

    def tell_of_change(self, tell: Callable[[], None]) -> None:
        """Call it once, with the next change; at once if one waits."""
        with self._router.held():
            waits = bool(self._bindings.changes_waiting)
            self._bindings.on_change = None if waits else tell
        if waits:
            tell()

    def changes_waiting(self) -> int:
        with self._router.held():
            return self._bindings.changes_waiting

    def changes_to_repeat(self) -> int:
        with self._router.held():
            return self._bindings.changes_to_repeat

    def changes_lost(self) -> int:
        with self._router.held():
            return self._bindings.changes_lost

    def take_changes(self, most: int) -> Sequence[Change]:
        with self._router.held():
            return self._bindings.take_changes(most)

    def start_repeating(self) -> None:
        with self._router.held():
            self._bindings.start_repeating()

    def repeat_changes(self, most: int) -> Sequence[Change]:
        with self._router.held():
            return self._bindings.repeat_changes(most)

    def forget_changes(self) -> None:
        with self._router.held():
            self._bindings.forget_changes()

    def recall(self, key: int, found: StoredBinding, now: float) -> None:
        """Take up what another balancer knows; it is counted here from now on."""
        with self._router.held():
            bindings = self._bindings
            if bindings.find(key) is not None:
                return
            member, loss, live, ended = found
            bindings.recall(key, member, loss, now, live=live, ended=ended)
            if live:
                bindings.elsewhere[member] = bindings.elsewhere.get(member, 0) - 1

    def count(self, calls: Mapping[int, int], *, heard_all: bool) -> None:
        """What the store counts is right, but for what has changed here since.

        So calls that began here and ended through another balancer count no more. Only while the
        store has not heard of all that is here, it cannot know better.
        """
        with self._router.held():
            bindings = self._bindings
            for member, count in calls.items():
                others = count - bindings.calls[member]
                bindings.elsewhere[member] = others if heard_all else max(0, others)

    def load(self, member: int) -> int:
        with self._router.held():
            return self._bindings.load(member)


class Waiting(Protocol):
    """Messages that wait for an answer (transport.held.Held)."""

    not_held: int
    timed_out: int

    def answered(self, key: int) -> None: ...


class Host(Protocol):
    """The balancer around it."""

    def learn_words(self, words: dict[int, Word]) -> None:
        """Another balancer's operator spoke."""

    def publish(self) -> None:
        """What routing goes by has changed."""


class Sharing:
    """One balancer's part in what is shared."""

    def __init__(
        self,
        config: Config,
        place: Place,
        instance: str,
        bindings: GuardedBindings,
        roles: Roles,
        operator: OperatorStates,
        host: Host,
        report: Callable[[Event], object],
    ) -> None:
        self._config = config
        self._bindings = bindings
        self._roles = roles
        self._operator = operator
        self._host = host
        self._report = report
        self._waiting: Waiting | None = None
        self._instance = instance
        self._refreshed: dict[str, float] = {}
        self._put_off: dict[str, str] = {}
        self._store = Store(place, config.cluster.name, instance)
        self._link = Link(
            self._store,
            bindings,
            self,
            lambda: list(self._config.rm),
            lambda: self._config.affinity.idle_s,
        )
        roles.on_keep = self._link.wake

    async def start(self) -> None:
        """Hear what the others know, if the store tells in time; then go on in the background."""
        await self._link.start(START_S)

    async def stop(self) -> None:
        """Write what waits, and say goodbye."""
        await self._link.stop()

    def configure(self, config: Config) -> None:
        """Go on under a new configuration; the store stays."""
        self._config = config

    def serve(self, waiting: Waiting) -> None:
        """Answers go to these messages."""
        self._waiting = waiting

    @property
    def connected(self) -> bool:
        return self._link.connected

    def calls(self, member: int) -> int:
        """The member's calls on all balancers."""
        return self._bindings.load(member)

    def ask(self, key: int) -> bool:
        """Have the store asked for a Call-ID; False where that is of no use now."""
        return self._link.ask(key)

    def spoke(self) -> None:
        """The operator did: tell the others at once."""
        self._link.wake()

    def view(self) -> StateView:
        stats, waiting = self._link.stats, self._waiting
        timed_out = waiting.timed_out if waiting is not None else 0
        return StateView(
            backend=self._config.state.backend,
            connected=self._link.connected,
            why=self._link.why,
            store=StoreView(
                backlog=self._bindings.changes_waiting(),
                to_repeat=self._bindings.changes_to_repeat(),
                written=stats.written,
                lost=self._bindings.changes_lost(),
                asked={
                    "found": stats.found,
                    "missing": stats.asked - stats.found,
                    "timeout": timed_out,
                    "not_held": waiting.not_held if waiting is not None else 0,
                },
                failures=stats.failures,
                durations=stats.durations,
            ),
        )

    # Sharer: what the link calls

    def presence(self) -> bytes:
        vip = self._config.cluster.virtual_ip
        return orjson.dumps({"format": FORMAT, "version": __version__, "vip": vip})

    def told(self, key: int, binding: StoredBinding | None) -> None:
        """Recall the binding, and let go who waits for it."""
        if binding is not None:
            self._bindings.recall(key, binding, asyncio.get_running_loop().time())
        if self._waiting is not None:
            self._waiting.answered(key)

    def on_link(self, connected: bool, why: str) -> None:
        backend = self._config.state.backend
        if connected:
            self._refreshed.clear()
            self._tell(EventName.STATE_STORE_BACK, Severity.INFO, {"backend": backend})
        else:
            fields = {"backend": backend, "why": why}
            self._tell(EventName.STATE_STORE_LOST, Severity.ERROR, fields)
        self._host.publish()

    def agree(self, look: Look) -> list[Proposal]:
        """Merge what is there with what is here, document by document."""
        heard_all = self._link.connected and not self._bindings.changes_to_repeat()
        self._bindings.count(look.calls, heard_all=heard_all)
        keys = self._store.keys
        found = (
            self._agree_on(keys.losses, look.losses, self._merge_losses),
            self._agree_on(keys.active, look.active, self._merge_active),
            self._agree_on(keys.operator, look.operator, self._merge_words),
        )
        return [proposal for proposal in found if proposal is not None]

    def _agree_on(
        self,
        key: str,
        there: bytes | None,
        merge: Callable[[dict[str, Any] | None], dict[str, Any] | None],
    ) -> Proposal | None:
        """`merge` takes up what is there, and says what is to be there instead (None: the same)."""
        try:
            content = decode_document(there)
            wanted = merge(content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._put_off_once(key, str(error))
            return None
        ttl_s = 0.0 if key == self._store.keys.operator else self._config.affinity.ttl_s
        now = time.monotonic()
        if wanted is not None:
            self._refreshed[key] = now
            return Proposal(key, there, encode_document(wanted, content or {}), ttl_s)
        if not ttl_s or there is None:
            return None
        if now < self._refreshed.get(key, now - ttl_s) + ttl_s / REFRESHED:
            return None
        self._refreshed[key] = now
        return Proposal(key, there, there, ttl_s)

    def _put_off_once(self, key: str, why: str) -> None:
        if self._put_off.get(key) != why:
            self._put_off[key] = why
            fields = {"backend": self._config.state.backend, "why": f"{key}: {why}; left alone"}
            self._tell(EventName.STATE_STORE_NOT_UNDERSTOOD, Severity.WARNING, fields)

    def _merge_losses(self, content: dict[str, Any] | None) -> dict[str, Any] | None:
        theirs = agreement.read_losses_document(content)
        ours = self._roles.losses
        ttl_s = self._config.affinity.ttl_s
        merged = agreement.merge_losses(ours, theirs, time.time(), ttl_s)
        if (merged.number, merged.names) != (ours.number, ours.names):
            self._roles.learn_losses(merged, time.monotonic())
            self._host.publish()
        same = merged.number == theirs.number and merged.names <= theirs.names
        return None if same or not self._roles.is_owner else agreement.losses_content(merged)

    def _merge_active(self, content: dict[str, Any] | None) -> dict[str, Any] | None:
        theirs = agreement.read_active(content)
        if theirs.turn > self._roles.active.turn:
            self._roles.learn_active(theirs)
            self._host.publish()
        ours = self._roles.active
        if ours.turn <= theirs.turn or not self._roles.is_owner:
            return None
        return agreement.active_content(ours)

    def _merge_words(self, content: dict[str, Any] | None) -> dict[str, Any] | None:
        theirs = agreement.read_words(content, AdminState)
        ours = self._operator.words
        merged = agreement.merge_words(ours, theirs)
        news = {member: word for member, word in merged.items() if ours.get(member) != word}
        if news:
            self._host.learn_words(news)
        if merged == theirs:
            return None
        return agreement.words_content(merged, (content or {}).get("members", {}))

    def _tell(self, name: EventName, severity: Severity, fields: dict[str, str]) -> None:
        self._report(Event(name, time.time(), severity, fields))
