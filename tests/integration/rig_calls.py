"""Of the rig: many calls at a steady rate over UDP, each told apart.

They keep RFC 3261's timers, so that a call that fails here fails for a real user agent too.
`rig_server` has the other end.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from rig_dialog import uri_in
from rig_wire import Agent, Heard, Place, request, response

T1 = 0.5
GIVE_UP_S = 64 * T1

_TAG = re.compile(r";tag=([^;>]+)")


def tag_of(value: str) -> str:
    """The tag of a From or To value; empty where there is none."""
    match = _TAG.search(value)
    return match[1] if match else ""


class Repeater:
    """Something sent again after T1, 2 T1, ... until it is stopped or 64 T1 have passed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, cap_s: float = GIVE_UP_S) -> None:
        self._loop = loop
        self._cap_s = cap_s
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0

    def start(self, send: Callable[[], None], given_up: Callable[[], None]) -> None:
        """`send()` now and again; `given_up()` when the time is over."""
        self.stop()
        self._until = self._loop.time() + GIVE_UP_S
        send()
        self._again(T1, send, given_up)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _again(
        self, interval_s: float, send: Callable[[], None], given_up: Callable[[], None]
    ) -> None:
        def fire() -> None:
            if self._loop.time() >= self._until:
                given_up()
                return
            send()
            self._again(min(2 * interval_s, self._cap_s), send, given_up)

        self._timer = self._loop.call_later(interval_s, fire)


@dataclass
class Made:
    """One call as its caller saw it. Times in seconds of the monotonic clock, 0: never."""

    call_id: str
    begun: float = 0.0
    rang: float = 0.0
    answered: float = 0.0
    status: int = 0
    """Of the final answer to the INVITE; 0: none came."""
    finals: int = 0
    """Answers to the INVITE from 200 on, retransmissions not counted."""
    ended: float = 0.0
    outcome: str = ""
    """completed; the status of a failed INVITE; or what timed out. Empty while it lives."""
    tags: set[str] = field(default_factory=set)
    call: _Call | None = field(default=None, repr=False)


class Callers(Agent):
    """Makes calls: INVITE, ACK, BYE after `hold_s`, by UDP to one place.

    Every `server_ends`-th call is left to the server to end; 0: none is.
    """

    def __init__(
        self, port: int, to: Place, *, host: str, hold_s: float = 0.5, server_ends: int = 0
    ) -> None:
        super().__init__("udp", port, host=host, name="callers")
        self.to = to
        self.hold_s = hold_s
        self.server_ends = server_ends
        self.made: dict[str, Made] = {}
        self._calls: dict[str, _Call] = {}
        self.all_ended = threading.Event()
        self._wanted = 0

    def begin(self, calls: int, rate: float) -> None:
        """That many calls at that rate, from now on."""
        first, self._wanted = self._wanted, self._wanted + calls
        self.all_ended.clear()
        self.on_loop(self._schedule, first, calls, rate)

    def hold(self) -> float:
        """Seconds from an answer to our BYE."""
        return self.hold_s

    def call_id(self, number: int) -> str:
        return f"load-{number}"

    def _schedule(self, first: int, calls: int, rate: float) -> None:
        now = self.loop.time()
        for number in range(calls):
            self.loop.call_at(now + number / rate, self._call, first + number)

    def _call(self, number: int) -> None:
        call_id = self.call_id(number)
        patient = self.server_ends > 0 and number % self.server_ends == 0
        made = self.made[call_id] = Made(call_id, self.loop.time())
        self._calls[call_id] = _Call(self, made, patient)

    def finish(self, timeout_s: float) -> list[Made]:
        """Wait until every call has ended; all of them, in order."""
        self.all_ended.wait(timeout_s)
        return list(self.made.values())

    def take(self, heard: Heard) -> None:
        call = self._calls.get(heard.header("Call-ID"))
        if call is None:
            return
        if heard.status:
            call.on_response(heard)
        elif heard.method == "BYE":
            heard.answer(response(heard, 200))
            call.over("completed")

    def ended(self) -> None:
        if len(self.made) == self._wanted and all(m.outcome for m in self.made.values()):
            self.all_ended.set()


class _Call:
    """A caller's side of one call."""

    def __init__(self, callers: Callers, made: Made, patient: bool) -> None:
        self._callers = callers
        self.made = made
        self._patient = patient
        self._repeater = Repeater(callers.loop)
        self._forks: dict[str, Repeater] = {}
        self._routes: list[str] = []
        self._target = f"sip:ivr@{callers.to[0]}:{callers.to[1]}"
        self._to = f"<{self._target}>"
        self._invite = self._request("INVITE", 1, contact=True)
        self._repeater.start(
            lambda: callers.send_udp(self._invite, callers.to), lambda: self.over("no answer")
        )

    def _request(
        self, method: str, cseq: int, *, contact: bool = False, branch: str | None = None
    ) -> bytes:
        agent = self._callers
        return request(
            method,
            self._target,
            via=agent.via("udp"),
            call_id=self.made.call_id,
            branch=branch,
            sender=f"<sip:caller@example.com>;tag=c-{self.made.call_id}",
            to=self._to,
            cseq=cseq,
            contact=agent.contact("udp") if contact else "",
            routes=self._routes,
        )

    def on_response(self, heard: Heard) -> None:
        fork = self._forks.get(tag_of(heard.header("To")))
        if heard.method == "INVITE":
            self._on_answer(heard)
        elif fork is not None and heard.status >= 200:
            fork.stop()
        elif heard.method == "BYE" and heard.status >= 200 and not self.made.outcome:
            self.over("completed" if heard.status < 300 else f"{heard.status} to BYE")

    def _on_answer(self, heard: Heard) -> None:
        made, now = self.made, self._callers.loop.time()
        if heard.status < 200:
            if not made.status:
                self._repeater.stop()
                made.rang = made.rang or (now if heard.status > 100 else 0.0)
            return
        tag = tag_of(heard.header("To"))
        first_of_all, first_of_tag = not made.status, tag not in made.tags
        made.tags.add(tag)
        made.finals += first_of_tag
        if heard.status >= 300:
            ack = self._request("ACK", 1).replace(self._branch("ACK"), self._branch("INVITE"))
            ack = ack.replace(f"To: {self._to}".encode(), f"To: {heard.header('To')}".encode())
            self._callers.send_udp(ack, self._callers.to)
            if first_of_all:
                made.status, made.answered = heard.status, now
                self.over(str(heard.status))
            return
        if first_of_all:
            made.status, made.answered = heard.status, now
            self._repeater.stop()
            self._to = heard.header("To")
            self._target = uri_in(heard.header("Contact"))
            self._routes = heard.headers("Record-Route")[::-1]
            if not self._patient:
                self._callers.loop.call_later(self._callers.hold(), self._hang_up)
        if heard.header("To") == self._to:
            self._callers.send_udp(self._request("ACK", 1), self._callers.to)
        elif tag:
            self._end_fork(tag, heard)

    def _end_fork(self, tag: str, heard: Heard) -> None:
        """One call is enough: ACK and BYE (13.2.2.4)."""

        def of_fork(method: str, cseq: int) -> bytes:
            return request(
                method,
                uri_in(heard.header("Contact")),
                via=self._callers.via("udp"),
                call_id=self.made.call_id,
                branch=f"z9hG4bK-{self.made.call_id}-{tag}-{method.lower()}",
                sender=f"<sip:caller@example.com>;tag=c-{self.made.call_id}",
                to=heard.header("To"),
                cseq=cseq,
                routes=heard.headers("Record-Route")[::-1],
            )

        self._callers.send_udp(of_fork("ACK", 1), self._callers.to)
        if tag not in self._forks:
            self._forks[tag] = Repeater(self._callers.loop)
            bye = of_fork("BYE", 2)
            self._forks[tag].start(
                lambda: self._callers.send_udp(bye, self._callers.to), lambda: None
            )

    def _branch(self, method: str) -> bytes:
        return f"branch=z9hG4bK-{self.made.call_id}-1-{method.lower()}".encode()

    def _hang_up(self) -> None:
        if self.made.outcome:
            return
        bye = self._request("BYE", 2)
        self._repeater.start(
            lambda: self._callers.send_udp(bye, self._callers.to),
            lambda: self.over("no answer to BYE"),
        )

    def over(self, outcome: str) -> None:
        self._repeater.stop()
        if not self.made.outcome:
            self.made.outcome = outcome
            self.made.ended = self._callers.loop.time()
            self._callers.ended()
