"""Messages made worse: what may reach a port that the whole world can write to."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

_COMPACT = {
    b"via": b"v", b"call-id": b"i", b"from": b"f", b"to": b"t", b"content-length": b"l",
    b"contact": b"m", b"supported": b"k", b"subject": b"s", b"content-type": b"c",
}  # fmt: skip
_LONG = {short: name for name, short in _COMPACT.items()}
_ODD = b"\x00\t\n\r \"%&'(),-./019:;<=>?@AZ[\\]_`az{|}~\x7f\x80\xff"
_PIECES = (
    b"\r\n", b"\r\n\r\n", b"\r\n ", b"\n", b";", b";;", b",", b", ", b"<", b">", b'"', b"\\",
    b";tag=x", b";tag", b";rport", b";rport=1", b";received=1.2.3.4", b";received", b";branch=z9",
    b";rmlb=1", b";lr", b";transport=tcp", b";transport=UDP", b"sips:", b"sip:", b"tel:+1", b"@",
    b":0", b":65536", b":5060", b"00000", b"4294967296", b"SIP/2.0", b"sip/2.0", b"SIP/3.0",
    b"z9hG4bK", b"z9hg4bk", b"Via: ", b"v:", b"Route: <sip:10.0.0.100;lr>\r\n", b"\r\nRoute: ",
    b"Proxy-Require: x\r\n", b"Max-Forwards: 0\r\n", b"Content-Length: 1\r\n", b"%41", b".",
    b"\r\nVia: SIP/2.0/UDP 1.2.3.4;branch=z9hG4bKx", b"SIP/2.0/UDP 10.0.0.100:5060, ",
)  # fmt: skip


def mutate(data: bytes, rng: Random) -> bytes:
    """One to three things done to it."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_MUTATIONS)(data, rng)
    return data


def _place(data: bytes, rng: Random) -> int:
    """Mostly within the header."""
    head = data.find(b"\r\n\r\n")
    end = head + 4 if head >= 0 and rng.random() < 0.95 else len(data)
    return rng.randrange(end + 1) if end else 0


def _flip(data: bytes, rng: Random) -> bytes:
    at = _place(data, rng)
    octet = rng.choice(_ODD) if rng.random() < 0.7 else rng.randrange(256)
    return data[:at] + bytes((octet,)) + data[at + 1 :]


def _insert(data: bytes, rng: Random) -> bytes:
    at = _place(data, rng)
    piece = bytes((rng.choice(_ODD),)) if rng.random() < 0.4 else rng.choice(_PIECES)
    return data[:at] + piece + data[at:]


def _insert_at_seam(data: bytes, rng: Random) -> bytes:
    """Where syntax says that something may follow."""
    seams = [m.end() for m in re.finditer(rb"[;:,<> =@\n]", data[: data.find(b"\r\n\r\n") + 2])]
    at = rng.choice(seams) if seams else 0
    piece = rng.choice((b" ", b"\t", b"\r\n ", b"0", b"x", b"%", b'"', rng.choice(_PIECES)))
    return data[:at] + piece + data[at:]


def _delete(data: bytes, rng: Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 1, 1, 2, 5, 30)) :]


def _truncate(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _append(data: bytes, rng: Random) -> bytes:
    return data + rng.randbytes(rng.randrange(40))


def _case(data: bytes, rng: Random) -> bytes:
    at = _place(data, rng)
    span = data[at : at + rng.randrange(30)]
    return data[:at] + span.swapcase() + data[at + len(span) :]


def _digits(data: bytes, rng: Random) -> bytes:
    """A number becomes another."""
    numbers = list(re.finditer(rb"\d+", data[: data.find(b"\r\n\r\n") + 2]))
    if not numbers:
        return data
    match = rng.choice(numbers)
    other = rng.choice((b"", b"0", b"1", b"00" + match[0], match[0] + b"0", b"70", b"5060",
                        b"255", b"256", b"65535", b"65536", b"999999999", b"1000000000",
                        b"4294967295", b"4294967296", b"99999999999999999999"))  # fmt: skip
    return data[: match.start()] + other + data[match.end() :]


def _lines(change: Callable[[list[bytes], Random], None]) -> Callable[[bytes, Random], bytes]:
    """A change of the header's lines."""

    def changed(data: bytes, rng: Random) -> bytes:
        head, blank, body = data.partition(b"\r\n\r\n")
        start, *lines = head.split(b"\r\n")
        if lines:
            change(lines, rng)
        return b"\r\n".join((start, *lines)) + blank + body

    return changed


@_lines
def _swap(lines: list[bytes], rng: Random) -> None:
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]


@_lines
def _shuffle(lines: list[bytes], rng: Random) -> None:
    rng.shuffle(lines)


@_lines
def _double(lines: list[bytes], rng: Random) -> None:
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))


@_lines
def _leave_out(lines: list[bytes], rng: Random) -> None:
    del lines[rng.randrange(len(lines))]


@_lines
def _fold(lines: list[bytes], rng: Random) -> None:
    at = rng.randrange(len(lines))
    name, colon, value = lines[at].partition(b":")
    cut = rng.randrange(len(value) + 1)
    lines[at] = name + colon + value[:cut] + b"\r\n" + rng.choice((b" ", b"\t")) + value[cut:]


@_lines
def _rename(lines: list[bytes], rng: Random) -> None:
    """Compact names, long names, odd case, white space before the colon."""
    at = rng.randrange(len(lines))
    name, colon, value = lines[at].partition(b":")
    low = name.lower()
    other = rng.choice((_COMPACT.get(low, low), _COMPACT.get(low, low).upper(), _LONG.get(low, low),
                        name.upper(), low, name.swapcase(), name + b" ", name + b"\t",
                        b" " + name))  # fmt: skip
    lines[at] = other + colon + value


@_lines
def _space(lines: list[bytes], rng: Random) -> None:
    at = rng.randrange(len(lines))
    name, colon, value = lines[at].partition(b":")
    lines[at] = name + colon + rng.choice((value.strip(), b"\t" + value, value + b"  ",
                                           value.replace(b";", b" ; "), value.replace(b"=", b" = "),
                                           value.replace(b",", b" , ")))  # fmt: skip


@_lines
def _join(lines: list[bytes], rng: Random) -> None:
    """Two lines of one name become one value list."""
    for at in range(len(lines) - 1):
        name, _, value = lines[at + 1].partition(b":")
        if lines[at].partition(b":")[0] == name:
            lines[at] += rng.choice((b",", b", ", b" ,\t")) + value.strip()
            del lines[at + 1]
            return


@_lines
def _split(lines: list[bytes], rng: Random) -> None:
    for at, line in enumerate(lines):
        name, _, value = line.partition(b":")
        one, comma, other = value.partition(b",")
        if comma:
            lines[at : at + 1] = [name + b":" + one, name + b":" + other]
            return


@_lines
def _many(lines: list[bytes], rng: Random) -> None:
    """More of one line than anybody writes."""
    at = rng.randrange(len(lines))
    lines[at:at] = [lines[at]] * rng.choice((2, 8, 12, 13, 24, 25, 60))


@_lines
def _long(lines: list[bytes], rng: Random) -> None:
    at = rng.randrange(len(lines))
    lines[at] += b"x" * rng.choice((60, 64, 250, 260, 512, 1024, 2000, 5000, 7000))


_MUTATIONS = (
    _flip, _flip, _insert, _insert, _insert_at_seam, _insert_at_seam, _delete, _delete, _truncate,
    _append, _case, _digits, _digits, _swap, _shuffle, _double, _leave_out, _fold, _rename, _rename,
    _space, _join, _join, _split, _many, _long,
)  # fmt: skip
