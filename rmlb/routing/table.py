"""The routing snapshot: everything that decides where messages go and is not learnt from them.

Immutable. Whatever changes (a member's health, the operator's will, a reload) builds a new one,
and publishing it is one assignment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

from rmlb.routing.keys import Keyring
from rmlb.routing.losses import LossLog
from rmlb.routing.member import Member
from rmlb.routing.selection import Algorithm
from rmlb.sip.address import SipAddress, Transport
from rmlb.sip.uri import Uri

Network = IPv4Network | IPv6Network

MAX_DATAGRAM = 65507
"""Octets of the largest UDP payload over IPv4: 65535 less 20 of IP and 8 of UDP."""

_TLS_THEN_TCP_THEN_UDP = (Transport.TLS, Transport.TCP, Transport.UDP)


@dataclass(frozen=True, slots=True)
class Listener:
    """One socket of the balancer. `host` is an IP literal, canonical."""

    index: int
    transport: Transport
    host: str
    port: int
    sent_by: str
    """The host that our Via and Record-Route name when a message leaves by it."""

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """One snapshot."""

    members: Mapping[int, Member]
    listeners: tuple[Listener, ...]
    keys: Keyring
    affinity_key: bytes
    instance: bytes = b"00000000"
    """This process: connection numbers in Via mean something only to the one that gave them."""
    vips: frozenset[str] = frozenset()
    """Own addresses and `sip.via-host`, canonical, without ports."""
    aliases: frozenset[tuple[str, int | None]] = frozenset()
    """`sip.aliases`; a port of None stands for every port."""
    losses: LossLog = field(default_factory=LossLog)
    hotstandby: bool = True
    active: int | None = None
    """Active-standby: the member that gets everything (0: none is chosen). None: active-active."""
    retiring: frozenset[int] = frozenset()
    """Active-standby: former active members whose marks and bindings still count."""
    algorithm: Algorithm = Algorithm.HASH
    header_keys: tuple[bytes, ...] = ()
    """`[affinity] keys`, lower case."""
    record_route: bool = True
    options_users: frozenset[bytes] = frozenset()
    trusted: tuple[Network, ...] = ()
    udp_size_limit: int = 0
    """Requests that leave larger than this do so over TCP where the member has it (18.1.1);
    0: only those that fit no datagram."""
    max_headers: int = 256
    retry_codes: frozenset[int] = frozenset((503,))
    """[retry] codes: answers to initial requests upon which another member is asked."""
    after_provisional: bool = True
    """[retry]: also re-send what the caller has seen ringing."""
    deadline_s: float = 16.0
    """[retry]: when the best swallowed failure leaves after all."""
    ask_store: bool = False
    """Other balancers' bindings can be asked for: a request inside a dialog of which nothing is
    known here is held until that is done (HA-RULES 5), and calls of all balancers count."""
    refusals: int = 10
    """[health]: initial requests answered with 503 in a row that make a member refusing."""

    taking: tuple[Member, ...] = field(init=False)
    """Members that may take new calls."""
    speaks_tls: bool = field(init=False)
    """A listener or a member has TLS, so there are certificates and authorities for it."""
    _by_endpoint: Mapping[tuple[str, int], Member] = field(init=False)
    _member_hosts: Mapping[str, tuple[Member, ...]] = field(init=False)
    _own_endpoints: frozenset[tuple[str, int]] = field(init=False)
    _own_ports: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        members = tuple(self.members.values())
        choice = members if self.active is None else (m for m in members if m.id == self.active)
        set_field(self, "taking", tuple(m for m in choice if m.takes_new_calls))
        transports = {x.transport for x in self.listeners}
        transports |= {a.transport for m in members for a in m.addresses}
        set_field(self, "speaks_tls", Transport.TLS in transports)
        endpoints = {(a.host, a.port): m for m in members for a in m.addresses}
        set_field(self, "_by_endpoint", endpoints)
        hosts: dict[str, tuple[Member, ...]] = {}
        for member in members:
            for host in dict.fromkeys(a.host for a in member.addresses):
                hosts[host] = (*hosts.get(host, ()), member)
        set_field(self, "_member_hosts", hosts)
        own = {(x.host, x.port) for x in self.listeners}
        own |= {(vip, x.port) for vip in self.vips for x in self.listeners}
        set_field(self, "_own_endpoints", frozenset(own))
        set_field(self, "_own_ports", frozenset(x.port for x in self.listeners))

    @property
    def datagram_limit(self) -> int:
        """Octets up to which a request for a member leaves as a datagram if it may."""
        return self.udp_size_limit or MAX_DATAGRAM

    def member_at(self, host: str, port: int) -> Member | None:
        """The member that listens on that address."""
        return self._by_endpoint.get((host, port))

    @property
    def member_hosts(self) -> Iterable[str]:
        """Every address of every member, without ports."""
        return self._member_hosts

    def members_on(self, host: str) -> tuple[Member, ...]:
        """The members whose host that is, whatever port."""
        return self._member_hosts.get(host, ())

    def is_own_endpoint(self, host: str, port: int) -> bool:
        """One of our own listening addresses: nothing is ever sent there."""
        return (host, port) in self._own_endpoints

    def names_us(self, uri: Uri) -> bool:
        """The URI's host and port are the balancer's: the VIP on a listening port, or an alias."""
        if (uri.host, uri.port) in self.aliases or (uri.host, None) in self.aliases:
            return True
        return uri.host in self.vips and (uri.port is None or uri.port in self._own_ports)

    def names_member(self, uri: Uri) -> Member | None:
        """The member that the URI's host and port name."""
        port = uri.port or (5061 if uri.scheme == b"sips" else 5060)
        return self._by_endpoint.get((uri.host, port))

    def trusts(self, host: str) -> bool:
        """Whether GVP session headers and datanodes of this source count; empty list: all."""
        return not self.trusted or is_in(self.trusted, host)

    def listener_for(self, transport: Transport, host: str, prefer: int = 0) -> Listener | None:
        """The listener by which to reach `host`: of that transport and its address family.

        `prefer` is an index that wins if it fits. For streams any listener of the family serves
        as the local address where there is none of the transport.
        """
        ipv6 = ":" in host
        if prefer < len(self.listeners):
            wanted = self.listeners[prefer]
            if wanted.transport is transport and wanted.is_ipv6 is ipv6:
                return wanted
        family = [x for x in self.listeners if x.is_ipv6 is ipv6]
        for listener in family:
            if listener.transport is transport:
                return listener
        return family[0] if transport.is_stream and family else None

    def address_of(
        self, member: Member, transport: Transport, *, secure: bool
    ) -> SipAddress | None:
        """Where to send a request to a member: TLS if it must, else the way it came if it can."""
        if secure:
            return member.address_for(Transport.TLS)
        order = (Transport.UDP, Transport.TCP) if transport is Transport.UDP else ()
        for wanted in (transport, *order, *_TLS_THEN_TCP_THEN_UDP):
            found = member.address_for(wanted)
            if found is not None:
                return found
        return None


@lru_cache(maxsize=65536)  # 64 K sources x ~150 octets; sources repeat
def is_in(networks: tuple[Network, ...], host: str) -> bool:
    """Whether one of the networks holds that IP literal."""
    address = ip_address(host)
    return any(address in network for network in networks if network.version == address.version)
