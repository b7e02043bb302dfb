"""What a run of chaos has to be judged by: its history, and whether the rules were kept. Pure.

Times are seconds since 1970. A fault lasts from `begun` to `healed`; all is normal again at
`normal`. The rules:

- a request inside a dialog reaches the member that answered its INVITE, unless that member was out
  of service meanwhile;
- no two balancers answer for the VIP while the witness can be reached;
- every call is completed, but for those whose fault says why one may fail;
- after each fault all is normal again within its time.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SETTLE_S = 2.0
"""A member's fault counts so much longer: it was found and taken back meanwhile."""

_TAG = re.compile(r"m(\d+)-")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that was done, and undone."""

    name: str
    target: str
    begun: float
    healed: float
    normal: float
    """0: never."""
    member: int = 0
    """The member that it put out of service; 0: none."""
    witness_lost: bool = False
    may_fail: str = ""
    """Why a call may fail that was under way meanwhile; empty: none may."""

    def meets(self, begun: float, ended: float, after_s: float = SETTLE_S) -> bool:
        """Whether it was going on between these times, or just before."""
        return self.begun <= ended and begun <= (self.normal or self.healed) + after_s


@dataclass(slots=True)
class Judgement:
    """What the rules say of a run."""

    calls: int = 0
    completed: int = 0
    in_dialog: int = 0
    """Requests inside dialogs that reached a member."""
    moved: int = 0
    """Of these at another member than the dialog's, which was out of service meanwhile."""
    misrouted: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """Calls that no rule allows to fail."""
    allowed: Counter[str] = field(default_factory=Counter)
    """Calls that failed as a rule says, by the rule."""
    two_owners_ms: float = 0.0
    """While the witness could be reached."""
    two_owners_during: Counter[str] = field(default_factory=Counter)
    """Milliseconds of it by what went on, or had just gone on."""
    two_owners_blind_ms: float = 0.0
    late: list[str] = field(default_factory=list)
    """Faults after which it took too long until all was normal."""
    slowest_s: dict[str, float] = field(default_factory=dict)
    """From healed to normal, by fault."""

    @property
    def holds(self) -> bool:
        return not (self.misrouted or self.failed or self.two_owners_ms or self.late)


def judge(
    faults: Sequence[Fault],
    calls: Iterable[Mapping[str, Any]],
    requests: Iterable[Mapping[str, Any]],
    two_owners_at: Iterable[float],
    *,
    sample_ms: float,
    limit_s: float,
) -> Judgement:
    """`calls` and `requests` as players.py notes them; `two_owners_at`: samples at which both
    balancers answered, `sample_ms` apart; `limit_s`: until all has to be normal again."""
    found = Judgement()
    begun: dict[str, float] = {}
    for call in calls:
        begun[call["call"]] = call["begun"]
        found.calls += 1
        if call["outcome"] == "completed":
            found.completed += 1
        else:
            _judge_failure(found, faults, call)
    _judge_members(found, faults, begun, requests)
    for at in two_owners_at:
        if any(each.witness_lost and each.meets(at, at) for each in faults):
            found.two_owners_blind_ms += sample_ms
        else:
            found.two_owners_ms += sample_ms
            during = [f"{each.name} of {each.target}" for each in faults if each.meets(at, at)]
            found.two_owners_during[", ".join(during) or "no fault"] += round(sample_ms)
    for fault in faults:
        took_s = fault.normal - fault.healed
        if not fault.normal or took_s > limit_s:
            found.late.append(f"{fault.name} of {fault.target}")
        else:
            found.slowest_s[fault.name] = max(took_s, found.slowest_s.get(fault.name, 0.0))
    return found


def both_at(first: Sequence[float], second: Sequence[float], every_s: float) -> list[float]:
    """Times of the first that lie between two of the second, both near: both answered at once.

    Sorted; `every_s`: how far apart they are while only one answers.
    """
    near_s = 1.5 * every_s
    found = []
    for at in first:
        place = bisect(second, at)
        if 0 < place < len(second) and second[place] - near_s < at < second[place - 1] + near_s:
            found.append(at)
    return found


def _judge_failure(found: Judgement, faults: Sequence[Fault], call: Mapping[str, Any]) -> None:
    met = [each for each in faults if each.meets(call["begun"], call["ended"])]
    reasons = [each.may_fail for each in met if each.may_fail]
    if reasons:
        found.allowed[reasons[0]] += 1
        return
    during = ", ".join(f"{each.name} of {each.target}" for each in met) or "no fault"
    found.failed.append(f"{call['call']}: {call['outcome']} during {during}")


def _judge_members(
    found: Judgement,
    faults: Sequence[Fault],
    begun: Mapping[str, float],
    requests: Iterable[Mapping[str, Any]],
) -> None:
    outages: dict[int, list[Fault]] = defaultdict(list)
    for fault in faults:
        outages[fault.member].append(fault)
    for request in requests:
        match = _TAG.match(request["tag"])
        if match is None:
            continue
        found.in_dialog += 1
        own, at = int(match[1]), float(request["at"])
        if own == request["member"]:
            continue
        since = begun.get(request["call"], at)
        if any(each.meets(since, at) for each in outages[own]):
            found.moved += 1
        else:
            found.misrouted.append(
                f"{request['call']}: {request['method']} of member {own}'s dialog at member "
                f"{request['member']}, {at - since:.1f} s after its INVITE"
            )
