"""Messages as traces see them."""

from __future__ import annotations

from rmlb.trace.copies import Copy, Direction
from rmlb.trace.reading import Reader, Traced

CALLER = ("192.0.2.1", 5070)
OURS = ("192.0.2.100", 5060)
MEMBER = ("192.0.2.11", 5060)
UUID = "00LO8D4S7O9GTA1E60A4FF5MES000001"


def request(method: str, call_id: str = "a@b", *, uuid: str = "", to_tag: str = "") -> bytes:
    lines = [
        f"{method} sip:service@192.0.2.100 SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK1",
        "From: <sip:alice@192.0.2.1>;tag=f",
        f"To: <sip:service@192.0.2.100>{to_tag and ';tag=' + to_tag}",
        f"Call-ID: {call_id}",
        f"CSeq: 1 {method}",
        *([f"X-Genesys-CallUUID: {uuid}"] if uuid else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def response(status: int, reason: str, method: str, call_id: str = "a@b") -> bytes:
    return (
        f"SIP/2.0 {status} {reason}\r\nVia: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK1\r\n"
        f"f: <sip:alice@192.0.2.1>;tag=f\r\nt: <sip:service@192.0.2.100>;tag=t\r\n"
        f"i: {call_id}\r\nCSEQ: 1 {method}\r\n\r\n"
    ).encode()


def received(data: bytes, at: float = 1.5, source: tuple[str, int] = CALLER) -> Copy:
    return Copy(at, Direction.IN, "udp", *source, *OURS, data)


def sent(data: bytes, at: float = 1.5, target: tuple[str, int] = MEMBER) -> Copy:
    return Copy(at, Direction.OUT, "udp", *OURS, *target, data)


def traced(*copies: Copy) -> list[Traced]:
    """Read in this order by one reader."""
    reader = Reader()
    return [reader.read(copy) for copy in copies]
