"""Heartbeats: what arrives on the port, and what somebody with the key might have written."""

from __future__ import annotations

import hashlib

from target import Run, Target, mutate_octets

from rmlb.vip import advert
from rmlb.vip.advert import Alongside, Association, Keys, SharedLoss
from rmlb.vip.ballot import Beat

SECRETS = ("the first secret of the tests", "the one before it")
OWN = b"our own."
MAC = 16


def _heartbeat() -> Run:
    keys = Keys(SECRETS)
    known = [
        (
            hashlib.blake2b(s.encode(), digest_size=32, person=b"rmlb beat id").digest()[:2],
            hashlib.blake2b(s.encode(), digest_size=32, person=b"rmlb heartbeat").digest(),
        )
        for s in SECRETS
    ]

    def mac(key: bytes, body: bytes) -> bytes:
        return hashlib.blake2b(body, digest_size=MAC, key=key).digest()

    def run(data: bytes) -> None:
        """The first octet: as it came (even), or signed anew with a key of ours (odd)."""
        how, data = data[:1], data[1:]
        if how and how[0] & 1:
            id, key = known[how[0] >> 1 & 1]
            data = data[:4] + id + data[6:]
            data += mac(key, data)
        found = advert.read(keys, data)
        if found is None:
            return
        by = dict(known)[data[4:6]]
        assert data[-MAC:] == mac(by, data[:-MAC]), "accepted without a key"
        again = advert.write(
            keys, found.beat, found.along, seq=found.seq, nonce=found.nonce, echo=found.echo
        )
        once_more = advert.read(keys, again)
        assert once_more is not None
        assert repr(once_more.beat) == repr(found.beat)
        kept = Alongside(
            found.along.losses[-advert.MOST_LOSSES :], found.along.loss_number,
            found.along.active, found.along.elected, found.along.digest, found.along.mac,
        )  # fmt: skip
        assert repr(once_more.along) == repr(kept)
        _counts_once(found)

    return run


def _counts_once(found: advert.Datagram) -> None:
    association = Association()
    first = association.accept(found, OWN)
    assert (first is True) == (found.echo == OWN and (found.nonce != b"" or found.seq > 0))
    if first:
        assert association.accept(found, OWN) is None, "a replay counts"


def _seeds() -> list[bytes]:
    keys = Keys(SECRETS)
    losses = tuple(SharedLoss(n, n % 3 + 1, (1, 2, 3), 1e9 + n) for n in range(1, 30))
    beats = [
        Beat(1, 3, 77, 5, score=9, heir=2, owner=True, ready=True),
        Beat(65535, 2**64 - 1, 2**64 - 1, 2**64 - 1, score=2**32 - 1, heir=65535, claiming=True),
        Beat(2, 0, 0, 0, goodbye=True, release=True),
    ]
    found = []
    for number, beat in enumerate(beats):
        along = Alongside(losses[: number * 14], 30, 1, 2, b"12345678", b"abcdef")
        data = advert.write(keys, beat, along, seq=number, nonce=b"peer's..", echo=OWN)
        found += [b"\x00" + data, b"\x01" + data[:-MAC], b"\x03" + data[:-MAC]]
    return found


TARGETS = (
    Target(
        "heartbeat",
        "nothing is accepted without a MAC by a key of ours; what is read is written alike; a "
        "replay never counts",
        _heartbeat,
        _seeds,
        mutate=mutate_octets,
        short=4000,
        most=2048,
    ),
)
