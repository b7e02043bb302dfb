"""What the worker is shown of the keeper: its standing, peers and figures."""

from __future__ import annotations

from typing import Any

from rmlb.config import Config, VipProvider
from rmlb.ownership import clock
from rmlb.vip.holding import Holding


def standing_of(config: Config, holding: Holding) -> dict[str, Any]:
    """The fields of the tether's `standing`."""
    ready = holding.provider.elects and holding.election.candidate
    by_others = config.vip.provider is VipProvider.EXTERNAL
    return {
        "owner": holding.owner,
        "can_own": holding.owner or ready or by_others,
        "peers": _peers(config, holding),
        "figures": _figures(holding),
    }


def _peers(config: Config, holding: Holding) -> list[dict[str, Any]]:
    heartbeats, known, now = holding.heartbeats, holding.election.known, clock()
    if heartbeats is None:
        return []
    shown = []
    for where in config.heartbeat.peers:
        id = heartbeats.places.get((where.host, where.port), 0)
        peer = known.peers.get(id)
        alive = peer is not None and known.hears(peer, now)
        owner = peer is not None and alive and peer.beat.owner
        shown.append({"id": id, "address": str(where), "alive": alive, "owner": owner})
    return shown


def _figures(holding: Holding) -> dict[str, float]:
    figures, known = holding.figures, holding.election.known
    return {
        "takeovers": figures.takeovers,
        "releases": figures.releases,
        "epoch": known.epoch,
        "lease_s": figures.lease_s,
        "lease_failures": figures.lease_failures,
        "add_s": figures.add_s,
        "held_up_s": figures.held_up_s,
        "witness": float(known.settings.witness and not known.is_blind(clock())),
    }
