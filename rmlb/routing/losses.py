"""The loss log: where a dialog lives after its member was lost (SIP-RULES 4).

Replaying it from a dialog's own loss number gives its holder on every balancer alike, for
idle dialogs too, and a member that returns does not get its dialogs back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from rmlb.routing.selection import rendezvous


class Loss(NamedTuple):
    """A member was lost, and who was left to take its dialogs at that moment."""

    number: int
    member: int
    survivors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LossLog:
    """All losses still remembered, oldest first."""

    losses: tuple[Loss, ...] = ()

    @property
    def number(self) -> int:
        """The number of the newest loss; 0 before the first."""
        return self.losses[-1].number if self.losses else 0

    def record(self, member: int, survivors: tuple[int, ...]) -> LossLog:
        """The log with one more loss."""
        return LossLog((*self.losses, Loss(self.number + 1, member, survivors)))

    def holder(self, member: int, since: int, value: int, key: bytes) -> int:
        """Where a dialog given to `member` at loss number `since` lives now.

        `value` is the affinity hash of its Call-ID. A loss without survivors moves nothing.
        """
        for loss in self.losses:
            if loss.number > since and loss.member == member:
                heir = rendezvous(value, ((m, 1) for m in loss.survivors), key)
                if heir is not None:
                    member = heir
        return member
