"""Active-standby: exactly one member gets everything (DESIGN 5), with real calls and scripts."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from conftest import Start
from rig import Balancer, Sipp, assert_all_succeeded, wait_until
from test_calls import TRANSPORTS, make_pool, misrouted

RATE = 100


def make_pair(
    tmp_path: Path, start: Start, scenario: str = "uas_shared", transport: str = "u1", **config: str
) -> tuple[Balancer, dict[int, Sipp]]:
    """A pool in active-standby mode with member 2 active."""
    pool = make_pool(
        tmp_path, start, scenario, transport, ring_ms=100, ha_mode="active-standby", **config
    )
    wait_active(pool[0], 2)
    return pool


def wait_active(balancer: Balancer, member: int) -> None:
    wait_until(f"member {member} active", lambda: bool(balancer.status()["active"] == member))


def wait_told(balancer: Balancer, name: str, timeout_s: float = 15.0) -> dict[str, object]:
    wait_until(name, lambda: bool(balancer.told(name)), timeout_s)
    fields: dict[str, object] = balancer.told(name)[-1]
    return fields


def calls(
    tmp_path: Path,
    start: Start,
    balancer: Balancer,
    number: int,
    scenario: str = "uac_shared",
    transport: str = "u1",
    hold_ms: int = 200,
) -> Sipp:
    return start(
        Sipp(
            tmp_path, scenario, target=balancer.port, transport=transport,
            rate=RATE, calls=number, hold_ms=hold_ms,
        )
    )  # fmt: skip


def test_exactly_one_gets_everything(tmp_path: Path, start: Start) -> None:
    balancer, members = make_pair(tmp_path, start, "uas_member")
    assert balancer.told("active-member-changed") == [
        {"member": 2, "from": None, "why": "the highest member ID in service"}
    ]
    caller = calls(tmp_path, start, balancer, 200, "uac_full")
    assert_all_succeeded(caller, caller.finish(), 200)
    assert balancer.initial_requests().get(1, 0) == 0
    shown = balancer.members()
    assert [(shown[n]["active"], shown[n]["takes_new_calls"]) for n in (1, 2)] == [
        (False, False),
        (True, True),
    ]
    active = balancer.metrics().by("rmlb_member_active", "member")
    assert active == {"1": 0.0, "2": 1.0}
    assert "active      member 2" in balancer.cli("status")
    balancer.assert_balanced()
    assert misrouted(members) == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_killed_active_member(tmp_path: Path, start: Start, transport: str) -> None:
    """SIGKILL under 100 calls/s: 0 calls fail; the former stays passive when it is back."""
    balancer, members = make_pair(tmp_path, start, transport=transport)
    caller = calls(tmp_path, start, balancer, 800, transport=transport)
    time.sleep(3.0)
    members[2].kill()
    wait_active(balancer, 1)
    time.sleep(1.0)
    members[2].start()
    balancer.wait_health(2, "in service")
    offered = balancer.initial_requests()[2]
    assert_all_succeeded(caller, caller.finish(), 800)
    assert balancer.status()["active"] == 1
    assert balancer.initial_requests()[2] == offered
    assert members[1].stop().failed == 0
    balancer.assert_balanced()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_switchover_under_load(tmp_path: Path, start: Start, transport: str) -> None:
    """`rmlb switchover`: new calls to the other at once, dialogs stay, 0 calls fail.

    The callers insist that their dialogs stay with their member, and so do the members.
    """
    balancer, members = make_pair(tmp_path, start, "uas_member", transport)
    caller = calls(tmp_path, start, balancer, 600, "uac_full", transport, hold_ms=1500)
    time.sleep(2.0)
    said = balancer.cli("switchover")
    offered = balancer.initial_requests()[2]
    assert said.startswith("active: 1\nmember 2 drains: ")
    draining = balancer.members()[2]["draining"]
    assert draining["cause"] == "switch-over"
    assert draining["left"] > 20
    assert "member 2 for " in balancer.cli("status")
    drained = wait_told(balancer, "member-drained")
    assert (drained["member"], drained["why"]) == (2, "switch-over")
    passive = balancer.members()[2]
    assert (passive["admin_state"], passive["active"], passive["draining"]) == (
        "enabled",
        False,
        None,
    )
    assert_all_succeeded(caller, caller.finish(), 600)
    assert balancer.initial_requests()[2] == offered
    assert balancer.initial_requests()[1] == 600 - offered
    balancer.assert_balanced()
    assert misrouted(members) == 0


def test_what_is_left_at_the_limit_moves(tmp_path: Path, start: Start) -> None:
    balancer, members = make_pair(tmp_path, start, extra='[drain]\nmember-limit = "1s"\n')
    caller = calls(tmp_path, start, balancer, 200, hold_ms=3000)
    time.sleep(1.5)
    assert balancer.post("/api/v1/switchover", {"member": 1})[0] == 200
    told = wait_told(balancer, "member-not-drained")
    assert told["member"] == 2
    assert isinstance(told["calls"], int)
    assert told["calls"] > 50
    assert told["why"] == "they move to the active member"
    assert_all_succeeded(caller, caller.finish(), 200)
    assert members[1].stop().counters["adopted"] > 50
    balancer.assert_balanced()


def test_draining_the_active_member_switches_over(tmp_path: Path, start: Start) -> None:
    balancer, members = make_pair(tmp_path, start, "uas_member")
    caller = calls(tmp_path, start, balancer, 300, "uac_full")
    time.sleep(1.0)
    balancer.cli("drain", "2")
    assert balancer.status()["active"] == 1
    assert wait_told(balancer, "member-drained")["why"] == "operator"
    balancer.cli("enable", "2")
    assert_all_succeeded(caller, caller.finish(), 300)
    assert balancer.status()["active"] == 1
    balancer.assert_balanced()
    assert misrouted(members) == 0


def test_disabling_the_active_member_moves_at_once(tmp_path: Path, start: Start) -> None:
    balancer, _ = make_pair(tmp_path, start)
    caller = calls(tmp_path, start, balancer, 400, hold_ms=300)
    time.sleep(2.0)
    balancer.cli("disable", "2")
    at_once = balancer.metrics().total("rmlb_member_requests_total", member=2)
    assert balancer.status()["active"] == 1
    time.sleep(1.0)
    later = balancer.metrics().total("rmlb_member_requests_total", member=2)
    assert later - at_once <= 5  # ACK and the like of transactions under way
    assert_all_succeeded(caller, caller.finish(), 400)
    balancer.assert_balanced()


def test_preempt(tmp_path: Path, start: Start) -> None:
    balancer, members = make_pair(tmp_path, start, extra="[vip]\npreempt = true\n")
    members[2].kill()
    wait_active(balancer, 1)
    members[2].start()
    wait_active(balancer, 2)
    changes = balancer.told("active-member-changed")
    assert changes[-1]["why"] == "the preferred member is back (vip.preempt)"


def test_the_rms_own_election_outranks_ours(tmp_path: Path, start: Start) -> None:
    balancer, members = make_pair(tmp_path, start)
    assert balancer.cli("active", "1") == "active: 1\n"
    members[1].kill()
    wait_active(balancer, 2)
    members[1].start()
    wait_active(balancer, 1)
    assert balancer.told("active-member-changed")[-1]["why"] == (
        "the Resource Managers' own election chose it"
    )
    balancer.put_state(2, "disabled")
    assert balancer.post("/api/v1/members/2/active") == (
        409,
        {"error": "member 2 is disabled: enable it first"},
    )
    assert balancer.post("/api/v1/switchover") == (
        409,
        {"error": "no other member is in service and enabled"},
    )
    assert balancer.post("/api/v1/switchover", {"member": 2}) == (
        409,
        {"error": "member 2 is disabled: it cannot take the calls"},
    )


def test_active_active_has_no_active_member(tmp_path: Path, start: Start) -> None:
    balancer, _ = make_pool(tmp_path, start)
    error = {"error": "ha-mode is active-active: every member in service is active"}
    assert balancer.post("/api/v1/switchover") == (409, error)
    assert balancer.post("/api/v1/members/1/active") == (409, error)
    assert balancer.post("/api/v1/members/7/active")[0] == 404
    assert balancer.status()["active"] is None
    assert balancer.members()[1]["active"] is None


# the failoverscript


def make_script(tmp_path: Path, *lines: str) -> Path:
    """A script in a folder with a space in its name, that writes down its arguments."""
    folder = tmp_path / "bin of the RM"
    folder.mkdir()
    script = folder / "NLB.sh"
    text = ["#!/bin/sh", f'echo "$@" >> {tmp_path}/said', *lines]
    script.write_text("\n".join(text) + "\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def said_to(tmp_path: Path) -> list[str]:
    said = tmp_path / "said"
    return said.read_text().splitlines() if said.exists() else []


def test_the_script_follows_the_active_member(tmp_path: Path, start: Start) -> None:
    script = make_script(tmp_path, "echo moved for $2")
    balancer, members = make_pair(tmp_path, start, cluster=f'failoverscript = "{script}"\n')
    wait_until("enable 2", lambda: said_to(tmp_path) == ["enable 2"])
    members[2].kill()
    wanted = ["enable 2", "disable 2", "enable 1"]
    wait_until("disable 2, enable 1", lambda: said_to(tmp_path) == wanted)
    wait_until("told", lambda: len(balancer.told("failoverscript-ended")) == 3)
    ends = balancer.told("failoverscript-ended")
    assert [(e["action"], e["member"], e["status"], e["output"]) for e in ends] == [
        ("enable", 2, 0, "moved for 2"),
        ("disable", 2, 0, "moved for 2"),
        ("enable", 1, 0, "moved for 1"),
    ]
    balancer.stop()
    start(balancer)  # keeps the active member: no change, no script
    assert balancer.status()["active"] == 1
    time.sleep(0.5)
    assert said_to(tmp_path) == wanted


def test_a_hanging_script_is_killed_with_all_it_started(tmp_path: Path, start: Start) -> None:
    script = make_script(tmp_path, f"sleep 300 & echo $! > {tmp_path}/child", "echo hangs; wait")
    balancer, _ = make_pair(
        tmp_path,
        start,
        cluster=f"failoverscript = '\"{script}\" --force'\n",
        extra='[vip]\nscript-timeout = "500ms"\n',
    )
    caller = calls(tmp_path, start, balancer, 100)
    failed = wait_told(balancer, "failoverscript-failed")
    assert failed["why"] == "killed: still running after 0.5 s"
    assert (failed["action"], failed["member"], failed["output"]) == ("enable", 2, "hangs")
    assert said_to(tmp_path) == ["--force enable 2"]
    assert_all_succeeded(caller, caller.finish(), 100)
    child = int((tmp_path / "child").read_text())
    wait_until("the script's child has gone", lambda: not is_alive(child))
    balancer.assert_clean_stderr()


def test_a_script_cannot_be_talked_into_more(tmp_path: Path, start: Start) -> None:
    """No shell: what would be an operator there is an argument."""
    balancer, _ = make_pair(
        tmp_path, start, cluster=f"failoverscript = '/bin/echo $HOME; touch {tmp_path}/x &&'\n"
    )
    told = wait_told(balancer, "failoverscript-ended")
    assert told["output"] == f"$HOME; touch {tmp_path}/x && enable 2"
    assert not (tmp_path / "x").exists()


def test_a_script_that_is_not_there_or_fails(tmp_path: Path, start: Start) -> None:
    balancer, _ = make_pair(tmp_path, start, cluster='failoverscript = "/nowhere/NLB.sh"\n')
    told = wait_told(balancer, "failoverscript-failed")
    assert told["why"] == "cannot be run: No such file or directory"
    assert balancer.status()["active"] == 2


def is_alive(pid: int) -> bool:
    """Running, and no zombie whose parent has not looked yet."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


# over a restart


def test_a_restart_keeps_the_active_member_and_the_operators_word(
    tmp_path: Path, start: Start
) -> None:
    balancer, _ = make_pair(tmp_path, start)
    assert balancer.post("/api/v1/switchover")[1]["active"] == 1
    balancer.stop()
    start(balancer)
    assert balancer.status()["active"] == 1
    balancer.put_state(1, "draining")
    assert balancer.status()["active"] == 2
    balancer.kill()
    start(balancer)
    status = balancer.status()
    assert status["active"] == 2
    assert balancer.members()[1]["admin_state"] == "draining"
    assert balancer.told("active-member-changed") == []


def test_the_active_member_died_while_the_balancer_was_down(tmp_path: Path, start: Start) -> None:
    balancer, members = make_pair(tmp_path, start)
    balancer.stop()
    members[2].kill()
    start(balancer)
    wait_active(balancer, 1)
    assert balancer.told("active-member-changed") == [
        {"member": 1, "from": 2, "why": "member 2 is out of service"}
    ]


def test_a_broken_file_is_set_aside(tmp_path: Path, start: Start) -> None:
    balancer, _ = make_pair(tmp_path, start)
    balancer.stop()
    (balancer.state_dir / "succession.json").write_text("{")
    start(balancer)
    wait_active(balancer, 2)
    assert balancer.told("loss-log-set-aside")[0]["why"] == (
        "not JSON; kept as succession.json.corrupt"
    )
