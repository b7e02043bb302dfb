"""Sites of all kinds: where members, callers and listeners are, and what is configured."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from random import Random
from typing import Any

from lockstep import Limits

from rmlb.routing.bindings import BindingLimits
from rmlb.routing.keys import Keyring, affinity_key
from rmlb.routing.member import AdminState, Health, Member
from rmlb.routing.overload import LoadLimits
from rmlb.routing.pending import PendingLimits
from rmlb.routing.selection import Algorithm
from rmlb.routing.table import Listener, RoutingTable
from rmlb.sip.address import SipAddress, Transport

UDP, TCP, TLS = Transport.UDP, Transport.TCP, Transport.TLS

SECRETS = ("the first secret of the tests", "the second secret of the tests", "and yet another one")


@dataclass
class Site:
    """What does not change during one run."""

    table: RoutingTable
    limits: Limits
    callers: tuple[str, ...]
    platform: str
    """Host of the MCP, the user agent behind the members."""
    names: tuple[str, ...]
    """What Request-URIs and Routes call us."""


def make_site(rng: Random) -> Site:
    """One of many."""
    kind = rng.choice(("own hosts", "own hosts", "own hosts", "loopback", "beside", "one host"))
    vip = {"loopback": "127.0.0.1"}.get(kind, "10.0.0.100")
    listeners = _listeners(rng, vip)
    vips = frozenset(x.host for x in listeners) | (
        {"rm.example.com"} if rng.random() < 0.2 else set()
    )
    aliases = rng.choice((
        (), (), (("alias.example.com", None),), (("alias.example.com", 5060), ("10.0.0.99", 5080)),
    ))  # fmt: skip
    settings: dict[str, Any] = (
        {}
        if rng.random() < 0.6
        else {
            "hotstandby": rng.random() < 0.8,
            "record_route": rng.random() < 0.8,
            "algorithm": rng.choice(
                (Algorithm.HASH,) * 4 + (Algorithm.ROUND_ROBIN, Algorithm.LEAST_CALLS)
            ),
            "header_keys": rng.choice(((),) * 4 + ((b"x-key",), (b"x-other", b"x-key"))),
            "trusted": rng.choice(
                ((), (), (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))
            ),
            "udp_size_limit": rng.choice((0, 0, 0, 1300, 700)),
            "max_headers": rng.choice((256, 256, 256, 12)),
            "options_users": rng.choice((frozenset(), frozenset((b"ping",)))),
            "retry_codes": frozenset(rng.choice(((503,), (503,), (503, 500, 408), ()))),
            "after_provisional": rng.random() < 0.8,
            "deadline_s": rng.choice((16.0, 16.0, 2.0)),
            "refusals": rng.choice((10, 2)),
        }
    )
    if rng.random() < 0.25:
        settings["ask_store"] = True
    members = _members(rng, kind, vip)
    if rng.random() < 0.1:
        settings["active"] = rng.choice((*members, 0))
        settings["retiring"] = frozenset(rng.sample(sorted(members), rng.randrange(len(members))))
    table = RoutingTable(
        members=members,
        listeners=listeners,
        keys=Keyring(rng.sample(SECRETS, rng.choice((1, 1, 1, 2, 3)))),
        affinity_key=affinity_key("differential"),
        instance=b"0000000a",
        vips=vips,
        aliases=frozenset(aliases),
        **settings,
    )
    callers = {"loopback": ("127.0.0.1",), "beside": ("192.0.2.10", "10.0.0.100")}.get(
        kind, ("192.0.2.10", "192.0.2.11", "198.51.100.7")
    )
    if any(x.is_ipv6 for x in listeners):
        callers += ("2001:db8::10",)
    platform = "127.0.0.1" if kind == "loopback" else rng.choice(("10.0.0.31", "10.0.0.11"))
    names = (*sorted(vips), *(host for host, _ in aliases))
    return Site(table, _limits(rng), callers, platform, names)


def _listeners(rng: Random, vip: str) -> tuple[Listener, ...]:
    places = [(vip, 5060)]
    if rng.random() < 0.3:
        places.append((vip, 5080))
    if rng.random() < 0.2:
        places.append(("10.0.1.100", 5060))
    if rng.random() < 0.2:
        places.insert(rng.randrange(2), ("2001:db8::100", 5060))
    transports = rng.choice(((UDP, TCP), (UDP, TCP), (UDP,), (UDP,), (TCP, UDP), (UDP, TCP, TLS)))
    named = rng.random() < 0.15
    made: list[Listener] = []
    for host, port in places:
        for transport in transports:
            at = port + 1 if transport is TLS else port
            sent_by = "rm.example.com" if named else host
            made.append(Listener(len(made), transport, host, at, sent_by))
    return tuple(made)


def _members(rng: Random, kind: str, vip: str) -> dict[int, Member]:
    numbers = rng.choice(((1, 2), (1, 2), (1, 2), (1, 2, 3), (7,), (1, 2, 3, 4, 12)))
    made = {}
    for place, number in enumerate(numbers):
        host, port = f"10.0.0.{11 + place}", 5060
        if kind == "loopback":
            host, port = vip, 7001 + place
        elif kind == "beside" and place == 0:
            host, port = vip, 5070
        elif kind == "one host":
            host, port = "10.0.0.11", 5060 + 10 * place
        elif rng.random() < 0.05:
            host = f"2001:db8::{11 + place}"
        transports = rng.choice(((UDP, TCP),) * 4 + ((UDP,), (TCP,), (TCP, UDP), (UDP, TLS)))
        addresses = tuple(SipAddress(t, host, port + (t is TLS)) for t in transports)
        weight = rng.choice((100,) * 12 + (50, 1, 0))
        made[number] = Member(number, addresses, Health.IN_SERVICE, weight=weight)
    return made


def changed_member(rng: Random, member: Member) -> dict[str, Any]:
    """What may become of one, mostly that it is well."""
    well: dict[str, Any] = {
        "health": Health.IN_SERVICE, "excused": False,
        "admin_state": AdminState.ENABLED, "weight": 100,
    }  # fmt: skip
    return rng.choice((
        well,
        well,
        well,
        {"health": Health.OUT_OF_SERVICE},
        {"health": Health.OUT_OF_SERVICE},
        {"health": Health.OUT_OF_SERVICE, "excused": True},
        {"health": Health.SUSPECT},
        {"health": Health.REFUSING},
        {"admin_state": AdminState.DRAINING},
        {"admin_state": AdminState.DISABLED},
        {"weight": rng.choice((0, 10, 100))},
    ))  # fmt: skip


def _limits(rng: Random) -> Limits:
    """Small tables now and then, so that they overflow."""
    bindings = BindingLimits(
        max_bindings=rng.choice((10_000,) * 4 + (25, 6)),
        ttl_s=rng.choice((48 * 3600.0, 900.0)),
        idle_s=rng.choice((7200.0, 600.0)),
        timer_c_s=rng.choice((200.0, 60.0)),
    )
    pending = PendingLimits(
        max_requests=rng.choice((2000,) * 4 + (20, 3)),
        max_octets=rng.choice((2**26,) * 5 + (20_000, 3_000, 700)),
        timer_c_s=rng.choice((200.0, 60.0)),
    )
    loads = rng.choice((
        *(LoadLimits(),) * 6, LoadLimits(calls_per_second=5), LoadLimits(requests_waiting=4),
        LoadLimits(adaptive=True), LoadLimits(3, 10, True), LoadLimits(calls_per_second=40),
    ))  # fmt: skip
    return Limits(bindings, pending, loads)
