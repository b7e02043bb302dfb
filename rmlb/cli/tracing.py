"""`rmlb trace`: a ladder of what passes, drawn line by line; and copies to a HEP3 collector.

    12:00:01.123  SIP Server      rmlb            RM 1            RM 2
    12:00:01.123      |--- INVITE --->|               |               |
    12:00:01.124      |               |--- INVITE --->|               |

Lines are printed and scroll, so that it works in a pipe as on a terminal.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
from base64 import b64decode
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from rmlb.cli.client import ApiClient
from rmlb.cli.failure import MISUSED, CliError
from rmlb.cli.layout import clean, has_colours
from rmlb.trace.copies import Copy, Direction
from rmlb.trace.hep import HepNode, encode
from rmlb.trace.ladder import BALANCER, columns, is_other, title
from rmlb.trace.reading import Traced

LEFT: Final = 14
"""Columns of the time."""

LEAST: Final = 10
"""Of a lane: room for "─ 200 ─▶"; on a terminal that is narrower still, lines wrap."""

ENOUGH: Final = 16
"""Of a lane: room for "180 Ringing"; what is left is the Call-ID's."""

MOST: Final = 30

TAIL: Final = 24
"""Columns that the Call-ID gets where lanes have enough."""

HEAD_EVERY: Final = 40
"""Lines between two heads."""

_PAINT: Final = (36, 33, 35, 32, 34, 96, 93, 95)
"""Colours of calls, on a terminal: the same for all messages of one call."""


def show_trace(
    client: ApiClient, call_id: str, sample: int, hep: str, as_json: bool, as_text: bool
) -> None:
    """Run until Ctrl-C, or the end of the balancer: CliError."""
    query = {"call_id": call_id, "sample": str(sample)}
    if hep:
        query["octets"] = "1"
    arrows = client.stream("/api/v1/trace", **query)
    if hep:
        _send_all(arrows, _place(hep))
    elif as_json:
        for arrow in arrows:
            print(json.dumps(arrow), flush=True)
    else:
        members = [f"member {each['id']}" for each in client.get("/api/v1/members")["members"]]
        about = f" of calls with {call_id}" if call_id else ""
        print(f"tracing messages{about}; Ctrl-C ends it", file=sys.stderr, flush=True)
        drawing = Drawing(members, colour=has_colours())
        for arrow in arrows:
            for line in drawing.lines(arrow, shutil.get_terminal_size().columns):
                print(line)
            if as_text and arrow.get("kind") == "arrow":
                print("\n" + "\n".join(map(clean, arrow["text"].splitlines())) + "\n")
            sys.stdout.flush()
    raise CliError(f"the balancer at {client.url} has stopped")


class Drawing:
    """Ladder lines, one message at a time. Knows no terminal."""

    def __init__(self, members: list[str], *, colour: bool = False) -> None:
        self._parties = columns([BALANCER, *members])
        self._members = members
        self._colour = colour
        self._calls: dict[str, int] = {}
        self._drawn = 0

    def lines(self, arrow: dict[str, Any], width: int) -> list[str]:
        """What to print for one object of the stream."""
        if arrow.get("kind") == "lost":
            return [f"... {arrow['count']} messages lost: too many to show ..."]
        if arrow.get("kind") != "arrow":
            return []
        known = set(self._parties)
        self._parties = columns([*self._parties, arrow["source"], arrow["target"]])
        lane = self._lane(width)
        lines = []
        if known != set(self._parties) or self._drawn % HEAD_EVERY == 0:
            lines += [""] * bool(self._drawn) + [self._head(lane)]
        self._drawn += 1
        return [*lines, self._arrow(arrow, lane, width)]

    def _lane(self, width: int) -> int:
        spans = max(1, len(self._parties) - 1)
        roomy = (width - LEFT - TAIL) // spans
        if roomy >= ENOUGH:
            return min(MOST, roomy)
        return max(LEAST, min(ENOUGH, (width - LEFT - 6) // spans))

    def _head(self, lane: int) -> str:
        others = sum(map(is_other, self._parties))
        line = [" "] * (LEFT + lane * len(self._parties) + 20)
        for i, party in enumerate(self._parties):
            text = clean(title(party, others))[: lane - 1]
            at = max(LEFT, LEFT + 4 + i * lane - len(text) // 2)
            line[at : at + len(text)] = text
        return self._painted("".join(line).rstrip(), 1)

    def _arrow(self, arrow: dict[str, Any], lane: int, width: int) -> str:
        at = datetime.fromtimestamp(arrow["at"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
        places = {party: LEFT + 4 + i * lane for i, party in enumerate(self._parties)}
        line = [" "] * (LEFT + 5 + lane * (len(self._parties) - 1))
        for place in places.values():
            line[place] = "│"
        begin, end = places[arrow["source"]], places[arrow["target"]]
        low, high = sorted((begin, end))
        call = self._call_number(arrow["correlation"])
        shaft = ""
        if high > low:
            shaft = _shaft(_labels(arrow), high - low - 1, rightwards=begin < end)
            for place in places.values():  # it passes these by
                if low < place < high and shaft[place - low - 1] == "─":
                    shaft = f"{shaft[: place - low - 1]}┼{shaft[place - low :]}"
        body = "".join(line[LEFT:low])
        if shaft:
            body += line[low] + self._painted(shaft, _PAINT[call % len(_PAINT)])
            body += "".join(line[high:])
        else:
            body += "".join(line[low:]) + " " + _labels(arrow)[0]
        tail = f"  {_name(arrow)}"
        room = width - len(line) - 1
        return f"{at:<{LEFT}}{body}{tail[:room] if room > 6 else ''}".rstrip()

    def _call_number(self, correlation: str) -> int:
        if len(self._calls) > 10_000:
            self._calls.clear()
        return self._calls.setdefault(correlation, len(self._calls))

    def _painted(self, text: str, code: int) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def _labels(arrow: dict[str, Any]) -> tuple[str, str]:
    """What stands on the arrow, and the same for a short one."""
    label = clean(arrow["label"])
    return (f"{label} ({clean(arrow['method'])})" if arrow["status"] else label), label


def _fitted(labels: tuple[str, str], room: int) -> str:
    """As much of it as that: a status without its reason before a reason of three letters."""
    for label in labels:
        if len(label) <= room:
            return label
    label = labels[-1]
    if label[:3].isdigit() and room < len("480 Te…") + 1:
        return label[:3]
    return label[: max(1, room - 1)] + "…"


def _name(arrow: dict[str, Any]) -> str:
    return clean(arrow["correlation"]) or "no Call-ID"


def _shaft(labels: tuple[str, str], room: int, *, rightwards: bool) -> str:
    """ "── INVITE ──▶" in exactly `room` columns."""
    label = _fitted(labels, room - 4)
    rest = max(0, room - len(label) - 3)
    left = "─" * (rest // 2)
    right = "─" * (rest - rest // 2)
    return f"{left} {label} {right}▶" if rightwards else f"◀{left} {label} {right}"


def _send_all(arrows: Iterator[dict[str, Any]], place: tuple[str, int]) -> None:
    """Pass every message on to the collector, by UDP."""
    try:
        found = socket.getaddrinfo(*place, type=socket.SOCK_DGRAM)[0]
    except OSError as error:
        raise CliError(f"--hep {place[0]}:{place[1]}: {error.strerror}") from None
    node = HepNode(name="rmlb trace")
    with socket.socket(found[0], socket.SOCK_DGRAM) as udp:
        print(f"sending HEP3 to {place[0]}:{place[1]}; Ctrl-C ends it", file=sys.stderr, flush=True)
        for arrow in arrows:
            if arrow.get("kind") == "arrow":
                udp.sendto(encode(_traced(arrow), node), found[4])


def _traced(arrow: dict[str, Any]) -> Traced:
    source, source_port = _address(arrow["source_address"])
    target, target_port = _address(arrow["target_address"])
    copy = Copy(
        arrow["at"], Direction(arrow["direction"]), arrow["transport"], source, source_port,
        target, target_port, b64decode(arrow["data"]),
    )  # fmt: skip
    return Traced(arrow["number"], copy, arrow["call_id"], arrow["correlation"])


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _place(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536 or not host:
        raise CliError(f"--hep {text!r}: not HOST:PORT", MISUSED)
    return host.strip("[]"), int(port)
