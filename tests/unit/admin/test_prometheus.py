"""What is exposed is parsed back with Prometheus' own parser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from admin_samples import counters, durations, member, node
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from rmlb import metrics
from rmlb.admin.prometheus import Exporter
from rmlb.admin.views import NodeView
from rmlb.metrics import Kind, Metric
from rmlb.routing.counters import Counters
from rmlb.routing.member import AdminState, Health
from rmlb.routing.overload import FirstAnswers

NAMED = [value for value in vars(metrics).values() if isinstance(value, Metric)]


class Source:
    def __init__(self, view: NodeView | None = None, counts: Counters | None = None) -> None:
        self._view = view or node()
        self._counters = counts or counters()

    def view(self) -> NodeView:
        return self._view

    def counters(self) -> Counters:
        return self._counters


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(source: Source | None = None) -> Samples:
    text = Exporter(source or Source()).expose().body.decode()
    return dict(_samples(text))


def _samples(text: str) -> Iterator[tuple[tuple[str, frozenset[tuple[str, str]]], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield (sample.name, frozenset(sample.labels.items())), sample.value


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_the_sum_balances_as_scraped() -> None:
    samples = scrape()

    def total(name: str) -> float:
        return sum(value for (found, _), value in samples.items() if found == name)

    assert total("rmlb_messages_received_total") == 100
    assert total("rmlb_messages_received_total") == (
        total("rmlb_messages_forwarded_total")
        + total("rmlb_messages_answered_total")
        + total("rmlb_messages_absorbed_total")
        + total("rmlb_messages_dropped_total")
        + total("rmlb_messages_held")
    )


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("rmlb_messages_received_total", {"transport": "udp"}, 100),
        ("rmlb_messages_received_total", {"transport": "tcp"}, 0),
        ("rmlb_messages_answered_total", {"code": "404"}, 3),
        ("rmlb_messages_absorbed_total", {"reason": "ack-to-us"}, 1),
        ("rmlb_messages_dropped_total", {"reason": "no-via"}, 3),
        ("rmlb_messages_by_kind_total", {"kind": "A"}, 50),
        ("rmlb_affinity_total", {"step": "hash"}, 40),
        ("rmlb_keepalives_total", {}, 7),
        ("rmlb_send_errors_total", {"cause": "refused"}, 1),
        ("rmlb_member_requests_total", {"member": "1"}, 100),
        ("rmlb_member_initial_requests_total", {"member": "2"}, 40),
        ("rmlb_member_responses_total", {"member": "1", "class": "2xx"}, 60),
        ("rmlb_member_calls", {"member": "2"}, 20),
        ("rmlb_member_weight", {"member": "1"}, 100),
        ("rmlb_member_transitions_total", {"member": "1"}, 1),
        ("rmlb_probes_total", {"member": "1", "outcome": "answered"}, 2),
        ("rmlb_bindings", {}, 31),
        ("rmlb_pending_requests", {}, 2),
        ("rmlb_connections", {"transport": "tcp"}, 3),
        ("rmlb_ready", {}, 1),
        ("rmlb_vip_owner", {}, 1),
        ("rmlb_build_info", {"version": "0.1.0", "engine": "python"}, 1),
    ],
)
def test_values(name: str, labels: dict[str, str], value: float) -> None:
    assert scrape()[key(name, **labels)] == value


def test_a_disabled_member_stays_visible() -> None:
    members = (member(1), member(2, health=Health.SUSPECT, admin_state=AdminState.DISABLED))
    samples = scrape(Source(node(members=members)))
    assert samples[key("rmlb_member_in_service", member="1")] == 1
    assert samples[key("rmlb_member_in_service", member="2")] == 0
    assert (
        samples[key("rmlb_member_state", member="2", health="suspect", admin_state="disabled")] == 1
    )


def test_the_active_member_in_active_standby_mode_alone() -> None:
    members = (member(1, active=False), member(2, active=True))
    samples = scrape(Source(node(members=members)))
    assert samples[key("rmlb_member_active", member="1")] == 0
    assert samples[key("rmlb_member_active", member="2")] == 1
    assert key("rmlb_member_active", member="1") not in scrape()


def test_the_probe_histogram() -> None:
    samples = scrape()
    buckets = {
        dict(labels)["le"]: value
        for (name, labels), value in samples.items()
        if name == "rmlb_probe_duration_seconds_bucket" and dict(labels)["member"] == "1"
    }
    assert (buckets["0.001"], buckets["0.1"], buckets["0.25"], buckets["+Inf"]) == (1, 1, 2, 2)
    assert samples[key("rmlb_probe_duration_seconds_count", member="1")] == 2
    assert samples[key("rmlb_probe_duration_seconds_sum", member="1")] == pytest.approx(0.2007)


def test_a_value_on_a_bound_counts_below_it() -> None:
    assert dict(durations(0.005).cumulative())[0.005] == 1
    assert durations(99.0).cumulative()[-1] == (float("inf"), 1)


def test_every_named_metric_is_exposed_and_no_other() -> None:
    text = Exporter(Source()).expose().body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for metric in NAMED:
        family = families[metric.name.removesuffix("_total")]
        assert family.type == metric.kind.value
        assert family.documentation == metric.help
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), metric.name
    own = {name for name in families if name.startswith("rmlb_")}
    assert own == {metric.name.removesuffix("_total") for metric in NAMED}
    assert "process_open_fds" in families


def test_names_follow_the_prometheus_rules() -> None:
    for metric in NAMED:
        assert metric.name.startswith("rmlb_")
        assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER)
    assert len({metric.name for metric in NAMED}) == len(NAMED)


def test_openmetrics_when_asked_for() -> None:
    exposition = Exporter(Source()).expose("application/openmetrics-text; version=1.0.0")
    assert exposition.content_type.startswith("application/openmetrics-text")
    names = {family.name for family in parse_openmetrics(exposition.body.decode())}
    assert "rmlb_messages_received" in names


def test_the_histogram_of_first_responses() -> None:
    answers = FirstAnswers()
    for took_s in (0.0004, 0.005, 0.006, 30.0):
        answers.observe(took_s)
    samples = scrape(Source(node(members=(member(1, first_responses=answers), member(2)))))
    name = "rmlb_member_first_response_seconds"
    buckets = {
        dict(labels)["le"]: value
        for (found, labels), value in samples.items()
        if found == f"{name}_bucket" and dict(labels)["member"] == "1"
    }
    expected = {"0.001": 1, "0.005": 2, "0.01": 3, "5.0": 3, "+Inf": 4}
    assert {le: buckets[le] for le in expected} == expected
    assert samples[key(f"{name}_sum", member="1")] == pytest.approx(30.0114)
    assert samples[key(f"{name}_count", member="2")] == 0


def test_events_and_deliveries() -> None:
    counts = {("member-back", "info"): 2}
    view = node(events=counts, deliveries={("webhook", "failed"): 3})
    samples = scrape(Source(view))
    assert samples[key("rmlb_events_total", event="member-back", severity="info")] == 2
    assert samples[key("rmlb_alarm_deliveries_total", channel="webhook", outcome="failed")] == 3
