"""The whole configuration as one frozen object, and which table is which model.

A `Config` comes from `rmlb.config.load`: every default is filled in (names, listening
addresses, folders), every cross-check has passed.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmlb.config.addresses import VirtualAddress
from rmlb.config.calls import (
    AffinityConfig,
    DrainConfig,
    HealthConfig,
    OverloadConfig,
    RetryConfig,
    SipConfig,
)
from rmlb.config.rm_options import ClusterConfig, GvpConfig, HaMode, RmConfig
from rmlb.config.service import (
    AdminConfig,
    HeartbeatConfig,
    LogConfig,
    ReactionConfig,
    SecurityConfig,
    StateConfig,
    TlsConfig,
    TraceConfig,
    VipConfig,
    VipProvider,
    WebhookConfig,
)
from rmlb.config.table import Table


@dataclass(frozen=True, slots=True)
class Config:
    """One balancer's configuration, valid and complete."""

    path: str
    """The file it came from, as it was named."""
    given: frozenset[str]
    """Key paths that the file sets itself (`sip.listen`, `rm.1.weight`, `cluster.member`)."""
    cluster: ClusterConfig
    gvp: GvpConfig
    rm: dict[int, RmConfig]
    """The members by ID, in ascending order."""
    sip: SipConfig
    affinity: AffinityConfig
    health: HealthConfig
    retry: RetryConfig
    overload: OverloadConfig
    drain: DrainConfig
    state: StateConfig
    vip: VipConfig
    heartbeat: HeartbeatConfig
    tls: TlsConfig
    trace: TraceConfig
    security: SecurityConfig
    log: LogConfig
    admin: AdminConfig
    reaction: tuple[ReactionConfig, ...]
    webhook: tuple[WebhookConfig, ...]

    @property
    def virtual_addresses(self) -> tuple[VirtualAddress, ...]:
        """The VIP and the addresses that move with it."""
        return (self.cluster.virtual_address, *self.vip.addresses)

    @property
    def runs_failoverscript(self) -> bool:
        """Something happens here upon which `cluster.failoverscript` is run."""
        follows_member = self.cluster.ha_mode is HaMode.ACTIVE_STANDBY
        return follows_member or self.vip.provider is VipProvider.SCRIPT

    @property
    def witness(self) -> str:
        """The Redis URL of the lease record (HA-RULES 2); empty without a witness."""
        if self.vip.witness == "none":
            return ""
        return self.vip.witness or (self.state.url if self.state.backend == "redis" else "")


TABLES: dict[str, type[Table]] = {
    "cluster": ClusterConfig,
    "gvp": GvpConfig,
    "sip": SipConfig,
    "affinity": AffinityConfig,
    "health": HealthConfig,
    "retry": RetryConfig,
    "overload": OverloadConfig,
    "drain": DrainConfig,
    "state": StateConfig,
    "vip": VipConfig,
    "heartbeat": HeartbeatConfig,
    "tls": TlsConfig,
    "trace": TraceConfig,
    "security": SecurityConfig,
    "log": LogConfig,
    "admin": AdminConfig,
}
"""The tables that stand once. `[rm.N]` is RmConfig."""

LISTS: dict[str, type[Table]] = {"reaction": ReactionConfig, "webhook": WebhookConfig}
"""The tables that may stand several times, in double brackets."""

TABLE_NAMES = (*list(TABLES)[:2], "rm", *list(TABLES)[2:], *LISTS)
"""Every table name, in the order of the reference file."""
