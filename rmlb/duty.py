"""The worker's side of its keeper: who owns the VIP, what the peers are, commands, the last will.

Stamps the shared page while the event loop turns. When the keeper dies it lets go of the VIP in
its place and ends the process. Without a keeper (tests) the worker owns.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from rmlb.admin.views import PeerView
from rmlb.config import Config, digest_of
from rmlb.events import Event, EventName, Severity
from rmlb.ownership import Page
from rmlb.tether import Message, Tether
from rmlb.will import Executor

STAMP_AT_MOST_S: Final = 0.1
"""The page is stamped twice an interval, and so often where intervals are long."""

COMMAND_S: Final = 5.0
"""A command that the keeper has not answered by then has failed."""

ORPHANED: Final = 70
"""Exit status when the keeper has died."""


class Refused(Exception):  # noqa: N818  # it is an answer, no fault
    """A takeover or release was refused; the text says why."""


class Owner(Protocol):
    """What the duty tells the worker."""

    def standing_changed(self) -> None:
        """Owner or not, peers: as `Duty` says now."""

    def succession_heard(self, told: Mapping[str, Any]) -> None:
        """The loss log and active member of a peer that owns, or knows more."""

    def told_to_stop(self, drain: bool) -> None: ...


class Duty:
    """What the keeper said, and what it is told."""

    def __init__(self, config: Config, page: Page, end: socket.socket) -> None:
        self.page = page
        self.owner = False
        self.can_own = False
        self.peers: tuple[PeerView, ...] = ()
        self.figures: Mapping[str, Any] = {}
        self._end = end
        self._executor = Executor()
        self._interval_s = min(STAMP_AT_MOST_S, config.heartbeat.interval_s / 2)
        self._report: Callable[[Event], object] = lambda _: None
        self._worker: Owner | None = None
        self._tether: Tether | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._stamper: asyncio.TimerHandle | None = None
        self.stamp_ms = max(1, int(1000 * self._interval_s))
        """How often the packet loop is to stamp the page, if it is one of its own."""
        self.stamps_packets = True
        """The event loop is the packet loop, too."""

    def may_forward(self) -> bool:
        """For the packet path (routing.router.Ownership)."""
        return self.page.may_forward()

    def start(self, worker: Owner, report: Callable[[Event], object]) -> None:
        self._worker, self._report = worker, report
        self._tether = Tether(self._end, self._on_message, self._on_keeper_dead)
        self._stamp()

    def say_started(self) -> None:
        """Everything is open: calls can be carried."""
        self._say("started")

    def say_configured(self, config: Config) -> None:
        """What is in force now, after a start or a reload: secrets and what peers compare."""
        secrets = list(config.security.secrets)
        self._say("configured", secrets=secrets, digest=digest_of(config).hex())

    def say_members(self, count: int, local: bool) -> None:
        """How many members can take calls, for the score; whether the local one is in service."""
        self._say("health", members=count, local=local)

    def say_succession(self, told: Mapping[str, Any]) -> None:
        """The loss log's end and the active member, for the peers."""
        self._say("succession", **told)

    async def command(self, what: str, *, force: bool = False) -> None:
        """`takeover` or `release`. Raises Refused."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._say("command", number=number, word=what, force=force)
        try:
            async with asyncio.timeout(COMMAND_S):
                told = await answer
        except TimeoutError:
            raise Refused("the keeper does not answer") from None
        finally:
            del self._waiting[number]
        if not told["done"]:
            raise Refused(str(told["why"]))

    def close(self) -> None:
        if self._stamper is not None:
            self._stamper.cancel()
        if self._tether is not None:
            self._tether.close()
        self._executor.close()

    def _say(self, what: str, **fields: object) -> None:
        if self._tether is not None:
            self._tether.say(what, **fields)

    def _stamp(self) -> None:
        self.page.stamp(self.stamps_packets)
        self._stamper = asyncio.get_running_loop().call_later(self._interval_s, self._stamp)

    def _on_message(self, message: Message) -> None:
        what = message["is"]
        worker = self._worker
        assert worker is not None
        if what == "standing":
            self.owner, self.can_own = message["owner"], message["can_own"]
            self.peers = tuple(PeerView(**peer) for peer in message["peers"])
            self.figures = message["figures"]
            worker.standing_changed()
        elif what == "event":
            severity = Severity(message["severity"])
            name = EventName(message["name"])
            self._report(Event(name, message["at"], severity, message["fields"]))
        elif what == "succession":
            worker.succession_heard(message)
        elif what == "answer":
            waiting = self._waiting.get(message["number"])
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
        elif what == "stop":
            worker.told_to_stop(message["drain"])

    def _on_keeper_dead(self) -> None:
        """Let go in its place. Nothing else holds this process any more."""
        self._executor.carry_out(self.page.will())
        os._exit(ORPHANED)
