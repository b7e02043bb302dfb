"""A SIP ladder: parties as columns, messages as arrows between them. Pure.

The terminal and the dashboard draw the same model; the API carries it as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rmlb.trace.reading import Traced, summary

BALANCER: Final = "rmlb"
_MEMBER: Final = "member "


@dataclass(frozen=True, slots=True)
class Parties:
    """Whose address is whose. A party is "rmlb", "member N", or the host of anybody else."""

    own: frozenset[tuple[str, int]] = frozenset()
    members: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """Host and port -> member."""

    def party(self, host: str, port: int) -> str:
        """Who that is. A member's other ports are its own where it has a host to itself."""
        if (host, port) in self.own:
            return BALANCER
        member = self.members.get((host, port))
        if member is None and host not in {own for own, _ in self.own}:
            there = {number for (at, _), number in self.members.items() if at == host}
            member = there.pop() if len(there) == 1 else None
        return host if member is None else f"{_MEMBER}{member}"


@dataclass(frozen=True, slots=True)
class Arrow:
    """One message on the ladder."""

    number: int
    at: float
    source: str
    """The party that sent it."""
    target: str
    label: str
    status: int
    method: str
    cseq: int
    transport: str
    source_address: str
    target_address: str
    call_id: str
    correlation: str
    sender: str
    receiver: str
    in_dialog: bool
    octets: int


def arrow(traced: Traced, parties: Parties) -> Arrow:
    """The message as the ladder shows it."""
    copy = traced.copy
    said = summary(copy.data)
    sent_by_us = copy.direction == "out"
    source = BALANCER if sent_by_us else parties.party(copy.source, copy.source_port)
    target = parties.party(copy.destination, copy.destination_port) if sent_by_us else BALANCER
    return Arrow(
        number=traced.number,
        at=copy.at,
        source=source,
        target=target,
        label=said.label,
        status=said.status,
        method=said.method,
        cseq=said.cseq,
        transport=copy.transport,
        source_address=_place(copy.source, copy.source_port),
        target_address=_place(copy.destination, copy.destination_port),
        call_id=traced.call_id,
        correlation=traced.correlation,
        sender=said.sender,
        receiver=said.receiver,
        in_dialog=said.in_dialog,
        octets=len(copy.data),
    )


def columns(parties: Iterable[str]) -> list[str]:
    """Each party once, from left to right: others, the balancer, members by number."""
    found = set(parties)
    members = sorted((p for p in found if p.startswith(_MEMBER)), key=_number)
    others = sorted(found - set(members) - {BALANCER})
    return [*others, BALANCER, *members]


def title(party: str, others: int = 1) -> str:
    """A column's head. A caller alone is called what it nearly always is."""
    if party == BALANCER:
        return party
    if party.startswith(_MEMBER):
        return f"RM {_number(party)}"
    return "SIP Server" if others == 1 else party


def is_other(party: str) -> bool:
    """Neither the balancer nor a member."""
    return party != BALANCER and not party.startswith(_MEMBER)


def arrow_json(shown: Arrow, data: bytes) -> dict[str, Any]:
    """One arrow with the message itself, as text."""
    return {
        "number": shown.number,
        "at": shown.at,
        "source": shown.source,
        "target": shown.target,
        "label": shown.label,
        "status": shown.status,
        "method": shown.method,
        "cseq": shown.cseq,
        "transport": shown.transport,
        "source_address": shown.source_address,
        "target_address": shown.target_address,
        "call_id": shown.call_id,
        "correlation": shown.correlation,
        "from": shown.sender,
        "to": shown.receiver,
        "in_dialog": shown.in_dialog,
        "octets": shown.octets,
        "text": data.decode("utf-8", "replace"),
    }


def _number(party: str) -> int:
    return int(party.removeprefix(_MEMBER))


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
