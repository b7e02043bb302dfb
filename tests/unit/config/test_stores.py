from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmlb.config.addresses import HostPort
from rmlb.config.stores import backend, mask_password, store_hosts, store_url, witness_url


@pytest.mark.parametrize(
    ("url", "names", "hosts"),
    [
        ("memory://", "memory", []),
        ("redis://10.0.0.50:6379/0", "redis", [("10.0.0.50", 6379)]),
        ("redis://10.0.0.50", "redis", [("10.0.0.50", 6379)]),
        ("rediss://user:p@ss@store.example.com:6380/2", "redis", [("store.example.com", 6380)]),
        ("redis://[2001:db8::1]:6379", "redis", [("2001:db8::1", 6379)]),
        (
            "redis+sentinel://a:26379,b/rm-state/1",
            "sentinel",
            [("a", 26379), ("b", 26379)],
        ),
        ("rediss+cluster://:pw@a:6379,b:6380", "cluster", [("a", 6379), ("b", 6380)]),
    ],
)
def test_state_urls(url: str, names: str, hosts: list[tuple[str, int]]) -> None:
    assert store_url.read(url) == url
    assert backend(url) == names
    assert store_hosts(url) == tuple(HostPort(*each) for each in hosts)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("10.0.0.50:6379", "is not a state URL"),
        ("http://10.0.0.50", "is not a state URL"),
        ("redis:/10.0.0.50", "is not a state URL"),
        ("redis://", "must name one server"),
        ("redis://a,b", "must name one server"),
        ("redis://a:x", "names no server"),
        ("redis://u:a/b@c", "names no server"),
        ("redis://a/x", "does not end in a database number"),
        ("redis://a/1/2", "does not end in a database number"),
        ("redis+sentinel://a:26379", "does not name Sentinel's service"),
        ("redis+sentinel://a:26379/0", "does not name Sentinel's service"),
        ("redis+cluster://a/1", "does not end in a database number"),
        ("redis+cluster://", "must name a server"),
        ("redis://[", "names no server"),
        ("memory://x", "has something after memory://"),
        (7, "is not text"),
    ],
)
def test_what_is_no_state_url(url: object, message: str) -> None:
    (fault,) = store_url.faults(url)
    assert message in fault.message
    assert "memory://" in fault.allowed


@pytest.mark.parametrize("url", ["", "none", "redis://10.0.0.50:6379/0"])
def test_a_witness_is_one_redis_or_none(url: str) -> None:
    assert witness_url.read(url) == url


@pytest.mark.parametrize("url", ["memory://", "redis+cluster://a", "redis+sentinel://a/s", "yes"])
def test_what_cannot_be_a_witness(url: str) -> None:
    assert witness_url.faults(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@a:6379/0", "redis://user:***@a:6379/0"),
        ("redis://:secret@a", "redis://:***@a"),
        ("redis://user@a", "redis://user@a"),
        ("redis://a?password=secret&x=1", "redis://a?password=***&x=1"),
        ("redis://a:1", "redis://a:1"),
        ("user:secret@a", "***@a"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert mask_password(url) == shown


@given(scheme=st.text(max_size=8), place=st.text(max_size=20))
def test_no_error_repeats_a_password(scheme: str, place: str) -> None:
    password = "correct-horse-battery"
    for url in (f"{scheme}://u:{password}@{place}", f"redis://u:{password}@{place}"):
        for fault in store_url.faults(url) + witness_url.faults(url):
            assert password not in fault.message
