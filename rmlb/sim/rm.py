"""A simulated Resource Manager: answers probes and calls, and says who it is in every answer.

Its To tag names the member (m1-...) and each answer carries X-Simulated-Member, so that a
request in the wrong place is seen at either end. It takes dialogs that it does not know: the
RMs of a pair synchronise their sessions. Owns calls and the tally; sockets and transactions
are the user agent's.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rmlb.sim.aiosip_adapter import UdpWire
from rmlb.sim.call import MEMBER_HEADER
from rmlb.sim.dialog import Dialog, contact
from rmlb.sim.sip_text import SDP, SipText, member_of
from rmlb.sim.tcp import TcpWire
from rmlb.sim.timers import T1_S
from rmlb.sim.user_agent import ServerTransaction, UserAgent
from rmlb.sim.wire import Wire
from rmlb.sip.address import SipAddress, Transport

_ALLOW: Final = ("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, NOTIFY")


@dataclass(slots=True)
class RmTally:
    """What one simulated RM has seen."""

    member: int
    probes: int = 0
    """OPTIONS outside a dialog."""
    calls: int = 0
    """Initial INVITEs, retransmissions not counted."""
    answered: int = 0
    """Calls that got a 2xx."""
    refused: int = 0
    cancelled: int = 0
    ended: int = 0
    """BYEs, from either side."""
    in_dialog: int = 0
    """Requests inside dialogs, ACK included."""
    misrouted: int = 0
    """Of these, how many have a To tag that names another member."""
    adopted: int = 0
    """Of these, how many belong to no call of this process: another member's, or one from
    before a restart."""
    unacknowledged: int = 0
    """2xx that no ACK ever came for."""
    repeated: int = 0
    unreadable: int = 0

    def __str__(self) -> str:
        parts = (f"{name} {getattr(self, name)}" for name in self.__slots__ if name != "member")
        return f"member {self.member}: {', '.join(parts)}"


class SimulatedRm:
    """One member on one host and port, UDP and TCP.

    `ring_s`: between 180 and the answer. `answer`: the status of that answer. `probe_answer`:
    to OPTIONS. `record_route`: a Record-Route value that it puts on top of those received, as
    a real RM does with the virtual IP.
    """

    def __init__(
        self,
        member_id: int,
        host: str,
        port: int,
        *,
        transports: Sequence[Transport] = (Transport.UDP, Transport.TCP),
        ring_s: float = 0.0,
        answer: int = 200,
        probe_answer: int = 200,
        record_route: str | None = None,
        t1_s: float = T1_S,
        wires: Sequence[Wire] = (),
    ) -> None:
        kinds: dict[Transport, type[UdpWire] | type[TcpWire]] = {
            Transport.UDP: UdpWire,
            Transport.TCP: TcpWire,
        }
        self.member_id = member_id
        self.ring_s = ring_s
        self.answer = answer
        self.probe_answer = probe_answer
        self.record_route = record_route
        self.tally = RmTally(member_id)
        self.calls: dict[str, Dialog] = {}
        """Dialogs that have not ended, by Call-ID."""
        self.agent = UserAgent(
            wires or [kinds[transport](host, port) for transport in transports], self, t1_s=t1_s
        )
        self._ringing: dict[ServerTransaction, asyncio.TimerHandle] = {}

    def wind_down(self) -> None:
        """Say 503 to probes from now on, as a Resource Manager does before it leaves."""
        self.probe_answer = 503

    async def start(self) -> None:
        """Listen. Raises WireError."""
        await self.agent.start()

    async def stop(self) -> RmTally:
        """Stop listening, drop the calls; what it has seen."""
        for timer in self._ringing.values():
            timer.cancel()
        self._ringing.clear()
        await self.agent.stop()
        self.tally.repeated = self.agent.repeated
        self.tally.unreadable = self.agent.unreadable
        return self.tally

    async def hang_up(self, call_id: str) -> int:
        """End a call from this side, through its route set: the status of the answer.

        KeyError for an unknown call; NoAnswerError.
        """
        dialog = self.calls.pop(call_id)
        hop = dialog.next_hop
        bye = dialog.request("BYE", self._address(hop.transport), headers=self._headers())
        self.tally.ended += 1
        return (await self.agent.request(bye, hop)).status

    # -- the user agent's core ------------------------------------------------------------------

    def on_request(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        if request.to_tag:
            self._in_dialog(transaction)
        elif request.method == "OPTIONS":
            self.tally.probes += 1
            headers = self._headers(_ALLOW, self._contact(transaction.transport))
            transaction.respond(self.probe_answer, tag=self._new_tag(), headers=headers)
        elif request.method == "INVITE":
            self._ring(transaction)
        else:
            transaction.respond(200, tag=self._new_tag(), headers=self._headers())

    def on_ack(self, ack: SipText) -> None:
        self._count_in_dialog(ack)

    def on_cancel(self, transaction: ServerTransaction) -> None:
        timer = self._ringing.pop(transaction, None)
        if timer is not None:
            timer.cancel()
        self.tally.cancelled += 1
        transaction.respond(487, headers=self._headers())

    def on_unacknowledged(self, transaction: ServerTransaction) -> None:
        self.tally.unacknowledged += 1

    def on_further_2xx(self, invite: SipText, answer: SipText) -> None:
        """It sends no INVITE."""

    # -- calls ----------------------------------------------------------------------------------

    def _ring(self, transaction: ServerTransaction) -> None:
        self.tally.calls += 1
        transaction.respond(180, tag=self._new_tag(), headers=self._dialog_headers(transaction))
        if self.ring_s > 0:
            loop = asyncio.get_running_loop()
            self._ringing[transaction] = loop.call_later(self.ring_s, self._answer, transaction)
        else:
            self._answer(transaction)

    def _answer(self, transaction: ServerTransaction) -> None:
        self._ringing.pop(transaction, None)
        invite = transaction.request
        if self.answer >= 300:
            self.tally.refused += 1
            transaction.respond(self.answer, headers=self._headers())
            return
        self.tally.answered += 1
        self.calls[invite.call_id] = Dialog.of_callee(invite, transaction.tag)
        self._accept(transaction, version=1)

    def _accept(self, transaction: ServerTransaction, version: int) -> None:
        address = self._address(transaction.transport)
        transaction.respond(
            self.answer if version == 1 else 200,
            headers=self._dialog_headers(transaction),
            body=SDP.format(version=version, host=address.host),
        )

    def _in_dialog(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        self._count_in_dialog(request)
        if request.method == "INVITE":
            self._accept(transaction, version=request.cseq)
            return
        if request.method == "BYE":
            self.tally.ended += 1
            self.calls.pop(request.call_id, None)
        transaction.respond(200, headers=self._headers())

    def _count_in_dialog(self, request: SipText) -> None:
        self.tally.in_dialog += 1
        self.tally.misrouted += member_of(request.to_tag) not in (None, self.member_id)
        known = request.call_id in self.calls or request.method == "ACK"
        self.tally.adopted += not known

    # -- what it says ---------------------------------------------------------------------------

    def _new_tag(self) -> str:
        return f"m{self.member_id}-{secrets.token_hex(6)}"

    def _address(self, transport: Transport) -> SipAddress:
        wire = self.agent.wires[transport]
        return SipAddress(transport, wire.host, wire.port)

    def _contact(self, transport: Transport) -> tuple[str, str]:
        return contact(f"m{self.member_id}", self._address(transport))

    def _headers(self, *more: tuple[str, str]) -> list[tuple[str, str]]:
        return [*more, (MEMBER_HEADER, str(self.member_id))]

    def _dialog_headers(self, transaction: ServerTransaction) -> list[tuple[str, str]]:
        """What an answer that makes a dialog carries besides (12.1.1)."""
        routes = [("Record-Route", value) for value in transaction.request.all("Record-Route")]
        if self.record_route and not transaction.request.to_tag:
            routes.insert(0, ("Record-Route", self.record_route))
        return self._headers(*routes, self._contact(transaction.transport))
