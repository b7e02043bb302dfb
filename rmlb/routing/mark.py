"""The mark: what the balancer writes into its own Record-Route entry (SIP-RULES 4).

It says which member the dialog was given to, how many losses the cluster had seen by then,
and who started the dialog, so that every later request of it finds its way on any balancer
with no stored state at all.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rmlb.routing.keys import Keyring, mac, short_hash

PARAM = b"rmlb"
"""The URI parameter that carries the mark."""

_MARK = re.compile(rb"([0-9a-f]{4})\.(\d{1,9})\.(\d{1,9})\.([0-9a-f]{8})\.([0-9a-f]{16})\Z")


class Mark(NamedTuple):
    """A verified mark."""

    member: int
    loss: int
    """The cluster's loss number when the mark was made."""
    initiator: bytes
    """Short hash of the From tag of the dialog's first request."""
    outward: bool
    """The request that carries it goes towards the dialog's initiator."""


def make_mark(keys: Keyring, member: int, loss: int, call_id: bytes, from_tag: bytes) -> bytes:
    """The mark of a dialog that this request starts."""
    key = keys.signing
    initiator = short_hash(key.mark, b"initiator", from_tag)
    body = b"%b.%d.%d.%b" % (key.id, member, loss, initiator)
    return body + b"." + mac(key.mark, body, call_id)


def read_mark(keys: Keyring, value: bytes, call_id: bytes, from_tag: bytes) -> Mark | None:
    """The mark in a Route's parameter; None if it is not ours, or another dialog's.

    Direction comes from the From tag alone, never from addresses.
    """
    match = _MARK.match(value)
    if match is None:
        return None
    key = keys.find(match[1])
    if key is None or mac(key.mark, value[: match.start(5) - 1], call_id) != match[5]:
        return None
    initiator = short_hash(key.mark, b"initiator", from_tag)
    return Mark(int(match[2]), int(match[3]), match[4], outward=initiator != match[4])
