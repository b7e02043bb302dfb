"""Kamailio 5.6 as a member: over TLS, and a pair that knows the virtual IP as Resource Managers
do (their Record-Route names it with datanodes, their Via signs with it)."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rig import HOST, Balancer, Sipp, assert_all_succeeded, free_port
from rig_dialog import Call, Side, converse, new_call_id, set_up
from rig_kamailio import Kamailio, Manager
from rig_tls import Authority
from rig_wire import Agent, Heard, Place, request, response

VIP = "127.0.1.100"
MANAGERS = {1: "127.0.1.11", 2: "127.0.1.12"}
MEDIA, CALLER = "127.0.1.21", "127.0.1.31"
URI = "sip:ivr@example.com"


def passed(heard: Heard) -> list[str]:
    """The members that a request went through."""
    return heard.headers("X-RM")


# over TLS


class Secure:
    """Callers by UDP and TCP, the balancer, TLS to Kamailio, UDP to the media server."""

    def __init__(self, stack: ExitStack, directory: Path, media_port: int) -> None:
        authority = Authority(directory)
        own = authority.issue(HOST, file="balancer")
        theirs = authority.issue(HOST, file="kamailio")
        tls_port, udp_port, secure_port = free_port(), free_port(), free_port()
        manager = Manager(
            1,
            (f"tls:{HOST}:{tls_port}", f"udp:{HOST}:{udp_port}"),
            media=f"sip:{HOST}:{media_port}",
            certificate=theirs.pem,
            authority=authority.pem,
        )
        stack.enter_context(Kamailio(directory, manager))
        self.balancer = stack.enter_context(
            Balancer(
                directory,
                {1: f"tls:{HOST}:{tls_port}"},
                listen=("udp:{port}", "tcp:{port}", f"tls:{secure_port}"),
                extra=f'[tls]\ncertificate = "{own.pem}"\nca = "{authority.pem}"\n',
            )
        )
        self.place = (HOST, self.balancer.port)


def test_sipp_through_a_tls_member(tmp_path: Path) -> None:
    """Whole calls with re-INVITE: UDP or TCP in, TLS to Kamailio, UDP to the callee."""
    with ExitStack() as stack:
        callee = stack.enter_context(Sipp.member(tmp_path, 1))
        secure = Secure(stack, tmp_path, callee.port)
        for transport in ("u1", "t1"):
            caller = Sipp(
                tmp_path, "uac_full", target=secure.balancer.port, transport=transport,
                rate=50, calls=50,
            )  # fmt: skip
            assert_all_succeeded(caller, caller.run(), 50)
        counters = callee.stop().counters
        assert (counters["calls"], counters["misrouted"]) == (100, 0)
        secure.balancer.assert_balanced()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_both_sides_of_a_dialog_through_a_tls_member(tmp_path: Path, transport: str) -> None:
    """The callee's requests come back over TLS, from Kamailio's own connection or ours."""
    with ExitStack() as stack:
        caller = stack.enter_context(Agent("udp tcp", free_port(), name="caller"))
        callee = stack.enter_context(Agent("udp", free_port(), name="callee"))
        secure = Secure(stack, tmp_path, callee.port)
        call = set_up(caller, callee, secure.place, transport)
        for sender, receiver in ((call.caller, call.callee), (call.callee, call.caller)):
            for method in ("INVITE", "INFO"):
                assert passed(converse(sender, receiver, method)) == ["1"]
        converse(call.callee, call.caller, "BYE")
        secure.balancer.assert_balanced()


# a pair that knows the virtual IP


class Pair:
    """Two Kamailio that sign with the VIP, a media server behind them, a caller before."""

    def __init__(self, stack: ExitStack, directory: Path, *, transports: str = "udp") -> None:
        port = free_port()  # one number everywhere, as at a site: 5060
        self.caller = stack.enter_context(Agent("udp tcp", port, host=CALLER, name="caller"))
        self.media = stack.enter_context(Agent("udp", port, host=MEDIA, name="media"))
        self.kamailio = {
            number: stack.enter_context(
                Kamailio(
                    directory,
                    Manager(
                        number,
                        tuple(
                            f"{how}:{host}:{port} advertise {VIP}:{port}"
                            for how in transports.split()
                        ),
                        media=f"sip:{MEDIA}:{port}",
                        virtual=f"{VIP}:{port}",
                    ),
                )
            )
            for number, host in MANAGERS.items()
        }
        self.balancer = stack.enter_context(
            Balancer(
                directory,
                {n: [f"{how}:{host}:{port}" for how in transports.split()]
                 for n, host in MANAGERS.items()},
                port=port,
                virtual_ip=VIP,
            )
        )  # fmt: skip
        self.place = (VIP, port)
        for number in MANAGERS:
            self.balancer.wait_health(number, "in service")

    def call(self, transport: str = "udp") -> Call:
        return set_up(self.caller, self.media, self.place, transport)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack, tmp_path_factory.mktemp("pair"))


def test_record_routes_of_an_rm_that_knows_the_vip(pair: Pair) -> None:
    """Two look-alike entries; each side's requests are led by both."""
    call = pair.call()
    member = passed(call.invite)[0]
    first, second = call.invite.headers("Record-Route")
    place = f"{VIP}:{pair.balancer.port}"
    assert first == f"<sip:{place};gvp.rm.datanodes={member};lr>"
    assert second.startswith(f"<sip:{place};lr;rmlb=")
    assert call.invite.headers("Via")[0].startswith(f"SIP/2.0/UDP {place};branch=")
    converse(call.callee, call.caller, "BYE")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_every_request_through_the_same_member(pair: Pair, transport: str) -> None:
    """Requests from both sides of many dialogs: none misrouted."""
    share: Counter[str] = Counter()
    misrouted = []
    for number in range(40):
        call = pair.call(transport)
        (member,) = passed(call.invite)
        share[member] += 1
        ways = [(call.caller, call.callee), (call.callee, call.caller)]
        seen = [
            converse(sender, receiver, method)
            for sender, receiver in ways
            for method in ("INVITE", "INFO", "UPDATE")
        ]
        seen.append(converse(*ways[number % 2], "BYE"))
        misrouted += [each.start_line for each in seen if passed(each) != [member]]
    assert misrouted == []
    assert set(share) == {"1", "2"}
    assert min(share.values()) >= 5


def test_members_by_tcp(tmp_path: Path) -> None:
    """TCP all the way to the members, whose own entries say nothing of it."""
    with ExitStack() as stack:
        pair = Pair(stack, tmp_path, transports="udp tcp")
        for _ in range(10):
            call = pair.call("tcp")
            (member,) = passed(call.invite)
            vias = call.invite.headers("Via")
            assert vias[1].startswith(f"SIP/2.0/TCP {VIP}:{pair.balancer.port};branch=")
            ways = [(call.caller, call.callee), (call.callee, call.caller)]
            for sender, receiver in ways:
                assert passed(converse(sender, receiver, "INVITE")) == [member]
            assert passed(converse(*ways[1], "BYE")) == [member]
        pair.balancer.assert_balanced()


def test_without_any_memory_of_the_call(tmp_path: Path) -> None:
    """A balancer that has just started knows nothing: marks and datanodes say it all."""
    with ExitStack() as stack:
        pair = Pair(stack, tmp_path)
        calls = [pair.call() for _ in range(12)]
        pair.balancer.send_signal(signal.SIGKILL)
        pair.balancer.wait(5)
        pair.balancer.start()
        for number in MANAGERS:
            pair.balancer.wait_health(number, "in service")
        for call in calls:
            members = {passed(call.invite)[0]}
            members |= set(passed(converse(call.caller, call.callee, "INVITE")))
            members |= set(passed(converse(call.callee, call.caller, "INFO")))
            members |= set(passed(converse(call.callee, call.caller, "BYE")))
            assert len(members) == 1


def test_the_second_dialog_of_a_session(pair: Pair) -> None:
    """A recording or a transfer has its own Call-ID; the session header names its member."""
    for member in ("1", "2"):
        call_id = new_call_id("recording")
        data = request(
            "INVITE", "sip:recorder@example.com", via=pair.caller.via("udp"), call_id=call_id,
            contact=pair.caller.contact("udp"),
            extra=(f"X-Genesys-GVP-Session-ID: 0A1B;gvp.rm.datanodes={member}|{3 - int(member)}",),
        )  # fmt: skip
        pair.caller.send(data, "udp", pair.place)
        invite = pair.media.hear("INVITE")
        assert passed(invite) == [member]
        invite.answer(response(invite, 200, tag="r", contact=pair.media.contact("udp")))
        caller = Side.caller(pair.caller, pair.caller.hear("200"))
        caller.send("ACK", cseq=1)
        assert passed(pair.media.hear("ACK")) == [member]
        callee = Side.callee(pair.media, invite, "r")
        assert passed(converse(callee, caller, "BYE")) == [member]


# kind C: answers that come to the virtual IP in a member's Via


def sent_by(heard: Heard) -> Place:
    """Where a user agent answers that looks at nothing but the sent-by."""
    match = re.match(r"SIP/2.0/UDP ([^:;]+):(\d+)", heard.header("Via"))
    assert match is not None
    return match[1], int(match[2])


def with_received(heard: Heard, host: str) -> Heard:
    """The request as a server sees it that has stamped the top Via (18.2.1)."""
    top = heard.headers("Via")[0].encode()
    stamped = heard.data.replace(top, top + b";received=" + host.encode(), 1)
    return Heard(stamped, heard.source, heard.transport, heard.answer)


@pytest.mark.parametrize("stamps", [True, False], ids=["received", "binding"])
def test_answers_to_the_sent_by(pair: Pair, stamps: bool) -> None:
    """All answers of a call and of its BYE arrive at the VIP; each finds its member."""
    caller, media = pair.caller, pair.media
    before = pair.balancer.metrics().by("rmlb_messages_by_kind_total", "kind")
    for _ in range(10):
        call_id = new_call_id("kind-c")
        data = request(
            "INVITE", URI, via=caller.via("udp"), call_id=call_id, contact=caller.contact("udp")
        )
        caller.send(data, "udp", pair.place)
        invite = media.hear("INVITE")
        assert sent_by(invite) == pair.place
        seen = with_received(invite, invite.source[0]) if stamps else invite
        for status in (180, 200):
            answer = response(seen, status, tag="m", contact=media.contact("udp"))
            media.send_udp(answer, sent_by(invite))
            heard = caller.hear(str(status))
            assert heard.headers("Via")[0].startswith(f"SIP/2.0/{caller.via('udp')};")
            assert len(heard.headers("Via")) == 1
        side = Side.caller(caller, heard)
        side.send("ACK", cseq=1)
        assert passed(media.hear("ACK")) == passed(invite)
        side.send("BYE")
        bye = media.hear("BYE")
        assert passed(bye) == passed(invite)
        seen = with_received(bye, bye.source[0]) if stamps else bye
        media.send_udp(response(seen, 200), sent_by(bye))
        caller.hear("200")
    after = pair.balancer.metrics().by("rmlb_messages_by_kind_total", "kind")
    if after:
        assert after["C"] - before.get("C", 0) == 30


def test_a_call_that_rings_behind_a_dead_member(tmp_path: Path) -> None:
    """The member dies after the 180. Its answer to the VIP passes it by (SIP-RULES 1 C)."""
    with ExitStack() as stack:
        pair = Pair(stack, tmp_path)
        caller, media = pair.caller, pair.media
        data = request(
            "INVITE", URI, via=caller.via("udp"), call_id=new_call_id("dead"),
            contact=caller.contact("udp"),
        )  # fmt: skip
        caller.send(data, "udp", pair.place)
        first = media.hear("INVITE")
        dead = int(passed(first)[0])
        first.answer(response(first, 180, tag="m", contact=media.contact("udp")))
        caller.hear("180")
        pair.kamailio[dead].kill()
        pair.balancer.wait_health(dead, "out of service")
        again = media.hear("INVITE")  # by the survivor: to the media server a merged request
        assert passed(again) == [str(3 - dead)]
        again.answer(response(again, 482, tag="x"))
        media.hear("ACK")
        seen = with_received(first, first.source[0])
        media.send_udp(response(seen, 200, tag="m", contact=media.contact("udp")), sent_by(first))
        answer = caller.hear("200")
        assert answer.headers("Via") == [
            f"SIP/2.0/{caller.via('udp')};branch={_branch(data)};received={CALLER}"
        ]
        side = Side.caller(caller, answer)
        side.send("ACK", cseq=1)
        assert passed(media.hear("ACK")) == [str(3 - dead)], "the survivor holds the dialog"
        side.send("BYE")
        bye = media.hear("BYE")
        assert passed(bye) == [str(3 - dead)]
        bye.answer(response(bye, 200))
        caller.hear("200")


def _branch(data: bytes) -> str:
    match = re.search(rb"branch=([^;\r]+)", data)
    assert match is not None
    return match[1].decode()


def test_sums_balance(pair: Pair) -> None:
    time.sleep(0.1)
    pair.caller.hears_nothing(0.1)
    pair.media.hears_nothing(0.1)
    pair.balancer.assert_balanced()
