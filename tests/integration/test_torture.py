"""The corpora over real sockets, UDP and TCP, against a running balancer with two members.

What each message must come to is written in tests/corpus. Callers speak from 127.0.0.2, where
they hold the port that their Via names (RFC 3261 18.2.2); members answer what reaches them, so
that the way back is tried too.
"""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from rig import HOST, Balancer, free_port
from rig_wire import Agent, Heard

CALLER = "127.0.0.2"
CORPUS = Path(__file__).parents[1] / "corpus"
EXPECTED = {
    f"{folder}/{name}": entry[1]
    for file in ("expected.json", "expected-own.json")
    for folder, entries in json.loads((CORPUS / file).read_text()).items()
    if isinstance(entries, dict)
    for name, entry in entries.items()
}

CLOSED = ("rfc4475/clerr", "rfc4475/ncl", "rfc4475/mcl01", "field/space-before-length")
"""Over TCP nobody knows where the next message begins: the connection has to go."""

SILENCE_S = 0.7
"""Longer than the balancer waits for the rest of a message, or for the end of one without
Content-Length."""

_LINE = re.compile(rb"\r\n(?![ \t])")
_COMPACT = {b"v": b"via", b"f": b"from", b"t": b"to", b"i": b"call-id"}
_STATUS = re.compile(rb"SIP/2\.0 (\d{3}) ")
_VIA_PORT = re.compile(
    rb"(?mi)^(?:via|v)[ \t]*:\s*SIP\s*/\s*\S+\s*/\s*\S+\s+"
    rb"(?:\[[^\]]+\]|[^\s;,:\[]+):(\d+)\b"
)


class Site(NamedTuple):
    balancer: Balancer
    members: tuple[Agent, Agent]

    def heard(self) -> list[Heard]:
        """What has reached the members since it was asked for last."""
        found = []
        for member in self.members:
            with suppress(AssertionError):  # nothing more
                while True:
                    found.append(member.hear(timeout_s=0.001))
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        members = tuple(
            stack.enter_context(Agent("udp tcp", free_port(), name=f"member {n}")) for n in (1, 2)
        )
        addresses = {
            n: [f"{how}:{HOST}:{m.port}" for how in ("udp", "tcp")]
            for n, m in enumerate(members, 1)
        }
        directory = tmp_path_factory.mktemp("torture")
        balancer = Balancer(directory, addresses, sip='incomplete-timeout = "400ms"\n')
        stack.enter_context(balancer)
        for number in addresses:
            balancer.wait_health(number, "in service")
        yield Site(balancer, (members[0], members[1]))
        balancer.assert_balanced()


def answer(data: bytes) -> bytes:
    """200 to a request, its headers copied octet for octet."""
    lines = [b"SIP/2.0 200 OK"]
    for line in _LINE.split(data.partition(b"\r\n\r\n")[0])[1:]:
        name = line.partition(b":")[0].strip().lower()
        name = _COMPACT.get(name, name)
        if name in (b"via", b"from", b"call-id", b"cseq", b"record-route"):
            lines.append(line)
        elif name == b"to":
            lines.append(line if b"tag" in line.lower() else line + b";tag=member")
    return b"\r\n".join([*lines, b"Content-Length: 0"]) + b"\r\n\r\n"


class Outcome:
    """What came of one message: copies at members, answers at the caller."""

    def __init__(self) -> None:
        self.copies: list[bytes] = []
        self.answers: list[int] = []
        self.closed = False

    @property
    def word(self) -> str:
        if self.copies:
            return "FWD"
        return str(self.answers[0]) if self.answers else "DROP"

    def take(self, site: Site) -> None:
        for heard in site.heard():
            if not heard.data.startswith(b"SIP/2.0"):
                self.copies.append(heard.data)
                heard.answer(answer(heard.data))

    def hear(self, data: bytes) -> None:
        self.answers += [int(status) for status in _STATUS.findall(data)]


def over_udp(site: Site, data: bytes) -> Outcome:
    outcome = Outcome()
    named = _VIA_PORT.search(data)
    ports = {5060, int(named[1]) if named is not None else 5060}
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in ports]
        for sock, port in zip(sockets, ports, strict=True):
            sock.bind((CALLER, port))
        site.heard()
        sockets[0].sendto(data, (HOST, site.balancer.port))
        until = time.monotonic() + 0.4
        while time.monotonic() < until and not outcome.answers:
            outcome.take(site)
            for sock in select.select(sockets, [], [], 0.01)[0]:
                outcome.hear(sock.recv(65535))
        time.sleep(0.02)
        outcome.take(site)
    return outcome


def over_tcp(site: Site, data: bytes, wanted: int, *, in_pieces: bool = False) -> Outcome:
    outcome = Outcome()
    site.heard()
    with socket.socket() as sock:
        sock.bind((CALLER, 0))
        sock.connect((HOST, site.balancer.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(data), 100) if in_pieces else (0,):
            sock.sendall(data[start : start + 100] if in_pieces else data)
        until = time.monotonic() + SILENCE_S
        while time.monotonic() < until and not outcome.closed and len(outcome.answers) < wanted:
            outcome.take(site)
            if select.select([sock], [], [], 0.01)[0]:
                received = b""
                with suppress(ConnectionResetError):
                    received = sock.recv(65535)
                outcome.hear(received)
                outcome.closed = not received
        if not outcome.copies and not outcome.closed and select.select([sock], [], [], 0.05)[0]:
            with suppress(ConnectionResetError):
                outcome.closed = not sock.recv(65535)
    outcome.take(site)
    return outcome


def message(name: str) -> bytes:
    return (CORPUS / f"{name}.dat").read_bytes()


@pytest.mark.parametrize("name", EXPECTED)
def test_over_udp(site: Site, name: str) -> None:
    data = message(name)
    outcome = over_udp(site, data)
    assert outcome.word in EXPECTED[name], (outcome.answers, outcome.copies)
    if outcome.copies:
        (copy,) = outcome.copies
        check_copy(data.lstrip(b"\r\n"), copy)
        assert outcome.answers == [200]


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "in pieces"])
def test_over_tcp(site: Site, name: str, in_pieces: bool) -> None:
    data = message(name)
    wanted = 2 if name == "rfc4475/dblreq" else 1
    outcome = over_tcp(site, data, wanted, in_pieces=in_pieces)
    assert outcome.word in EXPECTED[name], (outcome.answers, outcome.copies)
    if outcome.copies:
        assert len(outcome.copies) == wanted
        assert outcome.answers[:wanted] == [200] * wanted
        check_copy(data.lstrip(b"\r\n"), outcome.copies[0])
    if name in CLOSED:
        assert outcome.closed


def check_copy(data: bytes, copy: bytes) -> None:
    """Start line and body are those of the message; nothing behind them was carried along."""
    assert copy.partition(b"\r\n")[0] == data.partition(b"\r\n")[0]
    length = re.search(rb"\r\n(?:content-length|l)[ \t]*:\s*(\d+)", data, re.IGNORECASE)
    body = data.partition(b"\r\n\r\n")[2]
    assert copy.partition(b"\r\n\r\n")[2] == body[: int(length[1]) if length else len(body)]


def test_it_still_works_after_all_that(site: Site) -> None:
    data = message("rfc4475/wsinv")
    assert over_udp(site, data.replace(b"wsinv.ndaksdj", b"after.ndaksdj")).answers == [200]
    assert over_tcp(site, data.replace(b"wsinv.ndaksdj", b"after2.ndaksdj"), 1).answers == [200]
