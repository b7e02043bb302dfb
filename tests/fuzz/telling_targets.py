"""What we tell others of hostile octets: syslog messages, log lines, HEP packets, ladders."""

from __future__ import annotations

import os
import re
import struct
from random import Random

import orjson
from sip_targets import messages
from target import Run, Target, mutate_octets

from rmlb.alarms.syslog import LONGEST, message
from rmlb.events import Event, EventName, Severity, as_text
from rmlb.trace.copies import Copy, Direction
from rmlb.trace.hep import HepNode, encode
from rmlb.trace.ladder import Parties, arrow, arrow_json
from rmlb.trace.reading import Reader

NAMES = list(EventName)
SEVERITIES = list(Severity)
TIMES = (0.0, 1.5, 1_764_000_000.25, 4_294_967_295.999_999_9, -1.0)
_HEAD = re.compile(
    rb"<\d{2}>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [!-~]{1,255} rmlb \d+ [!-~]{1,32} - "
)


def _syslog() -> Run:
    return _told


def _told(data: bytes) -> None:
    """Three octets of choices, then host, key and value, with 0xff between."""
    how, rest = data[:3].ljust(3, b"\0"), data[3:]
    host, _, rest = rest.partition(b"\xff")
    value = os.fsdecode(rest)
    fields = {"member": how[0], "why": value, "again": how[2] % 2 == 0}
    severity = SEVERITIES[how[1] % len(SEVERITIES)]
    event = Event(NAMES[how[0] % len(NAMES)], TIMES[how[1] % len(TIMES)], severity, fields)
    for as_json in False, True:
        told = message(event, host.decode("latin-1"), 7, as_json=as_json)
        assert len(told) <= LONGEST
        told.decode()
        head = _HEAD.match(told)
        assert head is not None, told[:80]
        assert not re.search(rb"[\x00-\x1f]", told), "another line"
        if as_json and len(told) < LONGEST - 3:
            assert orjson.loads(told[head.end() :])["event"] == str(event.name)
    text = as_text(event)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", text)


def _syslog_seeds() -> list[bytes]:
    return [
        bytes((number, number % 9, number % 5)) + b"rm1.example.com\xff" + value
        for number, value in enumerate(
            (b"", b"plain", b'two words="x"', b"a\nb\r\nc\x00\x1b[2J", "grün \u2028".encode(),
             b"\xff\xfe\x80", b"\\n" * 20, b"x" * 2100, "\N{CRAB}".encode() * 600)
        )
    ]  # fmt: skip


def _trace() -> Run:
    reader = Reader(most_calls=16)
    parties = Parties(frozenset([("10.0.0.100", 5060)]), {("10.0.0.11", 5060): 1})
    node = HepNode(7, "rmlb", "key")

    def run(data: bytes) -> None:
        """The first octet says how it came."""
        how = data[0] if data else 0
        hosts = ("10.0.0.100", "10.0.0.11") if how & 1 else ("2001:db8::1", "2001:db8::2")
        copy = Copy(
            TIMES[how % 4], Direction.IN if how & 2 else Direction.OUT,
            ("udp", "tcp", "tls")[how % 3], hosts[0], 5060, hosts[1], 65535, data[1:],
        )  # fmt: skip
        traced = reader.read(copy)
        packet = encode(traced, node)
        assert _payload(packet) == copy.data
        shown = arrow(traced, parties)
        content = orjson.loads(orjson.dumps(arrow_json(shown, copy.data)))
        assert content["octets"] == len(copy.data)

    return run


def _payload(packet: bytes) -> bytes:
    """As a collector takes it apart: chunks that fill the packet to its last octet."""
    assert packet[:4] == b"HEP3"
    assert int.from_bytes(packet[4:6], "big") == len(packet)
    at, found = 6, b""
    while at < len(packet):
        vendor, kind, size = struct.unpack_from("!HHH", packet, at)
        assert vendor == 0
        assert size >= 6
        if kind == 15:
            found = packet[at + 6 : at + size]
        at += size
    assert at == len(packet)
    return found


def _trace_seeds() -> list[bytes]:
    return [bytes((number % 256,)) + data for number, data in enumerate(messages())]


def _mutate_told(data: bytes, rng: Random) -> bytes:
    if rng.random() < 0.5:
        return mutate_octets(data, rng)
    at = rng.randrange(3, len(data) + 1) if len(data) > 3 else len(data)
    piece = (
        b"\n",
        b"\r",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b'"',
        b"\\",
        b"=",
        b"\xf0\x9f",
        b"\xff",
        b"\x9b",
    )
    return data[:at] + rng.choice(piece) + data[at:]


TARGETS = (
    Target(
        "syslog",
        "at most 2,048 octets of UTF-8, one line, a head as RFC 5424 has it, no control characters",
        _syslog,
        _syslog_seeds,
        mutate=_mutate_told,
        short=2000,
    ),
    Target(
        "trace",
        "a HEP packet whose chunks fill it and carry the message; a ladder line that is JSON",
        _trace,
        _trace_seeds,
        short=1500,
        most=16384,
    ),
)
