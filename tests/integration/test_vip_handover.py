"""The VIP is handed over while calls ring, and then their member dies: none is lost.

Retransmissions do not help them: a caller that has heard a 180 sends its INVITE no more.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest
from rig_net import NetBalancer, NetSipp, Site
from rig_process import wait_until
from rig_sipp import assert_all_succeeded

CALLS = 40
RING_MS = 2500


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("handover")) as site:
        site.members = {number: start_member(site, number) for number in (1, 2)}
        site.start_balancers(witness=False)
        yield site
        site.wait_settled()


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
