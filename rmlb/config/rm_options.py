"""The Resource Manager's own options, `[cluster]` and `[gvp]`, and the members, `[rm.N]`.

Names, meanings and defaults of the options are the RM's (GVP Deployment Guide, "Resource
Manager HA"); values are taken in the forms an options export has ("3000", "TRUE").
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from rmlb.config.addresses import VirtualAddress, host_port, mac, member_addresses, moving_address
from rmlb.config.kinds import (
    Kind,
    Wrong,
    describe,
    number,
    numbered,
    rm_flag,
    rm_number,
    rm_numbers,
    text,
)
from rmlb.config.table import Table
from rmlb.sip.address import SipAddress

MOST_MEMBER_ID = 65535
"""Two octets: a member ID travels in every branch and mark."""


class HaMode(StrEnum):
    """Which members get calls: all in service, or one until it fails."""

    ACTIVE_ACTIVE = "active-active"
    ACTIVE_STANDBY = "active-standby"


def _read_ha_mode(value: object) -> HaMode:
    word = "-".join(value.lower().replace("_", " ").split()) if isinstance(value, str) else ""
    if word == "none":
        raise Wrong(f"{describe(value)} is the RM's stand-alone mode: nothing to balance")
    try:
        return HaMode(word)
    except ValueError:
        raise Wrong(f"{describe(value)} is no HA mode") from None


mode = Kind('"active-active" or "active-standby"', _read_ha_mode, str)

_host_port = host_port("10.0.0.11:9801")
_rm_port = Kind(_host_port.allowed, lambda value: str(_host_port.read(value)))

cluster_name = text(
    "up to 64 letters, digits and . : _ - (not first)", r"[A-Za-z0-9:][A-Za-z0-9.:_-]{0,63}"
)


class ClusterConfig(Table):
    """`[cluster]`: the pair, as its Resource Managers are told of it."""

    name: Annotated[str, cluster_name] = ""
    """What this cluster is called in Redis keys, in the default hash key and in the default
    state directory; equal on all its balancers. Default: the virtual IP, which is equal there
    and unique among clusters that share one Redis."""

    ha_mode: Annotated[HaMode, mode] = HaMode.ACTIVE_ACTIVE
    """Active-active: all members in service share the calls. Active-standby: one gets them all.
    Default active-active: the mode for which Genesys demands a load balancer."""

    members: Annotated[tuple[int, ...], rm_numbers(1, MOST_MEMBER_ID, "1 2")] = ()
    """The member IDs. Default: the N of the [rm.N] tables; when given it must name the same."""

    member: Annotated[
        dict[int, str],
        numbered(_rm_port, r"([1-9][0-9]{0,4})", "member.N"),
    ] = Field(default_factory=dict)
    """The RMs' own cluster ports (9801), by member ID. Taken over so that the balancers'
    heartbeat is kept off them; nothing is sent there. Default: none known."""

    mymemberid: Annotated[int | None, rm_number(1, MOST_MEMBER_ID)] = None
    """The member that this balancer stands beside, or is numbered after; the higher one wins
    a simultaneous start. No default: a lone balancer needs none."""

    hotstandby: Annotated[bool, rm_flag] = True
    """True: the RMs share session state, so the dialogs of a lost member go on at the survivor.
    False: they get 481. Default true: Genesys says to enter true."""

    virtual_address: Annotated[VirtualAddress, moving_address] = Field(alias="virtual-ip")
    """The VIP, with its network's prefix length if it has one. No default."""

    virtual_ip_in_via: Annotated[bool, rm_flag] = True
    """True: the RMs sign their Via with the VIP, so answers to their requests may come to us
    and are passed on to them. Default true: the RM's own."""

    electiontimer_ms: Annotated[int, rm_number(1, 3_600_000, "milliseconds")] = 3000
    """The RMs' election timer, milliseconds: kept and shown. Default 3000: the RM's own."""

    heartbeattimer_ms: Annotated[int, rm_number(10, 3_600_000, "milliseconds")] = 2000
    """The RMs' heartbeat timer, milliseconds: kept and shown; the balancers' own only with
    `[heartbeat] interval = "rm"`. Default 2000: Genesys says to set 2000."""

    failoverscript: Annotated[str, text("a command to run, or nothing")] = ""
    """Run as `SCRIPT disable N`, then `SCRIPT enable N`, when the active member changes
    (active-standby) or the VIP moves (`[vip] provider = "script"`). A path, or a program and its
    arguments; there is no shell. Ended after `[vip] script-timeout`. Default: none."""

    @property
    def virtual_ip(self) -> str:
        """The VIP alone, in its shortest form."""
        return self.virtual_address.host

    @property
    def virtual_ip_prefix(self) -> int | None:
        """The prefix length given with the VIP."""
        return self.virtual_address.prefix


class GvpConfig(Table):
    """`[gvp]`: which network interfaces are watched."""

    nics: Annotated[tuple[int, ...], rm_numbers(0, 99, "0 1")] = ()
    """The N of the nic.ethN that are watched. Default: all that are given, and without any
    every interface that had carrier since start (the RM watches all, too)."""

    nic: Annotated[dict[int, str], numbered(mac, r"eth(0|[1-9][0-9]?)", "nic.ethN")] = Field(
        default_factory=dict
    )
    """Hardware addresses by N; kept in lower case with colons. Default: none."""


class RmConfig(Table):
    """`[rm.N]`: the member with ID N."""

    sip: Annotated[tuple[SipAddress, ...], member_addresses]
    """Where it takes SIP: "host:port" is UDP and TCP. No default."""

    weight: Annotated[int, number(1, 1000)] = 100
    """Its share of new calls in proportion to the others'. Default 100: shares can be read as
    percent. A member that is to get no new call is drained, not given weight 0."""
