"""Who is active, who retires and what enters the loss log; on a disk of its own, in no time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rmlb.config import VipProvider, parse
from rmlb.events import Event
from rmlb.health.activity import ActivityError
from rmlb.roles import Roles, Shared
from rmlb.routing.member import AdminState, Health, Member
from rmlb.snapshot import NOBODY
from rmlb.state.agreement import ONE_LOSS_S, Active, Losses
from rmlb.state.succession import KeptLoss

IN, OUT, SUSPECT = Health.IN_SERVICE, Health.OUT_OF_SERVICE, Health.SUSPECT
KEY = b"k" * 16


class Bench:
    """A pool of members that a test says how they are, with `left` calls each."""

    def __init__(self, directory: Path, mode: str = "active-standby", extra: str = "") -> None:
        text = f"""
            [cluster]
            ha-mode = "{mode}"
            virtual-ip = "127.0.0.1"
            [rm.1]
            sip = "127.0.0.1:7001"
            [rm.2]
            sip = "127.0.0.1:7002"
            [rm.3]
            sip = "127.0.0.1:7003"
            [state]
            dir = "{directory}"
            {extra}"""
        self.config = parse(text, "site.toml", environ={})
        self.told: list[Event] = []
        self.left: Counter[int] = Counter()
        self.members: dict[int, Member] = {}
        self.unheard: set[int] = set()
        self.now = 1000.0
        self.roles = Roles(self.config, self.told.append, lambda member: self.left[member])

    def load(self, **states: AdminState) -> Bench:
        self.roles.load({int(name[1:]): state for name, state in states.items()}, self.now)
        return self

    def set(self, *healths: Health, unheard: tuple[int, ...] = (), **states: AdminState) -> None:
        """The members 1, 2, ... with their health, and `m1=` what the operator says."""
        for number, health in enumerate(healths, start=1):
            state = states.get(f"m{number}", AdminState.ENABLED)
            self.members[number] = Member(number, (), health, state)
        self.roles.update(dict(self.members), set(unheard), self.now)

    def give_script(self, log: Path) -> None:
        """A failoverscript that writes down what it is called with."""
        script = log.with_suffix(".sh")
        script.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
        script.chmod(0o755)
        object.__setattr__(self.config.cluster, "failoverscript", str(script))
        self.roles.configure(self.config)

    def after(self, seconds: float) -> bool:
        self.now += seconds
        return self.roles.look(self.now)

    @property
    def losses(self) -> list[tuple[int, int, tuple[int, ...]]]:
        return [(x.number, x.member, x.survivors) for x in self.roles.standing.losses.losses]

    @property
    def events(self) -> list[tuple[str, Any]]:
        return [(str(event.name), event.fields["member"]) for event in self.told]

    def where(self, member: int, since: int = 0) -> int:
        return self.roles.standing.losses.holder(member, since, 77, KEY)


async def test_active_active_knows_no_active_member(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "active-active").load()
    bench.set(IN, IN, IN)
    assert (bench.roles.standing.active, bench.roles.standing.retiring) == (None, frozenset())
    bench.set(OUT, IN, IN)
    bench.set(OUT, IN, OUT)
    bench.set(IN, IN, OUT)
    bench.set(IN, IN, OUT, m1=AdminState.DISABLED)
    assert bench.losses == [(1, 1, (2, 3)), (2, 3, (2,)), (3, 1, (2,))]
    await bench.roles.close()


async def test_nobody_is_chosen_before_all_are_heard(tmp_path: Path) -> None:
    bench = Bench(tmp_path).load()
    bench.set(IN, IN, SUSPECT, unheard=(3,))
    assert bench.roles.standing.active == NOBODY
    assert not bench.after(2.9)
    assert bench.after(0.2), "a new snapshot is due"
    assert bench.roles.standing.active == 2
    assert not bench.after(1.0)
    await bench.roles.close()


async def test_the_active_member_inherits_everything(tmp_path: Path) -> None:
    """With three members a rendezvous choice might name a passive one."""
    bench = Bench(tmp_path).load()
    bench.set(IN, IN, IN)
    bench.set(IN, IN, OUT)
    assert bench.losses == [(1, 3, (2,))]
    bench.set(OUT, IN, OUT)
    assert bench.losses[1:] == [(2, 1, (2,))]
    bench.set(OUT, OUT, OUT)
    assert bench.losses[2:] == [(3, 2, ())]
    await bench.roles.close()


async def test_a_switchover_ends_in_the_loss_log(tmp_path: Path) -> None:
    """What the former active member had belongs to the new one, also when it is active again."""
    bench = Bench(tmp_path).load()
    bench.set(IN, IN, IN)
    bench.left[3] = 2
    bench.roles.switchover(None)
    bench.set(IN, IN, IN)
    assert bench.roles.standing.active == 2
    assert bench.roles.standing.retiring == {3}
    assert bench.where(3) == 3
    drain = bench.roles.draining(3)
    assert drain is not None
    assert drain.since == 1000.0
    bench.left[3] = 0
    assert bench.after(5.0)
    assert bench.roles.standing.retiring == frozenset()
    assert bench.roles.draining(3) is None
    assert bench.where(3) == 2
    assert bench.where(3, since=1) == 3, "but not its later ones"
    bench.roles.switchover(3)
    bench.set(IN, IN, IN)
    assert bench.where(3) == 3, (
        "member 2 had none left: its dialogs follow, member 3's old ones too"
    )
    assert [name for name, _ in bench.events] == [
        "active-member-changed", "active-member-changed", "member-drained",
        "active-member-changed", "member-drained",
    ]  # fmt: skip
    await bench.roles.close()


async def test_the_limit_moves_what_is_left(tmp_path: Path) -> None:
    bench = Bench(tmp_path, extra='[drain]\nmember-limit = "10s"').load()
    bench.set(IN, IN, IN)
    bench.left[3] = 4
    bench.roles.switchover(1)
    bench.set(IN, IN, IN)
    assert not bench.after(9.9)
    assert bench.after(0.2)
    assert bench.losses == [(1, 3, (1,))]
    assert bench.told[-1].fields["calls"] == 4
    assert bench.told[-1].fields["why"] == "they move to the active member"
    await bench.roles.close()


async def test_an_operators_draining_member_keeps_its_calls(tmp_path: Path) -> None:
    bench = Bench(tmp_path, extra='[drain]\nmember-limit = "10s"').load()
    bench.set(IN, IN, IN)
    bench.left[3] = 4
    bench.set(IN, IN, IN, m3=AdminState.DRAINING)
    bench.after(11.0)
    assert bench.events[-1] == ("member-not-drained", 3)
    assert bench.told[-1].fields["why"] == "they stay"
    assert bench.roles.standing.retiring == {3}
    bench.left[3] = 0
    bench.after(1.0)
    assert bench.events[-1] == ("member-drained", 3)
    assert bench.roles.standing.retiring == {3}
    bench.set(IN, IN, IN)
    assert bench.roles.standing.retiring == frozenset()
    await bench.roles.close()


async def test_a_restart(tmp_path: Path) -> None:
    bench = Bench(tmp_path).load()
    bench.set(IN, IN, IN)
    bench.set(IN, IN, OUT)
    bench.left[2] = 1
    bench.roles.told_active(1)
    bench.set(IN, IN, OUT)
    await bench.roles.close()

    again = Bench(tmp_path).load()
    again.now = 1010.0
    assert again.losses == [(1, 3, (2,))]
    assert again.roles.lost == {3}
    again.set(SUSPECT, SUSPECT, OUT, unheard=(1, 2, 3))
    assert again.roles.standing.active == 1
    assert again.roles.standing.retiring == {2}, "its calls are not known any more"
    assert not again.after(1.0)
    again.set(OUT, SUSPECT, OUT, unheard=(2, 3))
    assert again.losses[1:] == [(2, 1, (2,))], "died while nobody looked"
    again.set(OUT, SUSPECT, OUT, unheard=(2,))
    assert len(again.losses) == 2, "its loss was in the log already"
    again.set(OUT, SUSPECT, IN, unheard=(2,))
    assert again.roles.lost == {1}
    again.set(OUT, SUSPECT, OUT, unheard=(2,))
    assert again.losses[2:] == [(3, 3, (2,))]
    again.set(IN, IN, OUT)
    assert again.roles.standing.active == 1, "still the one that the RMs chose"
    await again.roles.close()


async def test_draining_since_before_a_restart(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "active-active").load(m1=AdminState.DRAINING)
    bench.set(IN, IN, IN, m1=AdminState.DRAINING)
    bench.after(1.0)
    assert bench.events == [], "nobody knows whether it is empty"
    bench.set(IN, IN, IN, m2=AdminState.DRAINING)
    assert bench.events == [("member-drained", 2)]
    await bench.roles.close()


async def test_old_losses_are_forgotten_and_numbers_go_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "active-active", '[affinity]\nttl = "1h"\nidle = "1h"').load()
    bench.set(IN, IN, IN)
    bench.set(OUT, IN, IN)
    bench.set(IN, IN, IN)
    assert not bench.after(3600.0)
    assert bench.after(1.0)
    assert (bench.losses, bench.roles.standing.losses.number) == ([], 1)
    bench.set(OUT, IN, IN)
    assert bench.losses == [(2, 1, (2, 3))]
    await bench.roles.close()


async def test_a_member_that_is_not_configured_any_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path).load()
    bench.set(IN, IN, IN)
    await bench.roles.close()
    again = Bench(tmp_path)
    rm = {n: again.config.rm[n] for n in (1, 2)}
    object.__setattr__(again.config, "rm", rm)
    again.load().set(IN, IN)
    assert again.roles.standing.active == 2
    await again.roles.close()


# what other balancers know


def kept(number: int, member: int, age_s: float = 0.0) -> KeptLoss:
    survivors = tuple(m for m in (1, 2, 3) if m != member)
    return KeptLoss(number, member, survivors, time.time() - age_s)


async def test_a_loss_that_another_balancer_recorded_is_not_recorded_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "active-active").load()
    bench.set(IN, IN, IN)
    bench.roles.learn_losses(Losses(4, (kept(4, 1),)), bench.now)
    assert bench.losses == [(4, 1, (2, 3))]
    bench.set(IN, IN, IN)  # not seen here yet
    bench.set(OUT, IN, IN)  # here, too
    assert bench.losses == [(4, 1, (2, 3))]
    bench.set(IN, IN, IN)
    bench.set(OUT, IN, IN)  # its next loss
    assert [number for number, _, _ in bench.losses] == [4, 5]
    await bench.roles.close()


async def test_a_loss_that_never_showed_here_stops_counting(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "active-active").load()
    bench.set(IN, IN, IN)
    bench.roles.learn_losses(Losses(4, (kept(4, 1),)), bench.now)
    bench.after(ONE_LOSS_S)
    bench.set(OUT, IN, IN)
    assert [number for number, _, _ in bench.losses] == [4, 5]
    await bench.roles.close()


async def test_an_old_loss_is_learnt_and_nothing_else(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "active-active").load()
    bench.set(IN, IN, IN)
    bench.roles.learn_losses(Losses(9, (kept(4, 1, 60.0),)), bench.now)
    assert (bench.where(1), bench.roles.lost) == (bench.where(1), frozenset())
    assert bench.where(1) in (2, 3)
    bench.set(OUT, IN, IN)
    assert [number for number, _, _ in bench.losses] == [4, 10]
    await bench.roles.close()


async def test_only_the_owner_records_losses(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "active-active").load()
    bench.roles.is_owner = False
    bench.set(IN, IN, IN)
    bench.set(OUT, IN, IN)
    assert bench.losses == []
    bench.roles.is_owner = True
    bench.set(OUT, IN, IN)
    assert bench.losses == [(1, 1, (2, 3))]
    await bench.roles.close()


async def test_a_standby_forgets_a_loss_whose_member_is_back(tmp_path: Path) -> None:
    """The same member and the owner end together, as those of one host: that is another loss."""
    bench = Bench(tmp_path, "active-active").load()
    bench.roles.is_owner = False
    bench.set(IN, IN, IN)
    bench.set(OUT, IN, IN)
    bench.roles.adopt(Shared(1, [(1, 1, (2, 3), time.time())]), True, bench.now)
    assert bench.roles.lost == {1}
    bench.set(OUT, IN, IN, unheard=(1,))
    assert bench.roles.lost == {1}
    bench.set(IN, IN, IN)
    assert bench.roles.lost == set()
    bench.set(OUT, IN, IN)
    bench.roles.is_owner = True
    bench.set(OUT, IN, IN)
    assert [number for number, _, _ in bench.losses] == [1, 2]
    await bench.roles.close()


async def test_a_member_that_goes_from_the_configuration_just_after_its_loss(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, "active-active").load()
    bench.set(IN, IN, IN)
    bench.roles.learn_losses(Losses(4, (kept(4, 3),)), bench.now)
    del bench.members[3]
    bench.set(IN, IN)
    bench.after(ONE_LOSS_S)
    assert bench.roles.lost == set()
    await bench.roles.close()


async def test_an_old_loss_of_a_member_that_is_out_here_alone_is_not_its_newest(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, "active-active").load()
    bench.roles.is_owner = False
    bench.set(IN, IN, IN)
    at = time.time()
    bench.roles.adopt(Shared(1, [(1, 1, (2, 3), at)]), True, bench.now)
    bench.set(OUT, IN, IN)
    told = Shared(2, [(1, 1, (2, 3), at), (2, 3, (1, 2), at)])
    bench.roles.adopt(told, True, bench.now)
    bench.roles.is_owner = True
    bench.set(OUT, IN, IN)
    assert [(number, member) for number, member, _ in bench.losses] == [(1, 1), (2, 3), (3, 1)]
    await bench.roles.close()


async def test_a_standby_lets_a_retiring_member_drain(tmp_path: Path) -> None:
    """It has not carried its calls: that it knows of none says nothing, now and as the owner."""
    bench = Bench(tmp_path).load()
    bench.roles.is_owner = False
    bench.set(IN, IN, IN)
    bench.roles.adopt(Shared(0, [], 3), True, bench.now)
    bench.roles.adopt(Shared(0, [], 1), True, bench.now)
    bench.after(1.0)
    assert (bench.roles.standing.retiring, bench.events) == ({3}, [])
    bench.roles.is_owner = True
    bench.set(IN, IN, IN)
    bench.after(1.0)
    assert bench.roles.standing.retiring == {3}
    bench.after(bench.config.drain.member_limit_s)
    assert bench.roles.standing.retiring == set()
    assert bench.losses == [(1, 3, (1,))]
    await bench.roles.close()


async def test_with_a_store_a_new_owner_knows_who_is_empty(tmp_path: Path) -> None:
    bench = Bench(tmp_path).load()
    bench.roles.knows_calls = lambda: True
    bench.roles.is_owner = False
    bench.set(IN, IN, IN)
    bench.roles.adopt(Shared(0, [], 3), True, bench.now)
    bench.roles.adopt(Shared(0, [], 1), True, bench.now)
    bench.left[3] = 5
    bench.roles.is_owner = True
    bench.set(IN, IN, IN)
    assert bench.roles.standing.retiring == {3}
    bench.left[3] = 0
    bench.after(1.0)
    assert bench.roles.standing.retiring == set()
    await bench.roles.close()


async def test_a_standby_runs_no_script_and_goes_on_from_what_the_owner_ran(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    bench = Bench(tmp_path).load()
    bench.give_script(log)
    bench.roles.is_owner = False
    bench.set(IN, IN, IN)
    bench.roles.adopt(Shared(0, [], 3), True, bench.now)
    bench.roles.learn_active(Active(7, 1, None, frozenset({3})))
    await asyncio.sleep(0.1)
    assert not log.exists()
    bench.roles.is_owner = True
    bench.set(OUT, IN, IN)
    running = bench.roles._script._task
    assert running is not None
    await asyncio.wait_for(running, 10.0)
    assert log.read_text() == "disable 1\nenable 3\n"
    await bench.roles.close()


async def test_the_script_that_moves_the_virtual_ip_is_not_run_for_members(tmp_path: Path) -> None:
    """It would take the address away: `disable 3`, `enable 1`."""
    bench = Bench(tmp_path).load()
    object.__setattr__(bench.config.vip, "provider", VipProvider.SCRIPT)
    bench.give_script(tmp_path / "log")
    bench.set(IN, IN, IN)
    bench.set(IN, IN, OUT)
    running = bench.roles._script._task
    assert running is not None
    await asyncio.wait_for(running, 10.0)
    assert not (tmp_path / "log").exists()
    await bench.roles.close()


async def test_what_a_standby_is_told_to_do_is_refused(tmp_path: Path) -> None:
    """It would end with the next heartbeat, and come true at a takeover long after."""
    bench = Bench(tmp_path).load()
    bench.set(IN, IN, IN)
    bench.roles.switchover(1)
    bench.roles.is_owner = False
    for say in (bench.roles.switchover, bench.roles.told_active):
        with pytest.raises(ActivityError, match="does not own the virtual IP"):
            say(2)
    bench.roles.adopt(Shared(0, [], 2), True, bench.now)
    bench.roles.is_owner = True
    bench.set(IN, IN, IN)
    assert bench.roles.standing.active == 2, "what it was ordered before is over"
    await bench.roles.close()


async def test_a_standby_decides_nothing(tmp_path: Path) -> None:
    """It repeats what it is told, by heartbeat or store, and counts no turn for that."""
    bench = Bench(tmp_path).load()
    bench.set(IN, IN, IN)
    assert bench.roles.active.turn == 1
    bench.roles.is_owner = False
    bench.roles.learn_active(Active(7, 1, None, frozenset()))
    bench.roles.adopt(Shared(0, [], 2, 0), True, bench.now)  # the owner's older word comes late
    assert (bench.roles.active.active, bench.roles.active.turn) == (2, 7)
    await bench.roles.close()


async def test_the_newest_decision_counts(tmp_path: Path) -> None:
    bench = Bench(tmp_path).load()
    heard: list[int] = []
    bench.roles.on_keep = lambda: heard.append(bench.roles.active.turn)
    bench.set(IN, IN, IN)
    assert (bench.roles.active.active, bench.roles.active.turn) == (3, 1)
    bench.roles.learn_active(Active(5, 1, None, frozenset((3,))))
    assert (bench.roles.standing.active, bench.roles.standing.retiring) == (1, {3})
    assert bench.roles.active.turn == 5
    bench.set(OUT, IN, IN)
    assert (bench.roles.standing.active, bench.roles.active.turn) == (3, 6)
    bench.roles.learn_active(Active(7, 1, None, frozenset()))
    assert bench.roles.standing.active == 3, "member 1 cannot serve as far as is known here"
    assert bench.roles.active.turn == 7
    assert heard[-1] == 7
    await bench.roles.close()
    again = Bench(tmp_path).load()
    assert (again.roles.active.turn, again.roles.active.active) == (7, 3)
    await again.roles.close()


async def test_a_standby_follows_the_owners_loss_log(tmp_path: Path) -> None:
    """It records nothing, and what it recorded while it was cut off ends with the owner's word."""
    bench = Bench(tmp_path).load()
    bench.set(IN, IN, IN)
    bench.set(OUT, IN, IN)
    kept = list(bench.losses)
    bench.set(OUT, OUT, IN)  # an owner whose cable is being cut
    bench.roles.is_owner = False
    bench.set(OUT, OUT, OUT)
    assert len(bench.losses) == len(kept) + 1, "a standby records nothing"
    told = Shared(1, [(1, 1, (3,), 4e9)], active=3)
    bench.roles.adopt(told, False, 100.0)
    assert len(bench.losses) == len(kept) + 1, "only the owner's word counts"
    bench.roles.adopt(told, True, 100.0)
    assert bench.losses == kept
    assert bench.roles.standing.active == 3
    await bench.roles.close()
