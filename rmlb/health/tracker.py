"""What probes and the packet path say of one member becomes its health. Pure.

Owns rise and fall, the suspect state and its confirming probes, refusing, the slow start
after a return, and when the next probe is due. Knows nothing of sockets, of routing or of
the operator's word: `now` is a parameter, the answer to every input is a `Transition` or
None. One `Tracker` per member.

    from             on                                          to
    out of service   rise good answers in a row (at start: one)  in service
    out of service   rise answers in a row, the last a 5xx       refusing
    in service       a failure, or a hint                        suspect
    suspect          a good answer                               in service
    suspect          fall failures; unreachable                  out of service
    in, suspect      a 5xx or 6xx                                refusing
    in, suspect      calls refused in a row, a Retry-After       refusing
    refusing         rise good answers, Retry-After over         in service
    refusing         fall failures                               out of service

Out of service means silent or unreachable, so a member that answers 5xx is refusing, not
out: it gets no new calls and keeps its dialogs (SIP-RULES 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from rmlb.routing.member import Health

FULL_WEIGHT: Final = 100
"""The share of new calls of a member in normal service."""

WEIGHT_STEPS: Final = 10
"""Steps of the slow start. A step is a new routing snapshot and moves a tenth of one
member's share of new Call-IDs, so more steps would only publish more often."""

MAX_RETRY_AFTER_S: Final = 300
"""The longest Retry-After that is believed. Probes go on and renew it; a member that
writes a day by mistake must not stay away for a day."""

CALLS_REFUSED_S: Final = 5.0
"""How long a member that refused many calls in a row gets none. It is then tried again: without
calls it could never show that it takes them."""

FLAP_S: Final = 60.0
"""Out again within a minute of its return is flapping."""

FLAP_HOLD_S: Final = 2.0
"""How long a member that flapped once must answer without a break before it returns; doubled
with each further time, so one that goes up and down every 2 s is kept out after its second
return."""

MAX_HOLD_S: Final = 60.0
"""A member that flapped for a night is back a minute after it was mended."""

REPEAT_S: Final = 0.5
"""T1: when a probe over UDP is sent again (RFC 3261 17.1.2)."""

CONFIRMING_REPEATS: Final = 4
"""Sendings of a confirming probe, `suspect_interval_s` apart, before it has failed. With 100 ms
a silent member is found out 0.4 s after a caller's first retransmission (T1, 0.5 s) raised the
suspicion: within the second that calls in set-up have. Four datagrams are not all lost by
chance."""

_PROXIED_TIMEOUT: Final = 408
"""The one 4xx that says nobody answered (RFC 3261 21.4.9)."""


class HealthSettings(Protocol):
    """What `[health]` says; durations in seconds."""

    @property
    def interval_s(self) -> float:
        """From the start of one probe to the next while all is well."""

    @property
    def suspect_interval_s(self) -> float:
        """The same while the member is being confirmed, or is out of service."""

    @property
    def timeout_s(self) -> float:
        """How long a probe waits for its final answer."""

    @property
    def rise(self) -> int:
        """Good answers in a row that bring a lost member back."""

    @property
    def fall(self) -> int:
        """Failures in a row that take it out of service."""

    @property
    def slow_start_s(self) -> float:
        """How long new calls are ramped up after a return; 0 is not at all."""

    def accepts(self, status: int) -> bool:
        """True when a final answer of this status says that the member takes calls."""


class Failure(StrEnum):
    """How a probe failed."""

    SILENT = "no answer"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The end of one probe: a final status, or a failure. Times are monotonic seconds."""

    sent_at: float
    at: float
    status: int | None = None
    failure: Failure | None = None
    detail: str = ""
    """What the system said, for people: "Connection refused"."""
    retry_after_s: int | None = None
    """The answer's Retry-After (RFC 3261 20.33)."""

    @property
    def latency_s(self) -> float:
        """Seconds from sending to the answer or the failure."""
        return max(0.0, self.at - self.sent_at)

    @property
    def summary(self) -> str:
        """One phrase for logs: "answered 503", "unreachable: Connection refused"."""
        if self.failure is None:
            return f"answered {self.status}"
        return f"{self.failure}: {self.detail}" if self.detail else str(self.failure)


@dataclass(frozen=True, slots=True)
class Transition:
    """A member's health changed."""

    at: float
    before: Health
    after: Health
    why: str


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """The next probe: when (monotonic), how long it waits, when UDP repeats it (seconds)."""

    at: float
    timeout_s: float
    repeat_s: float


class Tracker:
    """The health of one member, fed with results and hints, asked for state and next probe."""

    def __init__(self, settings: HealthSettings) -> None:
        self._settings = settings
        self.health = Health.OUT_OF_SERVICE
        self.transitions = 0
        """Changes of health since start."""
        self.last_change: Transition | None = None
        self.last_result: ProbeResult | None = None
        self.heard = False
        """Probes have said what it is: it answered once, or failed `fall` times in a row. Before
        that it is out of service for want of news, which is no loss."""
        self._ever_answered = False
        self._failures = 0
        self._answers = 0
        self._good = 0
        self._due_at: float | None = None
        self._refusing_until = 0.0
        self._vouched_until = 0.0
        self._returned_at: float | None = None
        self._flaps = self._flaps_before = 0
        self._good_since: float | None = None

    def configure(self, settings: HealthSettings) -> None:
        """Go on under new settings (a reload); health and streaks stay."""
        self._settings = settings

    def on_probe(self, result: ProbeResult) -> Transition | None:
        """Account for one finished probe; `result.at` is now."""
        self.last_result = result
        if result.failure is not None or self._is_timeout(result.status):
            change = self._failed(result)
        elif result.status is not None and self._settings.accepts(result.status):
            change = self._answered_well(result)
        else:
            change = self._refused_calls(result)
        settings = self._settings
        self.heard = self.heard or self._ever_answered or self._failures >= settings.fall
        interval = settings.suspect_interval_s if self._is_confirming else settings.interval_s
        self._due_at = result.sent_at + interval
        return change

    def on_refused(self, now: float) -> Transition | None:
        """The kernel refused a message to the member (ICMP, RST): probe it at once.

        Counts as the first failure, so that with `fall` 2 one failed probe confirms it.
        """
        return self._suspected(now, "a message to it was refused")

    def on_unanswered(self, now: float) -> Transition | None:
        """A call's request stays without any response: as `on_refused`.

        Believed only when no probe was answered within the last confirming interval, so a
        member that answers probes and ignores one caller does not flap.
        """
        if now < self._vouched_until:
            return None
        return self._suspected(now, "requests to it stay unanswered")

    def on_calls_refused(self, now: float, retry_after_s: float = 0.0) -> Transition | None:
        """The member said no to a call with a Retry-After, or (0) to many in a row."""
        wait = min(retry_after_s or CALLS_REFUSED_S, MAX_RETRY_AFTER_S)
        self._refusing_until = max(self._refusing_until, now + wait)
        if self.health is Health.OUT_OF_SERVICE:
            return None
        self._good = 0
        why = f"refused a call for {wait:g} s" if retry_after_s else "refused calls in a row"
        return self._become(Health.REFUSING, now, why)

    @property
    def answers(self) -> bool:
        """Its newest probe was answered, and not by a proxy that found nobody."""
        newest = self.last_result
        return newest is not None and newest.failure is None and not self._is_timeout(newest.status)

    def excuse(self) -> None:
        """It has just gone out of service through no fault of its own: that was no flap."""
        self._flaps = min(self._flaps, self._flaps_before)

    def next_probe(self, now: float) -> ProbePlan:
        """The next probe, due at `now` or later; shorter and denser while suspect."""
        at = now if self._due_at is None else max(now, self._due_at)
        settings = self._settings
        if self.health is Health.SUSPECT:
            repeat = settings.suspect_interval_s
            return ProbePlan(at, min(settings.timeout_s, CONFIRMING_REPEATS * repeat), repeat)
        return ProbePlan(at, settings.timeout_s, REPEAT_S)

    def weight(self, now: float) -> int:
        """Its share of new calls: ramps from a tenth to 100 over the slow start."""
        duration = self._settings.slow_start_s
        if self._returned_at is None or duration <= 0:
            return FULL_WEIGHT
        steps = int((now - self._returned_at) / duration * WEIGHT_STEPS) + 1
        return min(max(steps, 1), WEIGHT_STEPS) * FULL_WEIGHT // WEIGHT_STEPS

    @property
    def _is_confirming(self) -> bool:
        """Its next word decides something: out, suspect, or failing while refusing."""
        return self.health in (Health.SUSPECT, Health.OUT_OF_SERVICE) or self._failures > 0

    def _is_timeout(self, status: int | None) -> bool:
        return status == _PROXIED_TIMEOUT and not self._settings.accepts(_PROXIED_TIMEOUT)

    def _answered_well(self, result: ProbeResult) -> Transition | None:
        needed = self._settings.rise if self._ever_answered else 1
        self._failures = 0
        self._answers += 1
        self._good += 1
        if self._good_since is None:
            self._good_since = result.at
        self._vouched_until = result.at + self._settings.suspect_interval_s
        if self.health is Health.SUSPECT:
            return self._become(Health.IN_SERVICE, result.at, result.summary)
        if self.health is Health.IN_SERVICE or self._good < needed:
            return None
        if self.health is Health.REFUSING and result.at < self._refusing_until:
            return None
        if self._flaps and result.at - self._good_since < self._hold_s:
            return None
        self._returned_at = result.at if self._ever_answered else None
        self._ever_answered = True
        return self._become(Health.IN_SERVICE, result.at, result.summary)

    @property
    def _hold_s(self) -> float:
        """How long it must answer without a break before it is believed."""
        return min(FLAP_HOLD_S * 2.0 ** (self._flaps - 1), MAX_HOLD_S) if self._flaps else 0.0

    def _refused_calls(self, result: ProbeResult) -> Transition | None:
        needed = self._settings.rise if self._ever_answered else 1
        self._failures = 0
        self._answers += 1
        self._good = 0
        if result.retry_after_s is not None:
            wait = min(result.retry_after_s, MAX_RETRY_AFTER_S)
            self._refusing_until = max(self._refusing_until, result.at + wait)
        if self.health is Health.OUT_OF_SERVICE and self._answers < needed:
            return None
        self._ever_answered = True
        return self._become(Health.REFUSING, result.at, result.summary)

    def _failed(self, result: ProbeResult) -> Transition | None:
        self._failures += 1
        self._answers = self._good = 0
        self._good_since = None
        definite = result.failure is Failure.UNREACHABLE and self.health is Health.SUSPECT
        if definite or self._failures >= self._settings.fall:
            self._refusing_until = 0.0
            self._flaps_before = self._flaps
            if self.health is not Health.OUT_OF_SERVICE and self._returned_at is not None:
                flapped = result.at - self._returned_at < FLAP_S
                self._flaps = self._flaps + 1 if flapped else 0
            return self._become(Health.OUT_OF_SERVICE, result.at, result.summary)
        if self.health is Health.IN_SERVICE:
            return self._become(Health.SUSPECT, result.at, result.summary)
        return None

    def _suspected(self, now: float, why: str) -> Transition | None:
        if self.health is not Health.IN_SERVICE:
            return None
        self._failures += 1
        self._due_at = now
        return self._become(Health.SUSPECT, now, why)

    def _become(self, health: Health, at: float, why: str) -> Transition | None:
        if health is self.health:
            return None
        change = Transition(at, self.health, health, why)
        self.health = health
        self.transitions += 1
        self.last_change = change
        return change
