"""The configuration as the parts want it, and what of it a reload cannot change.

Next to snapshot.py, which makes the routing table of it.
"""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

from rmlb.config import Config
from rmlb.config.stores import store_hosts
from rmlb.routing.table import RoutingTable
from rmlb.sip.address import SipAddress, Transport, bracketed
from rmlb.state.client import Place
from rmlb.trace.hep import HepNode
from rmlb.trace.ladder import Parties
from rmlb.transport.exchange import ExchangeSettings
from rmlb.transport.stream import StreamLimits
from rmlb.transport.tls import TlsContexts, TlsFiles


def make_tls(config: Config) -> TlsContexts | None:
    """None where nobody speaks TLS. Raises OSError when a file cannot be used."""
    return TlsContexts(_tls_files(config)) if speaks_tls(config) else None


def speaks_tls(config: Config) -> bool:
    """A listener or a member has TLS."""
    return any(x.transport is Transport.TLS for x in config.sip.listen) or any(
        a.transport is Transport.TLS for rm in config.rm.values() for a in rm.sip
    )


def admin_files(config: Config) -> TlsFiles:
    """The certificate of the admin API: its own, else that of [tls]."""
    certificate = config.admin.certificate or config.tls.certificate
    key = config.admin.key if config.admin.certificate else config.admin.key or config.tls.key
    return TlsFiles(certificate, key, min_version=config.tls.min_version)


def exchange_settings(
    config: Config, tls: TlsContexts | None, certificate_names: dict[tuple[str, int], str]
) -> ExchangeSettings:
    """Limits, sockets and TLS of the packet path."""
    sip = config.sip
    return ExchangeSettings(
        limits=StreamLimits(sip.max_message_size, sip.incomplete_timeout_s),
        receive_buffer=sip.receive_buffer,
        send_buffer=sip.send_buffer,
        connect_timeout_s=sip.connect_timeout_s,
        idle_timeout_s=sip.idle_timeout_s,
        max_connections=sip.max_connections,
        max_connections_per_source=sip.max_connections_per_source,
        balancer_id=config.heartbeat.id or 0,
        server_tls=tls.server if tls is not None else None,
        client_tls=tls.client if tls is not None else None,
        certificate_names=certificate_names,
    )


def store_place(config: Config) -> Place | None:
    """`[state] url` taken apart; None for memory://."""
    kind, url = config.state.backend, urlsplit(config.state.url)
    if kind == "memory":
        return None
    path = [unquote(part) for part in url.path.split("/") if part]
    service = path.pop(0) if kind == "sentinel" else ""
    given = {key: values[0] for key, values in parse_qs(url.query).items()}
    return Place(
        kind=kind,
        hosts=tuple((each.host, each.port) for each in store_hosts(config.state.url)),
        database=int(path[0]) if path else 0,
        service=service,
        user=unquote(url.username) if url.username else given.get("username"),
        password=unquote(url.password) if url.password else given.get("password"),
        tls=url.scheme.startswith("rediss"),
        ca=config.tls.ca,
    )


def hep_node(config: Config) -> HepNode:
    """Who we are at a HEP3 collector."""
    trace, cluster = config.trace, config.cluster
    number = trace.hep_id or cluster.mymemberid or 1
    return HepNode(number, trace.hep_node or cluster.name, trace.hep_key)


def parties(table: RoutingTable) -> Parties:
    """Whose addresses are whose on a ladder."""
    return Parties(
        own=frozenset(
            (host, listener.port)
            for listener in table.listeners
            for host in (listener.host, listener.sent_by)
        ),
        members={
            (address.host, address.port): member.id
            for member in table.members.values()
            for address in member.addresses
        },
    )


def fixed_parts(fresh: Config, running: Config) -> list[str]:
    """Tables and keys that differ and take effect at a start only."""
    parts = {
        "[cluster] ha-mode": (fresh.cluster.ha_mode, running.cluster.ha_mode),
        "[cluster] virtual-ip": (fresh.cluster.virtual_ip, running.cluster.virtual_ip),
        "[sip] listen": (fresh.sip.listen, running.sip.listen),
        "[admin]": (fresh.admin, running.admin),
        "[state]": (fresh.state, running.state),
        "[vip]": (fresh.vip, running.vip),
        "[heartbeat]": (fresh.heartbeat, running.heartbeat),
    }
    return [name for name, (new, old) in parts.items() if new != old]


def as_configured(addresses: tuple[SipAddress, ...]) -> tuple[str, ...]:
    """`host:port` for the usual pair of UDP and TCP on one port, else every address."""
    places = {(a.host, a.port) for a in addresses}
    if len(places) == 1 and {a.transport for a in addresses} == {Transport.UDP, Transport.TCP}:
        host, port = places.pop()
        return (f"{bracketed(host)}:{port}",)
    return tuple(str(address) for address in addresses)


def _tls_files(config: Config) -> TlsFiles:
    tls = config.tls
    return TlsFiles(
        certificate=tls.certificate,
        key=tls.key,
        ca=tls.ca,
        verify_clients=tls.verify_clients,
        verify_members=tls.verify_members,
        min_version=tls.min_version,
        ciphers=tls.ciphers,
    )
