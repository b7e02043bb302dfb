"""Server-sent events: many watchers, each with a bounded queue of what it has not read yet.

Owns the response and its end; what is sent is made elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

import orjson
from aiohttp import web

KEEPALIVE_S: Final = 15.0
"""An idle stream gets a comment this often, so that a dead watcher is noticed."""

LOOK_S: Final = 1.0
"""A watcher that has gone is forgotten so soon, and with the last one the copying ends."""

WRITE_TIMEOUT_S: Final = 30.0
"""A watcher that reads nothing for so long is cut off."""


def frame(content: dict[str, Any]) -> bytes:
    """One event."""
    return b"data: " + orjson.dumps(content) + b"\n\n"


class Feed:
    """What one watcher has not read yet. Beyond `most` the oldest is lost, and it is told so."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._frames: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._lost = 0

    def put(self, data: bytes) -> None:
        if len(self._frames) == self._most:
            self._frames.popleft()
            self._lost += 1
        self._frames.append(data)
        self._arrived.set()

    async def next(self) -> bytes:
        """Everything unread; waits for something."""
        while not self._frames:
            self._arrived.clear()
            await self._arrived.wait()
        lost, self._lost = self._lost, 0
        data = b"".join(self._frames)
        self._frames.clear()
        return frame({"kind": "lost", "count": lost}) + data if lost else data


class Streams:
    """The open streams of one kind."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[asyncio.Task[Any]] = set()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._open)

    async def serve(self, request: web.Request, feed: Feed) -> web.StreamResponse:
        """Send what comes, until the watcher goes or `end` is called."""
        if len(self._open) >= self._most:
            raise web.HTTPServiceUnavailable(reason=f"{self._most} streams are open")
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            return await self._send(request, feed)
        finally:
            self._open.discard(task)

    async def end(self, app: web.Application) -> None:
        """End every stream: for `on_shutdown`."""
        self._stopping = True
        for task in self._open:
            task.cancel()

    async def _send(self, request: web.Request, feed: Feed) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        written_at = loop.time()
        try:
            while request.transport is not None:  # else the watcher has gone
                try:
                    async with asyncio.timeout(LOOK_S):
                        data = await feed.next()
                except TimeoutError:
                    if loop.time() - written_at < KEEPALIVE_S:
                        continue
                    data = b": still here\n\n"
                written_at = loop.time()
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await response.write(data)
        except (ConnectionError, TimeoutError):
            pass  # the watcher has gone, or reads nothing
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        return response
