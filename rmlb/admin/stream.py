"""`GET /api/v1/stream`: all that the dashboard and `rmlb top` show, pushed once a second.

One snapshot is made for all watchers, and none while nobody watches; events go out as they
happen. The history is kept always: one look a second at what is counted anyway.

    {"kind": "history", ...}  once, first     {"kind": "events", "events": [...]}  once, second
    {"kind": "snapshot", ...} every second    {"kind": "event", ...}               as it happens
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, Protocol

from aiohttp import web

from rmlb.admin import views
from rmlb.admin.history import History
from rmlb.admin.sse import Feed, Streams, frame
from rmlb.admin.views import NodeView
from rmlb.events import Event, EventLog, EventName, Severity, Subscription
from rmlb.routing.counters import Counters

INTERVAL_S: Final = 1.0

MOST_WATCHERS: Final = 32

MOST_UNREAD: Final = 64
"""Frames of some 4 KiB that wait for one watcher: a minute."""

FIRST_EVENTS: Final = 200
"""Recent events that a new watcher gets."""


class Source(Protocol):
    """Where snapshots are read."""

    def view(self) -> NodeView: ...

    def counters(self) -> Counters: ...

    def events(self) -> EventLog: ...


class Snapshots:
    """The stream of one balancer."""

    def __init__(self, source: Source, *, token_needed: bool) -> None:
        """`token_needed`: what the page must know before anybody presses a button."""
        self._source = source
        self._token_needed = token_needed
        self._history = History()
        self._feeds: set[Feed] = set()
        self._streams = Streams(MOST_WATCHERS)

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/v1/stream", self._watch, allow_head=False)
        app.cleanup_ctx.append(self._running)
        app.on_shutdown.append(self._streams.end)

    async def _running(self, app: web.Application) -> AsyncIterator[None]:
        task = asyncio.get_running_loop().create_task(self._keep_time(), name="snapshots")
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        feed = Feed(MOST_UNREAD)
        recent = self._source.events().recent()[-FIRST_EVENTS:]
        feed.put(frame({"kind": "history", **self._history.as_json()}))
        feed.put(frame({"kind": "events", "events": [views.event_json(each) for each in recent]}))
        feed.put(self._snapshot(self._source.view()))
        self._feeds.add(feed)
        with self._source.events().subscribe() as subscription:
            events = asyncio.get_running_loop().create_task(_pass_on(subscription, feed))
            try:
                return await self._streams.serve(request, feed)
            finally:
                events.cancel()
                self._feeds.discard(feed)

    async def _keep_time(self) -> None:
        while True:
            try:
                self._look()
            except Exception as error:  # one bad second must not end the dashboard for good
                fields = {"where": "GET /api/v1/stream", "why": repr(error)}
                fault = Event(EventName.FAULT, time.time(), Severity.ERROR, fields)
                self._source.events().add(fault)
            await asyncio.sleep(INTERVAL_S)

    def _look(self) -> None:
        view = self._source.view()
        self._history.add(view, self._source.counters(), time.time())
        if self._feeds:
            snapshot = self._snapshot(view)
            for feed in self._feeds:
                feed.put(snapshot)

    def _snapshot(self, view: NodeView) -> bytes:
        return frame(
            {
                "kind": "snapshot",
                "at": time.time(),
                "token_needed": self._token_needed,
                "watchers": len(self._streams),
                "status": views.status_json(view, self._source.counters()),
            }
        )


async def _pass_on(subscription: Subscription, feed: Feed) -> None:
    while True:
        entry = await subscription.next()
        feed.put(frame({"kind": "event", **views.event_json(entry)}))
