"""What peers and worker tell each other of routing, by way of the heartbeats.

The loss log and the active member travel with the beats (vip.advert.Alongside); an owner's go to
the worker when they are news. A peer that would route otherwise is an alarm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from rmlb.tether import Message
from rmlb.vip.advert import Alongside, SharedLoss
from rmlb.vip.holding import Holding, Report
from rmlb.vip.lossnews import LossNews

SILENT: Final = bytes(8)
"""The digest of a balancer whose worker has said nothing yet."""


class Relay:
    """One balancer's."""

    def __init__(self, holding: Holding, report: Report, say: Callable[..., object]) -> None:
        """`say`: to the worker."""
        self._holding = holding
        self._report = report
        self._say = say
        self._digests: dict[int, bytes] = {}
        self._digest = holding.along.digest
        self._news = LossNews()
        # Until the worker has spoken, nothing is known here that peers should follow.
        self._carry(digest=SILENT)

    def route_by(self, digest: bytes) -> None:
        """Of the configuration by which this balancer routes."""
        self._digest = digest
        if self._has_spoken:
            self._carry(digest=digest)

    @property
    def _has_spoken(self) -> bool:
        return self._holding.along.digest != SILENT

    def from_worker(self, message: Message) -> None:
        """The worker's `succession`, for the peers."""
        losses = tuple(SharedLoss(n, m, tuple(s), at) for n, m, s, at in message["losses"])
        self._news.know(losses)
        self._carry(
            losses=losses,
            loss_number=message["number"],
            active=message["active"],
            elected=message["elected"],
            digest=self._digest,
        )

    def from_peer(self, sender: int, along: Alongside, owner: bool) -> None:
        """What came with a heartbeat, for the worker."""
        own = self._holding.along
        if along.digest == SILENT:
            return
        if self._digests.get(sender) != along.digest:
            self._digests[sender] = along.digest
            if along.digest != self._digest:
                self._report("configuration-differs", True, {"peer": sender})
        theirs = (along.loss_number, along.active, along.elected)
        # An owner that was cut off may have recorded losses that are none: they end here.
        news = owner and self._news.hear(sender, along)
        if owner and (news or theirs != (own.loss_number, own.active, own.elected)):
            self._say(
                "succession",
                number=along.loss_number,
                losses=[list(loss) for loss in self._news.losses],
                active=along.active,
                elected=along.elected,
                owner=owner,
            )

    def _carry(self, **fields: Any) -> None:
        self._holding.along = replace(self._holding.along, **fields)
