"""No call lost when a Resource Manager fails (DESIGN 5, SIP-RULES 5): sipp at 300 calls/s.

The members accept each other's dialogs, as Resource Managers do that share their sessions.
Kamailio with care loses 3 to 4 calls of 4,000 in the first two cases.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import rig
from conftest import Start
from rig import Balancer, Sipp, assert_all_succeeded, wait_until
from test_calls import TRANSPORTS, make_pool, wait_for_calls

CALLS = 4000
RATE = 300


def calls_through(
    tmp_path: Path, start: Start, balancer: Balancer, transport: str, calls: int | None = CALLS
) -> Sipp:
    return start(
        Sipp(
            tmp_path, "uac_shared", target=balancer.port, transport=transport,
            rate=RATE, calls=calls, hold_ms=300,
        )
    )  # fmt: skip


def out_after_s(balancer: Balancer, member: int, since: float) -> float:
    """Seconds from `since` (wall clock) to the member's going out of service."""
    balancer.wait_health(member, "out of service")
    at = [
        event["at"]
        for event in balancer.events()
        if event["name"] == "member-out-of-service" and event["fields"]["member"] == member
    ]
    return float(at[-1]) - since


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_killed_member(tmp_path: Path, start: Start, transport: str) -> None:
    """SIGKILL: 0 calls fail, the ringing ones included; out of service within milliseconds."""
    balancer, members = make_pool(tmp_path, start, "uas_shared", transport, ring_ms=300)
    caller = calls_through(tmp_path, start, balancer, transport)
    time.sleep(5.0)
    killed = time.time()
    members[1].kill()
    # 25 ms is usual; a busy test machine gets a safety margin
    assert out_after_s(balancer, 1, killed) < 0.5
    assert_all_succeeded(caller, caller.finish(), CALLS)
    assert members[2].stop().failed == 0
    assert balancer.metrics().total("rmlb_own_messages_total", what="resend") > 0
    balancer.assert_balanced()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_frozen_member(tmp_path: Path, start: Start, transport: str) -> None:
    """SIGSTOP: out of service within 1 s, 0 calls fail."""
    balancer, members = make_pool(tmp_path, start, "uas_shared", transport, ring_ms=300)
    caller = calls_through(tmp_path, start, balancer, transport)
    time.sleep(5.0)
    frozen = time.time()
    members[1].freeze()
    assert out_after_s(balancer, 1, frozen) < 1.5  # 0.85 s is usual
    assert_all_succeeded(caller, caller.finish(), CALLS)
    assert members[2].stop().failed == 0
    balancer.assert_balanced()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_member_that_answers_503(tmp_path: Path, start: Start, transport: str) -> None:
    """503 to every INVITE: each is tried on the other member; the caller sees nothing."""
    other = "tcp" if transport == "t1" else "udp"
    port = rig.free_port()
    start(rig.SimulatedMember(tmp_path, 1, port=port, args=["--answer", "503"]))
    good = start(Sipp.member(tmp_path, 2, "uas_shared", transport=transport))
    balancer = start(Balancer(tmp_path, {1: f"{other}:{rig.HOST}:{port}", 2: good.address}))
    balancer.wait_health(1, "in service")
    balancer.wait_health(2, "in service")
    caller = calls_through(tmp_path, start, balancer, transport, calls=2000)
    assert_all_succeeded(caller, caller.finish(), 2000)
    metrics = balancer.metrics()
    assert metrics.total("rmlb_messages_absorbed_total", reason="retried") >= 10
    assert metrics.total("rmlb_own_messages_total", what="ack") >= 10
    assert balancer.members()[1]["health"] in ("refusing", "in service")
    balancer.assert_balanced()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_flapping_member(tmp_path: Path, start: Start, transport: str) -> None:
    """Up and down every 2 s: 0 calls fail, few changes, and it stays out until it is steady."""
    balancer, members = make_pool(tmp_path, start, "uas_shared", transport)
    caller = calls_through(tmp_path, start, balancer, transport, calls=None)
    flapping = members[1]
    for _ in range(4):
        time.sleep(2.0)
        flapping.freeze()
        time.sleep(2.0)
        flapping.resume()
    caller.end_calls(at_least=3000)
    assert balancer.members()[1]["transitions"] < 16
    flapping.let_end()
    survivor = members[2].stop()
    assert survivor.failed == 0
    # no dialog of the member that was in service all the time went astray
    assert flapping.stop().counters["adopted"] == 0
    balancer.assert_balanced()


def test_member_that_refuses_probes_keeps_its_calls(tmp_path: Path, start: Start) -> None:
    """503 to OPTIONS while it winds down: its dialogs end on it, no new call reaches it."""
    ports = {n: rig.free_port() for n in (1, 2)}
    winding = start(rig.SimulatedMember(tmp_path, 1, port=ports[1]))
    start(rig.SimulatedMember(tmp_path, 2, port=ports[2]))
    balancer = start(Balancer(tmp_path, {n: f"{rig.HOST}:{p}" for n, p in ports.items()}))
    for number in ports:
        balancer.wait_health(number, "in service")
    caller = start(
        Sipp(tmp_path, "uac_full", target=balancer.port, rate=50, calls=200, hold_ms=1500)
    )
    time.sleep(1.0)
    winding.wind_down()
    balancer.wait_health(1, "refusing")
    refused_at = balancer.initial_requests()[1]
    assert_all_succeeded(caller, caller.finish(), 200)  # uac_full: no dialog changes its member
    assert balancer.initial_requests()[1] == refused_at
    balancer.assert_balanced()


def test_a_frozen_balancer_blames_nobody(tmp_path: Path, start: Start) -> None:
    """Frozen and thawed itself under load, it takes no member for silent."""
    balancer, _ = make_pool(tmp_path, start, "uas_shared")
    caller = start(Sipp(tmp_path, "uac_shared", target=balancer.port, rate=50))
    for _ in range(3):
        # more than what waits for it since it was frozen last
        wait_for_calls(balancer, 1, balancer.initial_requests().get(1, 0) + 60)
        balancer.freeze()
        time.sleep(1.5)
        balancer.resume()
    caller.end_calls(at_least=300)
    assert not [e for e in balancer.events() if e["name"] == "member-out-of-service"]
    balancer.assert_balanced()


def test_share_ramps_up_after_a_return(tmp_path: Path, start: Start) -> None:
    """Slow start: a returned member gets a tenth of its share first, then more and more."""
    balancer, members = make_pool(
        tmp_path,
        start,
        "uas_shared",
        health='interval = "200ms"\ntimeout = "200ms"\nslow-start = "5s"\n',
    )
    members[1].freeze()
    balancer.wait_health(1, "out of service")
    members[1].resume()
    balancer.wait_health(1, "in service")
    caller = start(Sipp(tmp_path, "uac_shared", target=balancer.port, rate=200))
    shares = []
    before = balancer.initial_requests()
    for _ in range(3):
        time.sleep(2.0)
        now = balancer.initial_requests()
        offered = {n: now[n] - before.get(n, 0) for n in now}
        shares.append(offered[1] / sum(offered.values()))
        before = now
    assert shares[0] < 0.35
    assert shares[0] < shares[1] < shares[2]
    assert 0.40 < shares[2] < 0.60
    caller.end_calls(at_least=800)
    balancer.assert_balanced()


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_both_orders_of_loss(tmp_path: Path, start: Start, order: tuple[int, int]) -> None:
    """A dialog follows every loss in turn, idle ones too, and is not given back (SIP-RULES 4)."""
    balancer, members = make_pool(tmp_path, start, "uas_shared")
    first, second = order
    caller = start(
        Sipp(tmp_path, "uac_shared", target=balancer.port, rate=150, calls=300, hold_ms=5000)
    )
    wait_until("all are there", lambda: sum(balancer.initial_requests().values()) >= 300)
    for lost in (first, second):
        members[lost].freeze()
        balancer.wait_health(lost, "out of service")
        members[lost].resume()
        balancer.wait_health(lost, "in service", timeout_s=20.0)
    assert_all_succeeded(caller, caller.finish(), 300)
    # after losing the second, every dialog lives on the first again
    for member in members.values():
        member.let_end()
    adopted = {n: m.stop().counters["adopted"] for n, m in members.items()}
    assert adopted[first] > 0
    balancer.assert_balanced()


def test_overload_refuses_new_calls_only(tmp_path: Path, start: Start) -> None:
    """Three times the load that both members are limited to: what is accepted completes."""
    balancer, _ = make_pool(
        tmp_path, start, "uas_member", extra="[overload]\ncalls-per-second = 50\n"
    )
    caller = start(
        Sipp(tmp_path, "uac_full", target=balancer.port, rate=300, calls=1500, hold_ms=100)
    )
    result = caller.finish()
    refused = int(balancer.metrics().total("rmlb_messages_answered_total", code=503))
    assert refused > 500
    assert result.successful + refused == 1500
    assert result.failed == refused
    assert result.successful == sum(balancer.initial_requests().values())
    balancer.assert_balanced()
