"""IPv6 callers, members and listeners, and calls between the address families
(RFC 3261 25.1, RFC 5118, RFC 5658)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rig import HOST, Balancer, free_port
from rig_dialog import Call, converse, new_call_id, set_up, whole_call
from rig_wire import Agent, request, response

HOST6 = "::1"
URI = "sip:ivr@example.com"
LISTEN = ("udp:{port}", "tcp:{port}", "udp:[::1]:{port}", "tcp:[::1]:{port}")


class Setting:
    """Callers of both families, one member, a balancer that listens on both."""

    def __init__(self, stack: ExitStack, directory: Path, member: str, transports: str) -> None:
        port = free_port()
        self.caller = stack.enter_context(Agent("udp tcp", port, host=HOST, name="caller4"))
        self.caller6 = stack.enter_context(Agent("udp tcp", port, host=HOST6, name="caller6"))
        self.member = stack.enter_context(
            Agent(transports, free_port(), host=member, name="member")
        )
        place = f"[{member}]" if ":" in member else member
        addresses = [f"{how}:{place}:{self.member.port}" for how in transports.split()]
        self.balancer = stack.enter_context(Balancer(directory, {1: addresses}, listen=LISTEN))
        self.place = (HOST, self.balancer.port)
        self.place6 = (HOST6, self.balancer.port)


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    """The member is reached by IPv6, over UDP and TCP."""
    with ExitStack() as stack:
        yield Setting(stack, tmp_path_factory.mktemp("six"), HOST6, "udp tcp")


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    """The member is reached by IPv4, over UDP."""
    with ExitStack() as stack:
        yield Setting(stack, tmp_path_factory.mktemp("four"), HOST, "udp")


def recorded(call: Call) -> list[str]:
    return [value.partition(";rmlb=")[0] for value in call.invite.headers("Record-Route")]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_ipv6_from_end_to_end(six: Setting, transport: str) -> None:
    call = whole_call(six.caller6, six.member, six.place6, transport)
    port = six.balancer.port
    how = "" if transport == "udp" else ";transport=tcp"
    assert recorded(call) == [f"<sip:[::1]:{port}{how};lr"]
    top, below = call.invite.headers("Via")
    assert top.startswith(f"SIP/2.0/{transport.upper()} [::1]:{port};branch=")
    assert below.endswith(";received=::1"), "an IPv6address, not a reference: no brackets"


def test_rport_of_an_ipv6_caller(six: Setting) -> None:
    """RFC 3581: answers to the source port, over the same socket."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST6, 0))
        sock.settimeout(5)
        port = sock.getsockname()[1]
        data = request("MESSAGE", URI, via="UDP [2001:db8::9]:5060;rport", call_id=new_call_id())
        sock.sendto(data, six.place6)
        got = six.member.hear("MESSAGE")
        assert f";rport={port};" in got.headers("Via")[1]
        assert got.headers("Via")[1].endswith(";received=::1")
        got.answer(response(got, 200, tag="m"))
        answer, source = sock.recvfrom(65535)
        assert answer.startswith(b"SIP/2.0 200 ")
        assert source[:2] == six.place6


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_ipv6_caller_ipv4_member(four: Setting, transport: str) -> None:
    call = whole_call(four.caller6, four.member, four.place6, transport)
    port = four.balancer.port
    how = "" if transport == "udp" else ";transport=tcp"
    assert recorded(call) == [f"<sip:{HOST}:{port};lr", f"<sip:[::1]:{port}{how};lr"]
    assert call.invite.headers("Via")[0].startswith(f"SIP/2.0/UDP {HOST}:{port};branch=")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_ipv4_caller_ipv6_member(six: Setting, transport: str) -> None:
    call = whole_call(six.caller, six.member, six.place, transport)
    port = six.balancer.port
    how = "" if transport == "udp" else ";transport=tcp"
    assert recorded(call) == [f"<sip:[::1]:{port}{how};lr", f"<sip:{HOST}:{port}{how};lr"]


def test_bye_of_an_ipv6_caller(four: Setting) -> None:
    call = set_up(four.caller6, four.member, four.place6, "udp")
    converse(call.callee, call.caller, "INVITE")
    converse(call.caller, call.callee, "BYE")


@pytest.mark.parametrize(
    "sent_by",
    ["[2001:DB8:0:0:0:0:9:1]", "[2001:db8::9:1]:5066", "[::ffff:192.0.2.10]:19823"],
)
def test_spellings_of_a_sent_by(six: Setting, sent_by: str) -> None:
    """RFC 5118 4.4, 4.9, 4.10: the Via goes on and comes back as it came."""
    via = f"UDP {sent_by};rport"
    six.caller6.send(request("MESSAGE", URI, via=via, call_id=new_call_id()), "udp", six.place6)
    got = six.member.hear("MESSAGE")
    assert got.headers("Via")[1].startswith(f"SIP/2.0/UDP {sent_by};rport=")
    got.answer(response(got, 200, tag="m"))
    assert six.caller6.hear("200").headers("Via")[0].startswith(f"SIP/2.0/UDP {sent_by};rport=")


def test_a_received_with_brackets_is_taken_too(six: Setting) -> None:
    """RFC 5118 4.5: be generous; it is replaced by what we see."""
    via = "UDP [2001:db8::9:1]:5060;received=[2001:db8::9:255];rport"
    six.caller6.send(request("MESSAGE", URI, via=via, call_id=new_call_id()), "udp", six.place6)
    got = six.member.hear("MESSAGE")
    assert ";received=::1;" in got.headers("Via")[1]
    got.answer(response(got, 200, tag="m"))
    six.caller6.hear("200")


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        ("sip:2001:db8::10", 400),  # RFC 5118 4.2: no brackets
        ("sip:[2001:db8::10:5070]", 0),  # 4.3: no port, but an address
        ("sip:[2001:db8::10]:5070", 0),  # 4.3
        ("sip:[2001:db8::1::2]", 400),
        ("sip:[2001:db8::10", 400),
        ("sip:[::ffff:192.0.2.7]", 0),
    ],
)
def test_request_uris_of_rfc_5118(six: Setting, uri: str, status: int) -> None:
    data = request(
        "MESSAGE", uri, via=six.caller6.via("udp"), call_id=new_call_id(), to="<sip:x@example.com>"
    )
    six.caller6.send(data, "udp", six.place6)
    if status:
        six.caller6.hear(str(status))
        return
    got = six.member.hear("MESSAGE")
    assert got.uri == uri
    got.answer(response(got, 200, tag="m"))
    six.caller6.hear("200")


def test_options_for_the_balancer(six: Setting) -> None:
    """In any spelling of its address."""
    for host in ("[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]"):
        uri = f"sip:{host}:{six.balancer.port}"
        data = request("OPTIONS", uri, via=six.caller6.via("udp"), call_id=new_call_id())
        six.caller6.send(data, "udp", six.place6)
        six.caller6.hear("200")
    six.member.hears_nothing()


def test_answer_for_a_vanished_connection(six: Setting) -> None:
    """18.2.2: to `received`, an address without brackets, and the sent-by port."""
    stream = six.caller6.connect(six.place6)
    stream.send(request("MESSAGE", URI, via=six.caller6.via("tcp"), call_id=new_call_id()))
    got = six.member.hear("MESSAGE")
    six.balancer.see_close(stream.close)
    got.answer(response(got, 200, tag="m"))
    six.caller6.hear("200")


def test_only_ipv6(tmp_path: Path) -> None:
    """A balancer that listens on IPv6 alone: the virtual IP is one."""
    with ExitStack() as stack:
        port = free_port()
        caller = stack.enter_context(Agent("udp", free_port(), host=HOST6, name="caller"))
        member = stack.enter_context(Agent("udp", free_port(), host=HOST6, name="member"))
        balancer = stack.enter_context(
            Balancer(
                tmp_path,
                {1: f"udp:[::1]:{member.port}"},
                port=port,
                virtual_ip=HOST6,
                listen=("udp:{port}", "tcp:{port}"),
            )
        )
        whole_call(caller, member, (HOST6, balancer.port), "udp")
        shown = balancer.status()
        assert shown["vip"]["address"] == HOST6
        assert balancer.members()[1]["sip"] == f"udp:[::1]:{member.port}"
        balancer.assert_balanced()


def test_sums_balance(six: Setting, four: Setting) -> None:
    six.balancer.assert_balanced()
    four.balancer.assert_balanced()
