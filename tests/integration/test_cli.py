"""The command line as a process, against the admin API of a fake balancer."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from fake_node import FakeNode

from rmlb import __version__
from rmlb.admin.api import AdminServer
from rmlb.events import Event, EventName
from rmlb.routing.member import AdminState

TOKEN = "correct horse battery staple"


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


class Rmlb:
    """Runs `rmlb` with an environment of its own."""

    def __init__(self, api: str, **environ: str) -> None:
        kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        self._environ = {**kept, "RMLB_API": api, "LANG": "C.UTF-8", **environ}

    async def start(
        self, *args: str, stdout: int = asyncio.subprocess.PIPE
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rmlb.cli", *args,
            env=self._environ, stdout=stdout, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def __call__(self, *args: str) -> Ended:
        process = await self.start(*args)
        out, err = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode is not None
        assert b"Traceback" not in err
        return Ended(process.returncode, out.decode(), err.decode())


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
def rmlb(server: AdminServer) -> Rmlb:
    return Rmlb(f"http://127.0.0.1:{server.port}")


async def test_status(rmlb: Rmlb) -> None:
    ended = await rmlb("status")
    assert (ended.code, ended.err) == (0, "")
    first, *rest = ended.out.splitlines()
    assert first == "rmlb 0.1.0 (python engine), active-active, up 1 min 15 s: ready"
    assert "virtual IP  127.0.0.1, owner (provider none)" in rest
    assert (
        "messages    received 3 = forwarded 2 + answered 0 + absorbed 0 + dropped 1 + held 0"
    ) in rest
    assert rest[-2].split() == [
        "1",
        "127.0.0.1:7001",
        "in",
        "service",
        "enabled",
        *["0", "0", "100", "-", "-"],
    ]


async def test_status_when_not_ready(rmlb: Rmlb, node: FakeNode) -> None:
    for member in (1, 2):
        await node.set_admin_state(member, AdminState.DISABLED, "test")
    ended = await rmlb("status")
    assert ended.code == 0
    assert ended.out.splitlines()[0].endswith(": not ready (no member takes new calls)")


async def test_json_is_what_the_api_says(rmlb: Rmlb) -> None:
    status = json.loads((await rmlb("status", "--json")).out)
    members = json.loads((await rmlb("members", "--json")).out)
    assert status["vip"]["owner"] is True
    assert members["members"] == status["members"]


@pytest.mark.parametrize(
    ("command", "state"), [("enable", "enabled"), ("drain", "draining"), ("disable", "disabled")]
)
async def test_an_operators_word(rmlb: Rmlb, node: FakeNode, command: str, state: str) -> None:
    ended = await rmlb(command, "2")
    assert (ended.code, ended.out) == (0, f"member 2: {state}, in service, 0 calls\n")
    assert [(member, str(word)) for member, word, _ in node.said] == [(2, state)]
    assert json.loads((await rmlb(command, "2", "--json")).out)["admin_state"] == state


async def test_the_active_member(rmlb: Rmlb, node: FakeNode) -> None:
    node.stand_by(2)
    assert "active      member 2" in (await rmlb("status")).out
    node.drain(1)
    assert (await rmlb("switchover")).out == "active: 1\nmember 1 drains: 3 calls left\n"
    assert (await rmlb("switchover", "2")).out.startswith("active: 2\n")
    assert (await rmlb("active", "1")).out.startswith("active: 1\n")
    assert json.loads((await rmlb("active", "1", "--json")).out)["active"] == 1
    assert node.asked[:3] == [("switchover", None), ("switchover", 2), ("active", 1)]
    status = (await rmlb("status")).out
    assert "draining    member 1 for " in status
    assert ", 3 calls left (switch-over)" in status


@pytest.mark.parametrize("command", [("switchover",), ("switchover", "2"), ("active", "1")])
async def test_active_active_has_no_active_member(rmlb: Rmlb, command: tuple[str, ...]) -> None:
    ended = await rmlb(*command)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "rmlb: ha-mode is active-active: every member in service is active\n"


async def test_calls(rmlb: Rmlb) -> None:
    assert (await rmlb("calls")).out.split() == ["MEMBER", "CALLS", "1", "0", "2", "0", "all", "0"]
    assert (await rmlb("calls", "--call-id", "a b@c")).out == (
        "call        a b@c\nmember      2\nstate       answered\nage         1 s\n"
        "expires in  1 min\n"
    )
    missing = await rmlb("calls", "--call-id", "x&y=\udcff")
    assert (missing.code, missing.out, missing.err) == (1, "", "rmlb: no such call\n")


async def test_events(rmlb: Rmlb, node: FakeNode) -> None:
    fields = {"why": "a b", "forged": "x\n\x1b[2J"}
    node.log.add(Event(EventName.STARTED, 1_700_000_000.25, fields=fields))
    ended = await rmlb("events")
    assert ended.out == ('2023-11-14 22:13:20.250Z  info     started  why="a b" forged=x??[2J\n')
    assert json.loads((await rmlb("events", "--json")).out)["fields"] == fields


async def test_following_events_until_interrupted(rmlb: Rmlb, node: FakeNode) -> None:
    process = await rmlb.start("events", "--follow")
    assert process.stdout is not None
    async with asyncio.timeout(20):
        node.log.add(Event(EventName.STARTED, 5.0))
        assert b"started" in await process.stdout.readline()
        await node.set_admin_state(1, AdminState.DRAINING, "test")
        assert b"admin-state-changed  member=1 from=enabled" in await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")


async def test_following_ends_with_the_balancer(node: FakeNode) -> None:
    server = AdminServer(node, "127.0.0.1", 0)
    await server.start()
    node.log.add(Event(EventName.STARTED, 5.0))
    api = f"127.0.0.1:{server.port}"
    process = await Rmlb(api).start("events", "--follow", "--json")
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert json.loads(await process.stdout.readline())["name"] == "started"
        await server.stop()
        _, err = await process.communicate()
    assert process.returncode == 1
    assert err.decode() == f"rmlb: the balancer at http://{api} has stopped\n"


async def test_output_that_nobody_reads_ends_quietly(rmlb: Rmlb) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = await rmlb.start("members", stdout=writing)
    os.close(writing)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode not in (0, None)
    assert err == b""


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
async def test_a_terminal_gets_colours_unless_no_color(
    server: AdminServer, no_color: str, coloured: bool
) -> None:
    rmlb = Rmlb(f"127.0.0.1:{server.port}", NO_COLOR=no_color, TERM="xterm", COLUMNS="100")
    reading, writing = pty.openpty()
    process = await rmlb.start("members", stdout=writing)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    os.close(writing)
    shown = os.read(reading, 65536).decode()
    os.close(reading)
    assert err == b""
    assert "in service" in shown
    assert ("\x1b[32min service" in shown) is coloured


class TestFailures:
    async def test_nobody_listens(self, server: AdminServer) -> None:
        api = f"127.0.0.1:{server.port}"
        await server.stop()
        ended = await Rmlb(api)("status")
        assert (ended.code, ended.out) == (1, "")
        assert ended.err == (
            f"rmlb: no balancer answers at http://{api} "
            "(connection refused); is it running? (--api)\n"
        )

    async def test_a_proxy_of_the_environment_is_not_used(self, server: AdminServer) -> None:
        proxy = "http://127.0.0.1:9"
        rmlb = Rmlb(f"127.0.0.1:{server.port}", http_proxy=proxy, HTTP_PROXY=proxy)
        assert (await rmlb("members")).code == 0

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello",
            b"SIP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
            b"",
        ],
    )
    async def test_somebody_else_answers(self, answer: bytes) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        stranger = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with stranger:
            port = stranger.sockets[0].getsockname()[1]
            ended = await Rmlb(f"127.0.0.1:{port}")("status")
        assert ended.code == 1
        assert ended.err.startswith("rmlb: ")
        assert "no balancer" in ended.err
        assert ended.err.count("\n") == 1

    async def test_unknown_member(self, rmlb: Rmlb) -> None:
        ended = await rmlb("drain", "7")
        assert (ended.code, ended.err) == (1, "rmlb: no member 7; there are: 1, 2\n")

    async def test_an_error_of_the_balancer(self, rmlb: Rmlb, node: FakeNode) -> None:
        node.broken = True
        ended = await rmlb("status")
        assert (ended.code, ended.err) == (1, "rmlb: internal error\n")

    @pytest.mark.parametrize(
        "args",
        [["drain"], ["drain", "x"], ["bogus"], ["status", "--bogus"], ["status", "--api", "::"]],
    )
    async def test_wrong_usage_is_2(self, rmlb: Rmlb, args: list[str]) -> None:
        ended = await rmlb(*args)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err

    async def test_the_token(self, node: FakeNode) -> None:
        server = AdminServer(node, "127.0.0.1", 0, token=TOKEN)
        await server.start()
        api = f"127.0.0.1:{server.port}"
        refused = await Rmlb(api)("drain", "1")
        assert refused.code == 1
        assert refused.err == "rmlb: the balancer wants its [admin] token: RMLB_TOKEN or --token\n"
        wrong = await Rmlb(api, RMLB_TOKEN=TOKEN[::-1])("drain", "1")
        assert (wrong.code, wrong.err.count("has another [admin] token")) == (1, 1)
        assert (await Rmlb(api, RMLB_TOKEN=TOKEN)("drain", "1")).code == 0
        assert (await Rmlb(api)("enable", "1", "--token", TOKEN)).code == 0
        assert [str(word) for _, word, _ in node.said] == ["draining", "enabled"]
        await server.stop()

    async def test_https(self, node: FakeNode, tmp_path: Path) -> None:
        authority = trustme.CA()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        ca_file = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(ca_file))
        server = AdminServer(node, "127.0.0.1", 0, ssl_context=context)
        await server.start()
        rmlb = Rmlb(f"https://127.0.0.1:{server.port}")
        assert (await rmlb("members", "--ca-file", str(ca_file))).code == 0
        unknown = await rmlb("members")
        assert unknown.code == 1
        assert "certificate_verify_failed" in unknown.err
        await server.stop()


async def test_version(rmlb: Rmlb) -> None:
    for args in (["version"], ["--version"]):
        ended = await rmlb(*args)
        assert (ended.code, ended.out) == (0, f"rmlb {__version__}\n")


async def test_simulate_is_mounted(rmlb: Rmlb) -> None:
    ended = await rmlb("simulate", "rm", "--help")
    assert ended.code == 0
    assert "--listen" in ended.out


async def test_run_refuses_an_unknown_engine(tmp_path: Path) -> None:
    config = tmp_path / "rmlb.toml"
    config.write_text('[cluster]\nvirtual-ip = "127.0.0.1"\n[rm.1]\nsip = "127.0.0.1:7001"\n')
    ended = await Rmlb("", RMLB_ENGINE="rust")("run", str(config))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "rmlb: RMLB_ENGINE='rust': allowed: python, compiled\n"
