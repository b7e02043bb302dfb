"""Secrets and keyed hashes (SIP-RULES 9).

Every use has its own sub-key, so that no value made for one place proves anything in another.
Which secret signed travels as a key id beside each MAC: the first of the list signs, all
verify, and a rolling change across balancers loses nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

MAC_OCTETS = 8
"""64 bits: guesses go over the network, one datagram each; 2**63 of them are out of reach."""

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
            return hashlib.blake2b(secret.encode(), digest_size=32, person=b"rmlb " + use).digest()

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
    return hashlib.blake2b(
        _FIELD_END.join(fields), digest_size=MAC_OCTETS, key=key
    ).hexdigest().encode()  # fmt: skip


def short_hash(key: bytes, *fields: bytes) -> bytes:
    """32-bit keyed hash in hexadecimal, where a chance hit costs nothing."""
    return hashlib.blake2b(_FIELD_END.join(fields), digest_size=4, key=key).hexdigest().encode()


def affinity_key(text: str) -> bytes:
    """The key of affinity hashes, from `[affinity] hash-key` or the cluster name."""
    return hashlib.blake2b(text.encode(), digest_size=32, person=b"rmlb affinity").digest()


def affinity_hash(key: bytes, value: bytes) -> int:
    """64-bit keyed hash of a Call-ID (or header value): hash input and table key in one."""
    return int.from_bytes(hashlib.blake2b(value, digest_size=8, key=key).digest(), "little")


@lru_cache(maxsize=1024)
def member_seed(key: bytes, member_id: int) -> int:
    """What stands for a member in the rendezvous hash."""
    digest = hashlib.blake2b(b"member %d" % member_id, digest_size=8, key=key).digest()
    return int.from_bytes(digest, "little")
