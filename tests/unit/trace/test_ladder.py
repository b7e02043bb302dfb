"""Who is who on a ladder, and what an arrow says."""

from __future__ import annotations

import pytest
from trace_samples import CALLER, MEMBER, OURS, received, request, response, sent, traced

from rmlb.trace.ladder import Parties, arrow, arrow_json, columns, is_other, title

PARTIES = Parties(frozenset([OURS]), {MEMBER: 1, ("192.0.2.12", 5060): 2, ("192.0.2.12", 5061): 2})


@pytest.mark.parametrize(
    ("host", "port", "party"),
    [
        (*OURS, "rmlb"),
        (*MEMBER, "member 1"),
        ("192.0.2.12", 5061, "member 2"),
        ("192.0.2.12", 49152, "member 2"),  # a TCP connection that it made
        (*CALLER, "192.0.2.1"),
        ("2001:db8::1", 5060, "2001:db8::1"),
    ],
)
def test_parties(host: str, port: int, party: str) -> None:
    assert PARTIES.party(host, port) == party


def test_on_one_host_ports_tell_members_from_callers() -> None:
    here = Parties(frozenset([("127.0.0.1", 5060)]), {("127.0.0.1", 7001): 1})
    assert here.party("127.0.0.1", 7001) == "member 1"
    assert here.party("127.0.0.1", 40000) == "127.0.0.1"


def test_a_host_of_two_members_names_neither() -> None:
    shared = Parties(frozenset([OURS]), {("192.0.2.11", 1): 1, ("192.0.2.11", 2): 2})
    assert shared.party("192.0.2.11", 3) == "192.0.2.11"


def test_arrows() -> None:
    came, left = (
        arrow(each, PARTIES)
        for each in traced(
            received(response(486, "Busy Here", "INVITE"), source=MEMBER),
            sent(request("ACK", to_tag="t")),
        )
    )
    assert (came.source, came.target, came.label) == ("member 1", "rmlb", "486 Busy Here")
    assert (left.source, left.target, left.label) == ("rmlb", "member 1", "ACK")
    assert came.source_address == "192.0.2.11:5060"
    assert left.call_id == "a@b"


def test_json_has_the_message_as_text() -> None:
    (one,) = traced(received(b"INVITE sip:\xff SIP/2.0\r\n\r\n"))
    shown = arrow_json(arrow(one, PARTIES), one.copy.data)
    assert shown["text"] == "INVITE sip:\ufffd SIP/2.0\r\n\r\n"
    assert shown["octets"] == 24


def test_columns_and_their_titles() -> None:
    found = columns(["member 10", "rmlb", "192.0.2.9", "member 2", "192.0.2.1", "rmlb"])
    assert found == ["192.0.2.1", "192.0.2.9", "rmlb", "member 2", "member 10"]
    assert [title(party, 2) for party in found] == [
        "192.0.2.1",
        "192.0.2.9",
        "rmlb",
        "RM 2",
        "RM 10",
    ]
    assert title("192.0.2.1") == "SIP Server"
    assert [is_other(party) for party in found] == [True, True, False, False, False]
