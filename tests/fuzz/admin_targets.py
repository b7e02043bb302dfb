"""The admin API: octets on its connection, through the real HTTP parser and every handler.

No socket: a connection is the server's protocol with a transport that only remembers. An input is
what a client sends; `\\x1e` in it is where one write ends. Before it `\\x01` stands for the token.
"""

from __future__ import annotations

import asyncio
import logging
import re
from functools import cache
from random import Random
from typing import Any

import orjson
from aiohttp import web
from fake_node import FakeNode
from target import Run, Target, mutate_octets

from rmlb.admin.api import log_of_requests, make_app
from rmlb.admin.views import CallView
from rmlb.events import EventName

TOKEN = "correct horse battery staple"
PAUSE = b"\x1e"
TURNS = 40
"""Of the event loop, until all that one write causes has happened; ten are enough."""

_STRANGE_EXPECT = re.compile(rb"(?i)expect[^\n]*[\x80-\xff]")
"""aiohttp answers 500 to an Expect that is not UTF-8, before anything of ours sees the request; it
harms that request alone. Left out until aiohttp has mended it."""


class _Node(FakeNode):
    def find_call(self, call_id: str) -> CallView | None:
        call_id.encode()  # as the balancer hashes it
        return super().find_call(call_id)


class _Wire(asyncio.Transport):
    """The server's side of a connection, as far as it is seen from there."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 40000), "sockname": ("127.0.0.1", 8560)})
        self.sent = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += data

    def writelines(self, parts: Any) -> None:
        for part in parts:
            self.sent += part

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing ever waits."""

    def pause_reading(self) -> None:
        """What has arrived has arrived."""

    def resume_reading(self) -> None:
        """As before."""

    def is_reading(self) -> bool:
        return True

    def can_write_eof(self) -> bool:
        return False


class _Complaints(logging.Handler):
    """What the server's own log would say."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(self.format(record))


class _Server:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.complaints = _Complaints()
        log = log_of_requests()
        log.addHandler(self.complaints)
        log.propagate = False
        self.loop.set_exception_handler(
            lambda _, context: self.complaints.heard.append(repr(context))
        )
        self.node = _Node()
        self.runner = web.AppRunner(
            make_app(self.node, TOKEN),
            access_log=None,
            auto_decompress=False,
            handle_signals=False,
            logger=log,
        )
        self.loop.run_until_complete(self.runner.setup())
        asyncio.set_event_loop(None)

    def take(self, data: bytes) -> None:
        if _STRANGE_EXPECT.search(data):
            return
        self.complaints.heard.clear()
        known = self.node.said[:], self.node.asked[:], self.node.shown
        faults = self._faults()
        sent = self.loop.run_until_complete(self._talk(data.replace(b"\x01", TOKEN.encode())))
        assert not self.complaints.heard, self.complaints.heard[0]
        assert self._faults() == faults, self.node.log.recent()[-1]
        self._looks_right(bytes(sent))
        if b"\x01" not in data and TOKEN.encode() not in data:
            assert (self.node.said, self.node.asked, self.node.shown) == known, "changed untold"
            assert b'"arrows"' not in sent, "messages shown"
        self.node.said.clear()
        self.node.asked.clear()

    async def _talk(self, data: bytes) -> bytearray:
        assert self.runner.server is not None
        protocol = self.runner.server()
        wire = _Wire()
        protocol.connection_made(wire)
        for part in data.split(PAUSE):
            protocol.data_received(part)
            for _ in range(TURNS):
                await asyncio.sleep(0)
            if wire.closed:
                break
        protocol.connection_lost(None)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return wire.sent

    def _faults(self) -> int:
        log = self.node.log.recent()
        return sum(each.event.name is EventName.FAULT for each in log)

    def _looks_right(self, sent: bytes) -> None:
        """Whole answers, one behind the other; an event stream ends them."""
        while sent:
            head, blank, rest = sent.partition(b"\r\n\r\n")
            assert blank, sent[:200]
            version, status, _ = head.split(b" ", 2)
            assert version in (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9"), sent[:200]
            if status == b"100":
                sent = rest
                continue
            assert 200 <= int(status) < 500 or status in (b"501", b"503", b"505"), sent[:300]
            fields = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
            }
            if b"content-length" not in fields:
                return
            length = int(fields[b"content-length"])
            if fields.get(b"content-type", b"").startswith(b"application/json") and length:
                body = rest[:length]
                if len(body) == length and body[:1] in (b"{", b"["):
                    orjson.loads(body)
            # a HEAD is answered by the head alone, and what follows is the next answer
            sent = rest if rest.startswith(b"HTTP/1.") else rest[length:]


@cache
def _admin() -> Run:
    """One for the process: its loop ends with that."""
    return _Server().take


_GETS = (
    "/", "/healthz", "/readyz", "/metrics", "/api/v1/status", "/api/v1/members", "/api/v1/calls",
    "/api/v1/calls?call-id=a%20b@c", "/api/v1/calls?call-id=%ff%fe", "/api/v1/events",
    "/api/v1/events?follow=0&after=3", "/api/v1/stream", "/static/app.js", "/nothing",
    "/api/v1/trace?follow=0&call-id=a", "/api/v1/trace?sample=3&octets=1", "/api/v1/trace/calls",
    "/api/v1/events?follow=0&after=99999999999999999999", "//healthz", "/../../etc/passwd",
)  # fmt: skip
_CHANGES = (
    ("PUT", "/api/v1/members/1", '{"state": "draining"}'),
    ("PUT", "/api/v1/members/%31", '{"state": ["enabled"]}'),
    ("POST", "/api/v1/members/2/active", ""),
    ("POST", "/api/v1/switchover", '{"member": 1}'),
    ("POST", "/api/v1/takeover", ""),
    ("POST", "/api/v1/release", '{"force": true}'),
)
_HEAD = "Host: 127.0.0.1:8560\r\n"


def _seeds() -> list[bytes]:
    found = [f"GET {path} HTTP/1.1\r\n{_HEAD}\r\n" for path in _GETS]
    found += [f"GET {path} HTTP/1.1\r\n{_HEAD}Authorization: Bearer \x01\r\n\r\n" for path in _GETS]
    for method, path, body in _CHANGES:
        start = f"{method} {path} HTTP/1.1\r\n{_HEAD}"
        rest = f"Content-Length: {len(body)}\r\n\r\n{body}"
        found += [
            start + rest,
            f"{start}Authorization: Bearer \x01\r\n{rest}",
            f"{start}Authorization: bearer  \x01 \r\nOrigin: http://evil.example\r\n{rest}",
        ]
        if body:
            chunked = f"Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n{body}\r\n0\r\n\r\n"
            found.append(f"{start}Authorization: Bearer \x01\r\n{chunked}")
    found += [
        f"HEAD /metrics HTTP/1.0\r\nAccept: application/openmetrics-text\r\n\r\n{found[0]}",
        f"GET /api/v1/events HTTP/1.1\r\n{_HEAD}Last-Event-ID: x\r\n\r\n",
        f"PUT /api/v1/members/1 HTTP/1.1\r\nExpect: 100-continue\r\n{_HEAD}"
        "Authorization: Bearer \x01\r\nContent-Length: 20\r\n\r\n\x1e"
        '{"state": "enabled"}',
    ]
    return [text.encode() for text in found]


_PIECES = (
    b"\xff", b"%ff", b"%00", b"%2f", b"..", b"/", b"//", b"?", b"#", b"&", b"=", b" ", b"\r\n",
    b"\n",
    b"\x00", b"\x1e", b"\x01", b"Authorization: Bearer \x01\r\n", b"Authorization: Bearer \xff\r\n",
    b"Host: [::\r\n", b"Host: \xff\r\n", b"Origin: null\r\n", b"Origin: http://127.0.0.1:8560\r\n",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n",
    b"Content-Encoding: deflate\r\n", b"Connection: close\r\n", b"Upgrade: websocket\r\n",
    b"Accept: \xff\r\n", b"Accept: application/openmetrics-text;version=1.0.0;q=x\r\n",
    b"Last-Event-ID: \xc2\xb2\r\n", b"Range: bytes=0-1\r\n", b"If-Modified-Since: x\r\n",
    b"sample=" + b"1" * 4400, b"sample=1", b"after=-1", b"follow=0", b"call-id=", b"exact=1",
    b"octets=1",
    b'"\\ud800"', b"{}", b"[]", b"null", b"1e999", b'{"member": 1}', b'{"force": 1}',
    b'{"state": {}}',
    b"[" * 2000, b"GET ", b"PUT ", b"POST ", b"HEAD ", b"OPTIONS * HTTP/1.1\r\n\r\n",
    b"CONNECT a:1 ",
    b"HTTP/1.0", b"HTTP/2.0", b"http://a\xff@[::1]:99999/", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)  # fmt: skip


def _mutate(data: bytes, rng: Random) -> bytes:
    match rng.randrange(6):
        case 0:
            return mutate_octets(data, rng)
        case 1:  # in the path
            first = data.find(b" ") + 1
            at = first + rng.randrange(max(1, data.find(b" ", first) - first) + 1)
        case 2:  # between lines
            at = data.find(b"\r\n", rng.randrange(len(data) + 1)) + 2
        case 3:
            at = len(data)
        case _:
            at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(_PIECES) + data[at:]


TARGETS = (
    Target(
        "admin",
        "no 500, no fault reported; JSON is JSON; without the token nothing changes and no message "
        "is shown",
        _admin,
        _seeds,
        mutate=_mutate,
        short=700,
        most=8192,
        floor_s=0.5,
        us_per_octet=100.0,
    ),
)
