"""Traces over the admin API: of a real balancer, and the streams' own limits."""

from __future__ import annotations

import json
import signal
import threading
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rig
from aiohttp import ClientSession
from conftest import Start
from fake_node import FakeNode

from rmlb.admin import messages, stream
from rmlb.admin.api import AdminServer
from rmlb.trace.copies import Copy, Direction

TOKEN = "a token of enough characters"


class Following:
    """GET of a stream, in a thread of its own."""

    def __init__(self, lb: rig.Balancer, path: str) -> None:
        self.frames: list[dict[str, Any]] = []
        self._answer = urllib.request.urlopen(
            f"http://{rig.HOST}:{lb.admin_port}{path}", timeout=30
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for line in self._answer:
                if line.startswith(b"data: "):
                    self.frames.append(json.loads(line[6:]))
        except (OSError, ValueError, AttributeError):
            pass  # closed

    def close(self) -> None:
        self._answer.fp.raw._sock.shutdown(2)  # type: ignore[attr-defined]  # wakes the reader
        self._thread.join(5)
        self._answer.close()


@pytest.fixture(params=["python", "compiled"])
def lb(start: Start, tmp_path: Path, request: pytest.FixtureRequest) -> rig.Balancer:
    members = {n: start(rig.SimulatedMember(tmp_path, n)) for n in (1, 2)}
    addresses = {n: each.address for n, each in members.items()}
    return start(rig.Balancer(tmp_path, addresses, env={"RMLB_ENGINE": request.param}))


@pytest.fixture
def following(lb: rig.Balancer) -> Iterator[Following]:
    found = Following(lb, "/api/v1/trace?octets=1")
    yield found
    found.close()


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_a_call_over_both_legs(
    lb: rig.Balancer, following: Following, tmp_path: Path, transport: str
) -> None:
    rig.wait_until("it watches", lambda: lb.status()["trace"]["watchers"] == 1)
    caller = rig.Sipp(
        tmp_path, "uac_full", target=lb.port, calls=1, transport=transport, trace=True
    )
    caller.run()
    heard = caller.messages()
    rig.wait_until("all of it", lambda: len(following.frames) >= 2 * len(heard))
    arrows = following.frames
    member = next(each["target"] for each in arrows if each["target"].startswith("member "))
    assert {(each["source"], each["target"]) for each in arrows} == {
        (rig.HOST, "rmlb"), ("rmlb", member), (member, "rmlb"), ("rmlb", rig.HOST),
    }  # fmt: skip
    assert [each["number"] for each in arrows] == list(range(1, len(arrows) + 1))
    ours = [each for each in arrows if rig.HOST in (each["source"], each["target"])]
    assert [plain(b64decode(each["data"]).decode()) for each in ours] == [
        plain(text) for _, text in heard
    ]
    assert {each["transport"] for each in ours} == {"udp" if transport == "u1" else "tcp"}
    assert lb.status()["trace"]["lost"] == 0


def test_nothing_is_copied_for_nobody(lb: rig.Balancer, tmp_path: Path) -> None:
    found = Following(lb, "/api/v1/trace?call-id=nobody")
    rig.wait_until("it watches", lambda: lb.status()["trace"]["watchers"] == 1)
    rig.Sipp(tmp_path, "uac_full", target=lb.port, calls=2).run()
    found.close()
    rig.wait_until("it has gone", lambda: lb.status()["trace"]["watchers"] == 0)
    assert found.frames == []
    assert json.loads(lb.get("/api/v1/trace?follow=0&call-id=a")[1]) == {"keep": 0, "arrows": []}


def test_kept_messages_after_a_reload(lb: rig.Balancer, tmp_path: Path) -> None:
    lb.config_path.write_text(lb.config_path.read_text() + "\n[trace]\nkeep = 100\n")
    lb.send_signal(signal.SIGHUP)
    rig.wait_until("it keeps", lambda: lb.status()["trace"]["keep"] == 100)
    rig.Sipp(tmp_path, "uac_full", target=lb.port, calls=1).run()
    rig.wait_until("all of it", lambda: lb.status()["trace"]["kept"] >= 18)
    (call,) = json.loads(lb.get("/api/v1/trace/calls")[1])["calls"]
    assert (call["state"], call["from"], call["to"]) == ("ended", "caller", "service")
    path = f"/api/v1/trace?follow=0&exact=1&call-id={call['call_id']}"
    arrows = json.loads(lb.get(path)[1])["arrows"]
    assert len(arrows) == call["messages"]
    assert arrows[0]["label"] == "INVITE"
    assert "rmlb_trace_copies_lost_total 0.0" in lb.metrics().text


def plain(text: str) -> str:
    """A message as sipp's log has it."""
    return text.replace("\r\n", "\n").strip()


class TestAccess:
    """Messages hold what callers said."""

    @pytest.mark.parametrize("path", ["", "?follow=0&call-id=a", "/calls"])
    async def test_it_needs_the_token(self, path: str) -> None:
        server = AdminServer(FakeNode(), rig.HOST, 0, token=TOKEN)
        await server.start()
        async with ClientSession(f"http://{rig.HOST}:{server.port}") as client:
            async with client.get(f"/api/v1/trace{path}") as answer:
                assert answer.status == 401
            right = {"Authorization": f"Bearer {TOKEN}"}
            async with client.get(f"/api/v1/trace{path}", headers=right) as answer:
                assert answer.status == 200
            async with client.get("/api/v1/stream") as answer:  # holds no messages
                assert answer.status == 200
        await server.stop()

    @pytest.mark.parametrize("headers", [{"Origin": "http://evil.test"}, {"Host": "evil.test"}])
    async def test_web_sites_cannot_read_messages(self, headers: dict[str, str]) -> None:
        server = AdminServer(FakeNode(), rig.HOST, 0)
        await server.start()
        async with (
            ClientSession(f"http://{rig.HOST}:{server.port}") as client,
            client.get("/api/v1/trace/calls", headers=headers) as answer,
        ):
            assert answer.status == 403
        await server.stop()

    @pytest.mark.parametrize("sample", ["0", "x", "-1", "9999999", "1" * 4400])
    async def test_mistakes_are_explained(self, sample: str) -> None:
        server = AdminServer(FakeNode(), rig.HOST, 0)
        await server.start()
        async with (
            ClientSession(f"http://{rig.HOST}:{server.port}") as client,
            client.get(f"/api/v1/trace?sample={sample}") as answer,
        ):
            assert answer.status == 400
            assert "sample" in (await answer.json())["error"]
        await server.stop()


class TestStreams:
    async def test_a_slow_watcher_loses_messages_and_is_told(self) -> None:
        node = FakeNode()
        server = AdminServer(node, rig.HOST, 0)
        await server.start()
        async with (
            ClientSession(f"http://{rig.HOST}:{server.port}") as client,
            client.get("/api/v1/trace") as answer,
        ):
            await rig.until("it watches", lambda: node.traces.watchers == 1)
            data = b"INVITE sip:a SIP/2.0\r\nCall-ID: 1\r\n\r\n"
            for _ in range(messages.MOST_UNREAD + 50):  # at once: nothing is sent in between
                node.copies.put(Copy(1.0, Direction.IN, "udp", rig.HOST, 9, rig.HOST, 5060, data))
            first = json.loads((await anext(aiter(answer.content)))[6:])
            assert first["kind"] in ("lost", "arrow")
        await server.stop()
        await node.traces.stop()

    async def test_watchers_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stream, "MOST_WATCHERS", 1)
        server = AdminServer(FakeNode(), rig.HOST, 0)
        await server.start()
        async with (
            ClientSession(f"http://{rig.HOST}:{server.port}") as client,
            client.get("/api/v1/stream") as first,
        ):
            assert first.status == 200
            async with client.get("/api/v1/stream") as second:
                assert second.status == 503
                assert "1 streams are open" in (await second.json())["error"]
        await server.stop()

    async def test_history_events_then_snapshots(self) -> None:
        node = FakeNode()
        server = AdminServer(node, rig.HOST, 0)
        await server.start()
        async with (
            ClientSession(f"http://{rig.HOST}:{server.port}") as client,
            client.get("/api/v1/stream") as answer,
        ):
            kinds = []
            async for line in answer.content:
                if line.startswith(b"data: "):
                    kinds.append(json.loads(line[6:])["kind"])
                if len(kinds) == 4:
                    break
            assert kinds == ["history", "events", "snapshot", "snapshot"]
        await server.stop()

    async def test_a_bad_second_is_an_event_and_no_end(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stream, "INTERVAL_S", 0.02)
        node = FakeNode()
        node.broken = True
        server = AdminServer(node, rig.HOST, 0)
        await server.start()
        await rig.until("a fault is told", lambda: bool(node.log.recent()))
        node.broken = False
        async with (
            ClientSession(f"http://{rig.HOST}:{server.port}") as client,
            client.get("/api/v1/stream") as answer,
        ):
            assert b"history" in await anext(aiter(answer.content))
        await server.stop()
