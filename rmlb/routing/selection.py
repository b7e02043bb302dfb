"""Choosing a member for a call that belongs to no one yet (SIP-RULES 3, step 6).

All balancers of a cluster share the hash key, so all choose alike, and taking a member away
moves only its own calls.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum

from rmlb.routing.keys import member_seed
from rmlb.routing.member import Member

_MASK = 2**64 - 1


class Algorithm(StrEnum):
    """`[affinity] algorithm`."""

    HASH = "hash"
    ROUND_ROBIN = "round-robin"
    LEAST_CALLS = "least-calls"


def rendezvous(value: int, candidates: Iterable[tuple[int, int]], key: bytes) -> int | None:
    """The (member id, weight) candidate with the highest weighted score for this hash value.

    `value` is the affinity hash of the Call-ID. None if there is no candidate. With equal
    weights the order of `-weight / ln(score)` is that of the scores, so ramping one member's
    weight up moves calls to it alone.
    """
    best_id: int | None = None
    best = -1.0
    for member_id, weight in candidates:
        unit = (_mix(value ^ member_seed(key, member_id)) + 0.5) / 2.0**64
        score = weight / -math.log(unit) if unit < 1.0 else math.inf
        if score > best:
            best_id, best = member_id, score
    return best_id


def round_robin(turn: int, members: tuple[Member, ...]) -> int | None:
    """Every weight unit takes its turn; with equal weights members simply alternate."""
    if not members:
        return None
    divisor = math.gcd(*(m.weight for m in members))
    shares = [m.weight // divisor for m in members]
    place = turn % sum(shares)
    rounds = 0
    while True:  # one unit of each member per round: A B A B A, not A A A B B
        left = [m for m, share in zip(members, shares, strict=True) if share > rounds]
        if place < len(left):
            return left[place].id
        place -= len(left)
        rounds += 1


def least_calls(
    value: int, members: Iterable[Member], load: Mapping[int, int], key: bytes
) -> int | None:
    """The member with the fewest calls per weight; equal ones are told apart by the hash."""
    pool = list(members)
    if not pool:
        return None
    fewest = min(load.get(m.id, 0) / m.weight for m in pool)
    tied = [(m.id, 1) for m in pool if load.get(m.id, 0) / m.weight == fewest]
    return rendezvous(value, tied, key)


def _mix(value: int) -> int:
    """The finaliser of splitmix64: every bit of the input moves every bit of the output."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)
