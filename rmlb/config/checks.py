"""Cross-checks: what no single value shows to be wrong.

Each check names the tables it looks at and runs only when all of them are in order. Reads
the certificate files that the configuration names, resolves nothing, connects to nothing.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Set
from ipaddress import ip_address
from itertools import combinations
from typing import NamedTuple

from rmlb.config import pem
from rmlb.config.addresses import HostPort
from rmlb.config.problem import Fault
from rmlb.config.schema import Config
from rmlb.config.service import VipProvider
from rmlb.sip.address import SipAddress, Transport, is_ip_literal

Run = Callable[[Config], Iterable[Fault]]


class _Check(NamedTuple):
    tables: frozenset[str]
    run: Run


_CHECKS: list[_Check] = []


def cross_check(config: Config, bad: Set[str]) -> list[Fault]:
    """Everything that does not fit together, in the order of this file."""
    return [fault for check in _CHECKS if not check.tables & bad for fault in check.run(config)]


def _looks_at(*tables: str) -> Callable[[Run], Run]:
    def register(run: Run) -> Run:
        _CHECKS.append(_Check(frozenset(tables), run))
        return run

    return register


def is_loopback(host: str) -> bool:
    """True for localhost and for loopback addresses."""
    return ip_address(host).is_loopback if is_ip_literal(host) else host.startswith("localhost")


# -- members --------------------------------------------------------------------------------------


@_looks_at("cluster", "rm")
def _member_ids(config: Config) -> Iterator[Fault]:
    ids = tuple(config.rm)
    tables = ", ".join(f"rm.{n}" for n in ids)
    known = " or ".join(map(str, ids))
    if set(config.cluster.members) != set(ids):
        given = " ".join(map(str, config.cluster.members))
        yield Fault(
            "cluster.members",
            f'"{given}" does not match the tables {tables}',
            f'"{" ".join(map(str, ids))}", or leave it out',
        )
    if config.cluster.mymemberid not in (None, *ids):
        yield Fault(
            "cluster.mymemberid", f"{config.cluster.mymemberid} is not among the members", known
        )
    for n in config.cluster.member.keys() - set(ids):
        yield Fault(f"cluster.member.{n}", f"there is no member {n}", f"N is {known}")


@_looks_at("cluster", "vip")
def _failoverscript(config: Config) -> Iterator[Fault]:
    script = config.cluster.failoverscript
    if not config.runs_failoverscript or os.path.isfile(script):
        return
    try:
        shlex.split(script)
    except ValueError as error:
        yield Fault(
            "cluster.failoverscript",
            f"{script}: {str(error).lower()}",
            "the path of a program, or a program and its arguments in balanced quotes",
        )


@_looks_at("rm")
def _members_apart(config: Config) -> Iterator[Fault]:
    for (first, one), (second, other) in combinations(config.rm.items(), 2):
        for address in sorted(set(one.sip) & set(other.sip)):
            yield Fault(
                f"rm.{second}.sip", f"{address} is member {first}'s too", "an address of its own"
            )


@_looks_at("cluster", "rm", "sip")
def _not_to_ourselves(config: Config) -> Iterator[Fault]:
    listening = {(address.host, address.port): address for address in config.sip.listen}
    for n, member in config.rm.items():
        for address in member.sip:
            if ours := listening.get((address.host, address.port)):
                yield Fault(
                    f"rm.{n}.sip",
                    f"{address} is our own [sip] listen {ours}: we would send to ourselves",
                    "the member's private address, or another port",
                )


@_looks_at("gvp")
def _nics_known(config: Config) -> Iterator[Fault]:
    for n in config.gvp.nics:
        if n not in config.gvp.nic:
            yield Fault(
                "gvp.nics",
                f"{n} is listed, but there is no nic.eth{n}",
                f'nic.eth{n} = "00-0F-1F-6D-EB-CA"',
            )


# -- calls ----------------------------------------------------------------------------------------


@_looks_at("cluster", "rm", "sip")
def _without_record_route(config: Config) -> Iterator[Fault]:
    if config.sip.record_route:
        return
    for address in config.sip.listen:
        if address.transport is Transport.TLS:
            yield Fault(
                "sip.record-route",
                f"false does not go together with the TLS listener {address}",
                "true",
            )
            continue
        for n, member in config.rm.items():
            if not any(_alike(address.transport, address.host, to) for to in member.sip):
                yield Fault(
                    "sip.record-route",
                    f"false does not go together with bridging from {address} to member {n}",
                    f"true, or an {address.transport} address of that family in rm.{n}.sip",
                )


def _alike(transport: Transport, host: str, to: SipAddress) -> bool:
    """The same transport and, as far as can be told from a name, the same address family."""
    same_family = not is_ip_literal(to.host) or (":" in to.host) == (":" in host)
    return transport is to.transport and same_family


@_looks_at("sip")
def _listen_once(config: Config) -> Iterator[Fault]:
    stream = [(a.host, a.port) for a in config.sip.listen if a.transport.is_stream]
    for host, port in sorted({place for place in stream if stream.count(place) > 1}):
        yield Fault(
            "sip.listen",
            f"TCP and TLS cannot share {HostPort(host, port)}",
            "TLS on another port, such as 5061",
        )


@_looks_at("sip", "admin", "cluster")
def _admin_apart(config: Config) -> Iterator[Fault]:
    for address in config.sip.listen:
        if address.transport.is_stream and (address.host, address.port) == config.admin.listen:
            yield Fault("admin.listen", f"[sip] listens there, too ({address})", "another port")


@_looks_at("sip")
def _connection_limits(config: Config) -> Iterator[Fault]:
    if config.sip.max_connections_per_source > config.sip.max_connections:
        yield Fault(
            "sip.max-connections-per-source",
            "more than all connections together",
            f"at most max-connections, {config.sip.max_connections}",
        )


@_looks_at("affinity")
def _idle_within_ttl(config: Config) -> Iterator[Fault]:
    if config.affinity.idle_s > config.affinity.ttl_s:
        yield Fault("affinity.idle", "longer than a binding lives", "at most affinity.ttl")


@_looks_at("health")
def _timeout_within_interval(config: Config) -> Iterator[Fault]:
    if config.health.timeout_s > config.health.interval_s:
        yield Fault(
            "health.timeout", "longer than the time between probes", "at most health.interval"
        )


# -- the virtual IP and the peers -----------------------------------------------------------------


@_looks_at("cluster", "vip")
def _provider(config: Config) -> Iterator[Fault]:
    match config.vip.provider:
        case VipProvider.NETLINK:
            if not config.vip.interface:
                yield Fault(
                    "vip.interface", "is missing: netlink adds the VIP to it", 'such as "eth0"'
                )
            for address in config.virtual_addresses:
                if is_loopback(address.host):
                    yield Fault(
                        "vip.provider",
                        f"netlink does not move a loopback address ({address})",
                        '"none", or another virtual IP',
                    )
        case VipProvider.SCRIPT:
            if not config.cluster.failoverscript:
                yield Fault(
                    "cluster.failoverscript", "is missing: [vip] provider is script", "a command"
                )


@_looks_at("cluster", "vip")
def _addresses_once(config: Config) -> Iterator[Fault]:
    hosts = [address.host for address in config.virtual_addresses]
    for host in sorted({host for host in hosts if hosts.count(host) > 1}):
        yield Fault("vip.addresses", f"{host} is given twice", "addresses beyond virtual-ip")


@_looks_at("cluster", "heartbeat")
def _heartbeat_apart(config: Config) -> Iterator[Fault]:
    taken = {place: n for n, place in config.cluster.member.items()}
    for listen in config.heartbeat.listen:
        if (n := taken.get(str(listen))) is not None:
            yield Fault(
                "heartbeat.listen",
                f"{listen} is the RM's own cluster port (cluster.member.{n})",
                "a port of its own, such as 9811",
            )
        if listen.host in {address.host for address in config.virtual_addresses}:
            yield Fault(
                "heartbeat.listen",
                f"{listen.host} is the virtual IP, which the other balancer may hold",
                "a private address of this host",
            )
        if listen in config.heartbeat.peers:
            yield Fault("heartbeat.peers", f"{listen} is our own", "the other balancers' addresses")


@_looks_at("cluster", "sip", "heartbeat")
def _heartbeat_and_sip(config: Config) -> Iterator[Fault]:
    for address in config.sip.listen:
        if (address.host, address.port) in config.heartbeat.listen:
            yield Fault("heartbeat.listen", f"[sip] listens there, too ({address})", "another port")


@_looks_at("cluster", "heartbeat", "vip", "state")
def _peers(config: Config) -> Iterator[Fault]:
    heartbeat = config.heartbeat
    if not heartbeat.peers:
        return
    if not heartbeat.listen:
        yield Fault("heartbeat.listen", "is missing: there are peers", 'such as "10.99.0.1:9811"')
    if heartbeat.id is None:
        yield Fault(
            "cluster.mymemberid",
            "is missing: balancers with peers are numbered",
            "the member beside this balancer, or [heartbeat] id",
        )
    moves = config.vip.provider in (VipProvider.NETLINK, VipProvider.SCRIPT)
    if moves and len(heartbeat.peers) > max(1, len(heartbeat.listen)) and not config.witness:
        yield Fault(
            "vip.witness",
            "is missing: more than two balancers need one",
            'one Redis server, here or as [state] url: "redis://10.99.0.50:6379/0"',
        )


@_looks_at("heartbeat", "security")
def _peers_share_a_secret(config: Config) -> Iterator[Fault]:
    if config.heartbeat.peers and not config.security.secrets:
        yield Fault(
            "security.secret",
            "is missing: balancers with peers share one",
            "text of at least 16 characters, equal on all balancers; or secret-file",
        )


# -- TLS and admin --------------------------------------------------------------------------------


@_looks_at("sip", "tls")
def _listener_certificate(config: Config) -> Iterator[Fault]:
    tls = next((a for a in config.sip.listen if a.transport is Transport.TLS), None)
    if tls and not config.tls.certificate:
        yield Fault("tls.certificate", f"is missing: [sip] listens on {tls}", "a PEM file")


@_looks_at("tls")
def _tls_files(config: Config) -> Iterator[Fault]:
    if config.tls.key and not config.tls.certificate:
        yield Fault("tls.certificate", "is missing: there is a key", "a PEM file")
    yield from _pair("tls", config.tls.certificate, config.tls.key)
    if config.tls.ca and (why := pem.authorities(config.tls.ca)):
        yield Fault("tls.ca", why, "a PEM file")
    if config.tls.verify_clients and not config.tls.ca:
        yield Fault("tls.ca", "is missing: verify-clients is true", "a PEM file")
    if config.tls.ciphers and not pem.ciphers_known(config.tls.ciphers):
        yield Fault("tls.ciphers", "names no cipher that OpenSSL has", "an OpenSSL cipher list")


@_looks_at("admin", "tls")
def _admin_safe(config: Config) -> Iterator[Fault]:
    admin = config.admin
    if not is_loopback(admin.listen.host):
        if not admin.token:
            yield Fault(
                "admin.token",
                f"is missing: {admin.listen} is off loopback",
                "text of at least 16 characters, or listen on 127.0.0.1",
            )
        if not admin.tls:
            yield Fault(
                "admin.tls", f"is off: {admin.listen} is off loopback", "true, with a certificate"
            )
    if admin.tls and not admin.certificate:
        yield Fault("admin.certificate", "is missing: tls is true", "a PEM file, here or in [tls]")
    if admin.certificate and not admin.tls:
        yield Fault("admin.tls", "is off: there is a certificate", "true")
    if admin.certificate != config.tls.certificate:
        yield from _pair("admin", admin.certificate, admin.key)


def _pair(table: str, certificate: str, key: str) -> Iterator[Fault]:
    if certificate:
        for name, why in pem.pair(certificate, key):
            yield Fault(f"{table}.{name}", why, "a PEM certificate and its own key, not encrypted")
