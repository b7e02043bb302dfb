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

_CALL_ID: Final = re.compile(rb"\r\n(?:call-id|i)[ \t]*:[ \t]*([^\s]+)", re.IGNORECASE)
_UUID: Final = re.compile(rb"\r\nx-genesys-calluuid[ \t]*:[ \t]*([^\s;]+)", re.IGNORECASE)
_CSEQ: Final = re.compile(rb"\r\ncseq[ \t]*:[ \t]*(\d+)[ \t]+([^\s]+)", re.IGNORECASE)
_FROM: Final = re.compile(rb"\r\n(?:from|f)[ \t]*:([^\r\n]*)", re.IGNORECASE)
_TO: Final = re.compile(rb"\r\n(?:to|t)[ \t]*:([^\r\n]*)", re.IGNORECASE)
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
        call_id = _first(_CALL_ID, copy.data)
        uuid = _first(_UUID, copy.data)
        if uuid and call_id:
            if len(self._uuids) >= self._most and call_id not in self._uuids:
                del self._uuids[next(iter(self._uuids))]
            self._uuids[call_id] = uuid
        return Traced(self._number, copy, call_id, self._uuids.get(call_id) or uuid or call_id)


def summary(data: bytes) -> Summary:
    """Of a message's octets."""
    cseq = _CSEQ.search(data)
    number = int(cseq[1][:10]) if cseq else 0
    status = _STATUS.match(data.lstrip(b"\r\n"))
    to = _first(_TO, data)
    people = (_user(_first(_FROM, data)), _user(to), ";tag=" in to.lower())
    if status is not None:
        code, reason = int(status[1]), _shown(status[2]).strip()
        method = _shown(cseq[2]) if cseq else ""
        return Summary(f"{code} {reason}".strip(), code, method, number, *people)
    found = _METHOD.match(data)
    method = _shown(found[1]) if found else "?"
    return Summary(method, 0, method, number, *people)


def _first(pattern: re.Pattern[bytes], data: bytes) -> str:
    found = pattern.search(data)
    return _shown(found[1]) if found else ""


def _user(value: str) -> str:
    found = _USER.search(value.encode())
    return _shown(found[1] or found[2]) if found else ""


def _shown(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")
