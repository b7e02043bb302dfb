"""The tables about the balancers themselves: `[state]`, `[vip]`, `[heartbeat]`, `[tls]`,
`[trace]`, `[[reaction]]`, `[[webhook]]`, `[security]`, `[log]`, `[admin]`.

Under each field: meaning, unit, default and its reason. Relative paths start at the folder
of the configuration file.
"""

from __future__ import annotations

import shlex
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from rmlb.config.addresses import (
    HostPort,
    SyslogTarget,
    VirtualAddress,
    host_port,
    ip,
    moving_address,
    network,
    or_empty,
    places,
    read_host,
    read_text,
    syslog_target,
)
from rmlb.config.kinds import (
    Kind,
    Wrong,
    choice,
    describe,
    duration,
    flag,
    hidden_text,
    listed,
    number,
    text,
)
from rmlb.config.stores import Backend, backend, mask_password, store_url, witness_url
from rmlb.config.table import Table

_file = text("the path of a file")


class StateConfig(Table):
    """`[state]`: where session state is shared, and where the balancer keeps its own."""

    url: Annotated[str, store_url] = "memory://"
    """Where the balancers share bindings, operator states and losses; its authorities for TLS
    are those of `[tls] ca`. Default memory: nothing shared; one balancer needs nothing else."""

    dir: Annotated[str, text("the path of a folder")] = ""
    """Folder for operator states, the loss log and a generated secret. Default: systemd's
    $STATE_DIRECTORY, else ~/.local/state/rmlb/NAME, NAME being the cluster's name (and
    `-mymemberid`, so that two balancers on one host do not share it)."""

    @property
    def directory(self) -> Path:
        """`dir`, with its default filled in, once the configuration is loaded."""
        return Path(self.dir)

    @property
    def backend(self) -> Backend:
        """What `url` names: memory, redis, sentinel or cluster."""
        return backend(self.url)


class VipProvider(StrEnum):
    """Who puts the VIP on an interface: nobody, we, another program, a script."""

    NONE = "none"
    NETLINK = "netlink"
    EXTERNAL = "external"
    SCRIPT = "script"


class VipConfig(Table):
    """`[vip]`: how the virtual IP comes to a host and leaves it."""

    provider: Annotated[VipProvider, choice(*VipProvider)] = VipProvider.NONE
    """none: the address is there anyway; netlink: rmlb adds and removes it; external:
    keepalived, Pacemaker or a cloud moves it and rmlb watches; script: `failoverscript` does.
    Default none: touches nothing."""

    interface: Annotated[
        str, text("an interface name of at most 15 characters", r"[^\s/:]{1,15}")
    ] = ""
    """The interface that gets the VIP. No default; netlink needs it."""

    addresses: Annotated[tuple[VirtualAddress, ...], listed(moving_address)] = ()
    """Further addresses that move together with the VIP (IPv6 beside IPv4, say). Default: none."""

    witness: Annotated[str, witness_url] = ""
    """The Redis that holds the owner's lease, so that a partition cannot give two owners.
    Default: the `[state] url` when that is a single server; "none": no witness."""

    gateway_ip: Annotated[str, or_empty(ip, "", "no check")] = ""
    """A router that a healthy owner reaches; part of its score, never a vote. Default: none."""

    preempt: Annotated[bool, flag] = False
    """Move back to the preferred balancer, or member, when it returns. Default false: every move
    costs something; nobody gains."""

    initial_state: Annotated[Literal["started", "stopped"], choice("started", "stopped")] = (
        "started"
    )
    """stopped: does not claim the VIP after a start until told to, or until the other is gone.
    Default started."""

    alone: Annotated[Literal["keep", "release"], choice("keep", "release")] = "keep"
    """An owner without peer and witness keeps the VIP (with an alarm) or releases it. Default
    keep: service before tidiness."""

    lone_s: Annotated[float, duration("1s", "1h")] = 30.0
    """A peer silent for this long, without goodbye, is taken for gone. Default 30 s: outlives a
    restart of Redis or a switch."""

    script_timeout_s: Annotated[float, duration("100ms", "5m")] = 15.0
    """`failoverscript` is ended after this. Default 15 s: what the RM's own scripts usually need
    at most."""


LEAST_SECRET = 16
"""Characters of a secret: 16 random letters and digits are some 95 bits."""

RM_TIMER = -1.0
"""Stands for `interval = "rm"` until the configuration is complete."""

_interval = duration("10ms", "1m")


class HeartbeatConfig(Table):
    """`[heartbeat]`: how balancers know of each other."""

    id: Annotated[int | None, number(1, 65535)] = None
    """This balancer's number; the higher one wins a simultaneous start. Default: mymemberid."""

    interval_s: Annotated[
        float,
        Kind(
            f'{_interval.allowed}; or "rm" for heartbeattimer',
            lambda value: (
                RM_TIMER
                if isinstance(value, str) and value.strip().lower() == "rm"
                else _interval.read(value)
            ),
            lambda value: "rm" if value == RM_TIMER else _interval.show(value),
        ),
    ] = 0.1
    """Between two heartbeats; a takeover takes about three. "rm": as the RMs' heartbeattimer.
    Default 100 ms: a takeover in 0.3 s, and ten small datagrams a second."""

    listen: Annotated[tuple[HostPort, ...], places(host_port("10.99.0.1:9811", 9811))] = ()
    """Private addresses on which heartbeats are taken and from which they leave; several are
    several paths. Never the RMs' own cluster port. No default; peers need it."""

    peers: Annotated[tuple[HostPort, ...], places(host_port("10.99.0.2:9811", 9811))] = ()
    """The other balancers' heartbeat addresses. Default: none, a lone balancer."""


class TlsConfig(Table):
    """`[tls]`: certificates for TLS listeners and for TLS to members."""

    certificate: Annotated[str, _file] = ""
    """PEM file with our certificate and its chain. No default; TLS listeners need it."""

    key: Annotated[str, _file] = ""
    """PEM file with its private key, not encrypted. Default: in the certificate's file."""

    ca: Annotated[str, _file] = ""
    """PEM file with the authorities that peers' certificates are checked against. Default: the
    system's."""

    verify_clients: Annotated[bool, flag] = False
    """Callers must show a certificate. Default false: SIP Server is seldom given one."""

    verify_members: Annotated[bool, flag] = True
    """Members' certificates are checked when we connect by TLS. Default true: TLS to somebody
    unknown protects little."""

    min_version: Annotated[Literal["1.2", "1.3"], choice("1.2", "1.3")] = "1.2"
    """The lowest TLS version. Default 1.2: the highest that older Genesys components speak."""

    ciphers: Annotated[str, text("an OpenSSL cipher list", r"[A-Za-z0-9_:+!@=,.-]+")] = ""
    """OpenSSL cipher list for TLS 1.2. Default: OpenSSL's own."""


class TraceConfig(Table):
    """`[trace]`: copies of messages for analysis."""

    hep: Annotated[
        HostPort | None, or_empty(host_port("10.0.0.60:9060", 9060), None, "no copies")
    ] = None
    """A HEP3 collector (Homer, heplify, sngrep). Default: none."""

    hep_transport: Annotated[Literal["udp", "tcp"], choice("udp", "tcp")] = "udp"
    """How packets go there. Default udp: every collector takes it, and nothing ever waits."""

    hep_id: Annotated[int | None, number(1, 2**32 - 1)] = None
    """Capture id, by which a collector tells its sources apart. Default: mymemberid."""

    hep_node: Annotated[str, text("at most 60 characters", r".{0,60}")] = ""
    """Name of this source at the collector. Default: the cluster's name."""

    hep_key: Annotated[str, hidden_text("the collector's key", shortest=1)] = Field(
        default="", repr=False
    )
    """Authentication key, for collectors that ask for one. Default: none."""

    sample: Annotated[int, number(1, 1_000_000)] = 1
    """One call in so many is sent to the collector, always with all of its messages. Default 1:
    every call."""

    filter: Annotated[str, text("a part of a Call-ID or X-Genesys-CallUUID")] = ""
    """Only calls are sent whose Call-ID or X-Genesys-CallUUID has this in it. Default: every
    call."""

    keep: Annotated[int, number(0, 1_000_000)] = 0
    """So many of the latest messages are kept, for the ladders of calls that are over. Default 0:
    they hold what callers said, and copying costs some 10 us a message."""


def _read_command(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise Wrong(f"{describe(value)}: {str(error).lower()}") from None
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise Wrong(f"{describe(value)} is not a command")
    if not value or not value[0] or any("\0" in part for part in value):
        raise Wrong("there is no program to run")
    return tuple(value)


_event_names = listed(
    text('an event name, * for any part ("member-*")', r"[a-z*][a-z0-9.*-]*", empty=False)
)


class ReactionConfig(Table):
    """`[[reaction]]`: a command run once per event, the event on its standard input."""

    on: Annotated[tuple[str, ...], _event_names]
    """The events it is for. No default."""

    command: Annotated[
        tuple[str, ...],
        Kind('a command and its arguments: ["/usr/bin/logger", "-t", "rmlb"]', _read_command, list),
    ]
    """Program and arguments; no shell, no capabilities. No default."""

    timeout_s: Annotated[float, duration("100ms", "1h")] = 10.0
    """It is ended after this. Default 10 s: enough to send a message."""

    owner_only: Annotated[bool, flag] = False
    """True: only the balancer that holds the VIP runs it. Default false: each balancer reacts to
    what it sees itself, so that no alarm is lost with its owner."""


def _read_url(value: object) -> str:
    given = read_text(value).strip()
    try:
        parts = urlsplit(given)
        usable = parts.scheme in ("http", "https") and parts.port != 0
        read_host(f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or "")
    except ValueError:  # Wrong is one
        usable = False
    if not usable or "@" in parts.netloc or not given.isprintable() or " " in given:
        raise Wrong(f"{describe(mask_password(given))} is no URL to post to")
    return given


class WebhookConfig(Table):
    """`[[webhook]]`: a URL to which events are posted as signed JSON."""

    on: Annotated[tuple[str, ...], _event_names]
    """The events it is for. No default."""

    url: Annotated[
        str,
        Kind('"https://host/path" or "http://...", without user and password', _read_url),
    ]
    """Where each event is posted. No default."""

    secret: Annotated[
        str, hidden_text(f"at least {LEAST_SECRET} characters", shortest=LEAST_SECRET)
    ] = Field(default="", repr=False)
    """Signs each post (HMAC-SHA256), so that the receiver knows who wrote it. Default: none, not
    signed."""

    timeout_s: Annotated[float, duration("100ms", "1m")] = 5.0
    """One try must be answered within this. Default 5 s: receivers answer first and work later."""

    retry_for_s: Annotated[float, duration("0s", "24h")] = 600.0
    """A post that fails is tried again for so long, ever more seldom. Default 10 min: outlives a
    restart of the receiver; an older alarm is no news."""

    owner_only: Annotated[bool, flag] = False
    """True: only the balancer that holds the VIP posts. Default false: each balancer tells what it
    sees itself; `id` and `about` in the JSON let a receiver merge them."""


_secret = hidden_text(f"at least {LEAST_SECRET} characters", shortest=LEAST_SECRET, empty=False)
_secrets = listed(_secret, allowed=f"text of at least {LEAST_SECRET} characters, or a list of it")


class SecurityConfig(Table):
    """`[security]`: whom to believe, and the keys behind branches, marks and heartbeats."""

    secrets: Annotated[
        tuple[str, ...],
        Kind(
            _secrets.allowed,
            lambda value: () if value == "" else _secrets.read(value),
            _secrets.show,
        ),
    ] = Field(default=(), alias="secret", repr=False)
    """One secret or several: the first signs, all verify; equal on all balancers. Default: one is
    generated and kept in `[state] dir`, which is enough for a lone balancer."""

    secret_file: Annotated[str, _file] = ""
    """A file with the secrets, one a line, instead of `secret`. Default: none."""

    trusted: Annotated[tuple[IPv4Network | IPv6Network, ...], listed(network)] = ()
    """Networks whose initial requests' datanodes and session headers are believed. Default: none
    given, which believes everybody; `rmlb check` warns."""

    source_rate: Annotated[int, number(0, 10_000_000)] = 0
    """Most messages per second from one address that is not trusted. Default 0, no limit: a
    site has few callers, each with much traffic."""

    source_penalty_s: Annotated[float, duration("0s", "1h")] = 10.0
    """A source over its rate is not heard for this long. Default 10 s."""


class LogConfig(Table):
    """`[log]`: one line per state change, on standard error and to a syslog server."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], choice("debug", "info", "warning", "error")
    ] = "info"
    """The least level that is written. Default info: every change of state, no message."""

    format: Annotated[Literal["text", "json"], choice("text", "json")] = "text"
    """text for people, json for collectors. Default text."""

    syslog: Annotated[SyslogTarget | None, or_empty(syslog_target, None, "no syslog")] = None
    """A syslog server that gets every event of that level, too (RFC 5424). Default: none; the
    journal, or whoever reads standard error, has them."""


class AdminConfig(Table):
    """`[admin]`: the HTTP address of API, metrics and dashboard."""

    listen: Annotated[HostPort, host_port("127.0.0.1:8560")] = HostPort("127.0.0.1", 8560)
    """Where it listens. Default loopback: off it, a token and TLS are compulsory."""

    token: Annotated[
        str, hidden_text(f"at least {LEAST_SECRET} characters", shortest=LEAST_SECRET)
    ] = Field(default="", repr=False)
    """What a caller must show to change anything. Default: none."""

    tls: Annotated[bool, flag] = False
    """Speak HTTPS. Default false: loopback needs none."""

    certificate: Annotated[str, _file] = ""
    """PEM file for HTTPS. Default: that of [tls]."""

    key: Annotated[str, _file] = ""
    """PEM file with its private key. Default: that of [tls], or in the certificate's file."""
