"""Configuration: one TOML file in, one validated frozen `Config` out, or every error at once.

    text --syntax--> tables --keys--> known keys --kinds--> values, table by table
         --completion--> defaults filled in --checks--> Config

The tables and their fields, each with meaning, unit and the reason of its default, stand in
`rm_options` (the Resource Manager's own), `calls` and `service`. May import `sip.address`;
must know nothing else of the product, so that everything else may import it.
"""

from __future__ import annotations

from rmlb.config.addresses import HostPort, ListenAddress, SyslogTarget, VirtualAddress
from rmlb.config.advice import expected_takeover, warnings
from rmlb.config.calls import (
    AffinityConfig,
    Algorithm,
    DrainConfig,
    HealthConfig,
    OverloadConfig,
    RetryConfig,
    SipConfig,
)
from rmlb.config.digest import digest_of
from rmlb.config.loading import load, parse
from rmlb.config.problem import ConfigError, Problem
from rmlb.config.rendering import render
from rmlb.config.rm_options import ClusterConfig, GvpConfig, HaMode, RmConfig
from rmlb.config.schema import Config
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

__all__ = [
    "load",
    "parse",
    "render",
    "digest_of",
    "warnings",
    "expected_takeover",
    "Config",
    "ConfigError",
    "Problem",
    "HaMode",
    "Algorithm",
    "VipProvider",
    "HostPort",
    "ListenAddress",
    "VirtualAddress",
    "SyslogTarget",
    "ClusterConfig",
    "GvpConfig",
    "RmConfig",
    "SipConfig",
    "AffinityConfig",
    "HealthConfig",
    "RetryConfig",
    "OverloadConfig",
    "DrainConfig",
    "StateConfig",
    "VipConfig",
    "HeartbeatConfig",
    "TlsConfig",
    "TraceConfig",
    "ReactionConfig",
    "WebhookConfig",
    "SecurityConfig",
    "LogConfig",
    "AdminConfig",
]
