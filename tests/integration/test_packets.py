"""The packet thread with real sockets: what it does, what it leaves to Python, what it counts.

No event loop and no balancer around it: a compiled router, its thread, and sockets on loopback.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rmlb.fastpath.engine import CompiledRouter
from rmlb.routing.affinity import Memory
from rmlb.routing.bindings import BindingLimits, Bindings
from rmlb.routing.keys import Keyring, affinity_key
from rmlb.routing.member import Health, Member
from rmlb.routing.router import Router
from rmlb.routing.sources import SourceLimits
from rmlb.routing.table import MAX_DATAGRAM, Listener, RoutingTable
from rmlb.routing.verdict import Drop, Forward, Origin, Reason, Reply
from rmlb.sip.address import SipAddress, Transport

UDP, TCP = Transport.UDP, Transport.TCP
HOST = "127.0.0.1"
IP_RECVERR = 11  # <linux/in.h>
LIMIT_S = 10.0
"""After which a test gives up; nothing here takes a tenth of it."""


def udp_socket(host: str = HOST) -> socket.socket:
    """Bound to a free port, as transport/udp.py has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 2**20)
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    sock.bind((host, 0))
    return sock


class Site:
    """Two members, a caller, and the thread between them, not yet started."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.vip = self.made()
        self.members = {1: self.made(), 2: self.made()}
        self.caller = self.made()
        port = self.vip.getsockname()[1]
        self.table = RoutingTable(
            members={
                number: Member(
                    number, (SipAddress(UDP, HOST, sock.getsockname()[1]),), Health.IN_SERVICE
                )
                for number, sock in self.members.items()
            },
            listeners=(
                Listener(0, UDP, HOST, port, HOST),
                Listener(1, TCP, HOST, port, HOST),
                Listener(2, UDP, "::1", port, "::1"),
            ),
            keys=Keyring(["a secret of sixteen"]),
            affinity_key=affinity_key("packets"),
            instance=b"0000000a",
            vips=frozenset((HOST,)),
        )
        memory = Memory(Bindings(BindingLimits(max_bindings=1000)))
        self.router = CompiledRouter(self.table, memory)
        self.python = Router(self.table, Memory())
        """Says what has to arrive: branches and marks are the same everywhere."""
        self.packets = self.router.packets
        assert self.packets is not None
        self.packets.add(self.vip.fileno(), 0, ipv4=True)

    def made(self, host: str = HOST) -> socket.socket:
        self.sockets.append(udp_socket(host))
        return self.sockets[-1]

    def close(self) -> None:
        self.packets.stop()
        for sock in self.sockets:
            sock.close()

    def origin(self, sock: socket.socket) -> Origin:
        return Origin(UDP, 0, 0, *sock.getsockname()[:2])

    def send(self, data: bytes, by: socket.socket | None = None) -> None:
        (by or self.caller).sendto(data, self.vip.getsockname())

    def take(self, count: int) -> list[tuple[str, Any, bytes]]:
        """So many of what the thread leaves to Python, as they come."""
        found: list[tuple[str, Any, bytes]] = []
        ends = time.monotonic() + LIMIT_S
        while len(found) < count and time.monotonic() < ends:
            if select.select([self.packets.fileno()], [], [], 0.2)[0]:
                found += self.packets.take(32)
        assert len(found) == count, found
        return found

    def call_for(self, number: int, first: int = 0) -> bytes:
        """An INVITE that the hash gives to that member."""
        for i in range(first, first + 1000):
            data = invite(i)
            verdict = Router(self.table, Memory()).receive(data, self.origin(self.caller), 1.0)
            if isinstance(verdict, Forward) and verdict.to.member == number:
                return data
        raise AssertionError("no such Call-ID")


def invite(number: int, body: bytes = b"", max_forwards: int = 70) -> bytes:
    return (
        f"INVITE sip:ivr@{HOST} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {HOST}:5060;branch=z9hG4bK{number};rport\r\n"
        f"Max-Forwards: {max_forwards}\r\n"
        "From: <sip:caller@example.com>;tag=f\r\nTo: <sip:ivr@example.com>\r\n"
        f"Call-ID: {number}@packets\r\nCSeq: 1 INVITE\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def answer(data: bytes) -> bytes:
    """200 to a request as it came."""
    lines = data.partition(b"\r\n\r\n")[0].split(b"\r\n")
    kept = [x for x in lines if x.startswith((b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:"))]
    return b"\r\n".join([b"SIP/2.0 200 OK", *kept, b"Content-Length: 0\r\n\r\n"])


def receive(sock: socket.socket) -> tuple[bytes, tuple[str, int]]:
    assert select.select([sock], [], [], LIMIT_S)[0], "nothing came"
    data, source = sock.recvfrom(65535)
    return data, source


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


def test_a_batch_leaves_as_python_would_send_it(site: Site) -> None:
    """More than one recvmmsg takes, all in the socket before the thread starts."""
    expected: dict[int, list[bytes]] = {1: [], 2: []}
    for number in range(200):
        site.send(invite(number))
        verdict = site.python.receive(invite(number), site.origin(site.caller), 1.0)
        assert isinstance(verdict, Forward)
        expected[verdict.to.member].append(verdict.data)
    site.packets.start()
    for number, sock in site.members.items():
        found = [receive(sock) for _ in expected[number]]
        assert [data for data, _ in found] == expected[number]
        assert {source for _, source in found} == {site.vip.getsockname()}
    counters = site.router.counted()
    assert (counters.received[UDP], counters.forwarded, counters.imbalance()) == (200, 200, 0)


def test_answers_return(site: Site) -> None:
    site.packets.start()
    site.send(site.call_for(1))
    sent, _ = receive(site.members[1])
    site.send(answer(sent), by=site.members[1])
    back, source = receive(site.caller)
    assert source == site.vip.getsockname()
    assert back.startswith(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK")
    assert site.router.memory.bindings.calls[1] == 1


def answered_call(site: Site, number: int) -> None:
    """By the thread: a change of bindings."""
    site.send(site.call_for(1, first=1000 * number))
    sent, _ = receive(site.members[1])
    site.send(answer(sent), by=site.members[1])
    receive(site.caller)


@pytest.mark.parametrize("lost", [False, True])
def test_the_first_change_is_told_of(site: Site, lost: bool) -> None:
    """Also of a store that was lost when a change had just been told of, and has come back."""
    bindings = site.router.memory.bindings
    told: list[int] = []
    bindings.journal = True
    bindings.on_change = lambda: told.append(bindings.changes_waiting)
    site.packets.start()
    if lost:
        answered_call(site, 0)
        assert select.select([site.packets.fileno()], [], [], LIMIT_S)[0]
        bindings.forget_changes()
        assert site.packets.take(32) == []
        site.router.tell_changes()
        assert told == [], "there is none any more"
        bindings.journal = True
    for number in (1, 2):
        answered_call(site, number)
    assert select.select([site.packets.fileno()], [], [], LIMIT_S)[0], "nobody was told"
    assert site.packets.take(32) == []
    site.router.tell_changes()
    assert (told, bindings.on_change) == ([2], None)


def test_a_refusal_is_reported_and_costs_nobody_else_anything(site: Site) -> None:
    """HA-RULES 6: the error fails the next send, to an innocent member; it is made once more."""
    dead = site.members[1].getsockname()
    site.members[1].close()
    for round_ in range(20):
        site.send(site.call_for(1, first=100 * round_))
        site.send(site.call_for(2, first=100 * round_))
    site.packets.start()
    for _ in range(20):
        receive(site.members[2])
    what, where, data = site.take(1)[0]
    assert (what, where, data) == ("refused", dead, b"")
    assert site.router.counted().send_errors["refused"] >= 1


def test_many_refusals_of_one_address_are_one(site: Site) -> None:
    """In one turn; what is remembered for the member is re-examined once, not once per datagram."""
    site.members[1].close()
    for i in range(20):
        site.send(site.call_for(1, first=100 * i))
    site.packets.start()
    refused = site.take(1)
    time.sleep(0.2)
    refused += site.packets.take(100)
    assert len(refused) < 10


@pytest.mark.parametrize("host", ["127.0.0.9", "::1"])
def test_a_source_over_its_rate_is_dropped_by_the_thread(site: Site, host: str) -> None:
    """Unread: Python never sees it, and the member's own host goes on."""
    flooding = site.made(host)
    vip = site.vip
    if ":" in host:
        vip = site.made(host)
        site.packets.add(vip.fileno(), 2, ipv4=False)
    site.router.memory.sources.limits = SourceLimits(rate=10, penalty_s=60.0)
    site.packets.start()
    for _ in range(200):
        flooding.sendto(b"junk", vip.getsockname()[:2])
    assert {origin.host for _, origin, _ in site.take(10)} == {host}
    for _ in range(20):
        site.send(b"junk")  # a member's host
    assert {origin.host for _, origin, _ in site.take(20)} == {HOST}
    counters = site.router.counted()
    assert counters.dropped[Reason.SOURCE_RATE] == counters.received[UDP] == 190
    assert counters.imbalance() == 0
    assert site.router.take_limited() == [host if ":" not in host else "::/64"]


def test_a_full_backlog_is_counted(site: Site) -> None:
    """Nothing is taken, so the queue fills; every datagram is still accounted for."""
    many = 1500
    body = b"x" * 1200
    for number in range(many):
        site.send(invite(number, body, max_forwards=0))  # its 483 is Python's affair
        if number % 100 == 99:
            time.sleep(0.01)
    site.packets.start()
    ends = time.monotonic() + LIMIT_S
    handled = 0
    while site.router.counted().received.total() < many and time.monotonic() < ends:
        if site.router.counted().dropped[Reason.BACKLOG] == 0:
            time.sleep(0.05)
            continue
        for what, origin, data in site.packets.take(64):
            assert what == "datagram"
            assert isinstance(site.router.receive_odd(data, origin, 1.0), Reply)
            handled += 1
    counters = site.router.counted()
    assert counters.dropped[Reason.BACKLOG] > 0
    assert counters.answered[483] == handled > 500
    assert (counters.received[UDP], counters.imbalance()) == (many, 0)


def test_ipv6_is_left_to_python(site: Site) -> None:
    six, caller = site.made("::1"), site.made("::1")
    site.packets.add(six.fileno(), 2, ipv4=False)
    site.packets.start()
    caller.sendto(invite(1), six.getsockname())
    what, origin, data = site.take(1)[0]
    assert what == "datagram"
    assert origin == Origin(UDP, 2, 2, "::1", caller.getsockname()[1])
    assert data == invite(1)


def test_an_answer_for_a_caller_over_tcp_is_handed_over(site: Site) -> None:
    """Decided by the thread, sent by the event loop, by the caller's own connection."""
    site.packets.start()
    data = site.call_for(1).replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP")
    verdict = site.router.receive(data, Origin(TCP, 1, 77, HOST, 40000), 1.0)
    assert isinstance(verdict, Forward)
    site.send(answer(verdict.data), by=site.members[verdict.to.member])
    what, to, octets = site.take(1)[0]
    assert what == "send"
    assert (to.transport, to.host, to.channel, to.listener) == (TCP, HOST, 77, 1)
    assert octets.startswith(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bK")
    assert site.router.counted().imbalance() == 0


@pytest.mark.parametrize("size", [1400, 9000, 64_900])
def test_large_datagrams_pass_whole(site: Site, size: int) -> None:
    site.packets.start()
    data = invite(1, b"y" * (size - 300))
    site.send(data)
    verdict = site.python.receive(data, site.origin(site.caller), 1.0)
    assert isinstance(verdict, Forward)
    sent, _ = receive(site.members[verdict.to.member])
    assert sent == verdict.data


def test_what_would_leave_too_large_is_refused(site: Site) -> None:
    """The largest datagram that there is: with our Via it is none any more (513)."""
    site.packets.start()
    data = invite(1)
    data = invite(1, b"y" * (MAX_DATAGRAM - len(data) - 4))
    assert len(data) == MAX_DATAGRAM
    site.send(data)
    _, origin, octets = site.take(1)[0]
    assert octets == data
    verdict = site.router.receive_odd(octets, origin, 1.0)
    assert isinstance(verdict, Reply)
    assert verdict.status == 513


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"\x00", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_message_is_left_to_python(site: Site, data: bytes) -> None:
    site.packets.start()
    site.send(data)
    what, origin, octets = site.take(1)[0]
    assert (what, origin, octets) == ("datagram", site.origin(site.caller), data)


def test_what_we_send_to_ourselves_goes_nowhere(site: Site) -> None:
    site.packets.start()
    site.send(invite(1), by=site.vip)
    _, origin, octets = site.take(1)[0]
    verdict = site.router.receive_odd(octets, origin, 1.0)
    assert isinstance(verdict, Drop)
    assert verdict.reason is Reason.TO_OURSELVES


def test_a_send_that_the_kernel_refuses_is_counted(site: Site) -> None:
    """Broadcast is not allowed on this socket: no retry, and the others go on."""
    mapping = {1: Member(1, (SipAddress(UDP, "127.255.255.255", 9),), Health.IN_SERVICE)}
    site.router.publish(
        RoutingTable(
            members=mapping, listeners=site.table.listeners, keys=site.table.keys,
            affinity_key=site.table.affinity_key, vips=site.table.vips,
        ),
        1.0,
    )  # fmt: skip
    site.packets.start()
    site.send(invite(1))
    ends = time.monotonic() + LIMIT_S
    while not site.router.counted().send_errors and time.monotonic() < ends:
        time.sleep(0.01)
    assert site.router.counted().send_errors == {"eacces": 1}


def test_stopped_and_started_again(site: Site) -> None:
    for number in range(3):
        site.packets.start()
        site.send(site.call_for(1, first=100 * number))
        receive(site.members[1])
        site.packets.stop()
    site.packets.stop()


def test_no_descriptor_is_left_behind() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    for _ in range(10):
        site = Site()
        site.packets.start()
        site.close()
        del site
    gc.collect()
    assert descriptors() == before
