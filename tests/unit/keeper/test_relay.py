"""What balancers tell each other beside the heartbeat, between keeper and worker."""

from __future__ import annotations

from typing import Any

from rmlb.keeper.relay import SILENT, Relay
from rmlb.vip.advert import Alongside, SharedLoss

LOSS = SharedLoss(5, 1, (2,), 1e9)


class Holding:
    along = Alongside(digest=b"12345678")


class Bench:
    def __init__(self) -> None:
        self.holding = Holding()
        self.said: list[dict[str, Any]] = []
        self.told: list[str] = []
        self.relay = Relay(
            self.holding,  # type: ignore[arg-type]
            lambda name, _grave, _fields: self.told.append(name),
            lambda _what, **fields: self.said.append(fields),
        )

    def worker_says(self, number: int = 5) -> None:
        losses = [[*LOSS]] if number else []
        self.relay.from_worker({"number": number, "losses": losses, "active": 0, "elected": 0})


def test_a_balancer_whose_worker_has_said_nothing_is_not_followed() -> None:
    """Its host has the address already, from keepalived: its log is not empty, only unknown."""
    starting, peer = Bench(), Bench()
    peer.worker_says()
    assert starting.holding.along.digest == SILENT
    peer.relay.from_peer(2, starting.holding.along, True)
    assert (peer.said, peer.told) == ([], [])
    starting.worker_says(0)
    peer.relay.from_peer(2, starting.holding.along, True)
    assert [said["number"] for said in peer.said] == [0]
    assert peer.told == []


def test_who_routes_otherwise_is_an_alarm() -> None:
    one, other = Bench(), Bench()
    one.worker_says()
    other.relay.route_by(b"87654321")
    other.worker_says()
    one.relay.from_peer(2, other.holding.along, False)
    assert one.told == ["configuration-differs"]
