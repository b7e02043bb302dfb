"""The heartbeat datagram: written, signed, read and checked. PURE.

    magic  key id  seq | nonce  echo | beat | alongside | MAC (BLAKE2b, 16 octets)

Authentic: the MAC by a key derived for heartbeats alone. No replay: `seq` grows with each datagram
of one start, and what is to count echoes the receiver's own nonce of this start. Without that echo
a heartbeat proves nothing but that somebody is (or was) there, who is then told our nonce.
Knows no sockets, and nothing of what a beat means.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from rmlb.vip.ballot import Beat

PORT: Final = 9811
VERSION: Final = 1
NONCE_OCTETS: Final = 8
LAST_SEQ: Final = 2**64 - 1
"""Of the last will: nothing of that start follows it."""

MOST_LOSSES: Final = 24
"""Losses in one datagram: at most 24 x 30 octets, so that it fits a frame."""

NEWEST_LOSSES: Final = 12
"""Where there are more than that, these are in each of them, and the others take turns."""

_MAGIC: Final = b"RB"
_MAC_OCTETS: Final = 16
_HEAD: Final = struct.Struct("!2sBB2sQ8s8s")
_BEAT: Final = struct.Struct("!HHQQQIH")
_ALONG: Final = struct.Struct("!QQHH8s6sHB")
_LOSS: Final = struct.Struct("!QdHB")
_FLAGS: Final = (
    "owner", "ready", "blind", "both_blind", "alone", "claiming", "goodbye", "wants", "release",
)  # fmt: skip
_FORGOTTEN: Final = 16
"""Earlier starts of one peer whose datagrams are refused."""


class SharedLoss(NamedTuple):
    """A loss as it travels; `at` in seconds since 1970."""

    number: int
    member: int
    survivors: tuple[int, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Alongside:
    """What travels with a beat and does not concern the election."""

    losses: tuple[SharedLoss, ...] = ()
    """Of the loss log, oldest first; as it comes: the newest, and a page of the others."""
    loss_number: int = 0
    """The loss log's end."""
    active: int = 0
    elected: int = 0
    digest: bytes = bytes(8)
    """Of the configuration by which both must route alike."""
    mac: bytes = bytes(6)
    """Hardware address of the VIP's interface."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """One heartbeat as it came."""

    beat: Beat
    along: Alongside
    seq: int
    nonce: bytes
    echo: bytes


class Keys:
    """Heartbeat keys of the secrets: the first signs, all verify."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """Raises ValueError for none."""
        if not secrets:
            raise ValueError("balancers with peers share a secret")
        self._keys = {_sub(s, b"beat id")[:2]: _sub(s, b"heartbeat") for s in reversed(secrets)}
        self._id = _sub(secrets[0], b"beat id")[:2]

    def sign(self, head: bytes) -> tuple[bytes, bytes]:
        """Key id and key that sign."""
        return self._id, self._keys[self._id]

    def find(self, key_id: bytes) -> bytes | None:
        return self._keys.get(key_id)


def write(
    keys: Keys, beat: Beat, along: Alongside, *, seq: int, nonce: bytes, echo: bytes
) -> bytes:
    """The datagram, signed."""
    key_id, key = keys.sign(b"")
    flags = sum(1 << bit for bit, name in enumerate(_FLAGS) if getattr(beat, name))
    losses = page(along.losses, seq)
    parts = [
        _HEAD.pack(_MAGIC, VERSION, 0, key_id, seq, nonce, echo),
        _BEAT.pack(beat.sender, flags, beat.epoch, beat.n, beat.heard, beat.score, beat.heir),
        _ALONG.pack(
            along.loss_number, 0, along.active, along.elected, along.digest, along.mac, 0,
            len(losses),
        ),
    ]  # fmt: skip
    for loss in losses:
        survivors = loss.survivors[:255]
        parts.append(_LOSS.pack(loss.number, loss.at, loss.member, len(survivors)))
        parts.append(struct.pack(f"!{len(survivors)}H", *survivors))
    data = b"".join(parts)
    return data + _mac(key, data)


def page(losses: Sequence[SharedLoss], seq: int) -> Sequence[SharedLoss]:
    """Those that datagram `seq` tells of, so that all are told in turn, the newest always."""
    if len(losses) <= MOST_LOSSES:
        return losses
    older, newest = losses[:-NEWEST_LOSSES], losses[-NEWEST_LOSSES:]
    room = MOST_LOSSES - NEWEST_LOSSES
    at = room * (seq % -(-len(older) // room))
    return [*older[at : at + room], *newest]


def read(keys: Keys, data: bytes) -> Datagram | None:
    """The heartbeat, None if it is none, of another version, or not signed by a known key."""
    if len(data) < _HEAD.size + _BEAT.size + _ALONG.size + _MAC_OCTETS:
        return None
    magic, version, _, key_id, seq, nonce, echo = _HEAD.unpack_from(data)
    key = keys.find(key_id)
    if magic != _MAGIC or version != VERSION or key is None:
        return None
    body, mac = data[:-_MAC_OCTETS], data[-_MAC_OCTETS:]
    if not hmac.compare_digest(mac, _mac(key, body)):
        return None
    try:
        beat, along = _parse(body)
    except struct.error:
        return None
    return Datagram(beat, along, seq, nonce, echo)


def _parse(body: bytes) -> tuple[Beat, Alongside]:
    sender, bits, epoch, n, heard, score, heir = _BEAT.unpack_from(body, _HEAD.size)
    flags = {name: bool(bits >> bit & 1) for bit, name in enumerate(_FLAGS)}
    at = _HEAD.size + _BEAT.size
    number, _, active, elected, digest, mac, _, count = _ALONG.unpack_from(body, at)
    at += _ALONG.size
    losses = []
    for _ in range(count):
        loss_number, when, member, survivors = _LOSS.unpack_from(body, at)
        at += _LOSS.size
        left = struct.unpack_from(f"!{survivors}H", body, at)
        at += 2 * survivors
        losses.append(SharedLoss(loss_number, member, left, when))
    beat = Beat(sender, epoch, n, heard, score=score, heir=heir, **flags)
    return beat, Alongside(tuple(losses), number, active, elected, digest, mac)


def _mac(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_MAC_OCTETS, key=key).digest()


def _sub(secret: str, use: bytes) -> bytes:
    return hashlib.blake2b(secret.encode(), digest_size=32, person=b"rmlb " + use).digest()


@dataclass(slots=True)
class Association:
    """What keeps one peer's datagrams apart from replays."""

    nonce: bytes = b""
    """Of the peer's present start; empty before it was verified."""
    newest: bytes = b""
    """What we echo until one is verified."""
    seq: int = 0
    former: list[bytes] = field(default_factory=list)

    @property
    def echo(self) -> bytes:
        """What our heartbeats to it carry."""
        return self.nonce or self.newest or bytes(NONCE_OCTETS)

    def accept(self, datagram: Datagram, own_nonce: bytes) -> bool | None:
        """True: it counts. False: it proves nothing; to be answered with its own nonce echoed.
        None: a replay."""
        if datagram.nonce in self.former:
            return None
        if datagram.nonce == self.nonce:
            if datagram.seq <= self.seq:
                return None
            if datagram.echo == own_nonce:
                self.seq = datagram.seq
                return True
            return False
        if not self.nonce:
            self.newest = datagram.nonce
        if datagram.echo != own_nonce:
            return False
        if self.nonce:
            self.former = [*self.former, self.nonce][-_FORGOTTEN:]
        self.nonce, self.seq = datagram.nonce, datagram.seq
        return True
