"""Secrets change while calls run (SIP-RULES 9): on two balancers in turn, and under load on one.

The order of a rolling change: the new secret second everywhere, then first everywhere, then the
old one goes. New calls are given out in turn, so only the mark knows a dialog's member.
"""

from __future__ import annotations

import queue
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Start
from rig import Balancer, Sipp, assert_all_succeeded, free_port, wait_until
from rig_dialog import Side, new_call_id
from rig_wire import Agent, Heard, Place, request, response

OLD, NEW = "the secret of last year", "the secret of this year"
HOSTS = {"a": "127.0.2.2", "b": "127.0.2.3"}
MEMBERS = {1: "127.0.2.11", 2: "127.0.2.12"}
CALLER = "127.0.2.31"

ROLLING = [
    ("a", [OLD, NEW]),
    ("b", [OLD, NEW]),
    ("a", [NEW, OLD]),
    ("b", [NEW, OLD]),
]
RETIRING = [("a", [NEW]), ("b", [NEW])]

TURNS = '[affinity]\nalgorithm = "round-robin"\n'
NO_DRAIN = '[drain]\nlimit = "0s"\n'
"""What was answered through the other balancer is not waited for at the end."""


def security(secrets: list[str]) -> str:
    listed = ", ".join(f'"{secret}"' for secret in secrets)
    return f"[security]\nsecret = [{listed}]\n"


def change_secrets(balancer: Balancer, secrets: list[str]) -> None:
    """New secrets in the file, SIGHUP, and they are in force."""
    text = balancer.config_path.read_text()
    text, changed = re.subn(r"\[security\]\nsecret = .*\n", security(secrets), text)
    assert changed == 1
    balancer.config_path.write_text(text)
    before = len(balancer.told("reloaded"))
    balancer.send_signal(signal.SIGHUP)
    wait_until("reloaded", lambda: len(balancer.told("reloaded")) > before)


def branch_of(heard: Heard) -> str:
    return re.findall(r";branch=([^;]+)", heard.headers("Via")[0])[0]


class Member(Agent):
    """Puts what it hears into the inbox of all, with its number."""

    def __init__(self, number: int, port: int, inbox: queue.Queue[tuple[int, Heard]]) -> None:
        super().__init__("udp", port, host=MEMBERS[number], name=f"member{number}")
        self.number = number
        self.inbox = inbox

    def take(self, heard: Heard) -> None:
        if heard.start_line.startswith("OPTIONS "):
            super().take(heard)
        else:
            self.inbox.put((self.number, heard))


@dataclass
class Dialog:
    member: int
    caller: Side
    callee: Side
    begun_at: str


@dataclass
class Ringing:
    """An INVITE that waits at a member; `data` as the caller sent it."""

    at: str
    data: bytes
    member: int
    invite: Heard


class Pair:
    """Two balancers with addresses of their own, aliases of each other, the same members."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        port = free_port()
        self.places: dict[str, Place] = {name: (host, port) for name, host in HOSTS.items()}
        self.inbox: queue.Queue[tuple[int, Heard]] = queue.Queue()
        self.caller = stack.enter_context(Agent("udp", port, host=CALLER, name="caller"))
        self.members = {n: stack.enter_context(Member(n, port, self.inbox)) for n in MEMBERS}
        aliases = ", ".join(f'"{host}:{port}"' for host in HOSTS.values())
        self.balancers = {
            name: stack.enter_context(
                Balancer(
                    directory,
                    {n: f"udp:{host}:{port}" for n, host in MEMBERS.items()},
                    port=port,
                    virtual_ip=HOSTS[name],
                    listen=("udp:{port}",),
                    cluster='name = "pair"\n',
                    sip=f"aliases = [{aliases}]\n",
                    extra=TURNS + NO_DRAIN + security([OLD]),
                    name=name,
                )
            )
            for name in HOSTS
        }
        for balancer in self.balancers.values():
            for number in MEMBERS:
                balancer.wait_health(number, "in service")

    @staticmethod
    def other(name: str) -> str:
        return "b" if name == "a" else "a"

    def member_hears(self, what: str) -> tuple[int, Heard]:
        number, heard = self.inbox.get(timeout=5.0)
        assert what in (heard.method, str(heard.status)), heard.data.decode()
        return number, heard

    def nobody_hears(self) -> None:
        self.caller.hears_nothing(0.2)
        assert self.inbox.empty(), self.inbox.get()

    def invite(self, at: str, *, rings: bool = True) -> Ringing:
        data = request(
            "INVITE", "sip:ivr@example.com", via=self.caller.via("udp"),
            call_id=new_call_id("rotation"), contact=self.caller.contact("udp"),
        )  # fmt: skip
        self.caller.send_udp(data, self.places[at])
        ringing = Ringing(at, data, *self.member_hears("INVITE"))
        if rings:
            self.answer(ringing, 180, at)
            self.caller.hear("180")
        return ringing

    def answer(self, ringing: Ringing, status: int, through: str) -> None:
        member = self.members[ringing.member]
        data = response(ringing.invite, status, tag="m", contact=member.contact("udp"))
        member.send_udp(data, self.places[through])

    def complete(self, ringing: Ringing, through: str) -> Dialog:
        """200 and ACK, by that balancer and by the other."""
        member = self.members[ringing.member]
        self.answer(ringing, 200, through)
        dialog = Dialog(
            ringing.member,
            Side.caller(self.caller, self.caller.hear("200")),
            Side.callee(member, ringing.invite, "m"),
            ringing.at,
        )
        ack = dialog.caller.request("ACK", cseq=1)
        self.caller.send_udp(ack, self.places[self.other(through)])
        assert self.member_hears("ACK")[0] == dialog.member
        return dialog

    def begin(self, dialog: Dialog, method: str, through: str, *, outward: bool) -> Heard:
        """A request inside the dialog by that balancer, as its receiver gets it."""
        sender = dialog.callee if outward else dialog.caller
        sender.agent.send_udp(sender.request(method), self.places[through])
        if outward:
            return self.caller.hear(method)
        number, heard = self.member_hears(method)
        assert number == dialog.member, "misrouted"
        return heard

    def end(self, heard: Heard, *, outward: bool) -> None:
        """Its 200."""
        heard.answer(response(heard, 200))
        if outward:
            assert self.member_hears("200")[1].method == heard.method
        else:
            assert self.caller.hear("200").method == heard.method

    def converse(self, dialog: Dialog, method: str, through: str, *, outward: bool) -> None:
        self.end(self.begin(dialog, method, through, outward=outward), outward=outward)

    def change(self, name: str, secrets: list[str]) -> None:
        change_secrets(self.balancers[name], secrets)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        pair = Pair(stack, tmp_path)
        yield pair
        pair.nobody_hears()
        for balancer in pair.balancers.values():
            balancer.assert_balanced()
            dropped = balancer.metrics().by("rmlb_messages_dropped_total", "reason")
            assert sum(dropped.values()) == 0, dropped


def acknowledge(pair: Pair, ringing: Ringing, status: int) -> None:
    """The member's failure, and the caller's ACK in the same transaction."""
    pair.answer(ringing, status, ringing.at)
    failure = pair.caller.hear(str(status))
    ack = ringing.data.replace(b"INVITE sip", b"ACK sip", 1).replace(b"1 INVITE", b"1 ACK")
    to = f"To: {failure.header('To')}".encode()
    pair.caller.send_udp(re.sub(rb"To: [^\r]+", to, ack), pair.places[ringing.at])
    number, heard = pair.member_hears("ACK")
    assert (number, branch_of(heard)) == (ringing.member, branch_of(ringing.invite))


def retransmit(pair: Pair, ringing: Ringing, method: str) -> Heard:
    """The INVITE again, or its CANCEL: the same branch at the same member."""
    data = ringing.data
    if method == "CANCEL":
        data = data.replace(b"INVITE sip", b"CANCEL sip", 1).replace(b"1 INVITE", b"1 CANCEL")
    pair.caller.send_udp(data, pair.places[ringing.at])
    number, heard = pair.member_hears(method)
    assert (number, branch_of(heard)) == (ringing.member, branch_of(ringing.invite))
    return heard


def test_rolling_change(pair: Pair) -> None:
    """At each step all kinds of transactions are under way: 0 lost, 0 requests misrouted."""
    dialogs = [pair.complete(pair.invite(at), at) for at in "abab"]
    signers = {branch_of(dialog_invite(pair, at)).partition(".")[0] for at in "ab"}
    assert len(signers) == 1, "both sign with the old one"
    for at, secrets in ROLLING + RETIRING:
        if at == "a" and secrets == [NEW]:  # those that the old secret signed are over by now
            for dialog in dialogs:
                pair.converse(dialog, "BYE", "a", outward=False)
            dialogs = [pair.complete(pair.invite(name), name) for name in "abab"]
        step(pair, at, secrets, dialogs)
    assert {branch_of(dialog_invite(pair, at)).partition(".")[0] for at in "ab"}.isdisjoint(signers)
    for number, dialog in enumerate(dialogs):
        pair.converse(dialog, "BYE", "ab"[number % 2], outward=bool(number & 2))
    assert {dialog.member for dialog in dialogs} == set(MEMBERS)


def dialog_invite(pair: Pair, at: str) -> Heard:
    """An INVITE as it reaches a member; it is refused."""
    ringing = pair.invite(at)
    acknowledge(pair, ringing, 486)
    return ringing.invite


def step(pair: Pair, at: str, secrets: list[str], dialogs: list[Dialog]) -> None:
    """One balancer's secrets change while transactions are under way at both."""
    to_be_answered = [(pair.invite(name), through) for name in "ab" for through in "ab"]
    to_be_repeated = [pair.invite(name, rings=False) for name in "ab"]
    to_be_cancelled = [pair.invite(name) for name in "ab"]
    requests = [
        (pair.begin(dialogs[0], "INFO", name, outward=outward), outward)
        for name in "ab"
        for outward in (False, True)
    ]

    pair.change(at, secrets)

    for heard, outward in requests:
        pair.end(heard, outward=outward)
    for ringing in to_be_repeated:
        retransmit(pair, ringing, "INVITE")
        acknowledge(pair, ringing, 486)
    for ringing in to_be_cancelled:
        cancel = retransmit(pair, ringing, "CANCEL")
        cancel.answer(response(cancel, 200))
        pair.caller.hear("200")
        acknowledge(pair, ringing, 487)
    dialogs += [pair.complete(ringing, through) for ringing, through in to_be_answered]
    dialogs += [pair.complete(pair.invite(name), through) for name in "ab" for through in "ab"]
    for dialog in dialogs:  # each through either balancer, from either side
        for through in "ab":
            for outward in (False, True):
                pair.converse(dialog, "INFO", through, outward=outward)


def test_a_retired_secret(pair: Pair) -> None:
    """Its marks are not believed: a binding or the hash leads to a member, nothing outward."""
    dialogs = [pair.complete(pair.invite("a"), "a") for _ in range(6)]
    for at, secrets in ROLLING + RETIRING:
        pair.change(at, secrets)
    reached = set()
    before = led_by(pair.balancers["b"])
    for dialog in dialogs:
        pair.converse(dialog, "INFO", "a", outward=False)  # a has the binding
        pair.caller.send_udp(dialog.caller.request("INFO"), pair.places["b"])
        number, heard = pair.member_hears("INFO")  # b has nothing but the hash
        reached.add(number == dialog.member)
        heard.answer(response(heard, 200))
        pair.caller.hear("200")
    assert led_by(pair.balancers["b"]) - before == Counter(algorithm=len(dialogs))
    assert reached == {True, False}, "nothing but chance led there"
    for dialog in dialogs:
        for through in "ab":
            callee = dialog.callee
            callee.agent.send_udp(callee.request("INFO"), pair.places[through])
            # back to whom it came from, or to the other member: never to the caller
            number, heard = pair.inbox.get(timeout=5.0)
            assert number in MEMBERS
            if heard.status:
                assert (number, heard.status) == (dialog.member, 482)
            else:
                assert number != dialog.member
                heard.answer(response(heard, 481))
                assert pair.member_hears("481")[0] == dialog.member
    pair.caller.hears_nothing(0.3)


def led_by(balancer: Balancer) -> Counter[str]:
    """Requests by the step that named their member."""
    return Counter(balancer.metrics().by("rmlb_affinity_total", "step"))


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_reloads_under_load(tmp_path: Path, start: Start, transport: str) -> None:
    """A new secret every half second by SIGHUP: 0 of 1,000 calls fail, 0 are misrouted."""
    members = {
        n: start(Sipp.member(tmp_path, n, "uas_member", transport=transport, ring_ms=200))
        for n in (1, 2)
    }
    secrets = [f"the secret number {number}" for number in range(20)]
    balancer = start(
        Balancer(
            tmp_path,
            {n: member.address for n, member in members.items()},
            extra=TURNS + security(secrets[:1]),
        )
    )
    for number in members:
        balancer.wait_health(number, "in service")
    caller = start(
        Sipp(
            tmp_path, "uac_full", target=balancer.port, transport=transport,
            rate=100, calls=1000, hold_ms=300,
        )
    )  # fmt: skip
    reloads = 0
    for number in range(1, 20):
        in_force = secrets[max(0, number - 5) : number]  # the others have been retired
        change_secrets(balancer, [*in_force[::-1], secrets[number]])
        change_secrets(balancer, [secrets[number], *in_force[::-1]])
        reloads += 2
        time.sleep(0.5)
    assert_all_succeeded(caller, caller.finish(), 1000)
    dropped = balancer.metrics().by("rmlb_messages_dropped_total", "reason")
    assert dropped.get("unverified_response", 0) == 0
    assert len(balancer.told("reloaded")) == reloads
    assert balancer.told("member-out-of-service") == []
    balancer.assert_balanced()
    assert sum(member.stop().counters["misrouted"] for member in members.values()) == 0
