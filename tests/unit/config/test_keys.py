from __future__ import annotations

import pytest

from rmlb.config.keys import fold, unknown_key


def test_case_is_ignored_and_dotted_keys_are_taken_apart() -> None:
    raw = {"Cluster": {"FailOverScript": "x", "member.1": "a", "MEMBER": {"2": "b"}}}
    tables, faults = fold(raw)
    assert tables == {"cluster": {"failoverscript": "x", "member": {"1": "a", "2": "b"}}}
    assert faults == []


def test_tables_that_differ_in_case_are_one() -> None:
    tables, faults = fold({"sip": {"listen": 1}, "SIP": {"aliases": 2}})
    assert tables == {"sip": {"listen": 1, "aliases": 2}}
    assert faults == []


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"sip": {"a": 1, "A": 2}}, "sip.a"),
        ({"sip": {"a": 1, "a.b": 2}}, "sip.a"),
        ({"sip": {"a.b": 1, "A": {"b": 2}}}, "sip.a.b"),
        ({"sip": {"A": {"b": 2}, "a": 1}}, "sip.a"),
        ({"reaction": [{"on": 1, "ON": 2}]}, "on"),
    ],
)
def test_a_clash_is_a_fault(raw: dict[str, object], key: str) -> None:
    _, faults = fold(raw)
    assert [fault.key for fault in faults] == [key]


@pytest.mark.parametrize(
    ("key", "said", "allowed"),
    [
        ("listn", "nearest: listen", "listen"),
        ("record_route", "hyphens, not underscores", "record-route"),
        ("virtual-ip", "virtual-ip belongs to [cluster]", "listen, record-route"),
        ("timeout", "timeout belongs to [health]", "listen, record-route"),
        ("recordroute", "nearest: record-route", "record-route"),
        ("qqq", "unknown key", "listen, record-route"),
    ],
)
def test_unknown_keys(key: str, said: str, allowed: str) -> None:
    fault = unknown_key("sip", key, ["listen", "record-route"])
    assert fault.key == f"sip.{key}"
    assert said in fault.message
    assert fault.allowed == allowed
