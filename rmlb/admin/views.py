"""What people are shown of a running balancer: read-only views, and the JSON made of them. Pure.

The node fills the views; the HTTP server, the metrics and the command line read them. Owns
the shape of `GET /api/v1/status` and `/api/v1/members` (DESIGN 3.4) and the answer to "can
it carry calls?". Knows nothing of HTTP, of sockets or of how a value came about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rmlb.admin.quantiles import quantiles
from rmlb.events import Event, NumberedEvent
from rmlb.metrics import Histogram
from rmlb.routing.counters import Counters, MemberCounters
from rmlb.routing.member import AdminState, Health
from rmlb.routing.overload import FIRST_ANSWER_BOUNDS_S, FirstAnswers

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class VipView:
    """The virtual IP and who moves it. `address` is None when the balancer has none."""

    address: str | None
    owner: bool
    provider: str


@dataclass(frozen=True, slots=True)
class ListenerView:
    """A SIP listener: "udp:127.0.0.1:5060"."""

    address: str
    open: bool


@dataclass(frozen=True, slots=True)
class StoreView:
    """What has gone to the store and back since start."""

    backlog: int
    """Changed bindings that wait to be written."""
    to_repeat: int
    """Bindings that are still to be written again after the store was lost."""
    written: int
    lost: int
    """Changes that gave way to newer ones while the store was too slow."""
    asked: Mapping[str, int]
    """Call-IDs asked for, by what came of it: found, missing, timeout, not_held."""
    failures: int
    """Commands that failed."""
    durations: Mapping[str, Histogram]
    """Of commands: write, find, look."""


@dataclass(frozen=True, slots=True)
class StateView:
    """The store of session state."""

    backend: str
    connected: bool
    why: str = ""
    """Why it is not connected."""
    store: StoreView | None = None
    """None: nothing is shared."""


@dataclass(frozen=True, slots=True)
class PeerView:
    """Another balancer as its heartbeats tell it."""

    id: int
    address: str
    alive: bool
    owner: bool


@dataclass(frozen=True, slots=True)
class ProbesView:
    """The health probes of one member since start."""

    outcomes: Mapping[str, int] = field(default_factory=dict)
    durations: Histogram = field(default_factory=Histogram)
    last: str | None = None
    """How the last one ended, for people."""
    last_latency_s: float | None = None


@dataclass(frozen=True, slots=True)
class DrainingView:
    """A member on its way out, by the operator's word or by a switch-over."""

    since: float
    """Wall clock, seconds since 1970."""
    left: int
    """Calls, and requests not answered yet."""
    limit_s: float
    """After this what is left is reported (`[drain] member-limit`)."""
    cause: str
    """"operator" or "switch-over"."""


@dataclass(frozen=True, slots=True)
class MemberView:
    """One member: what health, operator, table and counters say of it."""

    id: int
    sip: tuple[str, ...]
    """Addresses as configured."""
    health: Health
    admin_state: AdminState
    weight: int = 100
    calls: int = 0
    transitions: int = 0
    """Changes of health since start."""
    why: str | None = None
    """The reason of the last change of health."""
    since: float | None = None
    """Wall clock of that change, seconds since 1970."""
    counters: MemberCounters = field(default_factory=MemberCounters)
    probes: ProbesView = field(default_factory=ProbesView)
    active: bool | None = None
    """Active-standby: whether it gets the calls. None: active-active."""
    draining: DrainingView | None = None
    first_responses: FirstAnswers = field(default_factory=FirstAnswers)
    """Times from a request to the member's first response."""

    @property
    def takes_new_calls(self) -> bool:
        """As routing decides it (routing.member.Member, routing.table.RoutingTable.taking)."""
        return (
            self.active is not False
            and self.health in (Health.IN_SERVICE, Health.SUSPECT)
            and self.admin_state is AdminState.ENABLED
            and self.weight > 0
        )


@dataclass(frozen=True, slots=True)
class CallView:
    """One binding found by its exact Call-ID."""

    call_id: str
    member: int
    state: str
    """"calling", "answered" or "ended"."""
    age_s: float | None = None
    expires_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class TraceView:
    """Copies of messages: who gets them, and how many found no room."""

    watchers: int = 0
    kept: int = 0
    """Messages kept for ladders."""
    keep: int = 0
    """The most that are kept; 0: none."""
    lost: int = 0
    collector: str | None = None
    """Where HEP3 packets go."""
    hep_sent: int = 0
    hep_lost: int = 0


@dataclass(frozen=True, slots=True)
class NodeView:
    """One balancer at one moment."""

    version: str
    engine: str
    """"compiled" or "python"."""
    ha_mode: str
    started_at: float
    """Wall clock, seconds since 1970."""
    uptime_s: float
    vip: VipView
    listeners: tuple[ListenerView, ...]
    members: tuple[MemberView, ...]
    state: StateView
    active: int | None = None
    """The active member; None in active-active mode, and while none is chosen."""
    peers: tuple[PeerView, ...] = ()
    holding: Mapping[str, float] = field(default_factory=dict)
    """What the keeper has counted and measured; empty without one."""
    can_own: bool = True
    """It holds the virtual IP, or could take it over."""
    stopping: bool = False
    bindings: int = 0
    pending_requests: int = 0
    tasks: int = 0
    """Of the event loop."""
    held_up_s: float = 0.0
    """The longest that the event loop came late since the start."""
    connections: Mapping[str, int] = field(default_factory=dict)
    """Open stream connections by transport."""
    events: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Events since start, by name and severity."""
    deliveries: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Of events to commands, webhooks and syslog: by channel and outcome."""
    trace: TraceView = field(default_factory=TraceView)

    def member(self, member_id: int) -> MemberView:
        """Raises KeyError for an unknown member."""
        for member in self.members:
            if member.id == member_id:
                return member
        raise KeyError(member_id)


class Readiness(NamedTuple):
    """Whether calls can be carried; `reason` says why not and is None when ready."""

    ready: bool
    reason: str | None


def readiness(view: NodeView) -> Readiness:
    """Ready: stays, owns or could take over the VIP, listens, has a member for new calls."""
    if view.stopping:
        return Readiness(False, "stopping")
    if not view.can_own:
        return Readiness(False, "does not hold the virtual IP and could not take it over")
    closed = [listener.address for listener in view.listeners if not listener.open]
    if closed:
        return Readiness(False, f"not listening on {', '.join(closed)}")
    if not any(member.takes_new_calls for member in view.members):
        return Readiness(False, "no member takes new calls")
    return Readiness(True, None)


def status_json(view: NodeView, counters: Counters) -> Json:
    """The body of `GET /api/v1/status`."""
    ready, reason = readiness(view)
    return {
        "version": view.version,
        "engine": view.engine,
        "ha_mode": view.ha_mode,
        "active": view.active,
        "ready": ready,
        "reason": reason,
        "started_at": view.started_at,
        "uptime_s": round(view.uptime_s, 3),
        **vip_json(view),
        "listeners": [{"address": each.address, "open": each.open} for each in view.listeners],
        "members": [member_json(member) for member in view.members],
        "state": state_json(view.state),
        "bindings": view.bindings,
        "pending_requests": view.pending_requests,
        "connections": dict(view.connections),
        "messages": messages_json(counters),
        "trace": trace_json(view.trace),
    }


def trace_json(trace: TraceView) -> Json:
    """Copies of messages."""
    return {
        "watchers": trace.watchers,
        "kept": trace.kept,
        "keep": trace.keep,
        "lost": trace.lost,
        "collector": trace.collector,
        "hep_sent": trace.hep_sent,
        "hep_lost": trace.hep_lost,
    }


def state_json(state: StateView) -> Json:
    """The store, and what waits for it."""
    store = state.store
    found: Json = {"backend": state.backend, "connected": state.connected}
    if store is not None:
        found |= {
            "why": state.why,
            "backlog": store.backlog,
            "to_repeat": store.to_repeat,
            "written_total": store.written,
            "lost_total": store.lost,
            "asked_total": dict(store.asked),
            "failures_total": store.failures,
        }
    return found


def vip_json(view: NodeView) -> Json:
    """Who holds the virtual IP: of the status, and the answer to a takeover or release."""
    vip = view.vip
    return {
        "vip": {"address": vip.address, "owner": vip.owner, "provider": vip.provider},
        "peers": [
            {"id": peer.id, "address": peer.address, "alive": peer.alive, "owner": peer.owner}
            for peer in view.peers
        ],
    }


def members_json(view: NodeView) -> Json:
    """The body of `GET /api/v1/members`."""
    return {"members": [member_json(member) for member in view.members]}


def member_json(member: MemberView) -> Json:
    """One member. `sip` is a string as configured, or a list where several were."""
    probes = member.probes
    latency = None if probes.last_latency_s is None else round(probes.last_latency_s, 6)
    return {
        "id": member.id,
        "sip": member.sip[0] if len(member.sip) == 1 else list(member.sip),
        "health": str(member.health),
        "admin_state": str(member.admin_state),
        "active": member.active,
        "takes_new_calls": member.takes_new_calls,
        "draining": None if member.draining is None else draining_json(member.draining),
        "weight": member.weight,
        "calls": member.calls,
        "requests_total": member.counters.requests,
        "initial_requests_total": member.counters.initial_requests,
        "responses_total": {
            f"{status_class}xx": count
            for status_class, count in sorted(member.counters.responses.items())
        },
        "transitions": member.transitions,
        "why": member.why,
        "since": member.since,
        "probe": {"last": probes.last, "latency_s": latency},
        "first_response": quantiles(FIRST_ANSWER_BOUNDS_S, member.first_responses.counts),
    }


def draining_json(draining: DrainingView) -> Json:
    """Since when (seconds since 1970), and how many are left."""
    return {
        "since": draining.since,
        "left": draining.left,
        "limit_s": draining.limit_s,
        "cause": draining.cause,
    }


def activity_json(view: NodeView) -> Json:
    """The answer to a switch-over and to `POST /api/v1/members/{id}/active`."""
    return {"active": view.active, **members_json(view)}


def messages_json(counters: Counters) -> Json:
    """The sums that must balance (SIP-RULES 8), and the reasons behind them."""
    return {
        "received": counters.received.total(),
        "forwarded": counters.forwarded,
        "answered": counters.answered.total(),
        "absorbed": counters.absorbed.total(),
        "dropped": counters.dropped.total(),
        "held": counters.held,
        "imbalance": counters.imbalance(),
        "received_by_transport": {str(key): n for key, n in counters.received.items()},
        "answered_by_code": {str(key): n for key, n in counters.answered.items()},
        "absorbed_by_reason": {str(key): n for key, n in counters.absorbed.items()},
        "dropped_by_reason": {str(key): n for key, n in counters.dropped.items()},
    }


def call_json(call: CallView) -> Json:
    """One call of `GET /api/v1/calls?call-id=`."""
    return {
        "call_id": call.call_id,
        "member": call.member,
        "state": call.state,
        "age_s": call.age_s,
        "expires_in_s": call.expires_in_s,
    }


def calls_json(view: NodeView) -> Json:
    """The body of `GET /api/v1/calls` without a Call-ID: how many, and where."""
    return {
        "calls": sum(member.calls for member in view.members),
        "bindings": view.bindings,
        "members": [{"id": member.id, "calls": member.calls} for member in view.members],
    }


def event_json(entry: NumberedEvent) -> Json:
    """One event of `GET /api/v1/events`; `at` in seconds since 1970."""
    event: Event = entry.event
    return {
        "number": entry.number,
        "name": str(event.name),
        "at": event.at,
        "severity": str(event.severity),
        "fields": dict(event.fields),
    }
