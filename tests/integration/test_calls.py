"""Real calls through the balancer: sipp as caller, sipp as both members (issue 1).

The callers fail a call whose later answers come from another member than its To tag names; the
members fail one whose in-dialog requests they do not know. After every run the counters balance.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import rig
from conftest import Start
from rig import Balancer, Sipp, assert_all_succeeded, wait_until

TRANSPORTS = ["u1", "t1"]


def make_pool(
    tmp_path: Path,
    start: Start,
    scenario: str = "uas_member",
    transport: str = "u1",
    ring_ms: int = 0,
    **config: str,
) -> tuple[Balancer, dict[int, Sipp]]:
    """A balancer in front of two sipp members, both in service."""
    members = {
        number: start(Sipp.member(tmp_path, number, scenario, transport=transport, ring_ms=ring_ms))
        for number in (1, 2)
    }
    balancer = start(Balancer(tmp_path, {n: m.address for n, m in members.items()}, **config))
    for number in members:
        balancer.wait_health(number, "in service")
    return balancer, members


def wait_for_calls(balancer: Balancer, member: int, count: int) -> None:
    """Wait until the member was offered so many calls, for 60 s."""
    wait_until(
        f"{count} calls for member {member}",
        lambda: balancer.initial_requests().get(member, 0) >= count,
        60.0,
    )


def misrouted(members: dict[int, Sipp]) -> int:
    for member in members.values():
        member.let_end()
    return sum(member.stop().counters["misrouted"] for member in members.values())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_ten_thousand_calls(tmp_path: Path, start: Start, transport: str) -> None:
    """10,000 calls at 400 calls/s: 0 failed, 0 misrouted, each member 45 to 55 percent."""
    balancer, members = make_pool(tmp_path, start, transport=transport)
    caller = start(
        Sipp(
            tmp_path, "uac_full", target=balancer.port, transport=transport,
            rate=400, calls=10_000, hold_ms=100,
        )
    )  # fmt: skip
    assert_all_succeeded(caller, caller.finish(), 10_000)
    assert 0.45 <= balancer.share(1) <= 0.55
    assert sum(balancer.initial_requests().values()) == 10_000
    assert {m["calls"] for m in balancer.members().values()} == {0}
    balancer.assert_balanced()
    assert misrouted(members) == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("caller", "member", "options"),
    [
        ("uac_cancel", "uas_cancel", {"hold_ms": 50}),
        ("uac_busy", "uas_busy", {}),
        ("uac_early", "uas_early", {}),
        ("uac_fork", "uas_fork", {}),
    ],
)
def test_other_flows(
    tmp_path: Path,
    start: Start,
    caller: str,
    member: str,
    options: dict[str, int],
    transport: str,
) -> None:
    """CANCEL before answer, ACK to a 486, early dialog with 183, forked 200."""
    balancer, members = make_pool(tmp_path, start, member, transport)
    uac = start(
        Sipp(
            tmp_path, caller, target=balancer.port, transport=transport,
            rate=100, calls=200, **options,
        )
    )  # fmt: skip
    assert_all_succeeded(uac, uac.finish(), 200)
    balancer.assert_balanced()
    assert misrouted(members) == 0


def test_retransmitted_invite_follows_its_transaction(tmp_path: Path, start: Start) -> None:
    """The member sees the same octets twice, and answers once."""
    balancer, members = make_pool(tmp_path, start, "uas_slow")
    caller = start(Sipp(tmp_path, "uac_retrans", target=balancer.port, rate=50, calls=200))
    assert_all_succeeded(caller, caller.finish(), 200)
    balancer.assert_balanced()
    assert misrouted(members) == 0


@pytest.mark.parametrize("algorithm", ["round-robin", "least-calls"])
def test_other_algorithms_keep_dialogs_too(tmp_path: Path, start: Start, algorithm: str) -> None:
    balancer, members = make_pool(tmp_path, start, extra=f'[affinity]\nalgorithm = "{algorithm}"\n')
    caller = start(
        Sipp(tmp_path, "uac_full", target=balancer.port, rate=200, calls=1000, hold_ms=100)
    )
    assert_all_succeeded(caller, caller.finish(), 1000)
    assert 0.45 <= balancer.share(1) <= 0.55
    balancer.assert_balanced()
    assert misrouted(members) == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_drained_member_gets_no_new_call(tmp_path: Path, start: Start, transport: str) -> None:
    """`rmlb drain 1` under load: no call fails, and no new one reaches member 1."""
    balancer, members = make_pool(tmp_path, start, transport=transport)
    caller = start(
        Sipp(
            tmp_path, "uac_full", target=balancer.port, transport=transport,
            rate=200, hold_ms=500,
        )
    )  # fmt: skip
    wait_for_calls(balancer, 1, 150)
    balancer.cli("drain", "1")
    drained_at = balancer.initial_requests()
    wait_for_calls(balancer, 2, drained_at[2] + 300)
    wait_until("its calls have ended", lambda: balancer.members()[1]["calls"] == 0)
    assert balancer.initial_requests()[1] == drained_at[1]
    balancer.cli("enable", "1")
    wait_for_calls(balancer, 1, drained_at[1] + 100)
    caller.end_calls(at_least=800)
    balancer.assert_balanced()
    assert misrouted(members) == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_disabled_member_is_left_at_once(tmp_path: Path, start: Start, transport: str) -> None:
    """`rmlb disable 1` under load: its dialogs go on at the other member, no call fails."""
    balancer, _ = make_pool(tmp_path, start, "uas_shared", transport)
    caller = start(
        Sipp(
            tmp_path, "uac_shared", target=balancer.port, transport=transport,
            rate=200, hold_ms=500,
        )
    )  # fmt: skip
    wait_for_calls(balancer, 1, 200)
    balancer.cli("disable", "1")
    sent = balancer.initial_requests()
    wait_for_calls(balancer, 2, sent[2] + 400)
    caller.end_calls(at_least=800)
    assert balancer.initial_requests()[1] == sent[1]
    balancer.assert_balanced()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_killed_member_leaves_the_others_calls_alone(
    tmp_path: Path, start: Start, transport: str
) -> None:
    """Killed and restarted under load: the survivor's calls are untouched, new calls return."""
    balancer, members = make_pool(tmp_path, start, "uas_shared", transport)
    caller = start(
        Sipp(
            tmp_path, "uac_shared", target=balancer.port, transport=transport,
            rate=200, hold_ms=200,
        )
    )  # fmt: skip
    wait_for_calls(balancer, 1, 200)
    members[1].kill()
    balancer.wait_health(1, "out of service")
    wait_for_calls(balancer, 2, balancer.initial_requests()[2] + 200)
    back = start(
        Sipp.member(
            tmp_path, 1, "uas_shared", port=members[1].port, transport=transport
        )
    )  # fmt: skip
    before = balancer.initial_requests()[1]
    balancer.wait_health(1, "in service")
    wait_for_calls(balancer, 1, before + 150)
    caller.end_calls(at_least=800)
    assert back.stop().counters["calls"] > 100
    assert members[2].stop().failed == 0
    balancer.assert_balanced()


def test_stock_sipp_against_simulated_members(tmp_path: Path, start: Start) -> None:
    """What the README says to try: `sipp -sn uac VIP:5060 -m 100`."""
    members = {n: rig.free_port() for n in (1, 2)}
    for number, port in members.items():
        start(rig.SimulatedMember(tmp_path, number, port=port))
    balancer = start(Balancer(tmp_path, {n: f"{rig.HOST}:{p}" for n, p in members.items()}))
    caller = start(Sipp(tmp_path, "sn:uac", target=balancer.port, rate=20, calls=100))
    assert_all_succeeded(caller, caller.finish(), 100)
    balancer.assert_balanced()
