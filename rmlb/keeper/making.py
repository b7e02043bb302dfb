"""The keeper's parts as the configuration wants them: provider, lease, heartbeats, election."""

from __future__ import annotations

from collections.abc import Callable

from rmlb.config import Config, VipProvider, digest_of
from rmlb.ownership import Page, clock
from rmlb.script import ScriptEnd
from rmlb.vip.advert import Alongside, Keys
from rmlb.vip.ballot import Settings
from rmlb.vip.election import Election
from rmlb.vip.heartbeat import Heartbeats
from rmlb.vip.holding import Holding, Report
from rmlb.vip.interface import Interface
from rmlb.vip.lease import Lease
from rmlb.vip.providers import ByNetlink, ByScript, Nobody, Provider

LEAST_LEASE_TIMEOUT_S = 0.05
"""The witness has so long to answer, or two intervals."""


def make_interface(config: Config, on_stranger: Callable[[str, str], object]) -> Interface | None:
    """The one that carries the address, where this process puts it there."""
    if config.vip.provider is not VipProvider.NETLINK:
        return None
    places = [(address.host, address.prefix) for address in config.virtual_addresses]
    return Interface(config.vip.interface, places, on_stranger)


def make_provider(
    config: Config, interface: Interface | None, on_end: Callable[[ScriptEnd], object]
) -> Provider:
    """`on_end`: the failoverscript has ended."""
    if interface is not None:
        return ByNetlink(interface)
    if config.vip.provider is VipProvider.SCRIPT:
        command, limit_s = config.cluster.failoverscript, config.vip.script_timeout_s
        return ByScript(command, limit_s, config.heartbeat.id or 0, on_end)
    return Nobody()


def make_holding(
    config: Config,
    provider: Provider,
    page: Page,
    report: Report,
    on_change: Callable[[], object],
) -> Holding:
    """With heartbeats and lease. Raises OSError, ValueError with one clear line."""
    heartbeat = config.heartbeat
    others = other_balancers(config)
    witness = config.witness if others and provider.elects else ""
    settings = Settings(
        id=heartbeat.id or 1,
        others=others,
        interval_s=heartbeat.interval_s,
        witness=bool(witness),
        lone_s=config.vip.lone_s,
        alone_keep=config.vip.alone == "keep",
        preempt=config.vip.preempt,
        started=config.vip.initial_state == "started",
    )
    lease = None
    if witness:
        timeout_s = max(2 * heartbeat.interval_s, LEAST_LEASE_TIMEOUT_S)
        lease = Lease(witness, config.cluster.name, settings.id, timeout_s)
    holding = Holding(Election(settings, clock()), provider, page, lease, report, on_change)
    if heartbeat.peers:
        holding.heartbeats = Heartbeats(
            Keys(config.security.secrets), heartbeat.listen, heartbeat.peers,
            holding.compose, holding.heard,
        )  # fmt: skip
    holding.along = Alongside(digest=digest_of(config), mac=provider.mac)
    return holding


def other_balancers(config: Config) -> int:
    """Besides this one; `[heartbeat] peers` names each once for every path."""
    paths, peers = max(1, len(config.heartbeat.listen)), len(config.heartbeat.peers)
    return min(peers, 1) if peers <= paths else -(-peers // paths)
