from __future__ import annotations

import pytest
from sim_doubles import asked

from rmlb.sim.dialog import Dialog
from rmlb.sim.sip_text import SipText, respond
from rmlb.sip.address import SipAddress, Transport

HERE = SipAddress(Transport.TCP, "192.0.2.1", 5070)
ROUTES = (("Record-Route", "<sip:192.0.2.20;lr>, <sip:192.0.2.10:5066;lr;transport=tcp>"),)


def answer(invite: SipText, routes: tuple[tuple[str, str], ...] = ROUTES) -> SipText:
    headers = [*routes, ("Contact", "<sip:m1@192.0.2.9:7001>")]
    return respond(invite, 200, source=("192.0.2.1", 5070), tag="m1-x", headers=headers)


def test_the_caller_reverses_the_route_set() -> None:
    dialog = Dialog.of_caller(asked("INVITE"), answer(asked("INVITE")))
    bye = dialog.request("BYE", HERE)
    assert bye.start_line == "BYE sip:m1@192.0.2.9:7001 SIP/2.0"
    assert bye.all("Route") == ["<sip:192.0.2.10:5066;lr;transport=tcp>", "<sip:192.0.2.20;lr>"]
    assert (bye.from_tag, bye.to_tag, bye.cseq) == ("from", "m1-x", 2)
    assert bye.header("Via").startswith("SIP/2.0/TCP 192.0.2.1:5070;rport;branch=z9hG4bK")
    assert str(dialog.next_hop) == "tcp:192.0.2.10:5066"
    assert dialog.remote_tag == "m1-x"


def test_the_callee_keeps_its_order() -> None:
    dialog = Dialog.of_callee(asked("INVITE", more=ROUTES), "m1-x")
    bye = dialog.request("BYE", HERE)
    assert bye.start_line == "BYE sip:a@192.0.2.1:5070 SIP/2.0"
    assert bye.all("Route") == ["<sip:192.0.2.20;lr>", "<sip:192.0.2.10:5066;lr;transport=tcp>"]
    assert (bye.from_tag, bye.to_tag, bye.cseq) == ("m1-x", "from", 1)
    assert str(dialog.next_hop) == "udp:192.0.2.20:5060"


def test_without_routes_it_goes_to_the_contact() -> None:
    dialog = Dialog.of_caller(asked("INVITE"), answer(asked("INVITE"), ()))
    assert str(dialog.next_hop) == "udp:192.0.2.9:7001"
    assert dialog.request("BYE", HERE).all("Route") == []


def test_a_strict_router_becomes_the_request_uri() -> None:
    strict = (("Record-Route", "<sip:192.0.2.30>"),)
    dialog = Dialog.of_caller(asked("INVITE"), answer(asked("INVITE"), strict))
    bye = dialog.request("BYE", HERE)
    assert bye.uri == "sip:192.0.2.30"
    assert bye.all("Route") == ["<sip:m1@192.0.2.9:7001>"]


def test_sequence_numbers_and_branches() -> None:
    dialog = Dialog.of_caller(asked("INVITE"), answer(asked("INVITE")))
    ack = dialog.request("ACK", HERE, cseq=1)
    first, second = (dialog.request("INFO", HERE) for _ in range(2))
    assert (ack.cseq, first.cseq, second.cseq) == (1, 2, 3)
    assert len({ack.branch, first.branch, second.branch}) == 3


def test_an_answer_without_contact_makes_no_dialog() -> None:
    bare = respond(asked("INVITE"), 200, source=("192.0.2.1", 5070), tag="m1-x")
    with pytest.raises(ValueError, match="no Contact"):
        Dialog.of_caller(asked("INVITE"), bare)
