"""The loss log: where a dialog lives after its member was lost (SIP-RULES 4). Pure.

Replaying it from a dialog's own loss number gives its holder on every balancer alike, for
idle dialogs too, and a member that returns does not get its dialogs back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import NamedTuple

from rmlb.routing.selection import rendezvous


class Loss(NamedTuple):
    """A member was lost at `at` (monotonic seconds), and who was left to take its dialogs."""

    number: int
    member: int
    survivors: tuple[int, ...]
    at: float = 0.0


_number = attrgetter("number")


@dataclass(frozen=True, slots=True)
class LossLog:
    """All losses still remembered, oldest first."""

    losses: tuple[Loss, ...] = ()
    number: int = 0
    """The number of the newest loss, also when that is forgotten; 0 before the first."""

    _by_member: Mapping[int, list[Loss]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_member: dict[int, list[Loss]] = {}
        for loss in self.losses:
            by_member.setdefault(loss.member, []).append(loss)
        object.__setattr__(self, "_by_member", by_member)

    def record(self, member: int, survivors: tuple[int, ...], at: float = 0.0) -> LossLog:
        """The log with one more loss."""
        number = self.number + 1
        return LossLog((*self.losses, Loss(number, member, survivors, at)), number)

    def follow(self, told: tuple[Loss, ...], number: int) -> LossLog:
        """The log by the word of an owner whose newest loss is `number`.

        Of `told`, oldest first, the end without a gap is all there is from there on; what comes
        before it is added to what is known.
        """
        first = number + 1
        for loss in reversed(told):
            if loss.number < first - 1:
                break
            first = loss.number
        merged = {each[:2]: each for each in self.losses if each.number < first}
        merged |= {each[:2]: each for each in told}
        return LossLog(tuple(merged[name] for name in sorted(merged)), number)

    def pruned(self, before: float) -> LossLog:
        """The log without what is older; no dialog lives that long. Itself if nothing is."""
        if not self.losses or self.losses[0].at >= before:
            return self
        return replace(self, losses=tuple(loss for loss in self.losses if loss.at >= before))

    def holder(self, member: int, since: int, value: int, key: bytes) -> int:
        """Where a dialog given to `member` at loss number `since` lives now.

        `value` is the affinity hash of its Call-ID. A loss without survivors moves nothing.
        """
        while True:
            own = self._by_member.get(member, ())
            for place in range(bisect_right(own, since, key=_number), len(own)):
                heir = rendezvous(value, ((m, 1) for m in own[place].survivors), key)
                if heir is not None and heir != member:
                    member, since = heir, own[place].number
                    break
            else:
                return member
