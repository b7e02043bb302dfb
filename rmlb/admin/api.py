"""The admin API: HTTP on `[admin] listen` (DESIGN 3.4).

Owns routes, status codes, the token and the event stream. Sees the balancer through `Node`,
shows views and passes on what the operator says; it decides nothing itself and knows nothing
of sockets that carry SIP. Every answer but /metrics and the event stream is JSON, errors are
`{"error": ...}`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import orjson
from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError

from rmlb import __version__
from rmlb.admin import pages, views
from rmlb.admin.messages import Messages
from rmlb.admin.prometheus import Exporter
from rmlb.admin.stream import Snapshots
from rmlb.admin.views import CallView, NodeView
from rmlb.events import Event, EventLog, EventName, NumberedEvent, Severity
from rmlb.routing.counters import Counters
from rmlb.routing.member import AdminState
from rmlb.trace.tracing import Tracing

MAX_BODY: Final = 64 * 1024
"""Octets of a request's body; the largest that makes sense has some 30."""

MAX_WATCHERS: Final = 32
"""Event streams at a time: each holds a socket and up to 256 events."""

KEEPALIVE_S: Final = 15.0
"""An idle event stream gets a comment this often, so that a dead watcher is noticed."""

WRITE_TIMEOUT_S: Final = 30.0
"""A watcher that reads nothing for so long is cut off."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Node(Protocol):
    """The balancer as the admin API needs it."""

    def view(self) -> NodeView:
        """What it is like now."""

    def counters(self) -> Counters:
        """What it has counted since start."""

    def events(self) -> EventLog:
        """What has happened."""

    def tracing(self) -> Tracing:
        """Copies of its messages, for who asks."""

    def find_call(self, call_id: str) -> CallView | None:
        """The binding of exactly this Call-ID."""

    async def set_admin_state(self, member_id: int, state: AdminState, why: str) -> None:
        """Publish the operator's word at once, then keep it on disk. KeyError: no such member."""

    async def switchover(self, member_id: int | None) -> None:
        """Make another member active: this one, or (None) the highest ID. Raises Conflict."""

    async def told_active(self, member_id: int) -> None:
        """The Resource Managers' own election chose this member. Raises Conflict."""

    async def take_over(self) -> None:
        """Own the virtual IP. Raises Conflict."""

    async def release(self, force: bool) -> None:
        """Hand the virtual IP over; `force`: also to nobody. Raises Conflict."""


class Conflict(Exception):  # noqa: N818  # HTTP's word for it
    """It cannot be done as things are; the text is one line for an operator."""


class AdminError(Exception):
    """The admin API cannot be opened; the text is one line for an operator."""


def make_app(node: Node, token: str | None = None) -> web.Application:
    """The application without a socket. `token`: what a change has to bring."""
    return _Api(node, token).app


def log_of_requests() -> logging.Logger:
    """Where the HTTP server complains. What is no HTTP gets its 400 and no line: else anybody who
    reaches the port could fill the disk."""
    log = logging.getLogger("rmlb.admin")
    if _is_ours not in log.filters:
        log.addFilter(_is_ours)
    return log


def _is_ours(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


class AdminServer:
    """The admin API on its socket."""

    def __init__(
        self,
        node: Node,
        host: str,
        port: int,
        *,
        token: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._ssl = ssl_context
        self._runner = web.AppRunner(
            make_app(node, token),
            access_log=None,
            logger=log_of_requests(),
            auto_decompress=False,  # nobody has a reason to compress thirty octets
            handle_signals=False,
            shutdown_timeout=1.0,
            keepalive_timeout=75.0,
        )

    @property
    def port(self) -> int:
        """The port that was bound; of use where 0 was asked for."""
        addresses = self._runner.addresses
        return int(addresses[0][1]) if addresses else self._port

    async def start(self) -> None:
        """Listen. Raises AdminError, with nothing left open."""
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        server.request_handler = _as_expected(server.request_handler)
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._ssl)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            where = f"{self._host}:{self._port}"
            # asyncio folds the address into strerror; the cause alone is what helps.
            reason = error.strerror or str(error)
            reason = reason.rpartition(": ")[2] if ": " in reason else reason
            raise AdminError(f"[admin] listen: cannot listen on {where}: {reason}") from error

    async def stop(self) -> None:
        """Close the socket, end event streams, let other answers finish for a second."""
        await self._runner.cleanup()


class _Api:
    def __init__(self, node: Node, token: str | None) -> None:
        self._node = node
        self._token = token
        self._exporter = Exporter(node)
        self._streams: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self.app = web.Application(
            client_max_size=MAX_BODY, middlewares=[_errors_as_json(node), self._guard]
        )
        self.app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/api/v1/status", self._status),
                web.get("/api/v1/members", self._members),
                web.put("/api/v1/members/{id}", self._put_member),
                web.post("/api/v1/members/{id}/active", self._post_active),
                web.post("/api/v1/switchover", self._post_switchover),
                web.post("/api/v1/takeover", self._post_takeover),
                web.post("/api/v1/release", self._post_release),
                web.get("/api/v1/calls", self._calls),
                web.get("/api/v1/events", self._events, allow_head=False),
            ]
        )
        Snapshots(node, token_needed=token is not None).add_to(self.app)
        Messages(node.tracing()).add_to(self.app)
        pages.add_to(self.app)
        self.app.on_response_prepare.append(_sign)
        self.app.on_shutdown.append(self._end_streams)

    # -- who may change something, or read messages --------------------------------------------

    @property
    def _guard(self) -> Any:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.method not in ("GET", "HEAD") or Messages.are_at(request.path):
                self._check_trusted(request)
            return await handler(request)

        return guard

    def _check_trusted(self, request: web.Request) -> None:
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.host:
            raise _error(web.HTTPForbidden, "requests of other web sites are refused")
        if self._token is not None:
            given = request.headers.get("Authorization", "").partition(" ")
            bearer = given[0].lower() == "bearer"
            brought = given[2].strip().encode(errors="surrogateescape")
            same = hmac.compare_digest(brought, self._token.encode())
            if not (bearer and same):
                raise _error(
                    web.HTTPUnauthorized,
                    "this needs the token of [admin] token",
                    headers={"WWW-Authenticate": 'Bearer realm="rmlb"'},
                )
        elif not _is_plain_host(request.host):
            # A web site whose name resolves to loopback (DNS rebinding) is no operator.
            raise _error(web.HTTPForbidden, "use the address or localhost, not a host name")

    # -- what it is like ------------------------------------------------------------------------

    async def _healthz(self, request: web.Request) -> web.Response:
        return _json({"status": "alive", "version": __version__})

    async def _readyz(self, request: web.Request) -> web.Response:
        ready, reason = views.readiness(self._node.view())
        return _json({"ready": ready, "reason": reason}, status=200 if ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        exposition = self._exporter.expose(request.headers.get("Accept", ""))
        return web.Response(body=exposition.body, headers={"Content-Type": exposition.content_type})

    async def _status(self, request: web.Request) -> web.Response:
        return _json(views.status_json(self._node.view(), self._node.counters()))

    async def _members(self, request: web.Request) -> web.Response:
        return _json(views.members_json(self._node.view()))

    async def _calls(self, request: web.Request) -> web.Response:
        call_id = request.query.get("call-id")
        if call_id is None:
            return _json(views.calls_json(self._node.view()))
        call = self._node.find_call(call_id)
        if call is None:
            raise _error(web.HTTPNotFound, "no such call")
        return _json(views.call_json(call))

    # -- what the operator says -----------------------------------------------------------------

    async def _put_member(self, request: web.Request) -> web.Response:
        member_id = self._member_id(request.match_info["id"])
        state = _admin_state(await _body(request))
        who = f"admin API from {request.remote}"
        await self._node.set_admin_state(member_id, state, who)
        return _json(views.member_json(self._node.view().member(member_id)))

    async def _post_active(self, request: web.Request) -> web.Response:
        await self._node.told_active(self._member_id(request.match_info["id"]))
        return _json(views.activity_json(self._node.view()))

    async def _post_switchover(self, request: web.Request) -> web.Response:
        member = _wanted_member(await _body(request))
        await self._node.switchover(None if member is None else self._member_id(member))
        return _json(views.activity_json(self._node.view()))

    async def _post_takeover(self, request: web.Request) -> web.Response:
        await self._node.take_over()
        return _json(views.vip_json(self._node.view()))

    async def _post_release(self, request: web.Request) -> web.Response:
        await self._node.release(_forced(await _body(request)))
        return _json(views.vip_json(self._node.view()))

    def _member_id(self, text: str) -> int:
        known = [member.id for member in self._node.view().members]
        if text in map(str, known):
            return int(text)
        names = ", ".join(map(str, known))
        raise _error(web.HTTPNotFound, f"no member {text[:20]}; there are: {names}")

    # -- what happens ---------------------------------------------------------------------------

    async def _events(self, request: web.Request) -> web.StreamResponse:
        after = _number(request.query.get("after") or request.headers.get("Last-Event-ID") or "0")
        log = self._node.events()
        if request.query.get("follow", "1") in ("0", "false"):
            return _json({"events": [views.event_json(entry) for entry in log.recent(after)]})
        if len(self._streams) >= MAX_WATCHERS:
            raise _error(web.HTTPServiceUnavailable, f"{MAX_WATCHERS} event streams are open")
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            return await self._stream(request, log, after)
        finally:
            self._streams.discard(task)

    async def _stream(self, request: web.Request, log: EventLog, after: int) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        with log.subscribe() as subscription:
            await response.prepare(request)
            try:
                for entry in log.recent(after):
                    after = entry.number
                    await _write(response, _sse(entry))
                while True:
                    try:
                        async with asyncio.timeout(KEEPALIVE_S):
                            entry = await subscription.next()
                    except TimeoutError:
                        await _write(response, b": still here\n\n")
                        continue
                    if entry.number > after:
                        await _write(response, _sse(entry))
            except (ConnectionError, TimeoutError):
                return response  # the watcher has gone, or reads nothing
            except asyncio.CancelledError:
                if not self._stopping:
                    raise
                return response  # aiohttp ends it as a whole answer

    async def _end_streams(self, app: web.Application) -> None:
        self._stopping = True
        for task in self._streams:
            task.cancel()


def _errors_as_json(node: Node) -> Any:
    @web.middleware
    async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Conflict as error:
            return _json({"error": str(error)}, status=409)
        except web.HTTPException as error:
            if error.content_type == "application/json":
                raise
            known = {
                404: f"nothing at {request.rel_url.raw_path[:80]}; see /api/v1/status",
                405: f"{request.method} is not possible here",
                413: f"a body of more than {MAX_BODY} octets",
            }
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
            message = known.get(error.status, error.reason)
            return _json({"error": message}, status=error.status, headers=allow)
        except Exception as error:
            fields = {
                "where": f"admin API {request.method} {request.path[:80]}",
                "why": repr(error),
            }
            node.events().add(Event(EventName.FAULT, time.time(), Severity.ERROR, fields))
            return _json({"error": "internal error"}, status=500)

    return errors_as_json


def _as_expected(handle: Callable[[Any], Awaitable[web.StreamResponse]]) -> Any:
    """aiohttp looks at Expect before any middleware, and fails where it is no text."""

    async def handle_as_expected(request: web.BaseRequest) -> web.StreamResponse:
        expected = request.headers.get("Expect", "")
        if expected.lower() in ("", "100-continue") or request.version < HttpVersion11:
            return await handle(request)
        refusal = _json({"error": "nothing but 100-continue may be expected"}, status=417)
        await _sign(request, refusal)
        return refusal

    return handle_as_expected


async def _sign(request: web.BaseRequest, response: web.StreamResponse) -> None:
    response.headers["Server"] = "rmlb"
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await response.write(data)


def _sse(entry: NumberedEvent) -> bytes:
    data = orjson.dumps(views.event_json(entry))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (entry.number, entry.event.name.encode(), data)


def _json(
    content: views.Json, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(
        body=orjson.dumps(content), status=status, headers=headers, content_type="application/json"
    )


def _error(
    kind: type[web.HTTPError], message: str, headers: dict[str, str] | None = None
) -> web.HTTPError:
    return kind(
        text=orjson.dumps({"error": message}).decode(),
        content_type="application/json",
        headers=headers,
    )


async def _body(request: web.Request) -> bytes:
    """All of it. A client that goes away, or breaks its own chunks, is no fault of ours."""
    try:
        return await request.read()
    except (ConnectionError, HttpProcessingError, web.RequestPayloadError):
        raise _error(web.HTTPBadRequest, "the body did not arrive whole") from None


def _admin_state(body: bytes) -> AdminState:
    word = _said(body, "state", '{"state": ...}')
    try:
        return AdminState(word)
    except ValueError:
        allowed = ", ".join(f'"{state}"' for state in AdminState)
        raise _error(web.HTTPBadRequest, f'"state" must be one of {allowed}') from None


def _wanted_member(body: bytes) -> str | None:
    """The member of `{"member": N}`; None without a body, or where it names none."""
    member = _said(body, "member", '{"member": N}') if body.strip() else None
    if member is None:
        return None
    if not isinstance(member, int) or isinstance(member, bool):
        raise _error(web.HTTPBadRequest, '"member" must be the ID of a member')
    return str(member)


def _forced(body: bytes) -> bool:
    """The `force` of `{"force": true}`; false without a body."""
    force = _said(body, "force", '{"force": true}', otherwise=False) if body.strip() else False
    if not isinstance(force, bool):
        raise _error(web.HTTPBadRequest, '"force" must be true or false')
    return force


def _said(body: bytes, key: str, expected: str, otherwise: object = None) -> Any:
    """What a JSON object says under that key, `otherwise` where nothing; "" for other JSON."""
    try:
        content = orjson.loads(body)
    except ValueError:
        raise _error(web.HTTPBadRequest, f"not JSON; expected {expected}") from None
    return content.get(key, otherwise) if isinstance(content, dict) else ""


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _error(web.HTTPBadRequest, f"not a number of an event: {text[:20]!r}")
    return int(text)


def _is_plain_host(host: str) -> bool:
    """An IP literal or localhost, whatever the port: a name that no web site can have."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name) is not None
    except ValueError:
        return False
