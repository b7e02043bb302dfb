"""The routing table made of configuration, health and the operator's will. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rmlb.config import Config
from rmlb.routing.affinity import Memory
from rmlb.routing.bindings import BindingLimits, Bindings
from rmlb.routing.keys import Keyring, affinity_key
from rmlb.routing.losses import LossLog
from rmlb.routing.member import Member
from rmlb.routing.overload import LoadLimits, Loads
from rmlb.routing.pending import PendingLimits, PendingRequests
from rmlb.routing.selection import Algorithm
from rmlb.routing.sources import SourceLimits, Sources
from rmlb.routing.table import Listener, RoutingTable
from rmlb.sip.address import is_ip_literal
from rmlb.sip.uri import canonical_host

_WILDCARDS = ("0.0.0.0", "::")

NOBODY = 0
"""Stands for the active member while none is chosen; member IDs begin at 1."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What routing must know of it."""

    losses: LossLog
    active: int | None
    """Active-standby: who gets the calls (NOBODY while none is chosen). None: active-active."""
    retiring: frozenset[int]
    """Not active any more, but its dialogs stay with it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a table is made of besides the configuration."""

    members: Mapping[int, Member]
    standing: Standing
    """Who is active, and where the dialogs of the lost ones live."""
    stopping: bool
    """No new calls any more."""
    ask_store: bool = False
    """There is a store to be asked for what is not known here."""


def make_listeners(config: Config) -> tuple[Listener, ...]:
    """`[sip] listen` as sockets, each with the host that it signs with."""
    return tuple(
        Listener(
            index=index,
            transport=each.transport,
            host=canonical_host(each.host.encode()),
            port=each.port,
            sent_by=_sent_by(each.host, config),
        )
        for index, each in enumerate(config.sip.listen)
    )


def _sent_by(host: str, config: Config) -> str:
    """`via-host` where it was chosen and can lead there, else the listener's own address."""
    vip, via_host = config.cluster.virtual_ip, config.sip.via_host
    own = vip if host in _WILDCARDS else host
    if via_host in ("", vip):  # not chosen: a listener beside the VIP is not reached by it
        return own
    other_family = is_ip_literal(via_host) and (":" in via_host) is not (":" in own)
    return own if other_family else via_host


def make_memory(config: Config) -> Memory:
    """Empty tables of the configured sizes."""
    bindings, pending, load, source = _limits(config)
    return Memory(Bindings(bindings), PendingRequests(pending), Loads(load), Sources(source))


def set_limits(memory: Memory, config: Config) -> None:
    """A reload: what is remembered stays, and new sizes and lifetimes count from now on."""
    bindings, pending, load, source = _limits(config)
    memory.bindings.limits, memory.pending.limits = bindings, pending
    memory.loads.limits, memory.sources.limits = load, source


def _limits(config: Config) -> tuple[BindingLimits, PendingLimits, LoadLimits, SourceLimits]:
    return (
        BindingLimits(
            max_bindings=config.affinity.max_bindings,
            ttl_s=config.affinity.ttl_s,
            idle_s=config.affinity.idle_s,
            timer_c_s=config.retry.timer_c_s,
        ),
        PendingLimits(
            max_requests=config.retry.max_requests,
            max_octets=config.retry.memory,
            timer_c_s=config.retry.timer_c_s,
        ),
        LoadLimits(
            calls_per_second=config.overload.calls_per_second,
            requests_waiting=config.overload.requests_waiting,
            adaptive=config.overload.adaptive,
        ),
        SourceLimits(
            rate=config.security.source_rate,
            penalty_s=config.security.source_penalty_s,
            trusted=config.security.trusted,
        ),
    )


def make_table(config: Config, keys: Keyring, instance: bytes, parts: Snapshot) -> RoutingTable:
    """One routing snapshot."""
    listeners = make_listeners(config)
    own = {address.host for address in config.virtual_addresses}
    own |= {x.host for x in listeners if x.host not in _WILDCARDS}
    if config.sip.via_host:
        own.add(config.sip.via_host)
    members = parts.members
    if parts.stopping:
        members = {m.id: replace(m, weight=0) for m in members.values()}
    return RoutingTable(
        members=members,
        listeners=listeners,
        keys=keys,
        affinity_key=affinity_key(config.affinity.hash_key or config.cluster.name),
        instance=instance,
        vips=frozenset(canonical_host(host.encode()) for host in own),
        aliases=frozenset(_alias(text) for text in config.sip.aliases),
        losses=parts.standing.losses,
        hotstandby=config.cluster.hotstandby,
        active=parts.standing.active,
        retiring=parts.standing.retiring,
        algorithm=Algorithm(config.affinity.algorithm),
        header_keys=tuple(key.lower().encode() for key in config.affinity.keys),
        record_route=config.sip.record_route,
        options_users=frozenset(user.encode() for user in config.sip.options_users),
        trusted=config.security.trusted,
        udp_size_limit=config.sip.udp_size_limit,
        max_headers=config.sip.max_headers,
        retry_codes=frozenset(config.retry.codes),
        after_provisional=config.retry.after_provisional,
        deadline_s=config.retry.deadline_s,
        refusals=config.health.refusals,
        ask_store=parts.ask_store,
    )


def _alias(text: str) -> tuple[str, int | None]:
    if text.count(":") > 1 and not text.startswith("["):
        return canonical_host(text.encode()), None
    host, colon, port = text.rpartition(":")
    if colon and port.isdigit() and not is_ip_literal(text):
        return canonical_host(host.encode()), int(port)
    return canonical_host(text.encode()), None
