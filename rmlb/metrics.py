"""Every metric named once: name, help, labels (DESIGN 3.5).

Names begin with rmlb_, units and `_total` follow the Prometheus rules. Owns the names and
the one histogram there is; knows nothing of who counts (routing.counters, health) or of how
it is written (admin.prometheus). Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family. `help` is what an operator reads in Grafana."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


MESSAGES_RECEIVED: Final = Metric(
    "rmlb_messages_received_total",
    Kind.COUNTER,
    "SIP messages received = forwarded + answered + absorbed + dropped + held.",
    ("transport",),
)
MESSAGES_FORWARDED: Final = Metric(
    "rmlb_messages_forwarded_total", Kind.COUNTER, "Received messages that were passed on."
)
MESSAGES_ANSWERED: Final = Metric(
    "rmlb_messages_answered_total",
    Kind.COUNTER,
    "Received requests that the balancer answered itself, by status code.",
    ("code",),
)
MESSAGES_ABSORBED: Final = Metric(
    "rmlb_messages_absorbed_total",
    Kind.COUNTER,
    "Received messages that ended here as they should, such as the ACK to our own answer.",
    ("reason",),
)
MESSAGES_DROPPED: Final = Metric(
    "rmlb_messages_dropped_total",
    Kind.COUNTER,
    "Received messages that were thrown away, by reason.",
    ("reason",),
)
MESSAGES_HELD: Final = Metric(
    "rmlb_messages_held", Kind.GAUGE, "Received messages that wait for a look-up right now."
)
MESSAGES_BY_KIND: Final = Metric(
    "rmlb_messages_by_kind_total",
    Kind.COUNTER,
    "Messages by kind: A to a member, B and C responses, D outward, E OPTIONS for us, "
    "F refused, G ACK to us.",
    ("kind",),
)
AFFINITY: Final = Metric(
    "rmlb_affinity_total",
    Kind.COUNTER,
    "Requests for members, by the affinity step that named the member.",
    ("step",),
)
OWN_MESSAGES: Final = Metric(
    "rmlb_own_messages_total",
    Kind.COUNTER,
    "Messages of our own, apart from those passed on: resend, ack, cancel, answer.",
    ("what",),
)
KEEPALIVES: Final = Metric(
    "rmlb_keepalives_total", Kind.COUNTER, "CRLF keep-alives answered; they are no messages."
)
SEND_ERRORS: Final = Metric(
    "rmlb_send_errors_total",
    Kind.COUNTER,
    "Sends that the kernel or a connection refused, by cause.",
    ("cause",),
)
MEMBER_REQUESTS: Final = Metric(
    "rmlb_member_requests_total",
    Kind.COUNTER,
    "Requests forwarded to the member, retransmissions included.",
    ("member",),
)
MEMBER_INITIAL_REQUESTS: Final = Metric(
    "rmlb_member_initial_requests_total",
    Kind.COUNTER,
    "Initial requests forwarded to the member: new calls offered to it.",
    ("member",),
)
MEMBER_RESPONSES: Final = Metric(
    "rmlb_member_responses_total",
    Kind.COUNTER,
    "Responses received from the member, by class of status code.",
    ("member", "class"),
)
MEMBER_CALLS: Final = Metric(
    "rmlb_member_calls", Kind.GAUGE, "Calls of the member: answered and not yet ended.", ("member",)
)
MEMBER_IN_SERVICE: Final = Metric(
    "rmlb_member_in_service",
    Kind.GAUGE,
    "1 while health checking finds the member in service; disabled members stay visible.",
    ("member",),
)
MEMBER_ACTIVE: Final = Metric(
    "rmlb_member_active",
    Kind.GAUGE,
    "Active-standby: 1 for the member that gets the calls. Absent in active-active mode.",
    ("member",),
)
MEMBER_STATE: Final = Metric(
    "rmlb_member_state",
    Kind.GAUGE,
    "1 for the present pair of health and operator state of the member.",
    ("member", "health", "admin_state"),
)
MEMBER_WEIGHT: Final = Metric(
    "rmlb_member_weight",
    Kind.GAUGE,
    "Share of new calls: 100 is normal, less during the slow start.",
    ("member",),
)
MEMBER_TRANSITIONS: Final = Metric(
    "rmlb_member_transitions_total", Kind.COUNTER, "Changes of the member's health.", ("member",)
)
PROBES: Final = Metric(
    "rmlb_probes_total",
    Kind.COUNTER,
    "Health probes by how they ended: status of the answer, no answer, unreachable.",
    ("member", "outcome"),
)
PROBE_DURATION: Final = Metric(
    "rmlb_probe_duration_seconds",
    Kind.HISTOGRAM,
    "From sending a health probe to its final answer.",
    ("member",),
)
FIRST_RESPONSE: Final = Metric(
    "rmlb_member_first_response_seconds",
    Kind.HISTOGRAM,
    "From sending an initial request to the member to its first response, provisional or final.",
    ("member",),
)
EVENTS: Final = Metric(
    "rmlb_events_total",
    Kind.COUNTER,
    "Events by their name and severity; docs/runbook.md says what each means.",
    ("event", "severity"),
)
ALARM_DELIVERIES: Final = Metric(
    "rmlb_alarm_deliveries_total",
    Kind.COUNTER,
    "Events handed to a reaction, webhook or syslog server: done, failed, or lost in a full queue.",
    ("channel", "outcome"),
)
BINDINGS: Final = Metric("rmlb_bindings", Kind.GAUGE, "Call-IDs whose member is remembered.")
PENDING_REQUESTS: Final = Metric(
    "rmlb_pending_requests", Kind.GAUGE, "Requests remembered until they are answered."
)
STORE_CONNECTED: Final = Metric(
    "rmlb_store_connected", Kind.GAUGE, "1 while the state store does what it is asked to."
)
STORE_BACKLOG: Final = Metric(
    "rmlb_store_backlog",
    Kind.GAUGE,
    "Bindings that wait to be written: changed ones, and those written again after an outage.",
    ("what",),
)
STORE_WRITTEN: Final = Metric(
    "rmlb_store_bindings_written_total", Kind.COUNTER, "Bindings written to the state store."
)
STORE_LOST: Final = Metric(
    "rmlb_store_changes_lost_total",
    Kind.COUNTER,
    "Changed bindings that gave way to newer ones because the state store was too slow.",
)
STORE_ASKED: Final = Metric(
    "rmlb_store_lookups_total",
    Kind.COUNTER,
    "Call-IDs for which a message waited: found, missing, timeout; messages not_held.",
    ("outcome",),
)
STORE_FAILURES: Final = Metric(
    "rmlb_store_failures_total", Kind.COUNTER, "Commands to the state store that failed."
)
STORE_DURATION: Final = Metric(
    "rmlb_store_duration_seconds",
    Kind.HISTOGRAM,
    "Commands to the state store that succeeded: write, find, look.",
    ("command",),
)
TASKS: Final = Metric("rmlb_tasks", Kind.GAUGE, "Tasks of the worker's event loop.")
LOOP_HELD_UP: Final = Metric(
    "rmlb_loop_held_up_seconds",
    Kind.GAUGE,
    "The longest that the worker's event loop came late since its start.",
)
CONNECTIONS: Final = Metric(
    "rmlb_connections", Kind.GAUGE, "Open stream connections.", ("transport",)
)
TRACE_COPIES_LOST: Final = Metric(
    "rmlb_trace_copies_lost_total",
    Kind.COUNTER,
    "Copies of messages for traces that found no room; no message is lost by that.",
)
HEP_PACKETS: Final = Metric(
    "rmlb_hep_packets_total",
    Kind.COUNTER,
    "HEP3 packets for the collector: sent, or lost because it could not take them.",
    ("outcome",),
)
READY: Final = Metric("rmlb_ready", Kind.GAUGE, "1 while this balancer can carry calls.")
VIP_OWNER: Final = Metric("rmlb_vip_owner", Kind.GAUGE, "1 while this balancer holds the VIP.")
VIP_TAKEOVERS: Final = Metric(
    "rmlb_vip_takeovers_total", Kind.COUNTER, "Times this balancer became the owner of the VIP."
)
VIP_RELEASES: Final = Metric(
    "rmlb_vip_releases_total", Kind.COUNTER, "Times this balancer let go of the VIP."
)
VIP_ADD_DURATION: Final = Metric(
    "rmlb_vip_add_seconds", Kind.GAUGE, "How long adding the address took, the last time."
)
LEASE_DURATION: Final = Metric(
    "rmlb_lease_seconds", Kind.GAUGE, "The newest answer of the witness: from asking to answer."
)
LEASE_FAILURES: Final = Metric(
    "rmlb_lease_failures_total", Kind.COUNTER, "Requests that the witness did not answer in time."
)
WITNESS_SEEN: Final = Metric("rmlb_witness_seen", Kind.GAUGE, "1 while the witness answers.")
KEEPER_HELD_UP: Final = Metric(
    "rmlb_keeper_held_up_seconds",
    Kind.GAUGE,
    "The longest that the keeper got no processor time since its start.",
)
PEER_HEARD: Final = Metric(
    "rmlb_peer_heard", Kind.GAUGE, "1 while heartbeats of the other balancer come.", ("peer",)
)
BUILD_INFO: Final = Metric(
    "rmlb_build_info", Kind.GAUGE, "Always 1; what is running.", ("version", "engine")
)

PROBE_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""From a member on the same host to one about to be given up."""


class Histogram:
    """Durations in seconds, counted into buckets."""

    def __init__(self, bounds: tuple[float, ...] = PROBE_BUCKETS_S) -> None:
        self.bounds = bounds
        self.sum = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value; a bound belongs to the bucket below it, as `le` says."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[float, int]]:
        """(bound, values up to it), the last bound infinite."""
        total = 0
        result = []
        for bound, count in zip((*self.bounds, float("inf")), self._counts, strict=True):
            total += count
            result.append((bound, total))
        return result

    @property
    def count(self) -> int:
        return sum(self._counts)
