"""The admin API over a real socket, in front of a fake balancer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trustme
from aiohttp import ClientSession, TCPConnector
from fake_node import FakeNode
from prometheus_client.parser import text_string_to_metric_families

from rmlb.admin import api
from rmlb.admin.api import AdminError, AdminServer
from rmlb.events import Event, EventName
from rmlb.routing.member import AdminState

TOKEN = "correct horse battery staple"


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def server(node: FakeNode) -> AsyncIterator[AdminServer]:
    server = AdminServer(node, "127.0.0.1", 0)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(server: AdminServer) -> AsyncIterator[ClientSession]:
    async with ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session


@pytest.fixture
async def guarded(node: FakeNode) -> AsyncIterator[ClientSession]:
    """A client of a balancer with a token."""
    server = AdminServer(node, "127.0.0.1", 0, token=TOKEN)
    await server.start()
    async with ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session
    await server.stop()


async def ask(
    client: ClientSession, method: str, path: str, **options: Any
) -> tuple[int, dict[str, Any]]:
    async with client.request(method, path, **options) as response:
        assert response.content_type == "application/json"
        assert response.headers["Server"] == "rmlb"
        return response.status, await response.json()


class TestReading:
    async def test_alive(self, client: ClientSession) -> None:
        assert await ask(client, "GET", "/healthz") == (
            200,
            {"status": "alive", "version": "0.1.0"},
        )

    async def test_ready_and_not(self, client: ClientSession, node: FakeNode) -> None:
        assert await ask(client, "GET", "/readyz") == (200, {"ready": True, "reason": None})
        for member in (1, 2):
            await node.set_admin_state(member, AdminState.DISABLED, "test")
        status, body = await ask(client, "GET", "/readyz")
        assert (status, body) == (503, {"ready": False, "reason": "no member takes new calls"})

    async def test_status_and_members(self, client: ClientSession) -> None:
        status, body = await ask(client, "GET", "/api/v1/status")
        assert status == 200
        assert body["vip"]["owner"] is True
        assert body["messages"]["received"] == 3
        assert (await ask(client, "GET", "/api/v1/members"))[1]["members"] == body["members"]

    async def test_metrics(self, client: ClientSession) -> None:
        async with client.get("/metrics") as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=")
            families = list(text_string_to_metric_families(await response.text()))
        assert "rmlb_messages_received" in {family.name for family in families}

    async def test_calls(self, client: ClientSession) -> None:
        call_id = {"call-id": "a b@c"}
        status, body = await ask(client, "GET", "/api/v1/calls", params=call_id)
        assert (status, body["member"], body["call_id"]) == (200, 2, "a b@c")
        assert await ask(client, "GET", "/api/v1/calls", params={"call-id": "x"}) == (
            404,
            {"error": "no such call"},
        )
        assert (await ask(client, "GET", "/api/v1/calls"))[1]["calls"] == 0


class TestChanging:
    @pytest.mark.parametrize("state", list(AdminState))
    async def test_a_member(self, client: ClientSession, node: FakeNode, state: AdminState) -> None:
        status, body = await ask(client, "PUT", "/api/v1/members/2", json={"state": state})
        assert (status, body["id"], body["admin_state"]) == (200, 2, state)
        assert node.said == [(2, state, "admin API from 127.0.0.1")]

    @pytest.mark.parametrize(
        ("path", "body", "status", "error"),
        [
            ("2", b"{", 400, 'not JSON; expected {"state": ...}'),
            ("2", b"", 400, 'not JSON; expected {"state": ...}'),
            ("2", b"[]", 400, '"state" must be one of "enabled", "draining", "disabled"'),
            ("2", b"{}", 400, '"state" must be one of "enabled", "draining", "disabled"'),
            ("2", b'{"state":7}', 400, '"state" must be one of "enabled", "draining", "disabled"'),
            ("2", b'{"state":[]}', 400, '"state" must be one of "enabled", "draining", "disabled"'),
            ("9", b'{"state":"enabled"}', 404, "no member 9; there are: 1, 2"),
            ("02", b'{"state":"enabled"}', 404, "no member 02; there are: 1, 2"),
            ("%C2%B2", b'{"state":"enabled"}', 404, "no member ²; there are: 1, 2"),
            ("%ff", b'{"state":"enabled"}', 404, "no member %FF; there are: 1, 2"),
            ("2", b" " * 65_537, 413, "a body of more than 65536 octets"),
        ],
    )
    async def test_mistakes_are_explained(
        self,
        client: ClientSession,
        node: FakeNode,
        path: str,
        body: bytes,
        status: int,
        error: str,
    ) -> None:
        answer = await ask(client, "PUT", f"/api/v1/members/{path}", data=body)
        assert answer == (status, {"error": error})
        assert node.said == []

    async def test_other_methods_and_places(self, client: ClientSession) -> None:
        assert await ask(client, "POST", "/api/v1/members/2") == (
            405,
            {"error": "POST is not possible here"},
        )
        assert await ask(client, "GET", "/nowhere") == (
            404,
            {"error": "nothing at /nowhere; see /api/v1/status"},
        )

    async def test_the_active_member(self, client: ClientSession, node: FakeNode) -> None:
        node.stand_by(2)
        status, body = await ask(client, "POST", "/api/v1/switchover")
        assert (status, body["active"]) == (200, 1)
        assert [member["active"] for member in body["members"]] == [True, False]
        body = {"member": 2}
        assert (await ask(client, "POST", "/api/v1/switchover", json=body))[1]["active"] == 2
        assert (await ask(client, "POST", "/api/v1/switchover", json={}))[1]["active"] == 1
        assert (await ask(client, "POST", "/api/v1/members/2/active"))[1]["active"] == 2
        assert node.asked == [
            ("switchover", None),
            ("switchover", 2),
            ("switchover", None),
            ("active", 2),
        ]

    @pytest.mark.parametrize(
        ("path", "body", "status", "error"),
        [
            ("switchover", b"{", 400, 'not JSON; expected {"member": N}'),
            ("switchover", b"[]", 400, '"member" must be the ID of a member'),
            ("switchover", b'{"member":"2"}', 400, '"member" must be the ID of a member'),
            ("switchover", b'{"member":true}', 400, '"member" must be the ID of a member'),
            ("switchover", b'{"member":9}', 404, "no member 9; there are: 1, 2"),
            ("members/9/active", b"", 404, "no member 9; there are: 1, 2"),
            ("switchover", b"", 409, "ha-mode is active-active: every member in service is active"),
            (
                "members/1/active",
                b"",
                409,
                "ha-mode is active-active: every member in service is active",
            ),
        ],
    )
    async def test_mistakes_about_the_active_member(
        self, client: ClientSession, path: str, body: bytes, status: int, error: str
    ) -> None:
        answer = await ask(client, "POST", f"/api/v1/{path}", data=body)
        assert answer == (status, {"error": error})

    async def test_the_active_member_needs_the_token(
        self, guarded: ClientSession, node: FakeNode
    ) -> None:
        node.stand_by(2)
        for path in ("switchover", "members/1/active"):
            assert (await ask(guarded, "POST", f"/api/v1/{path}"))[0] == 401
        assert node.asked == []

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Authorization": TOKEN},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Basic {TOKEN}"},
            {"Authorization": "Bearer \udcff"},
        ],
    )
    async def test_a_change_needs_the_token(
        self, guarded: ClientSession, node: FakeNode, headers: dict[str, str]
    ) -> None:
        change = {"json": {"state": "disabled"}, "headers": headers}
        async with guarded.put("/api/v1/members/1", **change) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert TOKEN not in await response.text()
        assert node.said == []

    async def test_with_the_token_it_passes_and_reading_needs_none(
        self, guarded: ClientSession, node: FakeNode
    ) -> None:
        change = {"json": {"state": "disabled"}, "headers": {"Authorization": f"bearer {TOKEN}"}}
        assert (await ask(guarded, "PUT", "/api/v1/members/1", **change))[0] == 200
        assert (await ask(guarded, "GET", "/api/v1/status"))[0] == 200

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Host": "evil.example:8560"}, 403),
            ({"Host": "[::1"}, 403),
            ({"Host": "[::1]:8560"}, 200),
            ({"Host": "localhost:8560"}, 200),
            ({"Host": "localhost:8560", "Origin": "http://localhost:8560"}, 200),
        ],
    )
    async def test_web_sites_cannot_use_an_operators_browser(
        self, client: ClientSession, headers: dict[str, str], status: int
    ) -> None:
        change = {"json": {"state": "enabled"}, "headers": headers}
        assert (await ask(client, "PUT", "/api/v1/members/1", **change))[0] == status

    async def test_a_fault_is_an_event_and_500(self, client: ClientSession, node: FakeNode) -> None:
        node.broken = True
        assert await ask(client, "GET", "/api/v1/status") == (500, {"error": "internal error"})
        (entry,) = node.log.recent()
        assert entry.event.name is EventName.FAULT
        assert "no view today" in str(entry.event.fields["why"])


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110  # what the server sees tells nobody
            await asyncio.sleep(0.01)


class TestBrokenRequests:
    """Nobody who reaches the port makes faults or log lines by what he sends."""

    async def test_a_client_that_goes_away(self, server: AdminServer, node: FakeNode) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"PUT /api/v1/members/1 HTTP/1.1\r\nHost: localhost\r\n")
        writer.write(b'Content-Length: 20\r\n\r\n{"state"')
        connections = server._runner.server
        assert connections is not None
        await until(lambda: connections.requests_count > 0)
        writer.close()
        await writer.wait_closed()
        await until(lambda: not connections.connections)
        assert node.log.recent() == []

    async def test_broken_chunks(self, server: AdminServer, node: FakeNode) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"PUT /api/v1/members/1 HTTP/1.1\r\nHost: localhost\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}{}{zz\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
        assert node.log.recent() == []

    async def test_compressed_nonsense(
        self, client: ClientSession, node: FakeNode, caplog: pytest.LogCaptureFixture
    ) -> None:
        status, body = await ask(
            client, "PUT", "/api/v1/members/1", data=b"x\x9c\xff",
            headers={"Content-Encoding": "deflate"},
        )  # fmt: skip
        assert (status, body["error"]) == (400, 'not JSON; expected {"state": ...}')
        assert node.log.recent() == []
        assert caplog.records == []

    @pytest.mark.parametrize("path", [b"/healthz", b"/nothing"])
    @pytest.mark.parametrize("expected", [b"\xff", b"better times"])
    async def test_what_cannot_be_expected(
        self, server: AdminServer, node: FakeNode, caplog: pytest.LogCaptureFixture,
        path: bytes, expected: bytes,
    ) -> None:  # fmt: skip
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET %b HTTP/1.1\r\nHost: localhost\r\nExpect: %b\r\n\r\n" % (path, expected))
        assert b" 417 " in await reader.readline()
        assert b"Server: rmlb" in await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        assert node.log.recent() == []
        assert caplog.records == []

    async def test_no_http(
        self, server: AdminServer, node: FakeNode, caplog: pytest.LogCaptureFixture
    ) -> None:
        for junk in (
            b"\x16\x03\x01\x02\x00\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"A sip:a SIP/2.0\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(junk)
            assert b" 400 " in await reader.readline()
            writer.close()
            await writer.wait_closed()
        assert node.log.recent() == []
        assert caplog.records == []


class TestEvents:
    async def test_recent_ones_then_new_ones(self, client: ClientSession, node: FakeNode) -> None:
        node.log.add(Event(EventName.STARTED, 5.0, fields={"n": 1}))
        async with client.get("/api/v1/events") as response:
            assert response.content_type == "text/event-stream"
            lines = response.content
            assert await read_event(lines) == [
                b"id: 1",
                b"event: started",
                b'data: {"number":1,"name":"started","at":5.0,"severity":"info","fields":{"n":1}}',
            ]
            await node.set_admin_state(1, AdminState.DRAINING, "test")
            assert (await read_event(lines))[:2] == [b"id: 2", b"event: admin-state-changed"]

    async def test_a_watcher_comes_back_where_it_was(
        self, client: ClientSession, node: FakeNode
    ) -> None:
        for _ in range(3):
            node.log.add(Event(EventName.STARTED, 5.0))
        async with client.get("/api/v1/events", headers={"Last-Event-ID": "2"}) as response:
            assert (await read_event(response.content))[0] == b"id: 3"
        answer = await ask(client, "GET", "/api/v1/events?after=1&follow=0")
        assert [event["number"] for event in answer[1]["events"]] == [2, 3]
        assert (await ask(client, "GET", "/api/v1/events?after=x"))[0] == 400

    async def test_watchers_are_bounded_and_forgotten(
        self, client: ClientSession, node: FakeNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api, "MAX_WATCHERS", 1)
        monkeypatch.setattr(api, "KEEPALIVE_S", 0.01)
        async with client.get("/api/v1/events") as response:
            assert await response.content.readline() == b": still here\n"
            assert node.log.subscribers == 1
            assert await ask(client, "GET", "/api/v1/events") == (
                503,
                {"error": "1 event streams are open"},
            )
        async with asyncio.timeout(5):
            while node.log.subscribers:  # noqa: ASYNC110  # the server's side of a closed socket
                await asyncio.sleep(0.01)
        async with client.get("/api/v1/events") as response:
            assert response.status == 200

    async def test_stopping_ends_the_streams(self, client: ClientSession, node: FakeNode) -> None:
        server = AdminServer(node, "127.0.0.1", 0)
        await server.start()
        async with client.get(f"http://127.0.0.1:{server.port}/api/v1/events") as response:
            async with asyncio.timeout(3):
                await server.stop()
                assert await response.content.read() == b""
        assert node.log.subscribers == 0


async def read_event(lines: Any) -> list[bytes]:
    """The lines of one event."""
    found: list[bytes] = []
    async with asyncio.timeout(5):
        while True:
            line = (await lines.readline()).rstrip(b"\n")
            if not line:
                return found
            found.append(line)


class TestListening:
    async def test_a_taken_port_names_the_option(self, server: AdminServer, node: FakeNode) -> None:
        second = AdminServer(node, "127.0.0.1", server.port)
        with pytest.raises(AdminError) as caught:
            await second.start()
        assert str(caught.value) == (
            f"[admin] listen: cannot listen on 127.0.0.1:{server.port}: address already in use"
        )
        await second.stop()

    async def test_tls(self, node: FakeNode) -> None:
        with certificates() as (serving, trusting):
            server = AdminServer(node, "127.0.0.1", 0, token=TOKEN, ssl_context=serving)
            await server.start()
            connector = TCPConnector(ssl=trusting)
            base = f"https://127.0.0.1:{server.port}"
            async with ClientSession(base, connector=connector) as client:
                assert (await ask(client, "GET", "/readyz"))[0] == 200
            await server.stop()


@contextmanager
def certificates() -> Iterator[tuple[ssl.SSLContext, ssl.SSLContext]]:
    """A server's and a client's context of a throw-away authority."""
    authority = trustme.CA()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    yield serving, trusting
