"""What a trace needs of a message: its call, its start line, its CSeq. Never fails.

Copies hold whatever came, malformed messages too, so nothing here is strict; routing reads
messages with sip.message. Pure.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from rmlb.trace.copies import Copy

MOST_CALLS: Final = 50_000
"""Call-IDs whose X-Genesys-CallUUID is remembered: some 10 MiB."""

_CALL_ID: Final = (b"\r\ncall-id:", b"\r\ni:", b"\r\ncall-id :", b"\r\ni :")
_UUID: Final = (b"\r\nx-genesys-calluuid:",)
_CSEQ: Final = (b"\r\ncseq:", b"\r\ncseq :")
_FROM: Final = (b"\r\nfrom:", b"\r\nf:", b"\r\nfrom :")
_TO: Final = (b"\r\nto:", b"\r\nt:", b"\r\nto :")
_USER: Final = re.compile(rb"sips?:(?:([^@<>;\s]*)@)?([^<>;\s]*)", re.IGNORECASE)
_STATUS: Final = re.compile(rb"SIP/2\.0 (\d{3}) ?([^\r\n]*)", re.IGNORECASE)
_METHOD: Final = re.compile(rb"\s*([!-~]{1,32}) ")


class Traced(NamedTuple):
    """One copy, read."""

    number: int
    """Counts up from 1, without gaps."""
    copy: Copy
    call_id: str
    """Empty where there is none."""
    correlation: str
    """The call's X-Genesys-CallUUID where one of its messages carried it, else the Call-ID."""


class Summary(NamedTuple):
    """What a ladder shows of a message."""

    label: str
    """"INVITE", or "180 Ringing"."""
    status: int
    """0 for a request."""
    method: str
    """A response's is that of its CSeq."""
    cseq: int
    sender: str
    """User, else host, of the From URI."""
    receiver: str
    """The same of To."""
    in_dialog: bool
    """There is a To tag."""


class Reader:
    """Gives each copy its call. X-Genesys-CallUUID stands in the first messages of a call only,
    so that it is remembered by Call-ID."""

    def __init__(self, most_calls: int = MOST_CALLS) -> None:
        self._number = 0
        self._most = most_calls
        self._uuids: dict[str, str] = {}

    def read(self, copy: Copy) -> Traced:
        self._number += 1
        low = copy.data.lower()
        call_id = _shown(_value(copy.data, low, _CALL_ID))
        uuid = _shown(_value(copy.data, low, _UUID).partition(b";")[0].rstrip())
        if uuid and call_id:
            if len(self._uuids) >= self._most and call_id not in self._uuids:
                del self._uuids[next(iter(self._uuids))]
            self._uuids[call_id] = uuid
        return Traced(self._number, copy, call_id, self._uuids.get(call_id) or uuid or call_id)


class Start(NamedTuple):
    """What a message is."""

    label: str
    """"INVITE", or "180 Ringing"."""
    status: int
    """0 for a request."""
    method: str
    """A response's is that of its CSeq."""
    cseq: int


def start(data: bytes) -> Start:
    """By start line and CSeq."""
    number, _, method = _value(data, data.lower(), _CSEQ).partition(b" ")
    cseq = int(number[:10]) if number.isdigit() else 0
    status = _STATUS.match(data.lstrip(b"\r\n"))
    if status is not None:
        label = f"{status[1].decode()} {_shown(status[2])}".strip()
        return Start(label, int(status[1]), _shown(method.strip()), cseq)
    found = _METHOD.match(data)
    name = _shown(found[1]) if found else "?"
    return Start(name, 0, name, cseq)


def summary(data: bytes) -> Summary:
    """Of a message's octets."""
    low = data.lower()
    to = _value(data, low, _TO)
    people = _user(_value(data, low, _FROM)), _user(to)
    return Summary(*start(data), *people, b";tag=" in to.lower())


def _value(data: bytes, low: bytes, names: tuple[bytes, ...]) -> bytes:
    """The first line of the first field of these names; `low` is `data` in lower case."""
    for name in names:
        at = low.find(name)
        if at >= 0:
            begin = at + len(name)
            end = data.find(b"\r\n", begin)
            return data[begin : end if end >= 0 else len(data)].strip()
    return b""


def _user(value: bytes) -> str:
    found = _USER.search(value)
    return _shown(found[1] or found[2]) if found else ""


def _shown(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")
