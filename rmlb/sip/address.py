"""Transports and addresses: what a SIP message travels over, and where it goes."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple


class Transport(StrEnum):
    """How SIP travels (RFC 3261 section 18); the value is the URI's transport parameter."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"

    @property
    def via_name(self) -> bytes:
        """The transport as it stands in a Via header (RFC 3261 20.42)."""
        return self.value.upper().encode()

    @property
    def default_port(self) -> int:
        """5061 for TLS, else 5060 (RFC 3261 19.1.2)."""
        return 5061 if self is Transport.TLS else 5060

    @property
    def is_stream(self) -> bool:
        return self is not Transport.UDP


class SipAddress(NamedTuple):
    """One address on which a SIP element listens. `host` is an IP literal or a name."""

    transport: Transport
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.transport}:{bracketed(self.host)}:{self.port}"


def bracketed(host: str) -> str:
    """The host as it stands in a URI or Via: IPv6 literals in brackets (RFC 3261 25.1)."""
    return f"[{host}]" if ":" in host else host


@lru_cache(maxsize=4096)
def is_unicast(host: str) -> bool:
    """True for an IP literal that names one host: no multicast, broadcast or "any" address."""
    address = ip_address(host)
    return not (address.is_multicast or address.is_unspecified or host == "255.255.255.255")


@lru_cache(maxsize=4096)
def is_loopback(host: str) -> bool:
    """True for an address of this machine alone: 127.0.0.0/8, ::1."""
    return is_ip_literal(host) and ip_address(host).is_loopback


@lru_cache(maxsize=4096)
def is_ip_literal(host: str) -> bool:
    """True for an IPv4 or (unbracketed) IPv6 address, False for a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
