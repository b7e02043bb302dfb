"""A simulated SIP Server: places calls through the balancer at a rate and tallies them.

Owns the rate and which call a request from the other side belongs to; a call's course is
call's, sockets and transactions are the user agent's.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence

from rmlb.sim.aiosip_adapter import UdpWire
from rmlb.sim.call import Call, CallPlan
from rmlb.sim.sip_text import SipText
from rmlb.sim.tally import CallRecord, CallTally
from rmlb.sim.tcp import TcpWire
from rmlb.sim.timers import T1_S
from rmlb.sim.user_agent import ServerTransaction, UserAgent
from rmlb.sim.wire import Wire
from rmlb.sip.address import SipAddress, Transport


class SimulatedSipServer:
    """Places `calls` calls (None: until stopped) at `rate` per second.

    `host` and `port`: where it listens; by default the address from which the target is
    reached, any port.
    """

    def __init__(
        self,
        plan: CallPlan,
        *,
        rate: float = 10.0,
        calls: int | None = 100,
        host: str | None = None,
        port: int = 0,
        t1_s: float = T1_S,
        wires: Sequence[Wire] = (),
    ) -> None:
        if not wires:
            wire = TcpWire if plan.target.transport is Transport.TCP else UdpWire
            wires = [wire(host or _source_address(plan.target), port)]
        self.plan = plan
        self.rate = rate
        self.calls = calls
        self.tally = CallTally()
        self.on_end: Callable[[CallRecord], None] | None = None
        """Told of every call that is over."""
        self.agent = UserAgent(wires, self, t1_s=t1_s)
        self._under_way: dict[str, Call] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> CallTally:
        """Place the calls and wait for their end. Raises WireError."""
        await self.agent.start()
        try:
            async with asyncio.TaskGroup() as group:
                await self._place(group)
        finally:
            await self.agent.stop()
        return self.tally

    def stop(self) -> None:
        """No further calls; those under way hang up at once."""
        self._stopping.set()

    @property
    def address(self) -> SipAddress:
        """Where it listens."""
        wire = self.agent.wires[self.plan.target.transport]
        return SipAddress(wire.transport, wire.host, wire.port)

    async def _place(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        placed = 0
        while self.calls is None or placed < self.calls:
            if await self._stopped_within(started + placed / self.rate - loop.time()):
                return
            placed += 1
            self.tally.placed += 1
            call = Call(self.agent, self.plan, self.address, self.tally, self._stopping)
            self._under_way[call.call_id] = call
            group.create_task(self._follow(call), name=f"call {call.call_id}")

    async def _follow(self, call: Call) -> None:
        record = await call.run()
        del self._under_way[call.call_id]
        self.tally.add(record)
        if self.on_end is not None:
            self.on_end(record)

    async def _stopped_within(self, seconds: float) -> bool:
        if seconds <= 0:
            await asyncio.sleep(0)
            return self._stopping.is_set()
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return False

    # -- the user agent's core ------------------------------------------------------------------

    def on_request(self, transaction: ServerTransaction) -> None:
        """Requests from the other side of a call: 200, and a BYE ends it."""
        request = transaction.request
        call = self._under_way.get(request.call_id)
        if request.method == "OPTIONS" and not request.to_tag:
            transaction.respond(200, tag=secrets.token_hex(6))
        elif call is None or call.tag != request.to_tag:
            transaction.respond(481)
        else:
            transaction.respond(200)
            if request.method == "BYE":
                call.other_hung_up()

    def on_ack(self, ack: SipText) -> None:
        """The ACK to a 2xx of ours; nothing depends on it."""

    def on_cancel(self, transaction: ServerTransaction) -> None:
        transaction.respond(487)

    def on_unacknowledged(self, transaction: ServerTransaction) -> None:
        """The caller of that re-INVITE will notice itself."""

    def on_further_2xx(self, invite: SipText, answer: SipText) -> None:
        call = self._under_way.get(invite.call_id)
        if call is not None:
            call.further_2xx(invite, answer)


def _source_address(target: SipAddress) -> str:
    """The address of this host from which the target is reached (nothing is sent)."""
    family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((target.host, target.port))
        return str(probe.getsockname()[0])
