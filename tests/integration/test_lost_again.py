"""A balancer and the member on the same host end together, and not for the first time."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from rig import assert_all_succeeded
from rig_net import VIP, NetSipp, Site, kill_all

CALLS = 80


def test_a_member_and_the_owner_end_together_a_second_time(tmp_path: Path) -> None:
    """The standby has seen losses of that member before: this one is another, and its calls go to
    the survivor."""
    with Site(tmp_path) as site:
        site.members = site.start_members("uas_shared")
        site.start_balancers(witness=False)
        member = site.members[1]
        for _ in range(2):
            member.kill()
            for balancer in site.balancers.values():
                balancer.wait_health(1, "out of service")
            time.sleep(0.3)  # the standby has the owner's word
            member.start()
            for balancer in site.balancers.values():
                balancer.wait_health(1, "in service", 30.0)
        owner = site.balancers[site.owner]
        caller = site.start(
            NetSipp.at(
                site, "caller", "uac_shared", target=f"{VIP}:5060", rate=40, calls=CALLS,
                hold_ms=4000, limit=CALLS, timeout_s=60.0,
            )
        )  # fmt: skip
        time.sleep(CALLS / 40 + 0.5)  # all of them are answered
        at_member = member.snapshot().counters["calls"]
        kill_all([owner.pid, *owner.children()], signal.SIGKILL)
        member.kill()
        assert_all_succeeded(caller, caller.finish(), CALLS)
        assert at_member > 0, "none of the calls was there"
