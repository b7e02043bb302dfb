"""SIGHUP under 300 calls/s: no call fails, no message is lost, alarms go on under new settings."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from conftest import Start
from rig import Balancer, Sipp, assert_all_succeeded, wait_until


def test_reloads_at_300_calls_per_second(tmp_path: Path, start: Start) -> None:
    members = {n: start(Sipp.member(tmp_path, n, "uas_member")) for n in (1, 2)}
    balancer = start(
        Balancer(
            tmp_path,
            {n: member.address for n, member in members.items()},
            extra='[log]\nlevel = "info"\n\n[overload]\nrequests-waiting = 0\n',
        )
    )
    for number in members:
        balancer.wait_health(number, "in service")
    caller = start(
        Sipp(tmp_path, "uac_full", target=balancer.port, rate=300, calls=1800, hold_ms=200)
    )
    out = tmp_path / "reacted"
    for number in range(1, 11):
        text = balancer.config_path.read_text()
        text = re.sub(r"requests-waiting = \d+", f"requests-waiting = {1000 + number}", text)
        text = re.sub(r"\n\[\[reaction\]\].*", "", text, flags=re.DOTALL)
        text += f'\n[[reaction]]\non = ["reloaded"]\ncommand = ["/bin/sh", "-c", "echo {number} >> {out}"]\n'  # noqa: E501
        balancer.config_path.write_text(text)
        balancer.send_signal(signal.SIGHUP)
        wait_until("reloaded", lambda n=number: len(balancer.told("reloaded")) == n)  # type: ignore[misc]
        time.sleep(0.4)
    assert_all_succeeded(caller, caller.finish(), 1800)
    assert balancer.told("member-out-of-service") == []
    balancer.assert_balanced()
    wait_until("every reload was told once", lambda: len(out.read_text().split()) == 10)
    assert sorted(map(int, out.read_text().split())) == list(range(1, 11))
    assert sum(member.stop().counters["misrouted"] for member in members.values()) == 0
