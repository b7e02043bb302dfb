"""Alarms end to end: real commands, an HTTP receiver, syslog receivers, a whole balancer."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from rig import Balancer, SimulatedMember, free_port, until, wait_until

from rmlb.alarms.desk import Desk
from rmlb.alarms.lane import QUEUED
from rmlb.alarms.webhooks import signature
from rmlb.config import Config, parse
from rmlb.events import Event, EventLog, EventName, Severity, Value

SECRET = "correct horse battery staple"


def config(*lines: str) -> Config:
    text = '[cluster]\nvirtual-ip = "127.0.0.1"\nname = "east"\nmymemberid = 1\n'
    text += '[rm.1]\nsip = "127.0.0.1:7001"\n' + "\n".join(lines)
    return parse(text, "site.toml", environ={"HOME": "/nowhere"})


def script(directory: Path, name: str, *lines: str) -> Path:
    path = directory / name
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def reaction(command: Path | str, on: str = "*", more: str = "") -> str:
    return f'[[reaction]]\non = ["{on}"]\ncommand = ["{command}", "an argument"]\n{more}\n'


class Bench:
    def __init__(self, *lines: str, owner: bool = True) -> None:
        self.log = EventLog(sink=lambda event: None)
        self.owner = owner
        self.desk = Desk(config(*lines), self.log, "inst", lambda: self.owner)
        self.desk.start({})

    def happens(
        self, name: EventName = EventName.READY, severity: Severity = Severity.INFO, **fields: Value
    ) -> None:
        self.log.add(Event(name, time.time(), severity, fields))

    def failures(self, name: EventName) -> list[str]:
        return [str(e.event.fields["why"]) for e in self.log.recent() if e.event.name is name]

    async def outcome(self, channel: str, outcome: str, count: int = 1) -> None:
        await until(
            f"{count} {channel} {outcome}; {dict(self.desk.outcomes)}",
            lambda: self.desk.outcomes[channel, outcome] == count,
        )


class TestReactions:
    async def test_the_event_is_on_standard_input_and_arguments_are_kept(
        self, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        said = f'(cat; echo; echo "$1"; echo $RMLB_EVENT $RMLB_SEVERITY; pwd) > {out}'
        bench = Bench(reaction(script(tmp_path, "told", said)))
        bench.happens(EventName.MEMBER_BACK, member=1, why="answered 200")
        await bench.outcome("reaction", "done")
        event, argument, variables, folder = out.read_text().splitlines()
        assert json.loads(event)["name"] == "member-back"
        assert json.loads(event)["about"] == "east/member 1"
        assert (argument, variables, folder) == ("an argument", "member-back info", "/")
        await bench.desk.close()

    async def test_no_capability_is_left_and_no_secret_of_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As root everything could be done: what the kernel says of the child is the proof."""
        monkeypatch.setenv("RMLB_TOKEN", SECRET)
        monkeypatch.setenv("NOTIFY_SOCKET", "/run/nowhere")
        out = tmp_path / "out"
        lines = f"(grep -E '^(Cap|NoNewPrivs)' /proc/self/status; env) > {out}"
        bench = Bench(reaction(script(tmp_path, "look", lines)))
        bench.happens()
        await bench.outcome("reaction", "done")
        text = out.read_text()
        status = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
        assert status["NoNewPrivs"] == "1"
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[name], 16) == 0, name
        if os.geteuid() == 0:
            assert int(status["CapBnd"], 16) == 0
        assert SECRET not in text
        assert "NOTIFY_SOCKET" not in text
        await bench.desk.close()

    async def test_one_that_lasts_too_long_is_killed_with_all_it_started(
        self, tmp_path: Path
    ) -> None:
        pid = tmp_path / "pid"
        path = script(tmp_path, "slow", f"sleep 600 & echo $! > {pid}", "wait")
        bench = Bench(reaction(path, more='timeout = "500ms"'))
        bench.happens()
        await bench.outcome("reaction", "failed")
        assert bench.failures(EventName.REACTION_FAILED) == ["killed: still running after 0.5 s"]
        wait_until("its child is gone", lambda: not _runs(int(pid.read_text())))
        await bench.desk.close()

    @pytest.mark.parametrize(
        ("lines", "why"),
        [
            (["echo no luck; exit 3"], "ended with status 3: no luck"),
            (["kill -9 $$"], "ended by signal 9"),
        ],
    )
    async def test_a_failure_is_told_once_and_reacted_upon_by_nobody(
        self, tmp_path: Path, lines: list[str], why: str
    ) -> None:
        bench = Bench(reaction(script(tmp_path, "bad", *lines)))
        bench.happens()
        await bench.outcome("reaction", "failed")
        await asyncio.sleep(0.2)
        assert bench.failures(EventName.REACTION_FAILED) == [why]
        await bench.desk.close()
        assert bench.desk.outcomes == {("reaction", "failed"): 1, ("reaction", "lost"): 0}

    async def test_a_program_that_is_not_there(self) -> None:
        bench = Bench(reaction("/nowhere/at-all"))
        bench.happens()
        await bench.outcome("reaction", "failed")
        assert bench.failures(EventName.REACTION_FAILED) == [
            "ended with status 127: cannot be run: No such file or directory"
        ]
        await bench.desk.close()

    async def test_a_burst_is_done_in_order_or_lost_but_never_waited_for(
        self, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        bench = Bench(reaction(script(tmp_path, "one", f"echo $$ >> {out}; sleep 600")))
        begun = time.monotonic()
        for _ in range(QUEUED + 50):
            bench.happens()
        assert time.monotonic() - begun < 1.0
        await until("one runs", lambda: out.exists() and bool(out.read_text()))
        assert bench.desk.outcomes["reaction", "lost"] >= 49
        assert len(bench.failures(EventName.REACTION_FAILED)) == 1
        await bench.desk.close()
        wait_until("what ran is killed", lambda: not _runs(int(out.read_text())))

    async def test_only_the_owner(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        bench = Bench(
            reaction(script(tmp_path, "one", f"cat >> {out}"), more="owner-only = true"),
            owner=False,
        )
        bench.happens()
        bench.owner = True
        bench.happens(EventName.FAULT)
        await bench.outcome("reaction", "done")
        assert json.loads(out.read_text())["name"] == "fault"
        await bench.desk.close()

    async def test_a_reload_changes_them(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        path = script(tmp_path, "one", f"cat >> {out}")
        bench = Bench()
        bench.happens()
        bench.desk.configure(config(reaction(path, on="fault")))
        bench.happens(EventName.FAULT)
        await bench.outcome("reaction", "done")
        bench.desk.configure(config())
        bench.happens(EventName.FAULT)
        await bench.desk.close()
        assert bench.desk.outcomes["reaction", "done"] == 1


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


class Hook:
    """A webhook receiver that answers as it is told."""

    def __init__(self) -> None:
        self.port = 0
        self.answers: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        return web.Response(status=self.answers.pop(0) if self.answers else 204)

    def table(self, more: str = "") -> str:
        return f'[[webhook]]\non = ["*"]\nurl = "http://127.0.0.1:{self.port}/in?x=y"\n{more}\n'

    def names(self) -> list[str]:
        return [json.loads(body)["name"] for _, body in self.got]


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    hook = Hook()
    app = web.Application()
    app.router.add_post("/in", hook.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hook.port = runner.addresses[0][1]
    yield hook
    await runner.cleanup()


class TestWebhooks:
    async def test_signed_json(self, hook: Hook) -> None:
        bench = Bench(hook.table(f'secret = "{SECRET}"'))
        bench.happens(EventName.MEMBER_BACK, member=2)
        await bench.outcome("webhook", "done")
        headers, body = hook.got[0]
        signed = signature(SECRET, headers["X-Rmlb-Timestamp"], body)
        assert headers["X-Rmlb-Signature"] == f"sha256={signed}"
        assert headers["X-Rmlb-Event"] == "member-back"
        assert headers["X-Rmlb-Delivery"] == json.loads(body)["id"] == "inst-1"
        assert headers["Content-Type"] == "application/json"
        await bench.desk.close()

    async def test_tried_again_until_taken_in_order_and_once(self, hook: Hook) -> None:
        hook.answers = [503]
        bench = Bench(hook.table())
        bench.happens(EventName.READY)
        bench.happens(EventName.FAULT)
        await bench.outcome("webhook", "done", 2)
        assert hook.names() == ["ready", "ready", "fault"]
        assert len({headers["X-Rmlb-Delivery"] for headers, _ in hook.got[:2]}) == 1
        assert "X-Rmlb-Signature" not in hook.got[0][0]
        assert bench.failures(EventName.WEBHOOK_FAILED) == []
        await bench.desk.close()

    @pytest.mark.parametrize("status", [302, 400, 404])
    async def test_a_final_no_is_told_once_an_outage(self, hook: Hook, status: int) -> None:
        hook.answers = [status, status]
        bench = Bench(hook.table())
        for _ in range(3):
            bench.happens()
        await bench.outcome("webhook", "done")
        assert bench.desk.outcomes["webhook", "failed"] == 2
        assert bench.failures(EventName.WEBHOOK_FAILED) == [f"answered {status}"]
        told = next(e.event for e in bench.log.recent() if e.event.name == "webhook-failed")
        assert told.fields["to"] == f"http://127.0.0.1:{hook.port}"
        await bench.desk.close()

    async def test_nobody_there(self) -> None:
        url = f"http://127.0.0.1:{free_port()}/"
        bench = Bench(f'[[webhook]]\non = ["*"]\nurl = "{url}"\nretry-for = "0s"\n')
        bench.happens()
        await bench.outcome("webhook", "failed")
        assert "onnect" in bench.failures(EventName.WEBHOOK_FAILED)[0]
        await bench.desk.close()

    async def test_a_receiver_that_never_answers_holds_nothing_up(self) -> None:
        writers: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(
            lambda reader, writer: writers.append(writer), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        table = f'[[webhook]]\non = ["*"]\nurl = "http://127.0.0.1:{port}/"\n'
        bench = Bench(table + 'timeout = "300ms"\nretry-for = "0s"\n')
        bench.happens()
        await bench.outcome("webhook", "failed")
        assert bench.failures(EventName.WEBHOOK_FAILED) == ["no answer within 0.3 s"]
        await bench.desk.close()
        for writer in writers:
            writer.close()
        server.close()
        await server.wait_closed()


class TestSyslog:
    async def test_udp(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.settimeout(5)
            bench = Bench(f'[log]\nlevel = "warning"\nsyslog = "udp:127.0.0.1:{_port(server)}"')
            bench.happens(EventName.READY)
            bench.happens(EventName.FAULT, Severity.ERROR, why="x")
            await bench.outcome("syslog", "done")
            assert b" fault - event=fault why=x" in server.recv(4096)
            await bench.desk.close()

    async def test_unix(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(str(path))
            server.settimeout(5)
            bench = Bench(f'[log]\nsyslog = "unix:{path}"')
            bench.happens()
            await bench.outcome("syslog", "done")
            assert server.recv(4096).startswith(b"<30>1 ")
            await bench.desk.close()

    async def test_tcp_is_counted_in_octets_and_connects_again(self) -> None:
        got = bytearray()
        writers: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            while part := await reader.read(4096):
                got.extend(part)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        bench = Bench(f'[log]\nsyslog = "tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}"')
        bench.happens()
        await until("the first", lambda: b"event=ready" in got)
        writers[0].close()
        await writers[0].wait_closed()
        await asyncio.sleep(0.05)
        bench.happens(EventName.FAULT)
        await until("the second", lambda: b"event=fault" in got)
        size, _, rest = bytes(got).partition(b" ")
        assert rest[: int(size)].endswith(b"event=ready")
        await bench.desk.close()
        for writer in writers:
            writer.close()
        server.close()
        await server.wait_closed()

    async def test_a_failure_is_told_but_not_to_syslog(self, tmp_path: Path) -> None:
        bench = Bench(f'[log]\nsyslog = "unix:{tmp_path}/nothing"')
        for _ in range(3):
            bench.happens()
        await bench.outcome("syslog", "failed", 3)
        assert bench.failures(EventName.SYSLOG_FAILED) == ["No such file or directory"]
        await bench.desk.close()


def _port(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


async def test_a_killed_and_a_drained_member_make_one_alarm_each_everywhere(
    tmp_path: Path, hook: Hook
) -> None:
    """Killed: unexpectedly. Drained: intentionally, also when its process ends afterwards. Each
    one event, one webhook, one command."""
    out = tmp_path / "out"
    path = script(tmp_path, "told", f'echo "$RMLB_EVENT" >> {out}')
    extra = (
        f'[[reaction]]\non = ["member-stopped-*", "member-back"]\ncommand = ["{path}"]\n'
        f'[[webhook]]\non = ["member-stopped-*", "member-back"]\nsecret = "{SECRET}"\n'
        f'url = "http://127.0.0.1:{hook.port}/in"\n'
    )
    expected = ["member-stopped-unexpectedly", "member-back", "member-stopped-intentionally"]

    def told(balancer: Balancer) -> list[str]:
        names = [event["name"] for event in balancer.events()]
        return [name for name in names if name in expected]

    def work() -> list[str]:
        with (
            SimulatedMember(tmp_path, 1) as first,
            SimulatedMember(tmp_path, 2) as second,
            Balancer(tmp_path, {1: first.address, 2: second.address}, extra=extra) as balancer,
        ):
            balancer.wait_health(1, "in service")
            balancer.wait_health(2, "in service")
            first.kill()
            balancer.wait_health(1, "out of service")
            first.start()
            balancer.wait_health(1, "in service", 30.0)
            balancer.put_state(2, "draining")
            wait_until("drained", lambda: bool(balancer.told("member-drained")))
            second.kill()
            balancer.wait_health(2, "out of service")
            assert told(balancer) == expected
            metrics = balancer.metrics()
            named = metrics.by("rmlb_events_total", "event")
            assert all(named[name] == 1 for name in expected)
            return told(balancer)

    assert await asyncio.to_thread(work) == expected
    assert hook.names() == expected
    assert out.read_text().splitlines() == expected


async def test_the_journal_gets_the_priority_of_each_line(tmp_path: Path) -> None:
    """stderr is the stream that $JOURNAL_STREAM names, as under systemd."""
    code = (
        "import os, sys; s = os.fstat(2); "
        "os.environ['JOURNAL_STREAM'] = f'{s.st_dev}:{s.st_ino}'; "
        "from rmlb.events import *; log_setup('info', 'text'); "
        "write_log(Event(EventName.FAULT, 5.0, Severity.ERROR)); "
        "write_log(Event(EventName.READY, 5.0))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert [line[:8] for line in err.decode().splitlines()] == ["<3>time=", "<6>time="]
