"""The VIP is handed over while calls ring, and then their member dies: none is lost.

Retransmissions do not help them: a caller that has heard a 180 sends its INVITE no more.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from rig_net import NetBalancer, NetSipp, Site
from rig_process import wait_until
from rig_sipp import assert_all_succeeded

CALLS = 40
LOSSES = 70
RING_MS = 2500


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("handover")) as site:
        site.members = {number: start_member(site, number) for number in (1, 2)}
        site.make_balancer(1, witness=False, vip='initial-state = "stopped"\n')
        site.make_balancer(2, witness=False)
        keep_losses(site.balancers[2], LOSSES)
        site.begin_balancers()
        yield site
        site.wait_settled()


def keep_losses(balancer: NetBalancer, count: int) -> None:
    """As if it had recorded them before its restart."""
    now = time.time()
    losses = [[n, 1 + n % 2, [2 - n % 2], now - 3600 + n] for n in range(1, count + 1)]
    content = {"version": 1, "number": count, "losses": losses, "lost": [], "retiring": []}
    balancer.state_dir.mkdir()
    path = balancer.state_dir / "succession.json"
    path.write_text(json.dumps({**content, "active": None, "elected": None, "turn": 0}))


def kept_losses(balancer: NetBalancer) -> list[int]:
    path = balancer.state_dir / "succession.json"
    found = json.loads(path.read_text())["losses"] if path.exists() else []
    return [number for number, *_ in found]


def test_a_standby_learns_more_losses_than_fit_a_heartbeat(site: Site) -> None:
    """Without a store to ask: it was away while they were recorded."""
    assert site.owner == 2
    expected = list(range(1, LOSSES + 1))
    wait_until("it knows them all", lambda: kept_losses(site.balancers[1]) == expected)
    assert kept_losses(site.balancers[2]) == expected


def start_member(site: Site, number: int) -> NetSipp:
    """It rings for a while, and answers in dialogs that another one has begun."""
    return site.start(  # type: ignore[no-any-return]
        NetSipp.at(
            site, f"m{number}", "uas_member", port=5060, keys={"member": number},
            hold_ms=RING_MS, name=f"ringing{number}-{time.monotonic_ns()}",
        )
    )  # fmt: skip


def release(owner: NetBalancer) -> None:
    status, said = owner.post("/api/v1/release")
    assert status == 200, said


def terminate(owner: NetBalancer) -> None:
    owner.send_signal(signal.SIGTERM)
    assert owner.wait(10.0) == 0


@pytest.mark.parametrize("hand_over", [release, terminate])
def test_no_ringing_call_is_lost(site: Site, hand_over: Callable[[NetBalancer], None]) -> None:
    site.wait_settled()
    for each in site.balancers.values():
        each.wait_health(1, "in service")
    first = site.owner
    successor = site.balancers[3 - first]
    caller = NetSipp.at(
        site, "caller", "uac_full", target="10.99.0.100:5060", rate=80, calls=CALLS,
        name=f"caller-{time.monotonic_ns()}", hold_ms=100,
    )  # fmt: skip
    with caller:
        wait_until("all ring", lambda: ringing(site.balancers[first]) >= CALLS)
        hand_over(site.balancers[first])
        wait_until("the other one owns", lambda: successor.owner)
        wait_until("and knows of them", lambda: ringing(successor) >= CALLS)
        site.members[1].kill()
        assert_all_succeeded(caller, caller.finish(), CALLS)
    resent = successor.metrics().total("rmlb_own_messages_total", what="resend")
    assert resent >= 5, "member 1 had some of them"
    if site.balancers[first].running:
        (told,) = site.balancers[first].told("requests-handed-over")
        assert (told["requests"], told["taken"]) == (CALLS, CALLS)
    else:
        site.balancers[first]._spawn()
    site.members[1] = start_member(site, 1)


def ringing(balancer: NetBalancer) -> float:
    return balancer.metrics().total("rmlb_pending_requests")
