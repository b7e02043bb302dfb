"""A pair of balancers on loopback in front of two simulated members, for `make demo`.

Child processes on free ports; needs no rights and no network. What moves the virtual IP is
network's, what happens is demo's. The balancers share nothing but a secret: where a dialog lives
is in its marks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from rmlb.config.addresses import HostPort
from rmlb.sim.network import ADDRESSES, VIP, Door, Network
from rmlb.sim.stage import AdminApi, Child, StageError, free_ports

HOST: Final = "127.0.0.1"
NUMBERS: Final = (1, 2)
"""Of the members, and of the balancers."""

LOG: Final = "processes.log"
"""What balancers and members print; shown when something goes wrong."""

START_S: Final = 15.0
"""Until a balancer owns the virtual IP: the pair hears each other, or is alone for `lone`."""

_CONFIG: Final = """\
[cluster]
ha-mode = "active-active"
members = "1 2"
mymemberid = {number}
virtual-ip = "{vip}"
failoverscript = "{failoverscript}"
[rm.1]
sip = "udp:{host}:{rm1}"
[rm.2]
sip = "udp:{host}:{rm2}"
[sip]
listen = ["udp:{own}:{sip}"]
via-host = "rm.example.com"      # one name for both, as the virtual IP is
[health]
interval = "2s"
timeout = "2s"                   # a busy machine is no dead member; that one refuses
slow-start = "2s"
[drain]
limit = "1s"
[vip]
provider = "script"
lone = "5s"
[heartbeat]
interval = "250ms"               # on a busy machine the default may take a pause for an end
listen = "{own}:{heartbeat}"
peers = ["{peer}:{heartbeat}"]
[security]
secret = "only this demonstration's"
[state]
dir = "{state}"
[admin]
listen = "{host}:{admin}"
[trace]
keep = 20000
[log]
level = "warning"
"""


@dataclass(slots=True)
class Balancer:
    """One of the two."""

    child: Child
    api: AdminApi


@dataclass(slots=True)
class Pair:
    """Everything that runs."""

    network: Network
    balancers: dict[int, Balancer]
    members: dict[int, Child]
    sip_port: int
    url: str
    """The owner's admin API, whoever that is."""

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, directory: Path) -> AsyncIterator[Self]:
        """Start it, and end all of it afterwards. StageError, OSError."""
        sip, heartbeat, front, *admin, first, second = free_ports(7)
        network = Network(directory, sip)
        failoverscript = network.write_script()
        admins = {n: HostPort(HOST, port) for n, port in zip(NUMBERS, admin, strict=True)}
        door = Door(network, admins)
        with (directory / LOG).open("wb") as log:
            members = {}
            for n, port in zip(NUMBERS, (first, second), strict=True):
                words = (str(n), str(port), str(directory), str(sip))
                members[n] = Child(f"member {n}", *words, output=log, module="rmlb.sim.member")
            balancers = {}
            for n in NUMBERS:
                config = directory / f"balancer{n}.toml"
                config.write_text(
                    _CONFIG.format(
                        number=n, vip=VIP, failoverscript=failoverscript, host=HOST,
                        rm1=first, rm2=second, own=ADDRESSES[n], peer=ADDRESSES[3 - n], sip=sip,
                        heartbeat=heartbeat, state=directory / f"state{n}", admin=admins[n].port,
                    )
                )  # fmt: skip
                child = Child(f"balancer {n}", "run", str(config), output=log)
                balancers[n] = Balancer(child, AdminApi(admins[n]))
            pair = cls(network, balancers, members, sip, f"http://{HOST}:{front}/")
            try:
                await door.open(HostPort(HOST, front))
                await pair._start()
                yield pair
            finally:
                await door.close()
                for balancer in balancers.values():
                    await balancer.api.close()
                children = (*(each.child for each in balancers.values()), *members.values())
                await asyncio.gather(*(child.stop() for child in children))

    async def _start(self) -> None:
        for member in self.members.values():
            await member.start()
        await asyncio.gather(*(each.child.start() for each in self.balancers.values()))
        for balancer in self.balancers.values():
            await balancer.api.wait_ready(balancer.child)
        try:
            async with asyncio.timeout(START_S):
                await self.network.wait_owner()
        except TimeoutError:
            raise StageError(f"no balancer owns the virtual IP after {START_S:g} s") from None
        for number in self.members:
            await self.wait_health(number, "in service", 10.0)

    @property
    def owner(self) -> Balancer:
        """Who owns the virtual IP. StageError while nobody does."""
        balancer = self.balancers.get(self.network.owner)
        if balancer is None:
            raise StageError("nobody owns the virtual IP")
        return balancer

    async def seen(self) -> dict[int, dict[str, Any]]:
        """The members, as the owner sees them. StageError."""
        return await self.owner.api.members()

    async def put_state(self, member: int, state: str) -> None:
        """Tell both balancers what the operator says: they share no store. StageError."""
        for balancer in self.balancers.values():
            await balancer.api.put_state(member, state)

    async def offered(self, member: int) -> int:
        """Initial requests that it got from both balancers. StageError."""
        seen = [await each.api.members() for each in self.balancers.values()]
        return sum(members[member]["initial_requests_total"] for members in seen)

    async def wait_health(self, member: int, health: str, limit_s: float) -> float:
        """Wait until the owner says that of the member: the moment. StageError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limit_s):
                while (await self.seen())[member]["health"] != health:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise StageError(f"member {member} is not {health} after {limit_s:g} s") from None
        return loop.time()
