"""A user agent's transactions over any wire (RFC 3261 section 17), in the little that it takes.

Owns: matching answers to requests and retransmissions to transactions, repeating over UDP,
ACK to a refusal, CANCEL. Knows no dialogs and no calls; those are its core's (rm, sip_server).
Timers come from a `Scheduler`, in life the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, Protocol

from rmlb.sim.sip_text import SipText, answer_port, request, respond
from rmlb.sim.timers import LIFE, T1_S, T2_S, Repeater, Scheduler, Timer
from rmlb.sim.wire import Peer, Wire
from rmlb.sip.address import SipAddress, Transport

PATIENCE: Final = 360
"""An INVITE that rings is given up after so many T1: 3 minutes (timer C, 16.6)."""


class NoAnswerError(Exception):
    """A request got no final answer; the text says why."""


class Core(Protocol):
    """What the user agent is for."""

    def on_request(self, transaction: ServerTransaction) -> None:
        """A new request, neither ACK nor CANCEL; it has to be answered some time."""

    def on_ack(self, ack: SipText) -> None:
        """The ACK to a 2xx."""

    def on_cancel(self, transaction: ServerTransaction) -> None:
        """This INVITE, not finally answered yet, was cancelled; the CANCEL has its 200."""

    def on_unacknowledged(self, transaction: ServerTransaction) -> None:
        """The 2xx to this INVITE was repeated for 64 T1 and never acknowledged."""

    def on_further_2xx(self, invite: SipText, answer: SipText) -> None:
        """A 2xx to an INVITE that had its final answer: a repeated one, or a fork's."""


class UserAgent:
    """Sends and answers requests; `wires` are its addresses, one per transport."""

    def __init__(
        self,
        wires: Sequence[Wire],
        core: Core,
        *,
        t1_s: float = T1_S,
        scheduler: Scheduler | None = None,
    ) -> None:
        self.wires = {wire.transport: wire for wire in wires}
        self.core = core
        self.t1_s = t1_s
        self._scheduler = scheduler
        self._server: dict[tuple[str, str], ServerTransaction] = {}
        self._accepted: dict[tuple[str, int], ServerTransaction] = {}
        self._client: dict[tuple[str, str], _ClientTransaction] = {}
        self.repeated = 0
        """Requests received again; each got the same answer again."""
        self.strays = 0
        """Answers to nothing that was asked."""

    @property
    def unreadable(self) -> int:
        return sum(wire.unreadable for wire in self.wires.values())

    @property
    def scheduler(self) -> Scheduler:
        return self._scheduler or asyncio.get_running_loop()

    async def start(self) -> None:
        """Open every wire. Raises WireError, with nothing left open."""
        for wire in self.wires.values():
            try:
                await wire.open(partial(self.receive, wire.transport), self._unreachable)
            except OSError:
                await self.stop()
                raise

    async def stop(self) -> None:
        """Drop every transaction, close every wire. Requests under way end with NoAnswerError."""
        for client in list(self._client.values()):
            client.fail("stopped")
        for server in list(self._server.values()):
            server.forget()
        for wire in self.wires.values():
            await wire.close()

    # -- asking ---------------------------------------------------------------------------------

    async def request(
        self,
        message: SipText,
        to: SipAddress,
        on_provisional: Callable[[SipText], None] | None = None,
    ) -> SipText:
        """Send a request (its Via already on it), give its final answer. NoAnswerError."""
        client = _ClientTransaction(self, message, to, on_provisional)
        self._client[message.branch, message.method] = client
        client.start()
        return await client.answer

    def send(self, message: SipText, to: SipAddress) -> None:
        """Send once, await nothing: an ACK, a repeated message."""
        self.wires[to.transport].send(message, Peer(to.host, to.port))

    # -- being asked ----------------------------------------------------------------------------

    def receive(self, transport: Transport, message: SipText, peer: Peer) -> None:
        """One message off a wire."""
        if not message.is_request:
            client = self._client.get((message.branch, message.method))
            if client is None:
                self.strays += 1
            else:
                client.receive(message)
            return
        method = message.method
        key = (message.branch, "INVITE" if method == "ACK" else method)
        known = self._server.get(key)
        if method == "ACK":
            accepted = self._accepted.get((message.call_id, message.cseq))
            if known is not None and not 200 <= known.status < 300:
                known.acknowledge()
            else:
                if accepted is not None:
                    accepted.acknowledge()
                self.core.on_ack(message)
        elif known is not None:
            self.repeated += 1
            known.repeat()
        else:
            transaction = ServerTransaction(self, message, transport, peer)
            self._server[key] = transaction
            if method == "CANCEL":
                self._cancel(transaction)
            else:
                self.core.on_request(transaction)

    def _cancel(self, cancel: ServerTransaction) -> None:
        invite = self._server.get((cancel.request.branch, "INVITE"))
        if invite is None:
            cancel.respond(481)
            return
        cancel.respond(200, tag=invite.tag)
        if invite.status < 200:
            self.core.on_cancel(invite)

    def _unreachable(self, peer: Peer, why: str) -> None:
        for client in list(self._client.values()):
            if client.peer == peer:
                client.fail(why)


class ServerTransaction:
    """A request received and what was answered. INVITE answers are repeated until the ACK."""

    def __init__(
        self, agent: UserAgent, message: SipText, transport: Transport, source: Peer
    ) -> None:
        self.request = message
        self.transport = transport
        self.status = 0
        """Of the last answer; 0 before the first."""
        self.tag = ""
        """The To tag that we gave."""
        self._agent = agent
        self._source = source
        self._last: SipText | None = None
        self._repeater: Repeater | None = None
        self._end: Timer | None = None

    def respond(
        self,
        status: int,
        *,
        tag: str = "",
        headers: Iterable[tuple[str, str]] = (),
        body: str = "",
    ) -> None:
        """Answer. After a final answer further ones are ignored."""
        if self.status >= 200:
            return
        self.status = status
        self.tag = tag or self.tag
        self._last = respond(
            self.request, status, source=self._source, tag=self.tag, headers=headers, body=body
        )
        self.repeat()
        if status >= 200:
            self._finish()

    def repeat(self) -> None:
        """The last answer once more (17.2)."""
        if self._last is None:
            return
        peer = self._source
        if not self.transport.is_stream:
            peer = Peer(peer.host, answer_port(self.request.all("Via")[0], peer.port))
        self._agent.wires[self.transport].send(self._last, peer)

    def acknowledge(self) -> None:
        """The ACK has come: repeat no more."""
        if self._repeater is not None:
            self._repeater.stop()

    def forget(self) -> None:
        self.acknowledge()
        if self._end is not None:
            self._end.cancel()
        request = self.request
        self._agent._server.pop((request.branch, request.method), None)
        self._agent._accepted.pop((request.call_id, request.cseq), None)

    def _finish(self) -> None:
        agent, request = self._agent, self.request
        accepted = self.status < 300
        # One T1 later than the last repetition, which has something to tell.
        self._end = agent.scheduler.call_later((LIFE + 1) * agent.t1_s, self.forget)
        if request.method != "INVITE":
            return
        if accepted:
            agent._accepted[request.call_id, request.cseq] = self
        # 13.3.1.4: a 2xx is repeated over any transport, the rest (17.2.1) over UDP only.
        if accepted or not self.transport.is_stream:
            self._repeater = Repeater(
                agent.scheduler, agent.t1_s, self.repeat, self._unacknowledged, cap_s=T2_S
            )

    def _unacknowledged(self) -> None:
        if self.status < 300:
            self._agent.core.on_unacknowledged(self)


class _ClientTransaction:
    """A request sent, repeated over UDP until it is answered."""

    def __init__(
        self,
        agent: UserAgent,
        message: SipText,
        to: SipAddress,
        on_provisional: Callable[[SipText], None] | None,
    ) -> None:
        self.peer = Peer(to.host, to.port)
        self.answer: asyncio.Future[SipText] = asyncio.get_running_loop().create_future()
        self._agent = agent
        self._request = message
        self._to = to
        self._on_provisional = on_provisional
        self._repeater: Repeater | None = None

    def start(self) -> None:
        self._send()
        invite = self._request.method == "INVITE"
        self._repeater = Repeater(
            self._agent.scheduler,
            self._agent.t1_s,
            _do_nothing if self._to.transport.is_stream else self._send,
            lambda: self.fail("timed out"),
            cap_s=None if invite else T2_S,
        )

    def receive(self, answer: SipText) -> None:
        if answer.status < 200:
            if self._request.method == "INVITE" and self._repeater is not None:
                self._repeater.stop()  # 17.1.1.2: it has arrived; now it may take its time
                self._repeater = Repeater(
                    self._agent.scheduler,
                    self._agent.t1_s,
                    _do_nothing,
                    lambda: self.fail("timed out"),
                    cap_s=T2_S,
                    life=PATIENCE,
                )
            if self._on_provisional is not None:
                self._on_provisional(answer)
            return
        first = not self.answer.done()
        if self._repeater is not None:
            self._repeater.stop()
        if self._request.method == "INVITE":
            if answer.status >= 300:
                self._acknowledge(answer)
            elif not first:
                self._agent.core.on_further_2xx(self._request, answer)
        if first:
            self.answer.set_result(answer)
            self._agent.scheduler.call_later(LIFE * self._agent.t1_s, self._forget)

    def fail(self, why: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(NoAnswerError(why))
            if self._repeater is not None:
                self._repeater.stop()
            self._forget()

    def _send(self) -> None:
        self._agent.send(self._request, self._to)

    def _acknowledge(self, refusal: SipText) -> None:
        """17.1.1.3: same Via, same Route, the To of the answer."""
        invite = self._request
        headers = [
            ("Via", invite.all("Via")[0]),
            *(("Route", route) for route in invite.all("Route")),
            ("From", invite.header("From")),
            ("To", refusal.header("To")),
            ("Call-ID", invite.call_id),
            ("CSeq", f"{invite.cseq} ACK"),
            ("Max-Forwards", "70"),
        ]
        self._agent.send(request("ACK", invite.uri, headers), self._to)

    def _forget(self) -> None:
        self._agent._client.pop((self._request.branch, self._request.method), None)


def _do_nothing() -> None:
    """Over a stream nothing is repeated."""
