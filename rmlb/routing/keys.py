"""Secrets and keyed hashes (SIP-RULES 9).

All of them are SipHash-2-4: made to authenticate short messages with 64 bits, at a third of the
cost of BLAKE2b (docs/decisions/0009-siphash.md). Every use has its own sub-key, so that no value
made for one place proves anything in another. Which secret signed travels as a key id beside each
MAC: the first of the list signs, all verify, and a rolling change across balancers loses nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from siphash24 import siphash24

KEY_OCTETS = 16
"""What SipHash takes. Its 64 bits are enough: guesses go over the network, one datagram each, and
2**63 of them are out of reach."""

_FIELD_END = b"\n"
"""Cannot stand in a scanned value (lone LF is refused, folding unfolded), so joins are unique."""


@dataclass(frozen=True, slots=True)
class Key:
    """The sub-keys of one secret."""

    id: bytes
    branch: bytes
    via: bytes
    loop: bytes
    mark: bytes
    to_tag: bytes

    @classmethod
    def derive(cls, secret: str) -> Key:
        def sub(use: bytes) -> bytes:
            return hashlib.blake2b(
                secret.encode(), digest_size=KEY_OCTETS, person=b"rmlb " + use
            ).digest()

        return cls(
            id=sub(b"key id")[:2].hex().encode(),
            branch=sub(b"branch"),
            via=sub(b"via"),
            loop=sub(b"loop"),
            mark=sub(b"mark"),
            to_tag=sub(b"to tag"),
        )


class Keyring:
    """The secrets in force. Raises ValueError for none, or two with one key id."""

    __slots__ = ("_by_id", "signing")

    def __init__(self, secrets: Sequence[str]) -> None:
        keys = [Key.derive(secret) for secret in secrets]
        if not keys:
            raise ValueError("at least one secret is needed")
        self.signing = keys[0]
        self._by_id = {key.id: key for key in reversed(keys)}
        if len(self._by_id) != len(set(secrets)):
            raise ValueError("two of the secrets have the same key id; change one of them")

    def find(self, key_id: bytes) -> Key | None:
        """The key of that id, None if it is retired or never was ours."""
        return self._by_id.get(key_id)

    @property
    def all(self) -> tuple[Key, ...]:
        return tuple(self._by_id.values())


def mac(key: bytes, *fields: bytes) -> bytes:
    """64-bit keyed hash of the fields, in hexadecimal."""
    return b"%016x" % affinity_hash(key, _FIELD_END.join(fields))


def short_hash(key: bytes, *fields: bytes) -> bytes:
    """32-bit keyed hash in hexadecimal, where a chance hit costs nothing."""
    return b"%08x" % (affinity_hash(key, _FIELD_END.join(fields)) & 0xFFFFFFFF)


def affinity_key(text: str) -> bytes:
    """The key of affinity hashes, from `[affinity] hash-key` or the cluster name."""
    return hashlib.blake2b(text.encode(), digest_size=KEY_OCTETS, person=b"rmlb affinity").digest()


def affinity_hash(key: bytes, value: bytes) -> int:
    """64-bit keyed hash of a Call-ID (or header value): hash input and table key in one."""
    number: int = siphash24(value, key=key).intdigest()  # of a signed number
    return number & 0xFFFFFFFFFFFFFFFF


@lru_cache(maxsize=1024)
def member_seed(key: bytes, member_id: int) -> int:
    """What stands for a member in the rendezvous hash."""
    return affinity_hash(key, b"member %d" % member_id)
