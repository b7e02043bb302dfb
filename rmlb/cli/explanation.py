"""One message through the pure core, and why it went as it did; what `rmlb explain` shows.

Every member is in service and the memory empty. Opens no socket, resolves no name, keeps
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from rmlb.cli.failure import MISUSED, CliError
from rmlb.config import Config, HaMode
from rmlb.config.addresses import read_host_port
from rmlb.config.kinds import Wrong
from rmlb.routing.incoming import read_request
from rmlb.routing.keys import Keyring
from rmlb.routing.losses import LossLog
from rmlb.routing.member import Health, Member
from rmlb.routing.router import Router
from rmlb.routing.selection import Algorithm
from rmlb.routing.signature import read_branch
from rmlb.routing.table import Listener, RoutingTable
from rmlb.routing.verdict import (
    Absorb,
    Decision,
    Drop,
    Forward,
    Hold,
    Kind,
    Origin,
    Reason,
    Reply,
    Step,
)
from rmlb.sip.address import Transport, is_ip_literal, is_unicast
from rmlb.sip.framing import StreamFramer
from rmlb.sip.message import Message, SipError, scan
from rmlb.sip.via import Via, top_via
from rmlb.snapshot import Snapshot, Standing, make_memory, make_table
from rmlb.state.secret import FILE_NAME

ELSEWHERE = ("192.0.2.1", "2001:db8::1")
"""Where a message comes from that does not say so: addresses for documentation (RFC 5737, 3849)."""

_LONGEST = 160
"""Characters of a start line that are shown; junk has none that ends."""

CHANNEL = 1024
"""Stands for the connection it came by."""

_STEPS = {
    Step.TRANSACTION: "SIP-RULES 3 (0), RFC 3261 17.2.3: the member of its transaction",
    Step.MARK: "SIP-RULES 3 (1): our mark in the Route names the holder of the dialog",
    Step.DATANODES: "SIP-RULES 3 (2): gvp.rm.datanodes in the top Route",
    Step.BINDING: "SIP-RULES 3 (3): the binding of the Call-ID",
    Step.SESSION_HEADER: "SIP-RULES 3 (4): gvp.rm.datanodes in X-Genesys-GVP-Session-ID",
    Step.HEADER_KEY: "SIP-RULES 3 (5): a configured header seen with that member",
    Step.ALGORITHM: "SIP-RULES 3 (6): nobody named a member, so ",
}

_ALGORITHMS = {
    Algorithm.HASH: "the weighted rendezvous hash of the Call-ID",
    Algorithm.ROUND_ROBIN: "round-robin",
    Algorithm.LEAST_CALLS: "least-calls",
}

_FORWARD_RULES = {
    Kind.OUTWARD: "SIP-RULES 4, RFC 3261 16.6 (6): our mark vouches for it, and a member sends it",
    Kind.RESPONSE: "SIP-RULES 2, RFC 3261 16.7 (3), 18.2.2: our Via is verified; back by the next",
    Kind.MEMBER_RESPONSE: "SIP-RULES 1 C: to the member that signed the top Via with the VIP",
}


_FAULTS = (Reason.MALFORMED, Reason.BAD_VERSION, Reason.BAD_METHOD, Reason.TOO_LARGE)
"""Reasons of which the scanner can say more."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What becomes of one message."""

    message: str
    """Its start line, readable."""
    origin: Origin
    listener: Listener
    verdict: Decision
    rule: str
    received: bytes
    notes: tuple[str, ...]

    @property
    def outcome(self) -> str:
        """forward, answer, absorb or drop."""
        verdict = self.verdict
        names = {Forward: "forward", Reply: "answer", Absorb: "absorb", Drop: "drop"}
        return names[type(verdict)]


def explain_octets(
    config: Config, data: bytes, source: str = "", transport: str = ""
) -> Iterator[Explanation]:
    """Every message of `data`: one for a datagram, as many as a stream brings otherwise."""
    notes = []
    if b"\n" in data and b"\r" not in data:
        data = data.replace(b"\n", b"\r\n")
        notes.append("the file has LF line ends; they were read as CRLF")
    secrets, kept = _secrets(config)
    if not kept:
        notes.append("there is no secret yet: branches and marks are made with a throw-away one")
    table = _table(config, Keyring(secrets))
    origin, listener = _origin(table, data, source, transport)
    router = Router(table, make_memory(config))
    for octets, error in _messages(data, origin.transport, config.sip.max_message_size):
        if error is None:
            verdict = router.receive(octets, origin, 0.0)
        else:
            verdict = router.refuse(octets, error, origin)
        if isinstance(verdict, Hold):  # there is no store to ask
            verdict = router.resume(octets, origin, 0.0)
        yield Explanation(
            message=_start_line(octets),
            origin=origin,
            listener=listener,
            verdict=verdict,
            rule=_rule(verdict, table, _why(octets, error, origin, table)),
            received=octets,
            notes=tuple(notes),
        )


def readable(octets: bytes) -> str:
    """Octets as one line of text; what cannot be printed as escapes."""
    text = octets.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _start_line(data: bytes) -> str:
    line = readable(data.lstrip(b"\r\n").partition(b"\r\n")[0])
    if len(line) > _LONGEST:
        return line[:_LONGEST] + " ..."
    return line or "(nothing but CRLF)"


# what the core is given


def _secrets(config: Config) -> tuple[tuple[str, ...], bool]:
    """The configured or kept secret, and whether it is the balancer's."""
    if config.security.secrets:
        return config.security.secrets, True
    try:
        kept = (config.state.directory / FILE_NAME).read_text().strip()
    except (OSError, UnicodeDecodeError):
        kept = ""
    return ((kept,), True) if kept else (("made up to explain a message",), False)


def _table(config: Config, keys: Keyring) -> RoutingTable:
    """As if everything worked. Members named by host name keep their names."""
    members = {
        number: Member(number, rm.sip, Health.IN_SERVICE, weight=rm.weight)
        for number, rm in config.rm.items()
    }
    active = max(members) if config.cluster.ha_mode is HaMode.ACTIVE_STANDBY else None
    standing = Standing(LossLog(), active, frozenset())
    return make_table(config, keys, b"00000000", Snapshot(members, standing, False))


def _origin(
    table: RoutingTable, data: bytes, source: str, transport: str
) -> tuple[Origin, Listener]:
    """Where it came from and by which listener: as told, else as its top Via says."""
    via = _top_via(data)
    wanted = _transport(table, transport, via)
    listeners = [x for x in table.listeners if x.transport is wanted]
    if not listeners:
        raise CliError(f"[sip] listen has nothing for {wanted}", MISUSED)
    if source:
        host, port = _told(source)
        fitting = [x for x in listeners if x.is_ipv6 is (":" in host)]
        if not fitting:
            family = "IPv6" if ":" in host else "IPv4"
            raise CliError(f"[sip] listen has no {wanted} for {family}", MISUSED)
        listener = fitting[0]
    else:
        host, port, listener = _suggested(table, via, listeners)
    channel = CHANNEL if wanted.is_stream else listener.index
    return Origin(wanted, listener.index, channel, host, port), listener


def _transport(table: RoutingTable, told: str, via: Via | None) -> Transport:
    known = {x.transport for x in table.listeners}
    if told:
        try:
            return Transport(told.lower())
        except ValueError:
            raise CliError(f"--transport {told}: allowed: udp, tcp, tls", MISUSED) from None
    if not known:
        raise CliError("[sip] listen is empty: no message is taken", MISUSED)
    named = via.transport.decode("latin-1").lower() if via is not None else ""
    return next((t for t in known if t.value == named), table.listeners[0].transport)


def _told(source: str) -> tuple[str, int]:
    try:
        place = read_host_port(source, 5060)
        return ip_address(place.host.strip("[]")).compressed, place.port
    except (Wrong, ValueError) as error:
        raise CliError(f"--from {source}: {error}", MISUSED) from None


def _suggested(
    table: RoutingTable, via: Via | None, listeners: list[Listener]
) -> tuple[str, int, Listener]:
    """The top Via's host where a listener of ours could hear it, else somewhere else.

    Of a response to us: the member that our Via names.
    """
    branch = read_branch(via.branch) if via is not None else None
    asked = table.members.get(branch.member) if branch is not None else None
    for address in asked.addresses if asked is not None else ():
        for listener in listeners:
            if is_ip_literal(address.host) and listener.is_ipv6 is (":" in address.host):
                return address.host, address.port, listener
    if via is not None and is_ip_literal(via.host) and is_unicast(via.host):
        port = via.port or Transport.UDP.default_port
        for listener in listeners:
            if listener.is_ipv6 is (":" in via.host) and not table.is_own_endpoint(via.host, port):
                return via.host, port, listener
    listener = listeners[0]
    return ELSEWHERE[listener.is_ipv6], 5060, listener


def _top_via(data: bytes) -> Via | None:
    message: Message | None
    try:
        message = scan(data)
    except SipError as error:
        message = error.partial
    if message is None:
        return None
    try:
        return top_via(message)
    except SipError:
        return None


def _messages(
    data: bytes, transport: Transport, max_message_size: int
) -> Iterator[tuple[bytes, SipError | None]]:
    """What the transport makes of the octets: (message, why it cannot be framed)."""
    if not transport.is_stream:
        yield data, None
        return
    framer = StreamFramer(max_message_size=max_message_size)
    for message in framer.feed(data):
        yield message, None
    if framer.unbounded:
        yield framer.end_unbounded(), None
    elif framer.error is not None:
        yield framer.rest, framer.error
    elif framer.is_waiting or not data:
        yield framer.rest, SipError(400, "the message is not whole in time")


def _why(octets: bytes, error: SipError | None, origin: Origin, table: RoutingTable) -> str:
    """What is wrong with it, if anything, as who reads it says."""
    if error is not None:
        return error.why
    try:
        message = scan(octets, max_headers=table.max_headers)
        if message.is_request:
            read_request(message, origin, table)
    except SipError as found:
        return found.why
    return ""


def _rule(verdict: Decision, table: RoutingTable, why: str) -> str:
    if not isinstance(verdict, Forward):
        rule = verdict.reason.rule
        return f"{rule}: {why}" if why and verdict.reason in _FAULTS else rule
    if verdict.step is None:
        return _FORWARD_RULES[verdict.kind]
    if verdict.step is not Step.ALGORITHM:
        return _STEPS[verdict.step]
    by = "the active member" if table.active is not None else _ALGORITHMS[table.algorithm]
    return _STEPS[Step.ALGORITHM] + by
