"""What becomes of a message: one verdict each, with a named reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from rmlb.sip.address import Transport


class Kind(StrEnum):
    """Kinds of message (SIP-RULES 1)."""

    TO_MEMBER = "A"
    RESPONSE = "B"
    MEMBER_RESPONSE = "C"
    OUTWARD = "D"
    OPTIONS = "E"
    OTHER = "F"
    OWN_ACK = "G"


class Step(StrEnum):
    """What named the member (SIP-RULES 3)."""

    TRANSACTION = "transaction"
    MARK = "mark"
    DATANODES = "datanodes"
    BINDING = "binding"
    SESSION_HEADER = "session_header"
    HEADER_KEY = "header_key"
    ALGORITHM = "algorithm"


class Reason(StrEnum):
    """Why a message was answered, absorbed or dropped. The value is the metrics label."""

    OPTIONS = "options"
    MALFORMED = "malformed"
    BAD_VERSION = "bad_version"
    BAD_METHOD = "bad_method"
    TOO_LARGE = "too_large"
    MALFORMED_URI = "malformed_uri"
    UNKNOWN_SCHEME = "unknown_scheme"
    SIPS_NEEDS_TLS = "sips_needs_tls"
    PROXY_REQUIRE = "proxy_require"
    TOO_MANY_HOPS = "too_many_hops"
    FOREIGN_ROUTE = "foreign_route"
    LOOP = "loop"
    BACK_TO_SENDER = "back_to_sender"
    NO_MEMBER = "no_member"
    MEMBER_LOST = "member_lost"
    UNREACHABLE = "unreachable"
    EARLY_DIALOG_GONE = "early_dialog_gone"
    OVERLOAD = "overload"
    CANCELLED = "cancelled"
    REPEATED = "repeated"
    RETRIED = "retried"
    ABANDONED = "abandoned"
    LATE_FINAL = "late_final"
    OWN_ACK = "own_ack"
    OWN_REQUEST = "own_request"
    KEEPALIVE = "keepalive"
    ACK_UNROUTABLE = "ack_unroutable"
    FOREIGN_RESPONSE = "foreign_response"
    UNVERIFIED_RESPONSE = "unverified_response"
    NO_SUCH_MEMBER = "no_such_member"
    BACKLOG = "backlog"
    SOURCE_RATE = "source_rate"
    TO_OURSELVES = "to_ourselves"
    FORBIDDEN_DESTINATION = "forbidden_destination"
    NOT_OWNER = "not_owner"

    @property
    def rule(self) -> str:
        """The rule and the RFC section behind it."""
        return _RULES[self]


_RULES = {
    Reason.OPTIONS: "SIP-RULES 1 E, RFC 3261 11.2: OPTIONS for the balancer itself",
    Reason.MALFORMED: "RFC 3261 16.3 (1): reasonable syntax",
    Reason.BAD_VERSION: "RFC 3261 21.5.6: only SIP/2.0",
    Reason.BAD_METHOD: "RFC 3261 21.5.2: the method is no token",
    Reason.TOO_LARGE: "RFC 3261 21.5.14: larger than the limits",
    Reason.MALFORMED_URI: "RFC 3261 16.3 (1), 19.1.1: malformed Request-URI",
    Reason.UNKNOWN_SCHEME: "RFC 3261 16.3 (2): URI scheme",
    Reason.SIPS_NEEDS_TLS: "RFC 3261 26.2.2: sips leaves over TLS only",
    Reason.PROXY_REQUIRE: "RFC 3261 16.3 (5): Proxy-Require",
    Reason.TOO_MANY_HOPS: "RFC 3261 16.3 (3): Max-Forwards is 0",
    Reason.FOREIGN_ROUTE: "SIP-RULES 4: no relay to a third party's Route",
    Reason.LOOP: "RFC 3261 16.3 (4): our own Via with the same loop hash",
    Reason.BACK_TO_SENDER: "SIP-RULES 1 F: never back to the member it came from",
    Reason.NO_MEMBER: "SIP-RULES 5: no member can take it",
    Reason.MEMBER_LOST: "SIP-RULES 3, hotstandby = false: its member is lost",
    Reason.UNREACHABLE: "SIP-RULES 4: no way to that transport or address family",
    Reason.EARLY_DIALOG_GONE: "SIP-RULES 5: its early dialog was abandoned with its member",
    Reason.OVERLOAD: "SIP-RULES 5: over every member's limit",
    Reason.CANCELLED: "SIP-RULES 5: CANCEL for a member that is out (200, and 487 to the INVITE)",
    Reason.REPEATED: "SIP-RULES 5: a retransmission of what was just sent again, or answered",
    Reason.RETRIED: "SIP-RULES 5: a failure swallowed because another member was asked",
    Reason.ABANDONED: "SIP-RULES 5: answer of a member that was given up",
    Reason.LATE_FINAL: "SIP-RULES 5: a final answer after our own",
    Reason.OWN_ACK: "SIP-RULES 1 G: ACK to an answer of our own",
    Reason.OWN_REQUEST: "SIP-RULES 5: answer to a request of our own",
    Reason.KEEPALIVE: "RFC 5626 4.4.1: a datagram of CRLFs",
    Reason.ACK_UNROUTABLE: "SIP-RULES 1: an ACK is never answered",
    Reason.FOREIGN_RESPONSE: "SIP-RULES 1 F, RFC 3261 16.7 (3): the top Via is not ours",
    Reason.UNVERIFIED_RESPONSE: "SIP-RULES 2: branch and Via parameter do not verify",
    Reason.NO_SUCH_MEMBER: "SIP-RULES 1 C: no member has that address",
    Reason.BACKLOG: "DESIGN 5: more that is not plain than the engine can see to",
    Reason.SOURCE_RATE: "DESIGN 3.3 [security]: its source has sent more than it may",
    Reason.TO_OURSELVES: "SIP-RULES 1 F: nothing is sent to ourselves",
    Reason.FORBIDDEN_DESTINATION: "RFC 4475 3.3.10: no multicast, broadcast or port 0",
    Reason.NOT_OWNER: "HA-RULES 1: this balancer may not forward now, another one may",
}


class Origin(NamedTuple):
    """Where a message came from."""

    transport: Transport
    listener: int
    """Index of the listener that received it (for a connection we made: its own listener)."""
    channel: int
    """The socket or connection that answers go back to."""
    host: str
    """Source address, IPv6 in canonical form."""
    port: int


class Destination(NamedTuple):
    """Where octets go."""

    transport: Transport
    host: str
    port: int
    listener: int
    """UDP: index of the listener that sends; streams: of the one whose address they leave by."""
    channel: int = 0
    """Streams: the connection to use while it lives; 0 for whichever leads there."""
    member: int = 0
    """The member that listens there; 0 for others."""


@dataclass(slots=True)
class Forward:
    """Send on."""

    kind: Kind
    data: bytes
    to: Destination
    step: Step | None = None
    """What named the member; None unless it is a request for one."""
    initial: bool = False
    """It is an initial request, sent for the first time."""
    status: int = 0
    """Of a response."""
    answered_by: int = 0
    """The member whose response it is; 0 for others'."""


@dataclass(slots=True)
class Reply:
    """The balancer's own answer."""

    kind: Kind
    reason: Reason
    status: int
    data: bytes
    to: Destination


@dataclass(slots=True)
class Absorb:
    """It has reached its end here, as it should."""

    kind: Kind
    reason: Reason


@dataclass(slots=True)
class Drop:
    """It is not passed on, and nobody is told."""

    kind: Kind
    reason: Reason


@dataclass(slots=True)
class Hold:
    """Another balancer may know its member: ask the store for this Call-ID's binding.

    The message waits meanwhile, and is given to `Router.resume` afterwards, whatever came.
    """

    key: int
    """The affinity hash of the Call-ID."""


class Own(NamedTuple):
    """A message of our own: a request sent again, our ACK or CANCEL, a late final answer."""

    what: str
    """Metrics label: resend, ack, cancel, answer."""
    to: Destination
    data: bytes


class Report(NamedTuple):
    """What traffic says of a member's health."""

    member: int
    what: Hint
    value: float = 0.0
    """RETRY_AFTER: seconds. UNANSWERED: seconds of silence."""


class Hint(StrEnum):
    """Kinds of report."""

    UNANSWERED = "unanswered"
    REFUSES_CALLS = "refuses calls"
    RETRY_AFTER = "retry after"


Decision = Forward | Reply | Absorb | Drop
"""The end of a message's way through the balancer."""

Verdict = Decision | Hold
