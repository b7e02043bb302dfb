"""Carries out what the election decides: heartbeats, lease, provider, the page. SHELL.

The one place in the keeper where events go in and actions come out. One timer, armed in one place.
Knows nothing of the worker but what it is told of its health.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Final

from rmlb.ownership import FOREVER, Page, clock
from rmlb.vip.advert import Alongside, Datagram
from rmlb.vip.ballot import (
    Action,
    Announce,
    Answer,
    Beat,
    CheckStrangers,
    Claim,
    Claimed,
    Event,
    GiveBack,
    Heard,
    LetGo,
    Own,
    Read,
    ReadRecord,
    Renew,
    Renewed,
    Send,
    Strangers,
    Tell,
    Tick,
    Unanswered,
)
from rmlb.vip.election import Election
from rmlb.vip.heartbeat import Heartbeats, Where
from rmlb.vip.interface import REFRESH_S
from rmlb.vip.lease import Lease, LeaseError
from rmlb.vip.providers import Provider

FINISH_S: Final = 0.2
"""After a planned release what is queued may still be dealt with."""

MOST_ASKED: Final = 6
"""Requests to the witness under way; more would only wait behind a dead connection."""

Report = Callable[[str, bool, dict[str, int | float | str]], object]
"""Name of an event, whether it is grave, fields."""


@dataclass(slots=True)
class Figures:
    """What is measured of it; seconds."""

    takeovers: int = 0
    releases: int = 0
    lease_s: float = 0.0
    """Of the newest answer of the witness."""
    lease_failures: int = 0
    add_s: float = 0.0
    """The last time the address was added."""
    held_up_s: float = 0.0
    """The longest that this process got no time, since its first event."""
    heard_at: dict[int, float] = field(default_factory=dict)


class Holding:
    """This balancer's hold on the VIP."""

    def __init__(
        self,
        election: Election,
        provider: Provider,
        page: Page,
        lease: Lease | None,
        report: Report,
        on_change: Callable[[], object],
    ) -> None:
        """`on_change`: owner, peers or witness are other than before."""
        self.election = election
        self.provider = provider
        self.heartbeats: Heartbeats | None = None
        self.along = Alongside()
        self.heard_along: dict[int, Alongside] = {}
        self.figures = Figures()
        self.on_along: Callable[[int, Alongside, bool], object] = lambda *_: None
        """Balancer, what it sent, and whether it owns."""
        self.present = False
        """Without an election: the address is here."""
        self._page = page
        self._lease = lease
        self._report = report
        self._on_change = on_change
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: asyncio.Future[Answer] | None = None
        self._asked = 0
        self._refreshed_at = 0.0
        self._why = ""

    @property
    def owner(self) -> bool:
        return self.election.owner if self.provider.elects else self.present

    # events in

    def give(self, event: Event) -> None:
        """An event for the election; what it decides is done before this returns."""
        now = clock()
        if self._timer is not None:
            late_s = now - self.election.now - self.election.settings.interval_s
            self.figures.held_up_s = max(self.figures.held_up_s, late_s)
        for action in self.election.handle(event, now):
            self._do(action)
        self._write_page()
        self._arm(now)

    def heard(self, datagram: Datagram, counts: bool, source: Where) -> None:
        """A heartbeat has come."""
        sender = datagram.beat.sender
        if counts:
            self.figures.heard_at[sender] = clock()
            self.heard_along[sender] = datagram.along
        self.give(Heard(datagram.beat, counts))
        if counts:
            self.on_along(sender, datagram.along, datagram.beat.owner)

    async def command(self, event: Event) -> Answer:
        """A takeover, release or stop, and how it ended."""
        if self._waiting is not None and not self._waiting.done():
            return Answer(False, "another command is under way")
        self._waiting = asyncio.get_running_loop().create_future()
        self.give(event)
        return await self._waiting

    def tick(self) -> None:
        self.give(Tick())
        now = clock()
        if self.provider.elects and self.election.owner and now - self._refreshed_at >= REFRESH_S:
            self._refreshed_at = now
            self._try(self.provider.refresh)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.heartbeats is not None:
            self.heartbeats.close()
        if self._lease is not None:
            await self._lease.close()
        await self.provider.close()

    def compose(self, to: int, send: Send) -> Beat:
        """The beat to one balancer."""
        beat = self.election.beat_for(to, send, clock())
        return beat if self.provider.elects else beat._replace(owner=self.present)

    def last_will(self) -> tuple[list[bytes], list[tuple[Where, bytes]]]:
        """Netlink requests and datagrams for whoever survives this process."""
        will = self.election.last_will() if self.provider.elects else None
        if will is None:
            return [], []
        frames: list[tuple[Where, bytes]] = []
        if self.heartbeats is not None:
            _, send = will

            def beat(id: int) -> Beat:
                return self.compose(id, send)._replace(owner=False, ready=False)

            frames = self.heartbeats.last_will(beat, self.along)
        return self.provider.removal, frames

    # actions out

    def _do(self, action: Action) -> None:
        if isinstance(action, Send):
            if self.heartbeats is not None:
                self.heartbeats.send(action, self.along)
        elif isinstance(action, Renew | Claim | GiveBack | ReadRecord):
            self._ask(action)
        elif isinstance(action, Own):
            self._own(action)
        elif isinstance(action, LetGo):
            self._let_go(action)
        elif isinstance(action, Announce):
            self.provider.announce()
        elif isinstance(action, CheckStrangers):
            self._keep(self._check_strangers(), "stranger check")
        elif isinstance(action, Tell):
            self._report(action.what, action.grave, action.fields)
            self._on_change()
        elif self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(action)

    def _own(self, action: Own) -> None:
        self._write_page()
        begun = clock()
        self._try(self.provider.take)
        self._refreshed_at = clock()
        self.figures.add_s = self._refreshed_at - begun
        self.figures.takeovers += 1
        self._on_change()  # before the event: it is told by the owner, as its alarms say
        self._report("owner-changed", False, {"owner": self.election.settings.id,
            "epoch": action.epoch, "why": action.why})  # fmt: skip

    def _let_go(self, action: LetGo) -> None:
        # what is queued leaves by sockets that are bound to the address already
        finish = clock() + FINISH_S if action.finish else 0.0
        self._page.may_forward_until = int(finish * 1e9)
        self._try(self.provider.let_go)
        self.figures.releases += 1
        self._on_change()
        self._report("owner-changed", not action.finish, {"from": self.election.settings.id,
            "why": action.why})  # fmt: skip

    def _write_page(self) -> None:
        if not self.provider.elects:
            self._page.may_forward_until = FOREVER if self.present else 0
        elif self.election.owner:
            self._page.may_forward_until = int(self.election.deadline * 1e9)

    def _try(self, what: Callable[[], object]) -> None:
        try:
            what()
        except OSError as error:
            why = f"{what.__name__}: {error.strerror or error}"
            if why != self._why:
                self._report("address-failed", True, {"why": why})
            self._why = why
        else:
            self._why = ""

    async def _check_strangers(self) -> None:
        found = await self.provider.strangers()
        self.give(Strangers(not found))

    # the witness

    def _ask(self, request: Renew | Claim | GiveBack | ReadRecord) -> None:
        if self._lease is None or self._asked >= MOST_ASKED:
            if isinstance(request, Claim):
                asyncio.get_running_loop().call_soon(self.give, Unanswered())
            return
        self._asked += 1
        self._keep(self._ask_lease(self._lease, request), "ask the witness")

    async def _ask_lease(
        self, lease: Lease, request: Renew | Claim | GiveBack | ReadRecord
    ) -> None:
        asked_at = clock()
        try:
            taken, record = await lease.ask(None if isinstance(request, ReadRecord) else request)
        except LeaseError:
            self.figures.lease_failures += 1
            if isinstance(request, Claim):
                self.give(Unanswered())
            return
        finally:
            self._asked -= 1
        self.figures.lease_s = clock() - asked_at
        if isinstance(request, Renew):
            self.give(Renewed(request.n, taken, record, asked_at))
        elif isinstance(request, Claim):
            self.give(Claimed(request.epoch, taken, record, asked_at))
        else:
            self.give(Read(record, asked_at))

    # time

    def _arm(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0.0005, self.election.wake_at(now) - now)
        self._timer = asyncio.get_running_loop().call_later(delay, self.tick)

    def _keep(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
