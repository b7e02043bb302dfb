"""Between transports: the message is the same on both sides, and the dialog works both ways
(RFC 3261 18.1.1, 18.3; RFC 5658)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rig import HOST, Balancer, free_port
from rig_dialog import Call, converse, new_call_id, set_up, whole_call
from rig_wire import Agent, request, response

SDP_LIKE = b"v=0\r\n" + b"a=x\xff\x00\r\n" * 7
"""A body that is no text, to be carried as it is."""

LARGEST = 60_000
"""Octets of a large body: with headers still one datagram (65,507)."""


class Setting:
    """A caller with UDP and TCP, a balancer, and one member of the wanted transports."""

    def __init__(self, stack: ExitStack, directory: Path, members: str, sip: str = "") -> None:
        self.caller = stack.enter_context(Agent("udp tcp", free_port(), name="caller"))
        self.member = stack.enter_context(Agent(members, free_port(), name="member"))
        addresses = [f"{how}:{HOST}:{self.member.port}" for how in members.split()]
        self.balancer = stack.enter_context(Balancer(directory, {1: addresses}, sip=sip))
        self.place = (HOST, self.balancer.port)


@pytest.fixture(scope="module")
def tcp_member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    with ExitStack() as stack:
        yield Setting(stack, tmp_path_factory.mktemp("tcp"), "tcp")


@pytest.fixture(scope="module")
def udp_member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    with ExitStack() as stack:
        yield Setting(stack, tmp_path_factory.mktemp("udp"), "udp")


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    """A member with both, and the 1,300-octet rule in force."""
    with ExitStack() as stack:
        directory = tmp_path_factory.mktemp("limited")
        yield Setting(stack, directory, "udp tcp", "udp-size-limit = 1300\n")


def recorded(call: Call) -> list[str]:
    """Record-Route as the member got it, without our mark."""
    return [value.partition(";rmlb=")[0] for value in call.invite.headers("Record-Route")]


def test_udp_caller_tcp_member(tcp_member: Setting) -> None:
    call = whole_call(tcp_member.caller, tcp_member.member, tcp_member.place, "udp", body=SDP_LIKE)
    port = tcp_member.balancer.port
    assert call.invite.transport == "tcp"
    assert call.invite.headers("Via")[0].startswith(f"SIP/2.0/TCP {HOST}:{port};branch=")
    assert recorded(call) == [f"<sip:{HOST}:{port};transport=tcp;lr", f"<sip:{HOST}:{port};lr"]


def test_tcp_caller_udp_member(udp_member: Setting) -> None:
    call = whole_call(udp_member.caller, udp_member.member, udp_member.place, "tcp", body=SDP_LIKE)
    port = udp_member.balancer.port
    assert call.invite.transport == "udp"
    assert call.invite.headers("Via")[0].startswith(f"SIP/2.0/UDP {HOST}:{port};branch=")
    assert recorded(call) == [f"<sip:{HOST}:{port};lr", f"<sip:{HOST}:{port};transport=tcp;lr"]


def test_no_bridge_no_double_entry(tcp_member: Setting) -> None:
    call = whole_call(tcp_member.caller, tcp_member.member, tcp_member.place, "tcp")
    assert recorded(call) == [f"<sip:{HOST}:{tcp_member.balancer.port};transport=tcp;lr"]


def test_bye_of_the_caller(tcp_member: Setting, udp_member: Setting) -> None:
    for setting, transport in ((tcp_member, "udp"), (udp_member, "tcp")):
        call = set_up(setting.caller, setting.member, setting.place, transport)
        converse(call.callee, call.caller, "INVITE")
        converse(call.caller, call.callee, "BYE")


def test_content_length_is_added_for_a_stream_only(tcp_member: Setting) -> None:
    """A datagram needs none; a stream does (18.3). Absent is absent where it may be."""
    body = b"<vxml/>"
    call = set_up(
        tcp_member.caller, tcp_member.member, tcp_member.place, "udp", body=body, length=False
    )
    assert call.invite.headers("Content-Length") == [str(len(body))]


def test_content_length_of_a_response_is_added_for_a_stream(udp_member: Setting) -> None:
    """A member may leave it out of a datagram; the caller's connection must not."""
    caller, member = udp_member.caller, udp_member.member
    data = request("MESSAGE", "sip:ivr@example.com", via=caller.via("tcp"), call_id=new_call_id())
    caller.send(data, "tcp", udp_member.place)
    got = member.hear("MESSAGE")
    got.answer(response(got, 200, tag="m", body=b"some text", length=False))
    answer = caller.hear("200")
    assert answer.headers("Content-Length") == ["9"]
    assert answer.body == b"some text"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_large_messages(tcp_member: Setting, transport: str) -> None:
    """60 KB in both directions, from a datagram of many fragments to a stream and back."""
    big = bytes(range(256)) * (LARGEST // 256)
    call = set_up(
        tcp_member.caller, tcp_member.member, tcp_member.place, transport, body=big, answer_body=big
    )
    converse(call.callee, call.caller, "INFO", body=big)
    converse(call.caller, call.callee, "BYE", body=big)


def test_large_datagrams_on_both_sides(udp_member: Setting) -> None:
    big = bytes(range(256)) * (LARGEST // 256)
    call = set_up(
        udp_member.caller, udp_member.member, udp_member.place, "udp", body=big, answer_body=big
    )
    converse(call.callee, call.caller, "BYE", body=big)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_too_large_for_a_datagram_is_refused(udp_member: Setting, transport: str) -> None:
    """With our Via and Record-Route it fits no datagram, and the member has no stream."""
    caller = udp_member.caller
    data = request(
        "INVITE", "sip:ivr@example.com", via=caller.via(transport), call_id=new_call_id(),
        contact=caller.contact(transport), body=b"x" * 65_100,
    )  # fmt: skip
    assert len(data) < 65_507
    caller.send(data, transport, udp_member.place)
    caller.hear("513")
    udp_member.member.hears_nothing()


def test_1300_octets_and_more_leave_by_tcp(limited: Setting) -> None:
    small = set_up(limited.caller, limited.member, limited.place, "udp", body=b"x" * 100)
    assert small.invite.transport == "udp"
    converse(small.callee, small.caller, "BYE")
    large = whole_call(limited.caller, limited.member, limited.place, "udp", body=b"x" * 1300)
    assert large.invite.transport == "tcp"
    port = limited.balancer.port
    assert recorded(large) == [f"<sip:{HOST}:{port};transport=tcp;lr", f"<sip:{HOST}:{port};lr"]


def test_the_rule_counts_what_leaves(limited: Setting) -> None:
    """1,250 octets come; with our Via and Record-Route they are more than 1,300."""
    caller = limited.caller
    data = request(
        "INVITE", "sip:ivr@example.com", via=caller.via("udp"), call_id=new_call_id(),
        contact=caller.contact("udp"),
    )  # fmt: skip
    body = b"x" * (1250 - len(data) - 3)
    call = set_up(caller, limited.member, limited.place, "udp", body=body)
    assert call.invite.transport == "tcp"
    assert len(call.invite.data) > 1300
    converse(call.callee, call.caller, "BYE")


def test_cancel_and_ack_follow_the_transport_of_their_invite(limited: Setting) -> None:
    """Small as they are: the member's transaction is where the INVITE went (9.1, 17.1.1.3)."""
    caller, member = limited.caller, limited.member
    call_id = new_call_id()

    def send(method: str, **options: object) -> None:
        data = request(
            method, "sip:ivr@example.com", via=caller.via("udp"), call_id=call_id,
            branch=f"z9hG4bK-{call_id}", **options,
        )  # type: ignore[arg-type]  # fmt: skip
        caller.send(data, "udp", limited.place)

    send("INVITE", body=b"x" * 1500, contact=caller.contact("udp"))
    invite = member.hear("INVITE")
    assert invite.transport == "tcp"
    invite.answer(response(invite, 180, tag="m"))
    caller.hear("180")
    send("CANCEL")
    cancel = member.hear("CANCEL")
    assert cancel.transport == "tcp"
    assert cancel.header("Via") == invite.header("Via")
    cancel.answer(response(cancel, 200, tag="m"))
    assert caller.hear("200").method == "CANCEL"
    invite.answer(response(invite, 487, tag="m"))
    caller.hear("487")
    send("ACK", to="<sip:ivr@example.com>;tag=m")
    ack = member.hear("ACK")
    assert ack.transport == "tcp"
    assert ack.header("Via") == invite.header("Via")


def test_nothing_was_lost_on_the_way(
    tcp_member: Setting, udp_member: Setting, limited: Setting
) -> None:
    for setting in (tcp_member, udp_member, limited):
        setting.caller.hears_nothing(0.1)
        setting.member.hears_nothing(0.1)
        setting.balancer.assert_balanced()
        assert setting.member.accepted <= 2, "one connection of calls, one of probes"
