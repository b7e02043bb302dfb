"""Remembered requests: transactions without their final answer yet (SIP-RULES 5).

Retransmissions, CANCEL and ACK to a non-2xx answer carry the same branch, so they find the
member of their transaction here whatever has become of hash and bindings meanwhile; and what a
member that dies had not answered is sent to another one from here. Bounded by octets and number.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from enum import Enum

from rmlb.routing.expiry import ExpiryBuckets
from rmlb.routing.verdict import Destination, Origin
from rmlb.sip.address import Transport

COMPLETED_S = 32.0
"""An entry stays so long past the final answer, for step 0: 64 T1 (RFC 3261 17)."""

MAX_TAGS = 8
"""Early dialogs remembered per attempt: a member that forks wider is its own affair."""


class OwnCancel(Enum):
    """How far our own CANCEL of an attempt has come."""

    NONE = "none"
    OWED = "owed"
    """It leaves with its first 1xx (9.1), once the member asked after it has found somebody."""
    SENT = "sent"
    """It is repeated until it is answered."""
    ANSWERED = "answered"


@dataclass(slots=True)
class Attempt:
    """One member's try at a request."""

    member: int
    sent_at: float
    over: Transport
    """The transport by which it went, and by which its CANCEL and ACK go."""
    sent: bytes = b""
    """The octets sent, kept for what we sent again ourselves; the first try is rendered anew."""
    to: Destination | None = None
    waiting: bool = False
    """Its member's load counts it as a request without any answer."""
    provisional: bool = False
    """A 1xx came: the member has it, and may be sent a CANCEL (9.1)."""
    rings: bool = False
    """A 1xx above 100 came: whoever is to answer has it."""
    by_vip: bool = False
    """Its answers come to the virtual IP, past the member, and so they will when that is lost."""
    final: int = 0
    abandoned: bool = False
    """Another member was asked after it, or its failure was swallowed."""
    cancel: OwnCancel = OwnCancel.NONE
    tags: set[bytes] = field(default_factory=set)
    """To tags of its 1xx: early dialogs."""

    @property
    def alive(self) -> bool:
        """It may still answer."""
        return not self.final

    @property
    def was_cancelled(self) -> bool:
        """By us: a 487 of it is no news for the caller."""
        return self.cancel in (OwnCancel.SENT, OwnCancel.ANSWERED)


@dataclass(slots=True)
class Failure:
    """A failure answer of a member, without the Vias down to ours; its status is as received."""

    status: int
    member: int
    to: Destination
    data: bytes


@dataclass(slots=True)
class Remembered:
    """One transaction."""

    key: int
    call: int
    """Affinity hash of its Call-ID."""
    method: bytes
    initial: bool
    data: bytes
    """The request as received; empty once nothing is left to do for it but to remember."""
    origin: Origin
    begun: float
    expires: float
    attempts: list[Attempt]
    """The one that the caller waits for is the last; no member is asked twice."""
    octets: int = 0
    """What it is counted with."""
    look_at: int = 0
    final: int = 0
    """Status of the final answer that went to the caller, 0 while there is none."""
    final_by: int = 0
    """The member whose answer that was; 0: ours."""
    answer: bytes = b""
    """Our own final answer, for retransmissions of the request."""
    acknowledged: bool = False
    """The caller has that answer: its ACK came."""
    quiet: bool = False
    """The caller has seen a 1xx to its INVITE, so it retransmits no more (17.1.1.2)."""
    ringing: bool = False
    """That was another than 100: one with a To tag."""
    cancel: tuple[bytes, Origin] | None = None
    """The caller's CANCEL: this request is never sent again."""
    best: Failure | None = None
    inherited: bool = False
    """Another balancer sent it, and handed it over with the virtual IP."""

    @property
    def newest(self) -> Attempt:
        """The one that the caller waits for: it has not failed while nothing is answered."""
        return self.attempts[-1]

    @property
    def resent(self) -> bool:
        """It was sent to another member than its first, by ourselves."""
        return len(self.attempts) > 1

    def answered_by_another(self, attempt: Attempt) -> bool:
        """The caller has its final answer, and not from this attempt."""
        return bool(self.final) and self.final_by != attempt.member

    def attempt_of(self, member: int) -> Attempt | None:
        for attempt in self.attempts:
            if attempt.member == member:
                return attempt
        return None


@dataclass(frozen=True, slots=True)
class PendingLimits:
    """[retry]: sizes and seconds."""

    max_requests: int = 100_000
    max_octets: int = 64 * 2**20
    timer_c_s: float = 200.0


class PendingRequests:
    """The table, keyed by the branch's 64-bit MAC. The oldest goes first when it is full."""

    def __init__(self, limits: PendingLimits) -> None:
        self.limits = limits
        self.evicted = 0
        self.unanswered = 0
        """Entries without their final answer."""
        self.octets = 0
        """Of all that is kept of messages."""
        self._entries: OrderedDict[int, Remembered] = OrderedDict()
        self._expiry = ExpiryBuckets()
        self._given_up: Counter[int] = Counter()
        self._with: defaultdict[int, dict[int, None]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: int) -> Remembered | None:
        return self._entries.get(key)

    def knows(self, key: int) -> bool:
        return key in self._entries

    def waiting_count(self, member: int) -> int:
        """How many unanswered requests' newest attempt that member has."""
        return len(self._with[member]) if member in self._with else 0

    def waiting_for(self, member: int) -> list[Remembered]:
        """Unanswered requests whose newest attempt that member has, oldest first."""
        keys = self._with.get(member)
        return [self._entries[key] for key in keys] if keys else []

    def remember(
        self,
        key: int,
        *,
        call: int,
        method: bytes,
        initial: bool,
        data: bytes,
        origin: Origin,
        attempt: Attempt,
        now: float,
    ) -> None:
        """A request goes to its first member."""
        limits = self.limits
        while self._entries and (
            len(self._entries) >= limits.max_requests or self.octets + len(data) > limits.max_octets
        ):
            self._evict()
        lifetime = limits.timer_c_s if method == b"INVITE" else COMPLETED_S
        expires = now + lifetime
        entry = Remembered(key, call, method, initial, data, origin, now, expires, [attempt])
        self._entries[key] = entry
        self._with[attempt.member][key] = None
        self.unanswered += 1
        self.octets += len(data)
        entry.octets = len(data)
        entry.look_at = self._expiry.put(key, expires)

    def add_attempt(self, entry: Remembered, attempt: Attempt) -> None:
        """The request goes to another member; the one before is abandoned."""
        self._with[entry.newest.member].pop(entry.key, None)
        entry.newest.abandoned = True
        entry.attempts.append(attempt)
        self._with[attempt.member][entry.key] = None
        self.weigh(entry)

    def revive(self, entry: Remembered, attempt: Attempt) -> None:
        """An abandoned attempt is the newest again: those after it have come to nothing."""
        self._with[entry.newest.member].pop(entry.key, None)
        entry.newest.abandoned = True
        entry.attempts.remove(attempt)
        entry.attempts.append(attempt)
        attempt.abandoned = False
        attempt.cancel = OwnCancel.ANSWERED if attempt.was_cancelled else OwnCancel.NONE
        self._with[attempt.member][entry.key] = None

    def provisional(self, entry: Remembered, status: int, now: float) -> None:
        """A 1xx passed to the caller: timer C starts anew for other than 100 (16.7 step 2)."""
        if entry.final:
            return
        entry.quiet = entry.method == b"INVITE"
        if status > 100:
            entry.ringing = True
            if entry.method == b"INVITE":
                entry.expires = now + self.limits.timer_c_s

    def answered(self, entry: Remembered, status: int, now: float, *, by: int) -> None:
        """The final answer went to the caller, from member `by` or (0) from ourselves."""
        if entry.final:
            return
        entry.final = status
        entry.final_by = by
        entry.expires = now + COMPLETED_S
        entry.look_at = self._expiry.put(entry.key, entry.expires)
        self.unanswered -= 1
        self._with[entry.newest.member].pop(entry.key, None)
        if by and not entry.resent:
            entry.data = b""  # else CANCEL and ACK for other attempts are made of it
        entry.cancel = entry.best = None
        self.weigh(entry)

    def weigh(self, entry: Remembered) -> None:
        """More or less is kept of it than before: others make room."""
        kept = len(entry.data) + len(entry.answer)
        kept += len(entry.best.data) if entry.best is not None else 0
        kept += len(entry.cancel[0]) if entry.cancel is not None else 0
        for attempt in entry.attempts:
            kept += len(attempt.sent) + sum(map(len, attempt.tags))
        self.octets += kept - entry.octets
        entry.octets = kept
        if self.octets > self.limits.max_octets:
            self._entries.move_to_end(entry.key)
            while self.octets > self.limits.max_octets and len(self._entries) > 1:
                self._evict()

    def forget(self, entry: Remembered) -> None:
        """It is another balancer's from now on."""
        if self._entries.get(entry.key) is entry:
            self._forget(entry)

    def expire(self, now: float) -> Counter[int]:
        """Forget what is due.

        Returns, by member, how many were forgotten since, also when full, while they waited there
        for any answer.
        """
        for key, second in self._expiry.due(now):
            entry = self._entries.get(key)
            if entry is None or entry.look_at != second:
                continue
            if entry.expires <= now:
                self._forget(entry)
            else:
                entry.look_at = self._expiry.put(key, entry.expires)
        given_up, self._given_up = self._given_up, Counter()
        return given_up

    def _evict(self) -> None:
        self._forget(next(iter(self._entries.values())))
        self.evicted += 1

    def _forget(self, entry: Remembered) -> None:
        del self._entries[entry.key]
        self.octets -= entry.octets
        self._given_up.update(a.member for a in entry.attempts if a.waiting)
        if not entry.final:
            self.unanswered -= 1
            self._with[entry.newest.member].pop(entry.key, None)
