"""The tables about calls: `[sip]`, `[affinity]`, `[health]`, `[retry]`, `[overload]`, `[drain]`.

Under each field: meaning, unit, default and its reason. Bounds stand in the annotation and
are said in the error.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from rmlb.config.addresses import (
    ListenAddress,
    host_alias,
    ip,
    listen_address,
    or_empty,
    own_host,
    status_codes,
)
from rmlb.config.kinds import choice, duration, flag, hidden_text, listed, number, size, text
from rmlb.config.table import Table
from rmlb.sip.address import Transport

_uri_user = text("the user part of a SIP URI", r"[A-Za-z0-9_.!~*'()&=+$,;?/%-]{1,64}")
_header_name = text("a header name", r"[A-Za-z0-9.!%*_+`'~-]{1,64}", empty=False)


class SipConfig(Table):
    """`[sip]`: where SIP is taken, how it is signed, and the bounds on what is taken."""

    listen: Annotated[tuple[ListenAddress, ...], listed(listen_address)] = (
        ListenAddress(Transport.UDP, "", 5060),
        ListenAddress(Transport.TCP, "", 5060),
    )
    """Where SIP is taken; a bare port is on the VIP. An empty list: the VIP without proxying.
    Default UDP and TCP 5060: RFC 3261 18.2.1 asks for both on the default port."""

    record_route: Annotated[bool, flag] = True
    """Stay in the path of every dialog, with the member in our Record-Route entry (the mark).
    Default true: a takeover then needs no stored state. False leans on bindings alone."""

    aliases: Annotated[tuple[str, ...], listed(host_alias)] = ()
    """Further names of the balancer, in Route and in OPTIONS for it: host or host:port. A listener
    on 0.0.0.0 or [::] makes only the VIP known as ours: the host's other addresses have to stand
    here. Default: none."""

    options_users: Annotated[tuple[str, ...], listed(_uri_user)] = ()
    """User parts with which an OPTIONS is still for the balancer. Default: none; any user part
    sends it on to a member."""

    via_host: Annotated[str, own_host] = ""
    """Our sent-by in Via, for callers that must see a name. Default: the virtual IP."""

    connect_timeout_s: Annotated[float, duration("50ms", "1m")] = 4.0
    """How long a connection may take to open. Default 4 s: room for two lost SYNs (resent after
    1 and 3 s), and well within the 32 s of a SIP transaction."""

    idle_timeout_s: Annotated[float, duration("1s", "168h")] = 1800.0
    """A connection silent for this long is closed. Default 30 m: SIP Server keeps its
    connections, and opening one inside a call costs a round trip."""

    incomplete_timeout_s: Annotated[float, duration("100ms", "5m")] = 3.0
    """A message begun on a connection must be whole after this. Default 3 s: one retransmitted
    segment, no more; stops connections that drip."""

    max_message_size: Annotated[int, size("1300", "1MiB")] = 65535
    """The largest message, octets; larger ones get 513. Default 65535: the largest datagram,
    which RFC 3261 18.1.1 obliges everybody to take."""

    max_headers: Annotated[int, number(16, 10_000)] = 256
    """The most header fields in a message. Default 256: some four times what long real
    messages have; bounds the work per message."""

    max_connections: Annotated[int, number(1, 1_000_000)] = 4096
    """The most connections taken at once. Default 4096: some 64 KiB each is 256 MiB at worst."""

    max_connections_per_source: Annotated[int, number(1, 1_000_000)] = 1024
    """The most from one address. Default 1024: the RM's own sip.maxtcpconnections is 1000;
    leaves room for others when one caller goes wild."""

    udp_size_limit: Annotated[int, size("576", "65535", or_zero=True)] = 0
    """Requests longer than this, octets, leave over TCP although they came by UDP (RFC 3261
    18.1.1: 1300). Default 0, off: RMs in one network take fragments, and a change of transport
    surprises more than it helps."""

    receive_buffer: Annotated[int, size("4KiB", "1GiB")] = 4 * 2**20
    """Socket receive buffer, octets; the kernel caps it at net.core.rmem_max. Default 4 MiB:
    some 2,000 datagrams, 100 ms at 20,000 messages/s."""

    send_buffer: Annotated[int, size("4KiB", "1GiB")] = 4 * 2**20
    """Socket send buffer, octets; capped at net.core.wmem_max. Default: as the other."""


class Algorithm(StrEnum):
    """How a member is chosen for a call that belongs to no one yet."""

    HASH = "hash"
    ROUND_ROBIN = "round-robin"
    LEAST_CALLS = "least-calls"


class AffinityConfig(Table):
    """`[affinity]`: what keeps a call with its member."""

    keys: Annotated[tuple[str, ...], listed(_header_name)] = ()
    """Headers that tie several dialogs of one call together, such as X-Genesys-CallUUID.
    Default: none; the GVP session header always counts."""

    algorithm: Annotated[Algorithm, choice(*Algorithm)] = Algorithm.HASH
    """Who gets a new call. Default hash (weighted rendezvous by Call-ID): the same on every
    balancer without talking, and losing a member moves only its own calls."""

    ttl_s: Annotated[float, duration("1m", "720h")] = 48 * 3600.0
    """How long the binding of an answered call lives without traffic. Default 48 h: longer than
    any call; idle ones are found by their mark anyway."""

    idle_s: Annotated[float, duration("1s", "720h")] = 2 * 3600.0
    """A call silent for this long no longer counts as a call. Default 2 h: calls whose BYE was
    lost leave the counts, calls on hold stay."""

    hash_key: Annotated[str, hidden_text("text, equal on all balancers", shortest=1)] = ""
    """Keys the hash, so that nobody outside can aim calls at one member; never rotates.
    Default: derived from the cluster's name."""

    max_bindings: Annotated[int, number(1000, 100_000_000)] = 1_000_000
    """The most bindings kept. Default 1,000,000: an hour of 277 calls/s."""


class HealthConfig(Table):
    """`[health]`: OPTIONS probes of each member."""

    interval_s: Annotated[float, duration("50ms", "10m")] = 2.0
    """Between two probes of a member. Default 2 s: passive detection is the fast one; this
    finds the fault of an idle pair."""

    timeout_s: Annotated[float, duration("10ms", "1m")] = 1.0
    """A probe unanswered for this long has failed; no longer than the interval. Default 1 s: two
    retransmissions (500 ms, 1 s) fit."""

    rise: Annotated[int, number(1, 100)] = 2
    """Good probes in a row until a member is in service. Default 2: one may be luck."""

    fall: Annotated[int, number(1, 100)] = 2
    """Failed probes in a row until a member is out of service. Default 2: one lost datagram is
    no outage."""

    codes: Annotated[tuple[tuple[int, int], ...], status_codes] = ((200, 407), (409, 499))
    """Final answers that prove life. Default all below 500 except 408: an RM that refuses
    OPTIONS (403, 405, ...) is alive; 408 comes from a proxy before it."""

    suspect_interval_s: Annotated[float, duration("5ms", "1m")] = 0.1
    """Between two probes while a member is suspect. Default 100 ms: a silent member is out
    within a second."""

    slow_start_s: Annotated[float, duration("0s", "1h")] = 10.0
    """A returned member's share of new calls grows to its weight over this. Default 10 s: long
    enough for an RM to open its connections to the media servers."""

    refusals: Annotated[int, number(1, 1000)] = 10
    """A member that answers so many initial requests in a row with 503 is refusing. Default 10:
    beyond what one bad tenant causes."""

    user: Annotated[str, _uri_user] = ""
    """User part of the probes' Request-URI. Default: none (sip:host:port)."""

    source: Annotated[str, or_empty(ip, "", "the system's choice")] = ""
    """The private address that probes leave from. Default: the system's choice."""

    @property
    def patience_s(self) -> float:
        """Within this everybody who probes a member knows how it is."""
        return 3 * (self.interval_s + self.timeout_s)

    def accepts(self, status: int) -> bool:
        """True if a final answer with that status code proves the member alive."""
        return any(first <= status <= last for first, last in self.codes)


class RetryConfig(Table):
    """`[retry]`: requests remembered until answered, and sent again elsewhere (SIP-RULES 5)."""

    timer_c_s: Annotated[float, duration("1s", "24h")] = 200.0
    """A remembered INVITE ends this long after its last 1xx. Default 200 s: RFC 3261 16.6 wants
    more than 3 minutes."""

    deadline_s: Annotated[float, duration("100ms", "5m")] = 16.0
    """When the best swallowed failure is sent after all. Default 16 s: half of the caller's own
    32 s, so that it can still try elsewhere."""

    after_provisional: Annotated[bool, flag] = True
    """Also re-send an INVITE that already had a 1xx (the caller sees a fork). Default true: a
    member that dies while the call rings must not lose it."""

    codes: Annotated[tuple[int, ...], listed(number(400, 699, "a final status code"))] = (503,)
    """Answers to initial requests upon which the other member is tried. Default 503: the one
    that means "not me, now"."""

    memory: Annotated[int, size("1MiB", "16GiB")] = 64 * 2**20
    """Octets for remembered requests; oldest out first. Default 64 MiB: 45,000 of 1,400."""

    max_requests: Annotated[int, number(100, 10_000_000)] = 100_000
    """The most remembered requests. Default 100,000: 500 calls/s that all ring for 200 s."""


class OverloadConfig(Table):
    """`[overload]`: limits per member; beyond them the other member, else 503."""

    calls_per_second: Annotated[int, number(0, 1_000_000)] = 0
    """New calls per second. Default 0, no limit: only the site knows what its RMs carry."""

    requests_waiting: Annotated[int, number(0, 10_000_000)] = 0
    """Initial requests without any answer yet. Default 0, no limit."""

    adaptive: Annotated[bool, flag] = False
    """Let the number waiting follow the member's answer times, with `requests-waiting` (if any)
    as its upper end. Default false: a limit that moves should be asked for."""


class DrainConfig(Table):
    """`[drain]`: how long winding down may take."""

    limit_s: Annotated[float, duration("0s", "24h")] = 30.0
    """A lone balancer told to stop (SIGTERM) waits at most this for requests under way.
    Default 30 s: almost all are answered by then, and service managers kill after 90 s."""

    member_limit_s: Annotated[float, duration("0s", "168h")] = 900.0
    """A draining member that still has calls after this is reported; after a switch-over
    (active-standby) they move. Default 15 m: the RM's own grace period."""
