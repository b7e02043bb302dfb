"""Probes against members on real sockets, under asyncio's own loop and under uvloop."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
import trustme
import uvloop

from rmlb.health.probe import Prober
from rmlb.health.tracker import Failure, ProbePlan, ProbeResult, Tracker
from rmlb.routing.member import Health, Member
from rmlb.sip.address import SipAddress, Transport
from rmlb.sip.message import scan
from rmlb.sip.via import top_via


@dataclass(frozen=True)
class Settings:
    interval_s: float = 0.03
    suspect_interval_s: float = 0.02
    timeout_s: float = 0.3
    rise: int = 2
    fall: int = 2
    slow_start_s: float = 0.0
    user: str = ""
    source: str = ""

    def accepts(self, status: int) -> bool:
        return status < 500 and status != 408


Scenario = Callable[[], Coroutine[Any, Any, None]]
Answer = Callable[[bytes], list[bytes]]


def both_loops(scenario: Scenario) -> Callable[[str], None]:
    """Run an async test under either event loop; the balancer's worker uses uvloop."""

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    def test(loop: str) -> None:
        factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(closing(scenario), 10))

    test.__name__ = scenario.__name__
    test.__doc__ = scenario.__doc__
    return test


OPENED: list[UdpMember | StreamMember] = []


async def closing(scenario: Scenario) -> None:
    """Close every member afterwards: uvloop waits for open sockets when a test has failed."""
    try:
        await scenario()
    finally:
        while OPENED:
            OPENED.pop().close()
        await asyncio.sleep(0)


def respond(request: bytes, status: int = 200, extra: bytes = b"") -> bytes:
    """A response as RFC 3261 8.2.6.2 makes it."""
    copied = [
        line
        for line in request.split(b"\r\n")
        if line.startswith((b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:"))
    ]
    return b"\r\n".join(
        [b"SIP/2.0 %d Whatever" % status, *copied, *([extra] if extra else []),
         b"Content-Length: 0", b"", b""]
    )  # fmt: skip


class UdpMember(asyncio.DatagramProtocol):
    """A member on UDP that answers as it is told."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.sources: list[Any] = []

    @classmethod
    async def at(cls, answer: Answer, host: str = "127.0.0.1", port: int = 0) -> UdpMember:
        loop = asyncio.get_running_loop()
        _, member = await loop.create_datagram_endpoint(
            lambda: cls(answer), local_addr=(host, port)
        )
        OPENED.append(member)
        return member

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.host, self.port = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.requests.append(data)
        self.sources.append(addr)
        for reply in self.answer(data):
            self.transport.sendto(reply, addr)

    @property
    def member(self) -> Member:
        return Member(1, (SipAddress(Transport.UDP, self.host, self.port),))

    def close(self) -> None:
        self.transport.abort()


class StreamMember:
    """A member on TCP or TLS; `serve` gets each connection."""

    def __init__(
        self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> None:
        self._serve = serve
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def open(
        self, transport: Transport = Transport.TCP, context: ssl.SSLContext | None = None
    ) -> Member:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context)
        OPENED.append(self)
        port = self._server.sockets[0].getsockname()[1]
        return Member(1, (SipAddress(transport, "127.0.0.1", port),))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()

    def close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()


class Results:
    """What the prober reported, and waiting for more of it."""

    def __init__(self) -> None:
        self.all: list[ProbeResult] = []
        self._arrived = asyncio.Event()

    def __call__(self, member_id: int, result: ProbeResult) -> None:
        assert member_id == 1
        self.all.append(result)
        self._arrived.set()

    async def first(self, count: int) -> list[ProbeResult]:
        while len(self.all) < count:
            self._arrived.clear()
            await self._arrived.wait()
        return self.all[:count]


async def results_of(
    member: Member, count: int, settings: Settings | None = None, **options: Any
) -> list[ProbeResult]:
    results = Results()
    prober = Prober([member], settings or Settings(), results, **options)
    prober.start()
    try:
        return await results.first(count)
    finally:
        await prober.stop()


def closed_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@both_loops
async def test_udp_answered() -> None:
    member = await UdpMember.at(lambda request: [respond(request)])
    first, second = await results_of(member.member, 2)
    assert (first.status, first.failure) == (200, None)
    assert 0 < first.latency_s < 0.3
    assert second.sent_at - first.sent_at >= 0.029
    assert len(set(member.sources)) == 1  # one socket, kept


@both_loops
async def test_the_request_is_well_formed() -> None:
    member = await UdpMember.at(lambda request: [respond(request)])
    await results_of(member.member, 2, Settings(user="ping", source="127.0.0.2"))
    request = scan(member.requests[0])
    source_host, source_port = member.sources[0]
    assert request.method == b"OPTIONS"
    assert request.uri == b"sip:ping@127.0.0.1:%d" % member.port
    via = top_via(request)
    assert (via.host, via.port, via.rport) == ("127.0.0.2", source_port, b"")
    assert source_host == "127.0.0.2"
    assert via.has_cookie
    assert via.transport == b"UDP"
    assert request.max_forwards == 70
    assert request.from_tag
    assert not request.to_tag
    assert request.header("user-agent") == b"rmlb"
    assert request.content_length == 0
    again = scan(member.requests[1])
    assert again.call_id != request.call_id
    assert top_via(again).branch != via.branch


@both_loops
async def test_udp_refused_is_seen_at_once() -> None:
    port = closed_port(socket.SOCK_DGRAM)
    target = Member(1, (SipAddress(Transport.UDP, "127.0.0.1", port),))
    for result in await results_of(target, 3, Settings(timeout_s=5.0)):
        assert (result.failure, result.detail) == (Failure.UNREACHABLE, "Connection refused")
        assert result.latency_s < 1.0


@both_loops
async def test_udp_silent_is_repeated_and_late_answers_are_ignored() -> None:
    member = await UdpMember.at(lambda request: [])
    results = Results()
    prober = Prober(
        [member.member], Settings(), results, lambda _: ProbePlan(time.monotonic(), 0.1, 0.04)
    )
    prober.start()
    (first,) = await results.first(1)
    assert (first.status, first.failure) == (None, Failure.SILENT)
    assert 0.09 < first.latency_s < 0.3
    sent = [request for request in member.requests if request == member.requests[0]]
    assert len(sent) == 3
    for source in member.sources:
        member.transport.sendto(respond(member.requests[0]), source)
    (_, second) = await results.first(2)
    assert second.failure is Failure.SILENT
    await prober.stop()


@both_loops
async def test_only_the_final_answer_to_this_probe_counts() -> None:
    def noise(request: bytes) -> list[bytes]:
        right = respond(request, 404)
        return [
            b"\x00garbage",
            request,
            respond(request, 100),
            right.replace(b"branch=z9hG4bK", b"branch=z9hG4bK0"),
            right.replace(b"Call-ID: ", b"Call-ID: 0"),
            right.replace(b" OPTIONS\r", b" INVITE\r"),
            right.replace(b"Via", b"X-Via"),
        ]

    member = await UdpMember.at(noise)
    (result,) = await results_of(member.member, 1)
    assert result.failure is Failure.SILENT
    member.answer = lambda request: [*noise(request), respond(request, 404)]
    (result,) = await results_of(member.member, 1)
    assert result.status == 404


@both_loops
async def test_retry_after_is_read() -> None:
    headers = [b"Retry-After: 18 (busy);duration=3600", b"Retry-After: soon", b""]
    member = await UdpMember.at(lambda request: [respond(request, 503, headers.pop(0))])
    found = await results_of(member.member, 3)
    assert [(result.status, result.retry_after_s) for result in found] == [
        (503, 18),
        (503, None),
        (503, None),
    ]


@both_loops
async def test_ipv6_udp() -> None:
    member = await UdpMember.at(lambda request: [respond(request)], host="::1")
    (result,) = await results_of(member.member, 1)
    assert result.status == 200
    assert scan(member.requests[0]).uri == b"sip:[::1]:%d" % member.port
    assert top_via(scan(member.requests[0])).raw_host == b"[::1]"


@both_loops
async def test_tcp_keeps_its_connection_and_reads_split_answers() -> None:
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            answer = respond(requests[-1])
            for part in (b"\r\n\r\n", answer[:30], answer[30:]):
                writer.write(part)
                await asyncio.sleep(0.001)
            assert await reader.readexactly(2) == b"\r\n"  # our ping was answered

    member = StreamMember(serve)
    found = await results_of(await member.open(), 3)
    assert [result.status for result in found] == [200, 200, 200]
    assert member.connections == 1
    assert top_via(scan(requests[0])).transport == b"TCP"


@both_loops
async def test_tcp_an_idle_connection_closed_by_the_member_is_no_failure() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(respond(await reader.readuntil(b"\r\n\r\n")))
        await writer.drain()
        if member.connections == 1:
            writer.close()  # at once: the next probe opens a new one
        else:
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()  # in the face of the next probe

    member = StreamMember(serve)
    found = await results_of(await member.open(), 3)
    assert [result.status for result in found] == [200, 200, 200]
    assert member.connections == 3


@both_loops
async def test_a_late_answer_is_met_by_no_reset_and_no_icmp() -> None:
    """A member that was only slow keeps its connection until it has answered, and a while."""
    ended: list[bytes] = []

    async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if not ended:
            await asyncio.sleep(0.2)  # the probe gives up after 0.05 s
        writer.write(respond(request))
        await asyncio.sleep(0.05)
        writer.write(b"\r\n\r\n")  # fails if the answer was refused
        await writer.drain()
        ended.append(await reader.readexactly(2))
        await reader.read()

    slow = StreamMember(dawdle)
    results = Results()
    settings = Settings(timeout_s=0.05, interval_s=0.1)
    prober = Prober([await slow.open()], settings, results)
    prober.start()
    (first, *_) = await results.first(4)
    assert first.failure is Failure.SILENT
    assert ended
    await prober.stop()

    member = await UdpMember.at(lambda request: [])
    refusals: list[Exception] = []
    member.error_received = refusals.append  # type: ignore[method-assign]
    results = Results()
    prober = Prober([member.member], settings, results)
    prober.start()
    await results.first(2)
    for request, source in zip(member.requests, member.sources, strict=True):
        member.transport.sendto(respond(request), source)
    await results.first(3)
    assert refusals == []
    await prober.stop()


@both_loops
async def test_a_stop_with_patience_awaits_the_answer_under_way() -> None:
    async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.1)
            writer.write(respond(request))

    slow = StreamMember(dawdle)
    results = Results()
    prober = Prober([await slow.open()], Settings(), results, lambda _: ProbePlan(0.0, 5.0, 5.0))
    prober.start()
    await asyncio.sleep(0.05)
    assert results.all == []
    await prober.stop(5.0)
    assert [result.status for result in results.all] == [200]
    assert slow.connections == 1


@both_loops
async def test_tcp_refused_silent_and_malformed() -> None:
    port = closed_port(socket.SOCK_STREAM)
    target = Member(1, (SipAddress(Transport.TCP, "127.0.0.1", port),))
    (refused,) = await results_of(target, 1)
    assert (refused.failure, refused.detail) == (Failure.UNREACHABLE, "Connection refused")

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    silent = StreamMember(say_nothing)
    found = await results_of(await silent.open(), 2, Settings(timeout_s=0.05))
    assert [result.failure for result in found] == [Failure.SILENT, Failure.SILENT]
    assert silent.connections >= 2

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = respond(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer.replace(b"Content-Length: 0", b"Content-Length: x"))
        await reader.read()

    broken = StreamMember(babble)
    (result,) = await results_of(await broken.open(), 1)
    assert result.failure is Failure.UNREACHABLE
    assert result.detail == "malformed answer: malformed Content-Length"


@both_loops
async def test_tls() -> None:
    authority = trustme.CA()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(respond(await reader.readuntil(b"\r\n\r\n")))

    member = StreamMember(serve)
    target = await member.open(Transport.TLS, serving)
    found = await results_of(target, 2, ssl_context=trusting)
    assert [result.status for result in found] == [200, 200]
    (unknown,) = await results_of(target, 1)
    assert unknown.failure is Failure.UNREACHABLE
    assert "certificate not accepted" in unknown.summary


@both_loops
async def test_stopping_leaves_nothing_behind() -> None:
    member = await UdpMember.at(lambda request: [])
    results = Results()
    before = asyncio.all_tasks()
    for delay in (0.0, 0.02):
        prober = Prober([member.member], Settings(), results)
        prober.start()
        await asyncio.sleep(delay)
        await prober.stop()
        assert asyncio.all_tasks() == before
    assert results.all == []


@both_loops
async def test_waking_ends_the_wait_and_a_probe_under_way() -> None:
    member = await UdpMember.at(lambda request: [])
    results = Results()
    plans = [ProbePlan(time.monotonic() + 60, 60, 60)]
    prober = Prober([member.member], Settings(), results, lambda _: plans[-1])
    prober.start()
    await asyncio.sleep(0.01)
    assert member.requests == []
    for timeout in (60, 0.05):  # the first is interrupted by the second
        plans.append(ProbePlan(time.monotonic(), timeout, 60))
        prober.wake(1)
        await asyncio.sleep(0.02)
    (result,) = await results.first(1)
    assert result.failure is Failure.SILENT
    assert result.latency_s < 1
    assert len(set(member.requests[:2])) == 2
    await prober.stop()


@both_loops
async def test_a_fault_in_our_own_code_is_reported_and_probing_goes_on() -> None:
    member = await UdpMember.at(lambda request: [respond(request)])
    reports: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    results = Results()
    broken = [True]

    def take(member_id: int, result: ProbeResult) -> None:
        if broken.pop() if broken else False:
            raise RuntimeError("ours")
        results(member_id, result)

    prober = Prober([member.member], Settings(), take)
    prober.start()
    await results.first(1)
    await prober.stop()
    assert [str(report["exception"]) for report in reports] == ["ours"]


@both_loops
async def test_with_a_tracker_a_killed_member_goes_and_comes_back() -> None:
    member = await UdpMember.at(lambda request: [respond(request)])
    settings = Settings(interval_s=0.2, timeout_s=0.2)
    tracker = Tracker(settings)
    changes: list[tuple[Health, float]] = []
    changed = asyncio.Event()

    def take(member_id: int, result: ProbeResult) -> None:
        change = tracker.on_probe(result)
        if change is not None:
            changes.append((change.after, change.at))
            changed.set()

    async def until(health: Health) -> float:
        while tracker.health is not health:
            changed.clear()
            await changed.wait()
        return changes[-1][1]

    prober = Prober([member.member], settings, take, lambda _: tracker.next_probe(time.monotonic()))
    prober.start()
    await until(Health.IN_SERVICE)
    member.close()
    await asyncio.sleep(0)
    hinted = time.monotonic()
    assert tracker.on_refused(hinted) is not None
    prober.wake(1)
    assert await until(Health.OUT_OF_SERVICE) - hinted < 0.1  # not a whole interval
    await UdpMember.at(lambda request: [respond(request)], port=member.port)
    await until(Health.IN_SERVICE)
    assert [health for health, _ in changes] == [
        Health.IN_SERVICE,
        Health.OUT_OF_SERVICE,
        Health.IN_SERVICE,
    ]
    await prober.stop()
