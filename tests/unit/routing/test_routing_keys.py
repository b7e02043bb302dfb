"""Secrets: one sub-key per use, the first signs, all verify."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmlb.routing.keys import Key, Keyring, affinity_hash, affinity_key, mac, short_hash

KEY = bytes(range(16))


def test_published_vector() -> None:
    """SipHash-2-4 of the octets 0 to 14 (Aumasson and Bernstein, appendix A)."""
    assert mac(KEY, bytes(range(10)), bytes(range(11, 15))) == b"a129ca6149be45e5"
    assert affinity_hash(KEY, bytes(range(15))) == 0xA129CA6149BE45E5


def test_sub_keys_differ() -> None:
    key = Key.derive("a secret")
    subs = (key.branch, key.via, key.loop, key.mark, key.to_tag)
    assert len(set(subs)) == len(subs)
    assert key == Key.derive("a secret")
    assert key != Key.derive("another secret")


def test_first_signs_all_verify() -> None:
    ring = Keyring(["new", "old"])
    assert ring.signing == Key.derive("new")
    for secret in ("new", "old"):
        key = Key.derive(secret)
        assert ring.find(key.id) == key
    assert ring.find(Key.derive("retired").id) is None
    assert len(ring.all) == 2


def test_the_same_secret_twice_is_one() -> None:
    assert len(Keyring(["one", "one"]).all) == 1


def test_no_secret() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Keyring([])


def test_two_secrets_with_one_key_id() -> None:
    """16 bits collide; better told than one of them silently unused."""
    seen: dict[bytes, str] = {}
    for i in range(10_000):
        key_id = Key.derive(f"secret {i}").id
        if key_id in seen:
            with pytest.raises(ValueError, match="key id"):
                Keyring([f"secret {i}", seen[key_id]])
            return
        seen[key_id] = f"secret {i}"
    raise AssertionError("no collision in 10,000 secrets")


@given(
    st.lists(st.binary(max_size=8).filter(lambda b: b"\n" not in b), min_size=1, max_size=4),
    st.lists(st.binary(max_size=8).filter(lambda b: b"\n" not in b), min_size=1, max_size=4),
)
def test_fields_do_not_run_into_each_other(one: list[bytes], other: list[bytes]) -> None:
    assert (mac(KEY, *one) == mac(KEY, *other)) is (one == other)


def test_sizes() -> None:
    assert len(mac(KEY, b"x")) == 16
    assert len(short_hash(KEY, b"x")) == 8
    assert 0 <= affinity_hash(affinity_key("cluster"), b"x") < 2**64


def test_affinity_is_apart_from_the_secrets() -> None:
    """9: the hash key never changes with rotation."""
    assert affinity_key("cluster") == affinity_key("cluster")
    assert affinity_key("cluster") != affinity_key("another")
