"""The owner's loss log, put together from its heartbeats. PURE.

One heartbeat holds the newest losses and a page of the older ones (advert.page). A balancer that
was away while more were recorded than fit hears of the others within so many heartbeats.
Knows nothing of what a loss means.
"""

from __future__ import annotations

from typing import Final

from rmlb.vip.advert import Alongside, SharedLoss

MOST: Final = 4096
"""Losses kept: twice as many as an owner tells of."""

Name = tuple[int, int]
"""Number and member: two balancers may have given one number."""


class LossNews:
    """What was heard of it, and what of that is news."""

    def __init__(self) -> None:
        self._owner = 0
        self._heard: dict[Name, SharedLoss] = {}
        self._known: set[Name] = set()

    @property
    def losses(self) -> list[SharedLoss]:
        """All that was heard of the present owner's log, oldest first."""
        return [self._heard[name] for name in sorted(self._heard)]

    def know(self, losses: tuple[SharedLoss, ...]) -> None:
        """This balancer's own log is that now."""
        self._known = {loss[:2] for loss in losses}

    def hear(self, owner: int, along: Alongside) -> bool:
        """A heartbeat of the owner; True if it told a loss that is not known here."""
        newest = max(self._heard, default=(0, 0))[0]
        if owner != self._owner or along.loss_number < newest:
            self._owner, self._heard = owner, {}
        news = False
        for loss in along.losses:
            name = loss[:2]
            self._heard[name] = loss
            if name not in self._known:
                self._known.add(name)  # told once; `know` says what has become of it
                news = True
        while len(self._heard) > MOST:
            del self._heard[min(self._heard)]
        return news
