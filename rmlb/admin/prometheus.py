"""The views and counters as Prometheus text (DESIGN 3.5).

A scrape reads what the packet path counted anyway; nothing is counted here. Names, help and
labels come from `rmlb.metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from math import inf
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from rmlb import metrics
from rmlb.admin.views import MemberView, NodeView, StateView, readiness
from rmlb.metrics import Kind, Metric
from rmlb.routing.counters import Counters
from rmlb.routing.member import Health
from rmlb.routing.overload import FIRST_ANSWER_BOUNDS_S

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
Values = Iterable[tuple[tuple[object, ...], float]]


class Source(Protocol):
    """Where a scrape reads."""

    def view(self) -> NodeView: ...

    def counters(self) -> Counters: ...


class Exposition(NamedTuple):
    """A scrape's answer."""

    body: bytes
    content_type: str


class Exporter:
    """Writes the metrics of one balancer; also those of the process (Linux)."""

    def __init__(self, source: Source) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_NodeCollector(source))
        ProcessCollector(registry=self._registry)

    def expose(self, accept: str = "") -> Exposition:
        """The exposition in the format that the scraper's Accept header prefers."""
        encode, content_type = choose_encoder(accept)
        return Exposition(encode(self._registry), content_type)


class _NodeCollector(Collector):
    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterator[Family]:
        view, counters = self._source.view(), self._source.counters()
        yield from _message_families(view, counters)
        yield from _member_families(view.members)
        yield from _node_families(view)


def _message_families(view: NodeView, counters: Counters) -> Iterator[Family]:
    listening = {each.address.partition(":")[0]: 0 for each in view.listeners}
    yield _family(metrics.MESSAGES_RECEIVED, _by_key(listening | dict(counters.received)))
    yield _family(metrics.MESSAGES_FORWARDED, _single(counters.forwarded))
    yield _family(metrics.MESSAGES_ANSWERED, _by_key(counters.answered))
    yield _family(metrics.MESSAGES_ABSORBED, _by_key(counters.absorbed))
    yield _family(metrics.MESSAGES_DROPPED, _by_key(counters.dropped))
    yield _family(metrics.MESSAGES_HELD, _single(counters.held))
    yield _family(metrics.MESSAGES_BY_KIND, _by_key(counters.kinds))
    yield _family(metrics.AFFINITY, _by_key(counters.affinity))
    yield _family(metrics.OWN_MESSAGES, _by_key(counters.own))
    yield _family(metrics.KEEPALIVES, _single(counters.keepalives))
    yield _family(metrics.SEND_ERRORS, _by_key(counters.send_errors))


def _member_families(members: tuple[MemberView, ...]) -> Iterator[Family]:
    yield _family(
        metrics.MEMBER_REQUESTS, [((each.id,), each.counters.requests) for each in members]
    )
    yield _family(
        metrics.MEMBER_INITIAL_REQUESTS,
        [((each.id,), each.counters.initial_requests) for each in members],
    )
    yield _family(
        metrics.MEMBER_RESPONSES,
        [
            ((each.id, f"{status_class}xx"), count)
            for each in members
            for status_class, count in sorted(each.counters.responses.items())
        ],
    )
    yield _family(metrics.MEMBER_CALLS, [((each.id,), each.calls) for each in members])
    yield _family(
        metrics.MEMBER_IN_SERVICE,
        [((each.id,), each.health is Health.IN_SERVICE) for each in members],
    )
    yield _family(
        metrics.MEMBER_ACTIVE,
        [((each.id,), each.active) for each in members if each.active is not None],
    )
    yield _family(
        metrics.MEMBER_STATE, [((each.id, each.health, each.admin_state), 1) for each in members]
    )
    yield _family(metrics.MEMBER_WEIGHT, [((each.id,), each.weight) for each in members])
    yield _family(metrics.MEMBER_TRANSITIONS, [((each.id,), each.transitions) for each in members])
    yield _family(
        metrics.PROBES,
        [
            ((each.id, outcome), count)
            for each in members
            for outcome, count in sorted(each.probes.outcomes.items())
        ],
    )
    yield _histogram(
        metrics.PROBE_DURATION,
        {
            each.id: (each.probes.durations.cumulative(), each.probes.durations.sum)
            for each in members
        },
    )
    yield _histogram(
        metrics.FIRST_RESPONSE,
        {
            each.id: (
                zip(
                    (*FIRST_ANSWER_BOUNDS_S, inf),
                    accumulate(each.first_responses.counts),
                    strict=True,
                ),
                each.first_responses.sum_s,
            )
            for each in members
        },
    )


def _histogram(
    metric: Metric, members: Mapping[int, tuple[Iterable[tuple[float, int]], float]]
) -> Family:
    """Of each member the cumulative buckets (bound, count) and the sum."""
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for member, (cumulative, total) in members.items():
        buckets = [("+Inf" if le == inf else str(le), n) for le, n in cumulative]
        family.add_metric([str(member)], buckets, total)
    return family


def _node_families(view: NodeView) -> Iterator[Family]:
    yield _family(metrics.BINDINGS, _single(view.bindings))
    yield _family(metrics.PENDING_REQUESTS, _single(view.pending_requests))
    yield _family(metrics.TASKS, _single(view.tasks))
    yield _family(metrics.LOOP_HELD_UP, _single(view.held_up_s))
    yield from _store_families(view.state)
    yield _family(metrics.CONNECTIONS, _by_key(view.connections))
    yield _family(metrics.EVENTS, view.events.items())
    yield _family(metrics.ALARM_DELIVERIES, view.deliveries.items())
    yield _family(metrics.TRACE_COPIES_LOST, _single(view.trace.lost))
    yield _family(
        metrics.HEP_PACKETS, _by_key({"sent": view.trace.hep_sent, "lost": view.trace.hep_lost})
    )
    yield _family(metrics.READY, _single(readiness(view).ready))
    yield _family(metrics.VIP_OWNER, _single(view.vip.owner))
    holding = view.holding
    yield _family(metrics.VIP_TAKEOVERS, _single(holding.get("takeovers", 0)))
    yield _family(metrics.VIP_RELEASES, _single(holding.get("releases", 0)))
    yield _family(metrics.VIP_ADD_DURATION, _single(holding.get("add_s", 0)))
    yield _family(metrics.LEASE_DURATION, _single(holding.get("lease_s", 0)))
    yield _family(metrics.LEASE_FAILURES, _single(holding.get("lease_failures", 0)))
    yield _family(metrics.WITNESS_SEEN, _single(holding.get("witness", 0)))
    yield _family(metrics.KEEPER_HELD_UP, _single(holding.get("held_up_s", 0)))
    yield _family(metrics.PEER_HEARD, [((peer.address,), peer.alive) for peer in view.peers])
    yield _family(metrics.BUILD_INFO, [((view.version, view.engine), 1)])


def _store_families(state: StateView) -> Iterator[Family]:
    store = state.store
    if store is None:
        return
    yield _family(metrics.STORE_CONNECTED, _single(state.connected))
    backlog = {"changed": store.backlog, "again": store.to_repeat}
    yield _family(metrics.STORE_BACKLOG, _by_key(backlog))
    yield _family(metrics.STORE_WRITTEN, _single(store.written))
    yield _family(metrics.STORE_LOST, _single(store.lost))
    yield _family(metrics.STORE_ASKED, _by_key(store.asked))
    yield _family(metrics.STORE_FAILURES, _single(store.failures))
    metric = metrics.STORE_DURATION
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for command, durations in store.durations.items():
        buckets = [("+Inf" if le == inf else str(le), n) for le, n in durations.cumulative()]
        family.add_metric([command], buckets, durations.sum)
    yield family


def _family(metric: Metric, values: Values) -> Family:
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in values:
        family.add_metric([str(label) for label in labels], float(value))
    return family


def _single(value: float) -> Values:
    return [((), value)]


def _by_key(counts: Mapping[str, int] | Mapping[int, int]) -> Values:
    return [((key,), count) for key, count in counts.items()]
