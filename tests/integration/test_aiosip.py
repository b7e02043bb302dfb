"""aiosip as SIP Server before the balancer, sipp as members: the simulator's user agent on
aiosip's messages and sockets, and aiosip alone with dialogs that know no route set."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rig import HOST, Balancer, Sipp, free_ports

from rmlb.sim.aiosip_adapter import UdpWire
from rmlb.sim.call import CallPlan
from rmlb.sim.sip_server import SimulatedSipServer
from rmlb.sip.address import SipAddress, Transport


class Setting:
    def __init__(self, stack: ExitStack, directory: Path, transport: str = "u1") -> None:
        self.members = {
            number: stack.enter_context(Sipp.member(directory, number, transport=transport))
            for number in (1, 2)
        }
        addresses = {number: member.address for number, member in self.members.items()}
        self.balancer = stack.enter_context(Balancer(directory, addresses))
        for number in self.members:
            self.balancer.wait_health(number, "in service")

    def check_members(self, calls: int) -> None:
        """Every call reached one member, and none the wrong one."""
        counters = [member.stop().counters for member in self.members.values()]
        assert sum(each["calls"] for each in counters) == calls
        assert [each["misrouted"] for each in counters] == [0, 0]
        assert min(each["calls"] for each in counters) > 0


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with ExitStack() as stack:
        yield Setting(stack, tmp_path)


async def test_simulated_sip_server_on_aiosip(setting: Setting) -> None:
    wire = UdpWire(HOST)
    plan = CallPlan(SipAddress(Transport.UDP, HOST, setting.balancer.port), hold_s=0.05)
    server = SimulatedSipServer(plan, rate=100, calls=200, wires=[wire])
    tally = await server.run()
    assert (tally.completed, tally.failed, tally.misrouted) == (200, 0, 0), tally.reasons
    assert set(tally.members) == {1, 2}
    assert wire.unreadable == 0, "aiosip reads everything that the balancer sends"
    await asyncio.to_thread(setting.check_members, 200)
    await asyncio.to_thread(setting.balancer.assert_balanced)


def test_members_by_tcp(tmp_path: Path) -> None:
    """aiosip speaks UDP alone; the balancer bridges."""

    async def place(port: int) -> tuple[int, int, int]:
        plan = CallPlan(SipAddress(Transport.UDP, HOST, port), hold_s=0.05)
        tally = await SimulatedSipServer(plan, rate=100, calls=100, wires=[UdpWire(HOST)]).run()
        return tally.completed, tally.failed, tally.misrouted

    with ExitStack() as stack:
        setting = Setting(stack, tmp_path, "t1")
        assert asyncio.run(place(setting.balancer.port)) == (100, 0, 0)
        setting.check_members(100)
        setting.balancer.assert_balanced()


def test_aiosip_alone(setting: Setting) -> None:
    """Its ACK and BYE carry no Route: the binding leads them to the member of the call."""
    script = Path(__file__).with_name("aiosip_caller.py")
    done = subprocess.run(
        [sys.executable, script, HOST, *map(str, (setting.balancer.port, *free_ports(31)))],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    members = found.pop("members")
    assert found == {"options": 200, "completed": 30, "misrouted": 0}
    assert set(members) == {"1", "2"}
    setting.check_members(30)
    setting.balancer.assert_balanced()
