"""`/api/v1/trace`: SIP messages themselves, live or kept. Wants the token where there is one.

    GET /api/v1/trace?call-id=&exact=1&sample=&octets=1   server-sent events, one arrow each
    GET /api/v1/trace?follow=0&call-id=                   what is kept of that call
    GET /api/v1/trace/calls?call-id=                      the latest calls that are kept

`call-id` is a part of a Call-ID or of an X-Genesys-CallUUID.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any, Final

import orjson
from aiohttp import web

from rmlb.admin.sse import Feed, Streams, frame
from rmlb.trace.ladder import arrow, arrow_json
from rmlb.trace.reading import Traced
from rmlb.trace.tracing import Tracing
from rmlb.trace.wanted import Wanted

PATH: Final = "/api/v1/trace"

MOST_WATCHERS: Final = 8
"""Each may be sent every message."""

MOST_UNREAD: Final = 2000
"""Messages that wait for one watcher: some 4 MiB."""

MOST_ARROWS: Final = 2000
"""Of one answer: the longest calls have hundreds."""

MOST_CALLS: Final = 100

_SAMPLE: Final = re.compile("0{0,9}[1-9][0-9]{0,5}")
"""One of so many messages."""


class Messages:
    """Messages of one balancer."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._streams = Streams(MOST_WATCHERS)

    @staticmethod
    def are_at(path: str) -> bool:
        """That path shows messages."""
        return path == PATH or path.startswith(f"{PATH}/")

    def add_to(self, app: web.Application) -> None:
        app.router.add_get(PATH, self._trace, allow_head=False)
        app.router.add_get(f"{PATH}/calls", self._calls)
        app.on_shutdown.append(self._streams.end)

    async def _trace(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        wanted = _wanted(query.get("call-id", ""), query.get("exact", "0"), query.get("sample"))
        if query.get("follow", "1") in ("0", "false"):
            return self._kept(wanted)
        with_octets = query.get("octets", "0") == "1"
        feed = Feed(MOST_UNREAD)
        with self._tracing.watch(wanted, lambda t: feed.put(frame(self._shown(t, with_octets)))):
            return await self._streams.serve(request, feed)

    def _kept(self, wanted: Wanted) -> web.Response:
        recorder = self._tracing.recorder
        found = recorder.find(wanted, MOST_ARROWS) if wanted.call_id else []
        return _json({"keep": recorder.most, "arrows": [self._shown(each) for each in found]})

    async def _calls(self, request: web.Request) -> web.Response:
        recorder = self._tracing.recorder
        wanted = _wanted(request.query.get("call-id", ""), "0", None)
        calls = recorder.calls(wanted, MOST_CALLS)
        return _json({"keep": recorder.most, "calls": [call.as_json() for call in calls]})

    def _shown(self, traced: Traced, with_octets: bool = False) -> dict[str, Any]:
        content = arrow_json(arrow(traced, self._tracing.parties()), traced.copy.data)
        if with_octets:
            content["data"] = b64encode(traced.copy.data).decode()
            content["direction"] = traced.copy.direction
        return {"kind": "arrow", **content}


def _wanted(call_id: str, exact: str, sample: str | None) -> Wanted:
    if sample is not None and not _SAMPLE.fullmatch(sample):
        raise web.HTTPBadRequest(reason="sample must be a number from 1")
    return Wanted(call_id, exact == "1", int(sample or 1))


def _json(content: dict[str, Any]) -> web.Response:
    return web.Response(body=orjson.dumps(content), content_type="application/json")
