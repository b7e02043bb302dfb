"""config/ for Prometheus and Grafana: judged by promtool, and by the metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rmlb import metrics
from rmlb.events import EventName
from rmlb.metrics import Kind, Metric

CONFIG = Path(__file__).parents[2] / "config"
RULES = CONFIG / "prometheus-rules.yml"
DASHBOARD = json.loads((CONFIG / "grafana-dashboard.json").read_text())
METRICS = [value for value in vars(metrics).values() if isinstance(value, Metric)]
PROCESS = {"process_start_time_seconds", "process_cpu_seconds_total"}
PROCESS |= {"process_resident_memory_bytes"}


def promtool(*args: str | Path) -> str:
    done = subprocess.run(
        ["promtool", *map(str, args)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def series() -> set[str]:
    """Every series that a scrape has."""
    found = {metric.name for metric in METRICS if metric.kind is not Kind.HISTOGRAM}
    for metric in METRICS:
        if metric.kind is Kind.HISTOGRAM:
            found |= {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
    return found | PROCESS


def expressions(part: Any) -> Iterator[str]:
    """Every `expr` of the dashboard, wherever it stands."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "expr":
                yield value
            else:
                yield from expressions(value)
    elif isinstance(part, list):
        for value in part:
            yield from expressions(value)


def named(text: str) -> set[str]:
    return set(re.findall(r"\b(?:rmlb|process)_[a-z0-9_]+\b", text))


def test_promtool_accepts_the_rules() -> None:
    assert re.search(r"\d+ rules found", promtool("check", "rules", RULES))


def test_the_rules_fire_when_they_should(tmp_path: Path) -> None:
    cases = CONFIG.parent / "tests" / "integration" / "scenarios" / "prometheus-cases.yml"
    for path in (RULES, cases):
        (tmp_path / path.name).write_text(path.read_text())
    assert "SUCCESS" in promtool("test", "rules", tmp_path / cases.name)


def test_the_rules_name_series_and_runbook_entries_that_exist() -> None:
    text = RULES.read_text()
    assert named(text) - {"rmlb"} <= series()
    runbook = set(re.findall(r"runbook: (\S+)", text))
    assert runbook <= set(map(str, EventName))


def test_the_dashboard_names_series_that_exist_and_each_metric_of_members_is_on_it() -> None:
    on_it = {name for expr in expressions(DASHBOARD) for name in named(expr)}
    assert on_it <= series()
    shown = {name.removesuffix("_bucket") for name in on_it}
    assert {"rmlb_ready", "rmlb_vip_owner", "rmlb_member_first_response_seconds"} <= shown


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert max(x for x, _ in taken) == 23
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("expr", sorted(set(expressions(DASHBOARD))))
def test_promtool_accepts_each_query_of_the_dashboard(expr: str, tmp_path: Path) -> None:
    query = expr.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*")
    rules = tmp_path / "rules.yml"
    rule = {"record": "x:y", "expr": query}
    rules.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": [rule]}]}))
    promtool("check", "rules", rules)
