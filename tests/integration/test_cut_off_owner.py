"""The cable of a balancer without peers is out for a moment: no dialog changes its member."""

from __future__ import annotations

import time
from pathlib import Path

from rig import assert_all_succeeded
from rig_net import VIP, NetSipp, Site

CALLS = 80


def test_the_cable_is_out_for_a_moment(tmp_path: Path) -> None:
    with Site(tmp_path, balancers=1) as site:
        site.members = site.start_members()
        site.start_balancers(witness=False)
        balancer = site.balancers[1]
        for member in site.members:
            balancer.wait_health(member, "in service", 30.0)
        caller = site.start(
            NetSipp.at(
                site, "caller", "uac_full", target=f"{VIP}:5060", rate=40, calls=CALLS,
                hold_ms=4000, limit=CALLS, timeout_s=60.0,
            )
        )  # fmt: skip
        time.sleep(CALLS / 40 + 0.5)  # all of them are answered
        site.port("b1", "down")
        for member in site.members:
            balancer.wait_health(member, "out of service")
        site.port("b1", "up")
        assert_all_succeeded(caller, caller.finish(), CALLS)
        causes = [event.get("cause") for event in balancer.told("member-out-of-service")]
        assert causes == ["eth0 is down"] * 2
