"""Legal other spellings of one message are one message: same verdict, branch, destination, content.

Header names in any case or compact, folded and padded values, comma-joined Vias and Routes, other
orders of header fields (RFC 3261 7.3), display names and parameters that nobody asked for.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest
from packets import CALLER, RM, Bench, answer, request

from rmlb.routing.verdict import Forward, Reply, Verdict
from rmlb.sip.message import Message, scan
from rmlb.sip.uri import routes
from rmlb.sip.via import Via, top_via, via_after

_COMPACT = {b"Via": b"v", b"From": b"f", b"To": b"t", b"Call-ID": b"i", b"Content-Length": b"l"}
_ODD = (b"X-Odd:", b"X-Odd: a,b;c", b'X-Odd: "unclosed', b"X-Odd:\r\n folded\r\n\tmore")


class Respelling:
    """Spells messages anew, each time differently, by a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, data: bytes) -> bytes:
        head, _, body = data.partition(b"\r\n\r\n")
        start_line, *lines = head.split(b"\r\n")
        fields = self._shuffled(self._joined([line.partition(b": ")[::2] for line in lines]))
        spelt = [self._line(name, value) for name, value in fields]
        if self._maybe(0.5):
            spelt.insert(self._random.randrange(len(spelt)), self._one_of(_ODD))
        return self._one_of((b"", b"\r\n")) + b"\r\n".join([start_line, *spelt, b"", b""]) + body

    def _joined(self, fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        for name, value in fields:
            if found and found[-1][0] == name and name in (b"Via", b"Route") and self._maybe(0.5):
                comma = self._one_of((b",", b", ", b" ,\r\n ", b"\t, "))
                found[-1] = (name, found[-1][1] + comma + value)
            else:
                found.append((name, value))
        return found

    def _shuffled(self, fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Fields of one name keep their order (7.3.1)."""
        names = list(dict.fromkeys(name for name, _ in fields))
        self._random.shuffle(names)
        return [field for name in names for field in fields if field[0] == name]

    def _line(self, name: bytes, value: bytes) -> bytes:
        spelt = _COMPACT[name] if name in _COMPACT and self._maybe(0.4) else name
        spelt = self._one_of((spelt, spelt.upper(), spelt.lower(), spelt.swapcase()))
        colon = self._one_of((b": ", b":", b" : ", b":\r\n ", b"\t:\t"))
        respell = {
            b"Via": self._via, b"From": self._party, b"To": self._party, b"CSeq": self._cseq,
            b"Route": self._route,
        }.get(name)  # fmt: skip
        return spelt + colon + (respell(value) if respell else value) + self._one_of((b"", b" "))

    def _via(self, value: bytes) -> bytes:
        value = self._each(rb";", value, (b";", b" ;", b"; ", b"\r\n ;", b";\r\n\t"))
        value = self._each(rb"SIP/2.0/", value, (b"SIP/2.0/", b"SIP / 2.0 / ", b"SIP/2.0 /\r\n "))
        return self._each(rb"branch=", value, (b"branch=", b"Branch=", b"BRANCH = "))

    def _party(self, value: bytes) -> bytes:
        tags = (b">;tag=", b"> ;tag=", b">; TAG = ", b">;x=y;tag=", b'>;q="a;b,c\\"d";tag=')
        name = self._one_of((b"", b"Joe ", b'"A \\" , <x>;tag=no" ', "Ж ".encode()))
        return name + self._each(rb">;tag=", value, tags)

    def _cseq(self, value: bytes) -> bytes:
        return self._one_of((b"", b"00")) + self._each(rb" ", value, (b" ", b"\t", b"\r\n  "))

    def _route(self, value: bytes) -> bytes:
        return self._each(rb"<sip:", value, (b"<sip:", b"<SIP:", b'"x, <y>" <sip:', b"P <sip:"))

    def _each(self, pattern: bytes, value: bytes, spellings: tuple[bytes, ...]) -> bytes:
        choose: Callable[[re.Match[bytes]], bytes] = lambda _: self._one_of(spellings)  # noqa: E731
        return re.sub(pattern, choose, value)

    def _one_of(self, spellings: tuple[bytes, ...]) -> bytes:
        return self._random.choice(spellings)

    def _maybe(self, chance: float) -> bool:
        return self._random.random() < chance


def meaning(verdict: Verdict) -> tuple[object, ...]:
    """What a verdict is, whatever the spelling of the octets."""
    if isinstance(verdict, Forward):
        message = scan(verdict.data)
        parts = (message.method, message.uri, message.call_id, message.from_tag, message.to_tag,
                 message.cseq, message.max_forwards, message.body)  # fmt: skip
        ways = [route.raw_uri.lower() for route in routes(message)]
        return (verdict.kind, verdict.to, verdict.step, verdict.status, parts, ways, trail(message))
    to = verdict.to if isinstance(verdict, Reply) else None
    return (type(verdict), verdict.kind, verdict.reason, to)


def trail(message: Message) -> list[tuple[object, ...]]:
    """Every Via, our branch and MACs included."""
    found = []
    via: Via | None = top_via(message)
    while via is not None:
        found.append((via.transport, via.host, via.port, via.branch, via.received, via.rport))
        via = via_after(message, via)
    return found


Packet = tuple[bytes, str]


def scene() -> tuple[Bench, list[Packet]]:
    """A balancer with a dialog and a ringing call, and what may come next; the same each time."""
    bench = Bench()
    vias = [f"SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bKs;rport", "SIP/2.0/TCP in;branch=z9hG4bKin"]
    dialog = bench.establish("one@caller", via=vias, extra=["Record-Route: <sip:192.0.2.77;lr>"])
    to_rm = "<sip:10.0.0.11;lr;gvp.rm.datanodes=1>"
    packets = [
        (request(call_id="new", via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bKnew"), CALLER),
        (request("OPTIONS", uri="sip:10.0.0.100", call_id="options"), CALLER),
    ]
    for method in ("BYE", "INVITE", "INFO"):
        again = {"cseq": 5, "via": [vias[0].replace("bKs", f"bK{method}"), vias[1]]}
        inward = [*dialog.recorded[::-1], to_rm]
        packets.append((dialog.from_caller(method, routes=inward, **again), CALLER))
        outward = [*dialog.recorded, "<sip:192.0.2.77;lr>"]
        packets.append((dialog.from_callee(method, routes=outward), RM[dialog.member]))
    ringing = bench.forwarded(
        request(call_id="rings", via=[vias[0].replace("bKs", "bKr"), vias[1]])
    )
    rm = RM[ringing.to.member]
    packets += [(answer(ringing.data, status), rm) for status in (180, 200, 486)]
    return bench, packets


@pytest.mark.parametrize("seed", range(25))
def test_one_message_many_spellings(seed: int) -> None:
    respell = Respelling(seed)
    for place in range(len(scene()[1])):
        (one, packets), (other, _) = scene(), scene()
        data, host = packets[place]
        spelt = respell(data)
        assert meaning(one.receive(data, host)) == meaning(other.receive(spelt, host)), spelt
