"""Kinds of value that name a place: hosts, ports, networks, MACs, SIP addresses.

Reads text only: nothing is resolved, nothing is connected to. Host names are RFC 3261 25.1
hostnames (letters, digits, hyphens), kept in lower case; addresses in their shortest form.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from rmlb.config.kinds import Kind, Wrong, describe, listed
from rmlb.sip.address import SipAddress, Transport, bracketed, is_ip_literal


class HostPort(NamedTuple):
    """A host (IP literal or name) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


class ListenAddress(NamedTuple):
    """Where the balancer takes SIP. `host` is an IP address, the VIP for a bare port."""

    transport: Transport
    host: str
    port: int

    def __str__(self) -> str:
        host = f"{bracketed(self.host)}:" if self.host else ""
        return f"{self.transport}:{host}{self.port}"


class VirtualAddress(NamedTuple):
    """An address that moves between balancers, and the length of its network's prefix."""

    host: str
    prefix: int | None

    def __str__(self) -> str:
        return self.host if self.prefix is None else f"{self.host}/{self.prefix}"


# -- hosts and ports ----------------------------------------------------------------------------

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\.?", re.ASCII)


def read_host(value: str) -> str:
    """The host in its one form. Wrong unless it can be sent to: no wildcard, no multicast."""
    host = value.removeprefix("[").removesuffix("]") if value.startswith("[") else value
    try:
        address = ip_address(host)
    except ValueError:
        name = host.lower()
        last = name.rstrip(".").rpartition(".")[2]
        if len(name) > 253 or last.isdigit() or not _NAME.fullmatch(name):
            raise Wrong(f"{describe(value)} is neither an IP address nor a host name") from None
        return name
    if "%" in host:
        raise Wrong(f"{describe(value)} is an address with a zone")
    if address.is_unspecified or address.is_multicast or host == "255.255.255.255":
        raise Wrong(f"{describe(value)} is not the address of one host")
    return str(address)


def read_ip(value: object) -> str:
    """An IP address of one host, in its shortest form."""
    host = read_text(value).strip()
    if not is_ip_literal(host):
        raise Wrong(f"{describe(value)} is not an IP address")
    return read_host(host)


def read_port(value: str) -> int:
    """A port, 1 to 65535."""
    if not re.fullmatch(r"[0-9]{1,5}", value, re.ASCII) or not 1 <= int(value) <= 65535:
        raise Wrong(f"{describe(value)} is not a port (1 to 65535)")
    return int(value)


def read_host_port(value: str, default_port: int | None = None) -> HostPort:
    """`host:port`, IPv6 literals in brackets; a port may be missing if there is a default."""
    if value.startswith("["):
        host, _, rest = value.partition("]")
        host, port = host + "]", rest.removeprefix(":")
        if not is_ip_literal(host[1:-1]) or (rest and not rest.startswith(":")):
            raise Wrong(f"{describe(value)} is not an IPv6 address in brackets and a port")
    elif value.count(":") > 1:
        raise Wrong(f"{describe(value)} has more than one colon (IPv6 needs brackets)")
    else:
        host, _, port = value.partition(":")
    if not port and default_port is None:
        raise Wrong(f"{describe(value)} has no port")
    return HostPort(read_host(host), read_port(port) if port else default_port or 0)


def read_text(value: object) -> str:
    """The value, if it is text at all."""
    if not isinstance(value, str):
        raise Wrong(f"{describe(value)} is not text in quotes")
    return value


def host_port(example: str, default_port: int | None = None) -> Kind:
    """A host and a port."""
    allowed = f'"host:port" such as "{example}"'
    if default_port is not None:
        allowed += f" (port {default_port} when it is left out)"
    return Kind(allowed, lambda value: read_host_port(read_text(value).strip(), default_port), str)


def or_empty(kind: Kind, empty: object, meaning: str) -> Kind:
    """The kind, or "" for the value that `empty` stands for."""
    return Kind(
        f'{kind.allowed}, or "" for {meaning}',
        lambda value: empty if value == "" else kind.read(value),
        lambda value: "" if value == empty else kind.show(value),
    )


def _read_alias(value: object) -> str:
    given = read_text(value).strip()
    if is_ip_literal(given):
        return read_host(given)
    found = read_host_port(given, 0)
    return str(found) if found.port else found.host


host_alias = Kind('"host" or "host:port"', _read_alias)
"""A further name of the balancer itself; text, IPv6 in brackets only together with a port."""

own_host = Kind(
    'a host name or an IP address, or "" for the virtual IP',
    lambda value: "" if value == "" else read_host(read_text(value).strip()),
)
ip = Kind('an IP address such as "10.0.0.1" or "2001:db8::1"', read_ip)


def _read_virtual_address(value: object) -> VirtualAddress:
    given = read_text(value).strip()
    host, slash, prefix = given.partition("/")
    result = read_ip(host)
    if not slash:
        return VirtualAddress(result, None)
    most = 128 if ":" in result else 32
    if not re.fullmatch(r"[0-9]{1,3}", prefix, re.ASCII) or not 1 <= int(prefix) <= most:
        raise Wrong(f"{describe(given)} has a prefix that is not 1 to {most}")
    return VirtualAddress(result, int(prefix))


moving_address = Kind(
    'an IP address, also with a prefix: "10.99.0.100", "10.99.0.100/24", "2001:db8::100/64"',
    _read_virtual_address,
    str,
)


def _read_network(value: object) -> IPv4Network | IPv6Network:
    given = read_text(value).strip()
    try:
        return ip_network(given)
    except ValueError:
        pass
    try:
        meant = ip_network(given, strict=False)
    except ValueError:
        raise Wrong(f"{describe(value)} is neither an IP address nor a network") from None
    raise Wrong(f'{describe(value)} has bits outside its prefix: write "{meant}"')


network = Kind('an IP address or a network such as "10.1.2.0/24"', _read_network, str)

_MAC = re.compile(r"[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}", re.ASCII)
_MAC_PLAIN = re.compile(r"[0-9a-f]{12}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}", re.ASCII)


def _read_mac(value: object) -> str:
    given = read_text(value).strip().lower()
    if not _MAC.fullmatch(given) and not _MAC_PLAIN.fullmatch(given):
        raise Wrong(f"{describe(value)} is not a MAC address")
    digits = re.sub(r"[^0-9a-f]", "", given)
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


mac = Kind('a MAC address such as "00-0F-1F-6D-EB-CA" or "00:0f:1f:6d:eb:ca"', _read_mac)
"""Windows writes hyphens, Linux colons; kept in lower case with colons."""


# -- SIP ----------------------------------------------------------------------------------------

_TRANSPORTS = {str(transport): transport for transport in Transport}


def _split_transport(value: object) -> tuple[Transport | None, str]:
    """`udp:...` as its transport and the rest; None when no transport leads."""
    given = read_text(value).strip()
    head, colon, rest = given.partition(":")
    transport = _TRANSPORTS.get(head.lower()) if colon else None
    return (transport, rest) if transport else (None, given)


def _read_member_address(value: object) -> tuple[SipAddress, ...]:
    transport, rest = _split_transport(value)
    place = read_host_port(rest)
    transports = (transport,) if transport else (Transport.UDP, Transport.TCP)
    return tuple(SipAddress(each, *place) for each in transports)


_member_addresses = listed(
    Kind(
        '"host:port" (UDP and TCP), or with a transport: "udp:10.0.0.11:5060", '
        '"tcp:10.0.0.11:5060", "tls:10.0.0.11:5061"; or a list of these',
        _read_member_address,
    )
)


def _read_member_addresses(value: object) -> tuple[SipAddress, ...]:
    found = tuple(address for group in _member_addresses.read(value) for address in group)
    if not found:
        raise Wrong("the list is empty: a member has at least one address")
    if len(set(found)) < len(found):
        raise Wrong("the same address is given twice")
    return found


member_addresses = Kind(
    _member_addresses.allowed.removeprefix("a list of: "),
    _read_member_addresses,
    lambda addresses: [str(address) for address in addresses],
)
"""Where a member listens; without a transport in front, both UDP and TCP."""


def _read_listen(value: object) -> ListenAddress:
    transport, rest = _split_transport(value)
    if transport is None:
        raise Wrong(f"{describe(value)} does not begin with udp:, tcp: or tls:")
    if re.fullmatch(r"[0-9]+", rest, re.ASCII):
        return ListenAddress(transport, "", read_port(rest))
    place = read_host_port(rest)
    if not is_ip_literal(place.host):
        raise Wrong(f"{describe(value)} names a host: listen on an IP address")
    return ListenAddress(transport, *place)


listen_address = Kind(
    '"udp:5060", "tcp:5060", "tls:5061" (on the virtual IP), '
    '"udp:10.0.0.1:5060" or "tcp:[2001:db8::1]:5060"',
    _read_listen,
    str,
)

_CODES = re.compile(r"([1-6][0-9]{2})(?: *- *([1-6][0-9]{2}))?", re.ASCII)


def _read_codes(value: object) -> tuple[int, int]:
    given = str(value) if isinstance(value, int) else value
    if not isinstance(given, str) or not (found := _CODES.fullmatch(given.strip())):
        raise Wrong(f"{describe(value)} is not a status code or a range of them")
    first, last = int(found[1]), int(found[2] or found[1])
    if first > last or first < 200:
        raise Wrong(f"{describe(value)} is not a range of final status codes")
    return first, last


status_codes = listed(
    Kind(
        'final SIP status codes or ranges, such as [200, "400-407"]',
        _read_codes,
        lambda codes: codes[0] if codes[0] == codes[1] else f"{codes[0]}-{codes[1]}",
    ),
    allowed='final SIP status codes or ranges, such as [200, "400-407"]',
)
"""Ranges of status codes, both ends included."""


def places(kind: Kind) -> Kind:
    """One place or several, such as heartbeat addresses; "" and [] are none."""
    several = listed(kind)
    return Kind(
        f"{kind.allowed}; or a list of these",
        lambda value: () if value == "" else several.read(value),
        several.show,
    )


# -- syslog ---------------------------------------------------------------------------------------


class SyslogTarget(NamedTuple):
    """Where syslog messages go: "udp" or "tcp" to a host and port, "unix" to a socket's path."""

    transport: str
    host: str
    """Host, or path."""
    port: int

    def __str__(self) -> str:
        if self.transport == "unix":
            return f"unix:{self.host}"
        return f"{self.transport}:{HostPort(self.host, self.port)}"


SYSLOG_PORTS = {"udp": 514, "tcp": 601}
"""RFC 5426 and RFC 3195's port as most servers take RFC 6587 framing."""


def _read_syslog(value: object) -> SyslogTarget:
    given = read_text(value).strip()
    transport, colon, rest = given.partition(":")
    transport = transport.lower()
    if transport == "unix" and rest.startswith("/") and rest.isprintable() and len(rest) <= 100:
        return SyslogTarget("unix", rest, 0)
    if not colon or transport not in SYSLOG_PORTS:
        raise Wrong(f"{describe(given)} does not begin with udp:, tcp: or unix:/")
    return SyslogTarget(transport, *read_host_port(rest, SYSLOG_PORTS[transport]))


syslog_target = Kind(
    '"udp:10.0.0.60:514", "tcp:10.0.0.60:601" or "unix:/dev/log"', _read_syslog, str
)
"""A syslog server."""
