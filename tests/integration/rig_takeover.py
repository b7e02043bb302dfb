"""Of the rig: many dialogs set up through one balancer and gone on with through another.

Every To tag names the member that answered, so a member knows at once what is not its own.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from rig_dialog import uri_in
from rig_process import HOST, free_port
from rig_wire import Agent, Heard, Place, request, response

T1 = 0.5
TRIES = 6


class TaggingMember(Agent):
    """A member that answers everything at once, and counts what another one's dialog brought it."""

    def __init__(self, number: int, contact: str) -> None:
        """`contact` is the URI that its answers give: the balancer's, as a real one's are."""
        super().__init__("udp", free_port(), name=f"m{number}")
        self.number = number
        self.misrouted: list[str] = []
        self.taken: Counter[str] = Counter()
        self.datanodes = False
        self._contact = contact

    def take(self, heard: Heard) -> None:
        if heard.start_line.startswith("OPTIONS "):
            super().take(heard)
            return
        if heard.status:
            return
        tag = heard.header("To").partition(";tag=")[2]
        self.taken[heard.method] += 1
        if tag and not tag.startswith(f"m{self.number}-"):
            self.misrouted.append(heard.header("Call-ID"))
        if heard.method != "ACK":
            made = f"m{self.number}-{heard.header('Call-ID')}"
            heard.answer(response(heard, 200, tag=made, contact=self._contact))


@dataclass
class Made:
    """One dialog as its caller has it."""

    call_id: str
    answered_at: float
    to: str
    target: str
    routes: list[str]
    cseq: int = 1
    done: dict[int, int] = field(default_factory=dict)
    """Status of each request inside it, by CSeq."""

    @property
    def member(self) -> int:
        match = re.search(r"tag=m(\d+)-", self.to)
        assert match is not None, self.to
        return int(match[1])


class DialogCaller(Agent):
    """Sets up dialogs at a steady rate, and sends requests inside them, repeated as RFC 3261 has
    it."""

    def __init__(self, prefix: str = "dialog") -> None:
        super().__init__("udp", free_port(), name="caller")
        self.dialogs: dict[str, Made] = {}
        self.latencies: list[float] = []
        """Seconds from a request inside a dialog to its answer."""
        self._prefix = prefix
        self._begun = 0
        self._unanswered: dict[tuple[str, int], float] = {}
        self._idle = threading.Event()

    def set_up(self, count: int, to: Place, rate: float = 500.0, timeout_s: float = 60.0) -> None:
        """That many dialogs more, all answered."""
        first, self._begun = self._begun, self._begun + count
        self._schedule(
            [f"{self._prefix}-{n}" for n in range(first, first + count)], "INVITE", to, rate
        )
        assert self._idle.wait(timeout_s), f"{len(self._unanswered)} INVITEs were not answered"

    def follow(
        self,
        method: str,
        to: Place,
        *,
        dialogs: list[Made] | None = None,
        rate: float = 500.0,
        timeout_s: float = 60.0,
        wait: bool = True,
    ) -> None:
        """One request inside each dialog (or these), all answered."""
        chosen = list(self.dialogs.values()) if dialogs is None else dialogs
        self._schedule([made.call_id for made in chosen], method, to, rate)
        if wait:
            self.finish(timeout_s)

    def finish(self, timeout_s: float = 60.0) -> None:
        """Wait until all that is under way is answered."""
        assert self._idle.wait(timeout_s), f"{len(self._unanswered)} requests were not answered"

    def statuses(self) -> Counter[int]:
        """How the newest request of each dialog was answered."""
        return Counter(made.done.get(made.cseq, 0) for made in self.dialogs.values())

    def _schedule(self, call_ids: list[str], method: str, to: Place, rate: float) -> None:
        if not call_ids:
            return
        self._idle.clear()

        def begin() -> None:
            now = self.loop.time()
            for number, call_id in enumerate(call_ids):
                self._unanswered[call_id, 0] = 0.0  # not sent yet
                self.loop.call_at(now + number / rate, self._begin, call_id, method, to)

        self.on_loop(begin)

    def _begin(self, call_id: str, method: str, to: Place) -> None:
        del self._unanswered[call_id, 0]
        made = self.dialogs.get(call_id)
        if made is not None:
            made.cseq += 1
        cseq = 1 if made is None else made.cseq
        data = self._request(call_id, method, cseq, to)
        self._unanswered[call_id, cseq] = self.loop.time()
        self._send(data, (call_id, cseq), to, 0)

    def _send(self, data: bytes, key: tuple[str, int], to: Place, tries: int) -> None:
        if key not in self._unanswered:
            return
        self.send_udp(data, to)
        if tries < TRIES:
            self.loop.call_later(T1 * 2**tries, self._send, data, key, to, tries + 1)

    def _request(self, call_id: str, method: str, cseq: int, to: Place) -> bytes:
        made = self.dialogs.get(call_id)
        return request(
            method,
            f"sip:ivr@{to[0]}:{to[1]}" if made is None else made.target,
            via=self.via("udp"),
            call_id=call_id,
            sender=f"<sip:caller@example.com>;tag=c-{call_id}",
            to=None if made is None else made.to,
            cseq=cseq,
            contact=self.contact("udp"),
            routes=[] if made is None else made.routes,
        )

    def take(self, heard: Heard) -> None:
        if heard.status < 200:
            return
        call_id, cseq = heard.header("Call-ID"), int(heard.header("CSeq").split()[0])
        sent_at = self._unanswered.pop((call_id, cseq), None)
        if heard.method == "INVITE" and heard.status < 300:
            if call_id not in self.dialogs:
                routes = heard.headers("Record-Route")[::-1]
                target = uri_in(heard.header("Contact"))
                self.dialogs[call_id] = Made(
                    call_id, time.monotonic(), heard.header("To"), target, routes
                )
            self.send_udp(self._request(call_id, "ACK", cseq, heard.source), heard.source)
        elif sent_at is not None:
            self.latencies.append(self.loop.time() - sent_at)
            self.dialogs[call_id].done[cseq] = heard.status
        if not self._unanswered:
            self._idle.set()


def loopback(number: int) -> str:
    """A loopback address of one's own: 127.0.0.N."""
    return HOST.rpartition(".")[0] + f".{number}"
