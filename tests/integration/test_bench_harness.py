"""The load generator of benchmarks/ is honest: what it counts is what happened on the wire."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.arena import Arena, Cores, Workload, carried
from benchmarks.generator import Generator, Ports
from benchmarks.resources import cpu_ns, free_block, is_bound, overflows
from benchmarks.systems import SYSTEMS

CALL_MESSAGES = 9  # INVITE 180 200 ACK, re-INVITE 200 ACK, BYE 200
HOST = "127.0.0.1"
PATIENT = 5000
"""Milliseconds without news until the rest counts as lost: the machine may be busy."""

Treat = Callable[[int, bytes], bytes | None]


class Relay:
    """A record-routing balancer of few words in a thread: always to the first member, but for what
    `elsewhere` says. `treat` sees each datagram with its number; None drops it."""

    def __init__(self, ports: Ports, treat: Treat, elsewhere: Callable[[bytes], bool]) -> None:
        self.seen: list[bytes] = []
        self._ports, self._treat, self._elsewhere = ports, treat, elsewhere
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, ports.proxy))
        self._thread = threading.Thread(target=self._run, name="relay")
        self._thread.start()

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", (HOST, self._ports.proxy))
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        via = b"Via: SIP/2.0/UDP %b:%d;branch=z9hG4bKrelay\r\n" % (HOST.encode(), self._ports.proxy)
        entry = b"Record-Route: <sip:%b:%d;lr;mark=1,2>\r\n" % (HOST.encode(), self._ports.proxy)
        while data := self._socket.recvfrom(65535):
            octets, source = data
            if not octets:
                return
            self.seen.append(octets)
            treated = self._treat(len(self.seen), octets)
            if treated is None:
                continue
            if source[1] == self._ports.caller:
                to = self._ports.member + self._elsewhere(treated)
                treated = treated.replace(b"Via: ", via + entry + b"Via: ", 1)
            else:
                assert via in treated
                to = self._ports.caller
                treated = treated.replace(via, b"", 1)
            self._socket.sendto(treated, (HOST, to))


@contextlib.contextmanager
def between(
    treat: Treat = lambda _, octets: octets,
    elsewhere: Callable[[bytes], bool] = lambda _: False,
    **options: int,
) -> Iterator[tuple[Generator, Relay, Ports]]:
    first = free_block(5)
    ports = Ports(first, first + 1, first + 2, first + 3, 2)
    with Generator(ports, **options) as generator:  # type: ignore[arg-type] - numbers only
        relay = Relay(ports, treat, elsewhere)
        try:
            yield generator, relay, ports
        finally:
            relay.close()


def test_what_passes_is_counted_as_it_passed() -> None:
    with between() as (generator, relay, _):
        load = generator.calls(100, 0.3, drain=PATIENT)
    assert (load.started, load.completed, load.lost, load.misrouted) == (30, 30, 0, 0)
    assert load.relayed == load.sent == len(relay.seen) == 30 * CALL_MESSAGES
    # the relay's Via stands in requests where they arrive
    assert load.octets > sum(map(len, relay.seen))
    assert 0.28 < load.seconds < 5.0


def test_requests_have_the_size_asked_for_and_keep_to_the_route_set() -> None:
    with between(size=1500) as (generator, relay, ports):
        generator.establish(3)
        load = generator.transactions(40, 0.1, drain=PATIENT)
        generator.calls(10, 0.1, drain=PATIENT)
    assert load.completed == 4
    requests = [m for m in relay.seen if not m.startswith(b"SIP/2.0")]
    for message in requests:
        head, _, body = message.partition(b"\r\n\r\n")
        assert int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]) == len(body)
        if message.startswith((b"INVITE", b"INFO", b"OPTIONS")):
            assert len(message) == 1500
        if b";tag=RM" in head:
            assert message.split()[1] == b"sip:rm@%b:%d" % (HOST.encode(), ports.member)
            assert b"\r\nRoute: <sip:%b:%d;lr;mark=1,2>\r\n" % (HOST.encode(), ports.proxy) in head
        else:
            assert b"Route" not in head
    methods = {m.split()[0] for m in requests}
    assert methods == {b"INVITE", b"ACK", b"BYE", b"INFO", b"OPTIONS"}


def test_no_call_id_or_branch_is_used_twice() -> None:
    with between() as (generator, relay, _):
        for _ in range(2):
            generator.calls(200, 0.1, drain=PATIENT)
    branches = [m.partition(b"branch=")[2].split(b",")[0] for m in relay.seen if m[:3] != b"SIP"]
    assert len(branches) == len(set(branches)) == 40 * 5
    calls = {m.partition(b"Call-ID: ")[2].split(b"\r\n")[0] for m in relay.seen}
    assert len(calls) == 40


@pytest.mark.parametrize("kind", [b"INVITE ", b"ACK ", b"BYE ", b"SIP/2.0 200"])
def test_what_is_dropped_is_lost(kind: bytes) -> None:
    dropped: list[bytes] = []

    def drop_some(_: int, octets: bytes) -> bytes | None:
        call = octets.partition(b"Call-ID: ")[2][:8]  # the index: every fifth call
        if octets.startswith(kind) and int(call, 16) % 5 == 0 and call not in dropped:
            dropped.append(call)
            return None
        return octets

    with between(drop_some) as (generator, *_):
        load = generator.calls(100, 0.2, drain=1500)
    assert len(dropped) == 4
    assert load.lost == 4
    assert load.relayed == load.sent - 4


def test_a_request_at_the_wrong_member_is_misrouted() -> None:
    with between(elsewhere=lambda octets: octets.startswith(b"BYE")) as (generator, *_):
        load = generator.calls(100, 0.1, drain=PATIENT)
    assert (load.completed, load.misrouted) == (10, 10)


def test_delay_is_measured_one_way() -> None:
    def slow(_: int, octets: bytes) -> bytes:
        time.sleep(0.01)
        return octets

    with between(slow) as (generator, *_):
        generator.establish(2)
        load = generator.transactions(10, 0.4, drain=PATIENT)
    assert load.completed == 4
    assert 10_000 < load.latency_us["p50"] < 20_000 + 80_000 * (load.lag_max_us > 5_000)


def test_a_refused_call_has_failed() -> None:
    def refuse(_: int, octets: bytes) -> bytes:
        return octets.replace(b"SIP/2.0 200 OK", b"SIP/2.0 503 Full", 1)

    with between(refuse) as (generator, relay, _):
        load = generator.calls(100, 0.1, drain=PATIENT)
    assert (load.completed, load.failed, load.lost) == (0, 10, 0)
    acks = [m for m in relay.seen if m.startswith(b"ACK")]
    assert len(acks) == 10


def test_a_stalled_generator_says_that_it_lagged() -> None:
    with between() as (generator, *_):
        stopped = threading.Timer(0.1, lambda: _freeze(generator, 0.3))
        stopped.start()
        load = generator.calls(50, 0.4, drain=PATIENT)
        stopped.join()
    assert load.lag_max_us > 150_000


def _freeze(generator: Generator, seconds: float) -> None:
    child = generator._child  # the test's own child, stopped by its id
    os.kill(child.pid, 19)
    time.sleep(seconds)
    os.kill(child.pid, 18)


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_every_system_carries_calls(name: str, tmp_path: Path) -> None:
    system = SYSTEMS[name]
    if system.engine and system.missing():  # an engine that this build does not have
        assert "engine" in system.missing()
        return
    assert system.missing() == ""
    workload = Workload("calls", "whole calls", "calls/s", 9.0, system.transport)
    arena = Arena(
        system,
        tmp_path,
        Cores(None, None),
        transport=system.transport,
        members=3,
        live=20,
        drain_ms=PATIENT,
    )
    try:
        sample = arena.run(workload, "check", 40, 0.5)
        inside = arena.generator.transactions(40, 0.25, drain=PATIENT)
    finally:
        arena.close()
    assert carried(sample) or sample.latency_us["p99"] >= 50_000  # a busy machine
    assert (sample.lost, sample.failed, sample.misrouted) == (0, 0, 0)
    assert sample.messages_per_s * 0.5 < 20 * CALL_MESSAGES
    assert 1.0 < sample.cpu_us < 5_000.0
    assert sample.pss > 100_000
    assert inside.completed == inside.started == 10
    assert not is_bound(arena.ports.proxy, system.transport)


def test_cpu_time_is_that_of_the_process() -> None:
    before = cpu_ns([os.getpid()]), time.process_time_ns()
    while time.process_time_ns() - before[1] < 50_000_000:
        pass
    used = cpu_ns([os.getpid()]) - before[0], time.process_time_ns() - before[1]
    assert used[0] == pytest.approx(used[1], rel=0.02)


def test_overflows_of_a_receive_queue_are_seen() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as full:
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        full.bind((HOST, 0))
        port = full.getsockname()[1]
        before = overflows(port)
        for _ in range(100):
            full.sendto(b"x" * 900, (HOST, port))
        received = 0
        full.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while full.recv(2048):
                received += 1
        assert overflows(port) - before == 100 - received > 0


def test_a_dialog_refused_while_being_established_is_tried_anew() -> None:
    def refuse_some(number: int, octets: bytes) -> bytes:
        return octets.replace(b"200 OK", b"503 Later", 1) if number < 8 else octets

    with between(refuse_some) as (generator, relay, _):
        established = generator.establish(5)
        load = generator.transactions(20, 0.2, drain=PATIENT)
    assert established.completed == 5
    assert established.failed > 0
    assert load.completed == load.started == 4
    calls = {m.partition(b"Call-ID: ")[2].split(b"\r\n")[0] for m in relay.seen}
    assert len(calls) == 5 + established.failed
