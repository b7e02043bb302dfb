"""One call as a SIP Server makes it: INVITE, ACK, a pause, perhaps a re-INVITE, BYE.

Owns the order of events and the check that every answer in the dialog comes from the member
that the To tag names. Sockets and transactions are the user agent's.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Final

from rmlb.sim.dialog import Dialog, contact, via
from rmlb.sim.sip_text import SDP, SipText, member_of, request
from rmlb.sim.tally import CallRecord, CallTally
from rmlb.sim.user_agent import NoAnswerError, UserAgent
from rmlb.sip.address import SipAddress, bracketed

MEMBER_HEADER: Final = "X-Simulated-Member"
"""In every answer of a simulated RM: which member gave it."""


class CallFailedError(Exception):
    """A call went wrong; the text is the reason that is tallied."""


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What all calls of a run have in common."""

    target: SipAddress
    user: str = "service"
    hold_s: float = 1.0
    """From ACK to BYE."""
    reinvite: bool = True
    """A re-INVITE halfway."""


class Call:
    """A call from this side."""

    def __init__(
        self,
        agent: UserAgent,
        plan: CallPlan,
        address: SipAddress,
        tally: CallTally,
        stopping: asyncio.Event,
    ) -> None:
        self.call_id = f"{secrets.token_hex(10)}@{bracketed(address.host)}"
        self.uuid = secrets.token_hex(16).upper()
        """X-Genesys-CallUUID, as SIP Server gives one to each call in its first message."""
        self.tag = secrets.token_hex(6)
        self.member: int | None = None
        """Who answered the INVITE."""
        self._agent = agent
        self._plan = plan
        self._address = address
        self._tally = tally
        self._stopping = stopping
        self._dialogs: dict[str, Dialog] = {}
        self._acks: dict[tuple[str, int], SipText] = {}
        self._misrouted = 0
        self._over = asyncio.Event()

    async def run(self) -> CallRecord:
        """Make the call and say how it went; never raises for what went wrong in it."""
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        failure = None
        try:
            await self._make()
        except CallFailedError as error:
            failure = str(error)
        return CallRecord(started_at, loop.time(), self.member, failure, self._misrouted)

    def other_hung_up(self) -> None:
        """A BYE has come (and been answered)."""
        self._tally.hung_up += not self._over.is_set()
        self._over.set()

    def further_2xx(self, invite: SipText, answer: SipText) -> None:
        """13.2.2.4: every 2xx is acknowledged; the dialog of a fork is ended as well."""
        if not self._dialogs:
            return  # read together with the first, whose turn comes next; it is sent again
        dialog = self._dialogs.get(answer.to_tag)
        if dialog is not None:
            self._acknowledge(dialog, invite.cseq)
            return
        try:
            dialog = self._enter(invite, answer)
        except CallFailedError as error:
            self._tally.reasons[f"fork: {error}"] += 1
            return
        self._tally.forked += 1
        bye = dialog.request("BYE", self._address)
        self._agent.send(bye, dialog.next_hop)

    async def _make(self) -> None:
        loop = asyncio.get_running_loop()
        invite = self._invite()
        started = loop.time()
        answer = await self._ask(invite, self._plan.target)
        self._tally.setup_s.append(loop.time() - started)
        dialog = self._enter(invite, answer)
        self.member = _answering(answer)
        if self.member is not None:
            self._tally.members[self.member] += 1
        await self._hold(self._plan.hold_s / 2)
        if self._plan.reinvite and not self._over.is_set() and not self._stopping.is_set():
            await self._reinvite(dialog)
        await self._hold(self._plan.hold_s / 2)
        if not self._over.is_set():
            await self._ask(dialog.request("BYE", self._address), dialog.next_hop)

    async def _reinvite(self, dialog: Dialog) -> None:
        invite = dialog.request(
            "INVITE",
            self._address,
            headers=[contact("sipserver", self._address)],
            body=SDP.format(version=2, host=self._address.host),
        )
        try:
            await self._ask(invite, dialog.next_hop)
        except CallFailedError:  # 14.1: the dialog is of no use any more
            self._agent.send(dialog.request("BYE", self._address), dialog.next_hop)
            raise
        self._acknowledge(dialog, invite.cseq)

    async def _hold(self, seconds: float) -> None:
        """Talk, until the other hangs up or the run is stopped."""
        waits = [
            asyncio.ensure_future(self._over.wait()),
            asyncio.ensure_future(self._stopping.wait()),
        ]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _ask(self, message: SipText, to: SipAddress) -> SipText:
        """The 2xx to a request. CallFailedError for any other end."""
        try:
            answer = await self._agent.request(message, to)
        except NoAnswerError as error:
            raise CallFailedError(f"{message.method}: {error}") from None
        except KeyError:
            raise CallFailedError(f"{message.method}: no {to.transport} here for {to}") from None
        if message.to_tag:
            self._check_member(answer)
        if not 200 <= answer.status < 300:
            raise CallFailedError(f"{message.method}: {answer.start_line[8:]}")
        return answer

    def _check_member(self, answer: SipText) -> None:
        named = member_of(answer.to_tag)
        answering = _answering(answer)
        if None not in (named, answering) and named != answering:
            self._misrouted += 1

    def _enter(self, invite: SipText, answer: SipText) -> Dialog:
        """The dialog of a 2xx, acknowledged."""
        try:
            dialog = Dialog.of_caller(invite, answer)
            self._acknowledge(dialog, invite.cseq)
        except (ValueError, KeyError) as error:
            raise CallFailedError(f"INVITE: unusable 200: {error}") from None
        self._dialogs[answer.to_tag] = dialog
        return dialog

    def _acknowledge(self, dialog: Dialog, cseq: int) -> None:
        """13.2.2.4: a repeated 2xx gets the very same ACK again."""
        key = dialog.remote_tag, cseq
        if key not in self._acks:
            self._acks[key] = dialog.request("ACK", self._address, cseq=cseq)
        self._agent.send(self._acks[key], dialog.next_hop)

    def _invite(self) -> SipText:
        plan, here = self._plan, self._address
        pool = f"sip:{plan.user}@{bracketed(plan.target.host)}:{plan.target.port}"
        # Over UDP the URI goes without transport, as SIP Servers write it.
        uri = f"{pool};transport=tcp" if plan.target.transport.is_stream else pool
        headers = [
            via(here),
            ("From", f"<sip:sipserver@{bracketed(here.host)}:{here.port}>;tag={self.tag}"),
            ("To", f"<{pool}>"),
            ("Call-ID", self.call_id),
            ("CSeq", "1 INVITE"),
            ("Max-Forwards", "70"),
            contact("sipserver", here),
            ("X-Genesys-CallUUID", self.uuid),
        ]
        return request("INVITE", uri, headers, SDP.format(version=1, host=here.host))


def _answering(answer: SipText) -> int | None:
    value = answer.header(MEMBER_HEADER)
    return int(value) if value.isdigit() else None
