"""Draining is told when it is over; and where dialogs live over a restart of the balancer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import Start
from rig import HOST, Balancer, Sipp, assert_all_succeeded, free_port, wait_until
from rig_dialog import Call, set_up
from rig_wire import Agent, Heard, response
from test_calls import make_pool, misrouted


class Pair:
    """A caller, a balancer, and two members that can be lost and brought back."""

    def __init__(self, stack: ExitStack, directory: Path, **config: str) -> None:
        self._stack = stack
        self.ports = {n: free_port() for n in (1, 2)}
        self.members = {n: self._open(n) for n in self.ports}
        self.caller = stack.enter_context(Agent("udp", free_port(), name="caller"))
        addresses = {n: f"udp:{HOST}:{port}" for n, port in self.ports.items()}
        self.balancer = stack.enter_context(Balancer(directory, addresses, **config))
        self.place = (HOST, self.balancer.port)
        for number in self.ports:
            self.balancer.wait_health(number, "in service")

    def _open(self, number: int) -> Agent:
        return self._stack.enter_context(Agent("udp", self.ports[number], name=f"m{number}"))

    def lose(self, number: int) -> None:
        self.members[number].close()

    def bring_back(self, number: int) -> None:
        self.members[number] = self._open(number)
        self.balancer.wait_health(number, "in service")

    def restart(self) -> None:
        self.balancer.stop()
        self.balancer.start()

    def call_on(self, number: int) -> Call:
        """A call that this member has."""
        other = 3 - number
        self.balancer.put_state(other, "draining")
        call = set_up(self.caller, self.members[number], self.place, "udp")
        self.balancer.put_state(other, "enabled")
        return call

    def info_goes_to(self, call: Call, number: int) -> Heard:
        """A request inside the dialog reaches that member, which answers it."""
        call.caller.send("INFO")
        got = self.members[number].hear("INFO")
        got.answer(response(got, 200))
        self.caller.hear("200")
        return got


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack, tmp_path)


def drains(balancer: Balancer, name: str) -> list[tuple[int, int, str]]:
    """(member, calls left, why) of each such event."""
    return [(each["member"], each["calls"], each["why"]) for each in balancer.told(name)]


def test_empty_is_told(pair: Pair) -> None:
    call = pair.call_on(1)
    pair.balancer.put_state(1, "draining")
    draining = pair.balancer.members()[1]["draining"]
    assert (draining["left"], draining["limit_s"], draining["cause"]) == (1, 900.0, "operator")
    assert time.time() - draining["since"] < 30
    assert "member 1 for 0 s, 1 call left (operator)" in pair.balancer.cli("status")
    assert drains(pair.balancer, "member-drained")[1:] == []  # member 2 drained before the call
    pair.info_goes_to(call, 1)
    call.caller.send("BYE")
    got = pair.members[1].hear("BYE")
    got.answer(response(got, 200))
    pair.caller.hear("200")
    wait_until("told", lambda: (1, 0, "operator") in drains(pair.balancer, "member-drained"))
    pair.balancer.put_state(1, "enabled")
    assert pair.balancer.members()[1]["draining"] is None


def test_a_member_with_calls_left_is_reported_at_the_limit(tmp_path: Path) -> None:
    with ExitStack() as stack:
        pair = Pair(stack, tmp_path, extra='[drain]\nmember-limit = "500ms"\n')
        call = pair.call_on(2)
        pair.balancer.put_state(2, "draining")
        wait_until("told", lambda: bool(drains(pair.balancer, "member-not-drained")))
        assert drains(pair.balancer, "member-not-drained") == [(2, 1, "they stay")]
        pair.info_goes_to(call, 2)


def test_drained_under_load(tmp_path: Path, start: Start) -> None:
    balancer, members = make_pool(tmp_path, start)
    caller = start(
        Sipp(tmp_path, "uac_full", target=balancer.port, rate=100, calls=300, hold_ms=300)
    )
    time.sleep(1.0)
    balancer.put_state(1, "draining")
    offered = balancer.initial_requests()[1]
    wait_until("drained", lambda: drains(balancer, "member-drained") == [(1, 0, "operator")])
    assert_all_succeeded(caller, caller.finish(), 300)
    assert balancer.initial_requests()[1] == offered
    balancer.assert_balanced()
    assert misrouted(members) == 0


# the loss log over a restart of the balancer


def test_a_loss_before_the_restart_is_remembered(pair: Pair) -> None:
    """Member 1 was lost and is back: its dialog has moved for good, restart or not."""
    call = pair.call_on(1)
    pair.lose(1)
    pair.balancer.wait_health(1, "out of service")
    pair.bring_back(1)
    pair.info_goes_to(call, 2)
    pair.restart()
    for number in (1, 2):
        pair.balancer.wait_health(number, "in service")
    pair.info_goes_to(call, 2)


def test_numbers_go_on_rising(pair: Pair) -> None:
    """A dialog begun after a loss and a restart is younger than that loss."""
    pair.lose(1)
    pair.balancer.wait_health(1, "out of service")
    pair.bring_back(1)
    pair.restart()
    for number in (1, 2):
        pair.balancer.wait_health(number, "in service")
    call = pair.call_on(1)
    pair.info_goes_to(call, 1)
    pair.lose(1)
    pair.balancer.wait_health(1, "out of service")
    pair.bring_back(1)
    pair.info_goes_to(call, 2)


def test_a_member_that_died_while_the_balancer_was_down(pair: Pair) -> None:
    call = pair.call_on(1)
    pair.balancer.stop()
    pair.lose(1)
    pair.balancer.start()
    wait_until("told", lambda: bool(pair.balancer.told("member-out-of-service")))
    pair.info_goes_to(call, 2)
    pair.bring_back(1)
    pair.info_goes_to(call, 2)


def test_a_member_that_was_down_at_the_stop_is_lost_once(pair: Pair) -> None:
    """It returned while the balancer was down: its new dialogs are not taken for lost ones."""
    call = pair.call_on(1)
    pair.lose(1)
    pair.balancer.wait_health(1, "out of service")
    pair.balancer.stop()
    pair.members[1] = pair._open(1)
    pair.balancer.start()
    for number in (1, 2):
        pair.balancer.wait_health(number, "in service")
    young = pair.call_on(1)
    pair.info_goes_to(call, 2)
    pair.info_goes_to(young, 1)
    pair.restart()
    pair.info_goes_to(young, 1)
    pair.info_goes_to(call, 2)


def test_dialogs_are_led_right_from_the_first_moment_after_a_restart(pair: Pair) -> None:
    """Before any probe was answered a member is no more lost than in service."""
    calls = {number: pair.call_on(number) for number in (1, 2)}
    for member in pair.members.values():
        member.options = 0  # no answer to probes
    pair.balancer.stop()
    pair.balancer.start(ready=False)
    for number, call in calls.items():
        pair.info_goes_to(call, number)


def test_disabled_before_the_restart(pair: Pair) -> None:
    call = pair.call_on(1)
    pair.balancer.put_state(1, "disabled")
    pair.balancer.kill()
    pair.balancer.start()
    pair.balancer.wait_health(1, "in service")
    pair.balancer.put_state(1, "enabled")
    pair.info_goes_to(call, 2)
