"""Which requests wait for the store, and how they go on (HA-RULES 5)."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from packets import CALLER, RM, UDP, VIP, Bench, Dialog, answer, request

from rmlb.routing.affinity import header_keys
from rmlb.routing.keys import affinity_hash
from rmlb.routing.member import Health
from rmlb.routing.table import RoutingTable
from rmlb.routing.verdict import Drop, Forward, Hold, Reply, Verdict
from rmlb.sip.message import scan

NODES = f"<sip:{VIP}:5060;lr;gvp.rm.datanodes=2>"


def key_of(call_id: str, table: RoutingTable) -> int:
    return affinity_hash(table.affinity_key, call_id.encode())


@pytest.fixture
def bench() -> Bench:
    return Bench(ask_store=True)


def inside(method: str = "INFO", **parts: Any) -> bytes:
    return request(method, **{"call_id": "elsewhere", "to_tag": "callee", "cseq": 2, **parts})


@pytest.mark.parametrize("method", ["INFO", "BYE", "ACK", "INVITE", "SUBSCRIBE", "NOTIFY"])
def test_a_dialog_of_which_nothing_is_known(bench: Bench, method: str) -> None:
    verdict = bench.receive(inside(method))
    assert verdict == Hold(key_of("elsewhere", bench.table))
    assert (bench.router.counters.held, len(bench.memory.pending)) == (1, 0)


def test_only_with_a_store() -> None:
    assert isinstance(Bench().receive(inside()), Forward)


def not_held(bench: Bench, data: bytes, host: str = CALLER) -> Verdict:
    verdict = bench.receive(data, host)
    assert not isinstance(verdict, Hold)
    assert bench.router.counters.held == 0
    return verdict


@pytest.mark.parametrize(
    "data",
    [
        request(),
        request("OPTIONS", f"sip:ivr@{VIP}"),
        request("CANCEL"),
        inside("CANCEL"),
        inside(routes=[NODES]),
        inside(extra=["X-Genesys-GVP-Session-ID: 1;gvp.rm.datanodes=2|1"]),
        inside(max_forwards=0),
    ],
)
def test_what_does_not_wait(bench: Bench, data: bytes) -> None:
    not_held(bench, data)


def test_a_mark_of_ours(bench: Bench) -> None:
    dialog = Bench().establish("elsewhere")
    not_held(bench, dialog.from_caller("INFO"))
    not_held(bench, dialog.from_callee("INFO"), RM[dialog.member])


def test_a_mark_that_does_not_verify(bench: Bench) -> None:
    dialog = Bench().establish("elsewhere")
    broken = Dialog(
        "elsewhere", 1, [value.replace("rmlb=", "rmlb=0") for value in dialog.recorded], "callee"
    )
    assert isinstance(bench.receive(broken.from_caller("INFO")), Hold)


def test_a_binding(bench: Bench) -> None:
    bench.establish("elsewhere")
    not_held(bench, inside())


def test_datanodes_of_somebody_not_trusted() -> None:
    bench = Bench(ask_store=True, trusted=(ipaddress.ip_network("10.0.0.0/8"),))
    assert isinstance(bench.receive(inside(routes=[NODES])), Hold)


def test_datanodes_that_name_nobody_usable(bench: Bench) -> None:
    bench.lose(2)
    assert isinstance(bench.receive(inside(routes=[NODES])), Hold)


def test_the_transaction_is_known(bench: Bench) -> None:
    """ACK to a failure: its INVITE is remembered."""
    sent = bench.forwarded(request())
    bench.forwarded(answer(sent.data, 486), RM[sent.to.member])
    not_held(bench, request("ACK", to_tag="callee"))


def test_a_header_key_says_nothing_of_the_dialog() -> None:
    bench = Bench(ask_store=True, header_keys=(b"x-call",))
    bench.forwarded(request(call_id="first", extra=["X-Call: 7"]))
    data = inside(extra=["X-Call: 7"])
    assert header_keys(scan(data), bench.table)
    assert isinstance(bench.receive(data), Hold)


def test_nobody_there_to_take_it(bench: Bench) -> None:
    for number in (1, 2):
        bench.set_member(number, health=Health.OUT_OF_SERVICE)
    assert isinstance(not_held(bench, inside()), Reply)


@pytest.mark.parametrize("number", [1, 2])
def test_recalled(bench: Bench, number: int) -> None:
    data = inside()
    verdict = bench.receive(data)
    assert isinstance(verdict, Hold)
    bench.memory.bindings.recall(verdict.key, number, 0, bench.now, live=True, ended=False)
    gone_on = bench.router.resume(data, bench.origin(), bench.now)
    assert isinstance(gone_on, Forward)
    assert gone_on.to.member == number
    assert bench.router.counters.held == bench.router.counters.imbalance() == 0
    not_held(bench, inside("BYE", cseq=3))


def test_recalled_from_a_member_that_was_lost(bench: Bench) -> None:
    """The loss number travels with the binding: what it missed is replayed."""
    bench.lose(1)
    bench.set_member(1, health=Health.IN_SERVICE)
    for loss, member in ((0, 2), (1, 1)):
        data = inside(call_id=f"at-{loss}")
        verdict = bench.receive(data)
        assert isinstance(verdict, Hold)
        bench.memory.bindings.recall(verdict.key, 1, loss, bench.now, live=True, ended=False)
        gone_on = bench.router.resume(data, bench.origin(), bench.now)
        assert isinstance(gone_on, Forward)
        assert gone_on.to.member == member


def test_nothing_came(bench: Bench) -> None:
    """Today's rule; and the next request asks again."""
    expected = Bench().forwarded(inside()).to.member
    assert isinstance(bench.receive(inside()), Hold)
    gone_on = bench.router.resume(inside(), bench.origin(), bench.now)
    assert isinstance(gone_on, Forward)
    assert gone_on.to.member == expected
    assert isinstance(bench.receive(inside(cseq=3)), Hold)


def test_resumed_when_nobody_is_left(bench: Bench) -> None:
    assert isinstance(bench.receive(inside()), Hold)
    for number in (1, 2):
        bench.set_member(number, health=Health.OUT_OF_SERVICE)
    assert isinstance(bench.router.resume(inside(), bench.origin(), bench.now), Reply)
    assert isinstance(
        bench.router.resume(b"garbage", bench.origin(transport=UDP), bench.now), Drop | Reply
    )
