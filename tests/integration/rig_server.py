"""Of the rig: one user agent server behind several members, which may check for merged requests.

It keeps RFC 3261's timers and its duties of 8.2.2.2, and remembers which member each request of
each call came through. `rig_calls` has the other end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rig_calls import Repeater, tag_of
from rig_dialog import uri_in
from rig_wire import Agent, Heard, request, response

T2 = 4.0

_VIA = re.compile(r"SIP/2\.0/UDP (?P<host>[^:;]+):(?P<port>\d+)")
_BRANCH = re.compile(r";branch=([^;]+)")


@dataclass
class Served:
    """One call as the server saw it. `via_...`: the member that the request came through."""

    via_invite: str
    begun: float
    merged_via: str = ""
    """The member through which the same INVITE came again, and got 482."""
    acked_via: str = ""
    ended_via: str = ""
    ended_by: str = ""
    """caller, server, or a timeout."""


class SharedServer(Agent):
    """One user agent server behind all members, over UDP.

    It rings for `ring_s` and answers 200. `merges`: it refuses a merged request with 482
    (8.2.2.2), else it takes it for another call. `to_sent_by`: it answers to the sent-by of the
    top Via and looks at nothing else; else where the request came from (18.2.2). With
    `server_ends` it ends calls itself, those that the caller leaves to it.
    """

    def __init__(
        self,
        port: int,
        *,
        host: str,
        ring_s: float,
        merges: bool = True,
        to_sent_by: bool = False,
        stamps: bool = True,
        server_ends: int = 0,
        hold_s: float = 0.5,
    ) -> None:
        super().__init__("udp", port, host=host, name="server")
        self.ring_s = ring_s
        self.merges = merges
        self.to_sent_by = to_sent_by
        self.stamps = stamps
        self.server_ends = server_ends
        self.hold_s = hold_s
        self.served: dict[str, Served] = {}
        self.unknown: list[str] = []
        """Start lines of in-dialog requests of no call."""
        self._legs: dict[str, list[_Leg]] = {}

    def take(self, heard: Heard) -> None:
        if heard.status:
            self._on_response(heard)
            return
        call_id, to_tag = heard.header("Call-ID"), tag_of(heard.header("To"))
        if heard.method == "INVITE" and not to_tag:
            self._on_invite(heard)
            return
        leg = self._leg(call_id, to_tag, heard)
        if heard.method == "ACK":
            if leg is not None and leg.tag == to_tag:
                leg.on_ack(passed(heard))
        elif leg is None:
            self.unknown.append(heard.start_line)
            self.reply(heard, response(heard, 481, tag="none"))
        elif heard.method == "CANCEL":
            self.reply(heard, response(heard, 200, tag=leg.tag))
            leg.on_cancel()
        elif heard.method == "BYE":
            self.reply(heard, response(heard, 200))
            leg.on_bye(passed(heard))
        else:
            self.reply(heard, response(heard, 200))

    def _leg(self, call_id: str, to_tag: str, heard: Heard) -> _Leg | None:
        for leg in self._legs.get(call_id, ()):
            if leg.tag == to_tag or leg.branch == branch_of(heard):
                return leg
        return None

    def _on_invite(self, heard: Heard) -> None:
        call_id, branch = heard.header("Call-ID"), branch_of(heard)
        legs = self._legs.setdefault(call_id, [])
        for known in legs:
            if known.branch == branch:
                known.repeat()
                return
        served = self.served.get(call_id)
        if served is not None:
            served.merged_via = passed(heard)
            if self.merges:
                self.reply(heard, response(heard, 482, tag="merged"))
                return
        else:
            served = self.served[call_id] = Served(passed(heard), self.loop.time())
        legs.append(_Leg(self, heard, served, f"s{len(legs)}-{call_id}"))

    def _on_response(self, heard: Heard) -> None:
        leg = self._leg(heard.header("Call-ID"), tag_of(heard.header("From")), heard)
        if leg is not None and heard.method == "BYE" and heard.status >= 200:
            leg.over("server")

    def reply(self, heard: Heard, data: bytes) -> None:
        """Send an answer to where this server sends answers."""
        match = _VIA.match(heard.headers("Via")[0])
        assert match is not None
        if match["host"] != heard.source[0] and self.stamps:
            top = heard.headers("Via")[0].encode()
            stamped = top + b";received=" + heard.source[0].encode()
            data = data.replace(top, stamped, 1)
        to = (match["host"], int(match["port"])) if self.to_sent_by else heard.source
        self.send_udp(data, to)


class _Leg:
    """The server's side of one call."""

    def __init__(self, server: SharedServer, invite: Heard, served: Served, tag: str) -> None:
        self._server = server
        self._invite = invite
        self._served = served
        self.call_id = invite.header("Call-ID")
        self.branch = branch_of(invite)
        self.tag = tag
        self._status = 180
        self._repeater = Repeater(server.loop, T2)
        self._bye: bytes = b""
        self.repeat()
        self._ringing = server.loop.call_later(server.ring_s, self._answer)

    def repeat(self) -> None:
        """The answer of now, (again)."""
        contact = self._server.contact("udp")
        data = response(self._invite, self._status, tag=self.tag, contact=contact)
        self._server.reply(self._invite, data)

    def _answer(self) -> None:
        self._status = 200
        self._repeater.start(self.repeat, lambda: self.over("no ACK"))

    def on_ack(self, via: str) -> None:
        if self._status != 200 or self._served.acked_via:
            return
        self._repeater.stop()
        self._served.acked_via = via
        number = int(self.call_id.rpartition("-")[2])
        if self._server.server_ends and number % self._server.server_ends == 0:
            self._server.loop.call_later(self._server.hold_s, self._hang_up)

    def _hang_up(self) -> None:
        invite = self._invite
        routes = invite.headers("Record-Route")
        target = uri_in(invite.header("Contact"))
        first = uri_in(routes[0]) if routes else target
        match = re.match(r"sip:(?:[^@]*@)?([^:;]+):(\d+)", first)
        assert match is not None
        to = (match[1], int(match[2]))
        self._bye = request(
            "BYE",
            target,
            via=self._server.via("udp"),
            call_id=self.call_id,
            branch=f"z9hG4bK-s-{self.tag}",
            sender=f"{invite.header('To')};tag={self.tag}",
            to=invite.header("From"),
            cseq=1,
            routes=routes,
        )
        self._repeater.start(
            lambda: self._server.send_udp(self._bye, to), lambda: self.over("no answer to BYE")
        )

    def on_cancel(self) -> None:
        if self._status < 200:
            self._ringing.cancel()
            self._status = 487
            self.repeat()
            self.over("caller")

    def on_bye(self, via: str) -> None:
        self._served.ended_via = self._served.ended_via or via
        self.over("caller")

    def over(self, by: str) -> None:
        self._repeater.stop()
        self._served.ended_by = self._served.ended_by or by


def passed(heard: Heard) -> str:
    """The members that a request went through, by the mark that each leaves."""
    return "+".join(heard.headers("X-RM"))


def branch_of(heard: Heard) -> str:
    match = _BRANCH.search(heard.headers("Via")[0])
    return match[1] if match else ""
