"""The name cache and the members that have names, against a resolver that the test holds."""

from __future__ import annotations

import asyncio
import socket

import pytest

from rmlb.sip.address import SipAddress, Transport
from rmlb.transport import names
from rmlb.transport.names import MemberNames, NameCache

V4, V6 = socket.AF_INET, socket.AF_INET6


class Resolver:
    """Answers what the test says; names in `slow` never answer."""

    def __init__(self, **known: str) -> None:
        self.known = {name.replace("_", "."): address for name, address in known.items()}
        self.slow: set[str] = set()
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, name: str, family: socket.AddressFamily) -> str | None:
        self.asked.append((name, int(family)))
        if name in self.slow:
            await asyncio.get_running_loop().create_future()
        address = self.known.get(name)
        wanted = address is not None and (":" in address) is (family == V6)
        return address if wanted else None


def at(host: str, port: int = 5060, transport: Transport = Transport.UDP) -> SipAddress:
    return SipAddress(transport, host, port)


async def test_asked_once_and_remembered() -> None:
    resolver = Resolver(rm1_example="10.0.0.1")
    cache = NameCache(resolver)
    answers = await asyncio.gather(*(cache.resolve("rm1.example", V4) for _ in range(20)))
    assert answers == ["10.0.0.1"] * 20
    assert await cache.resolve("rm1.example", V4) == "10.0.0.1"
    assert resolver.asked == [("rm1.example", V4)]


async def test_asked_again_when_old(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(rm1_example="10.0.0.1")
    cache = NameCache(resolver)
    await cache.resolve("rm1.example", V4)
    resolver.known["rm1.example"] = "10.0.0.2"
    monkeypatch.setattr(names, "KEPT_S", 0.0)
    assert await cache.resolve("rm1.example", V4) == "10.0.0.2"


async def test_failures_are_kept_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver()
    cache = NameCache(resolver)
    assert await cache.resolve("new.example", V4) is None
    assert await cache.resolve("new.example", V4) is None
    assert len(resolver.asked) == 1
    monkeypatch.setattr(names, "FAILURE_KEPT_S", 0.0)
    resolver.known["new.example"] = "10.0.0.9"
    assert await cache.resolve("new.example", V4) == "10.0.0.9"


async def test_one_caller_that_gives_up_does_not_end_it_for_the_others() -> None:
    resolver = Resolver()
    resolver.slow.add("slow.example")
    cache = NameCache(resolver)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await cache.resolve("slow.example", V4)
    asking = asyncio.ensure_future(cache.resolve("slow.example", V4))
    await asyncio.sleep(0)
    assert resolver.asked == [("slow.example", V4)]
    asking.cancel()


async def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_MOST", 10)
    cache = NameCache(Resolver())
    for index in range(100):
        await cache.resolve(f"{index}.example", V4)
    assert len(cache._found) <= 10


async def test_members() -> None:
    resolver = Resolver(rm1_example="10.0.0.1", rm2_example="2001:db8::2")
    members = MemberNames(NameCache(resolver), [V4, V6, V4])
    given = [at("rm1.example"), at("rm2.example", 5061, Transport.TLS), at("10.0.0.7")]
    assert members.addresses(given) == (at("10.0.0.7"),)
    assert await members.refresh(given)
    assert members.addresses(given) == (
        at("10.0.0.1"),
        at("2001:db8::2", 5061, Transport.TLS),
        at("10.0.0.7"),
    )
    assert members.certificate_names(given) == {
        ("10.0.0.1", 5060): "rm1.example",
        ("2001:db8::2", 5061): "rm2.example",
        ("10.0.0.7", 5060): "10.0.0.7",
    }
    assert not members.unresolved
    assert not await members.refresh(given), "nothing has changed"


async def test_a_member_that_moves_and_a_resolver_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "KEPT_S", 0.0)
    monkeypatch.setattr(names, "FAILURE_KEPT_S", 0.0)
    resolver = Resolver(rm1_example="10.0.0.1")
    members = MemberNames(NameCache(resolver), [V4])
    given = [at("rm1.example")]
    assert await members.refresh(given)
    resolver.known["rm1.example"] = "10.0.0.2"
    assert await members.refresh(given)
    assert members.addresses(given) == (at("10.0.0.2"),)
    del resolver.known["rm1.example"]
    assert not await members.refresh(given)
    assert members.addresses(given) == (at("10.0.0.2"),), "the last one known"
    assert not members.unresolved


async def test_a_name_that_hangs_or_fails_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "PATIENCE_S", 0.01)
    resolver = Resolver(rm1_example="10.0.0.1")
    resolver.slow.add("hangs.example")
    members = MemberNames(NameCache(resolver), [V4])
    given = [at("hangs.example"), at("rm1.example"), at("fails.example")]
    assert await members.refresh(given)
    assert members.addresses(given) == (at("10.0.0.1"),)
    assert members.unresolved == {"hangs.example", "fails.example"}


async def test_names_that_are_no_host_names() -> None:
    cache = NameCache()
    for name in ("", ".", "a..b", "x" * 64 + ".example", "no such host.invalid"):
        assert await cache.resolve(name, V4) is None


async def test_the_system_resolver() -> None:
    assert await NameCache().resolve("localhost", V4) == "127.0.0.1"
