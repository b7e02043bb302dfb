"""The sipp scenarios against each other, no balancer between: they pass, and they can fail."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
import rig
from conftest import Start
from rig import Sipp, assert_all_succeeded

PAIRS = [
    ("uac_full", "uas_member", {}),
    ("uac_cancel", "uas_cancel", {"hold_ms": 20}),
    ("uac_busy", "uas_busy", {}),
    ("uac_early", "uas_early", {}),
    ("uac_fork", "uas_fork", {}),
]


@pytest.mark.parametrize("transport", ["u1", "t1", "tn"])
@pytest.mark.parametrize(("caller", "member", "options"), PAIRS)
def test_caller_and_member_fit(
    tmp_path: Path,
    start: Start,
    caller: str,
    member: str,
    options: dict[str, int],
    transport: str,
) -> None:
    uas = start(Sipp.member(tmp_path, 1, member, transport=transport[0] + "1"))
    uac = start(
        Sipp(
            tmp_path,
            caller,
            target=uas.port,
            transport=transport,
            rate=100,
            calls=20,
            **options,
        )
    )
    assert_all_succeeded(uac, uac.finish(), 20)
    at_member = uas.stop()
    assert at_member.counters["calls"] == 20
    assert at_member.counters["misrouted"] == 0
    # The last connection may close before the member has waited out its last call.
    assert set(at_member.reasons) <= {"FailedTcpClosed"}


@pytest.mark.parametrize("scenario", ["uas_member", "uas_shared"])
def test_a_member_takes_what_a_lost_message_brings(
    tmp_path: Path, start: Start, scenario: str
) -> None:
    """The INVITE again, because the 200 was lost; a BYE, though no ACK has come."""
    uas = start(Sipp.member(tmp_path, 1, scenario))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.settimeout(5.0)
        caller.bind((rig.HOST, 0))
        caller.connect((rig.HOST, uas.port))

        def ask(method: str, to_tag: str = "") -> None:
            here = caller.getsockname()[1]
            caller.send(_request(method, uas.port, here, f"lost-{here}", to_tag))

        def answer() -> tuple[str, str]:
            message = caller.recv(4096).decode()
            tag = re.search(r"^To: .*;tag=(\S+)", message, re.MULTILINE)
            assert tag is not None
            return message.partition("\r\n")[0], tag[1]

        ask("INVITE")
        assert [answer()[0] for _ in range(2)] == ["SIP/2.0 180 Ringing", "SIP/2.0 200 OK"]
        ask("INVITE")
        status, tag = answer()
        assert status == "SIP/2.0 200 OK", "it goes on repeating it"
        ask("BYE", f";tag={tag}")
        assert answer() == ("SIP/2.0 200 OK", tag)
    result = uas.stop()
    assert (result.counters["calls"], result.failed) == (1, 0)


@pytest.mark.parametrize("scenario", ["uac_full", "uac_shared"])
def test_a_caller_outlives_a_ringing_that_comes_late(
    tmp_path: Path, start: Start, scenario: str
) -> None:
    """From a member that was given up: sipp would wait for ever when it comes while it pauses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as member:
        member.settimeout(5.0)
        member.bind((rig.HOST, 0))
        port = member.getsockname()[1]
        uac = start(Sipp(tmp_path, scenario, target=port, rate=1, calls=1, hold_ms=300))
        invite = b""
        for expected in ("INVITE", "ACK", "INVITE", "ACK", "BYE"):
            request, caller = member.recvfrom(4096)
            assert request.startswith(expected.encode())
            invite = invite or request
            if expected == "INVITE" and request is invite:
                member.sendto(_answer(invite, "180 Ringing", port), caller)
            if expected != "ACK":
                member.sendto(_answer(request, "200 OK", port), caller)
            else:
                member.sendto(_answer(invite, "180 Ringing", port), caller)
        assert_all_succeeded(uac, uac.finish(), 1)


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_members_that_share_their_dialogs(tmp_path: Path, start: Start, transport: str) -> None:
    uas = start(Sipp.member(tmp_path, 1, "uas_shared", transport=transport))
    uac = start(
        Sipp(tmp_path, "uac_shared", target=uas.port, transport=transport, rate=100, calls=20)
    )
    assert_all_succeeded(uac, uac.finish(), 20)
    counters = uas.stop().counters
    assert (counters["calls"], counters["adopted"]) == (20, 0)


def test_a_sharing_member_takes_requests_of_another_members_dialogs(
    tmp_path: Path, start: Start
) -> None:
    uas = start(Sipp.member(tmp_path, 1, "uas_shared"))
    for method, status in (("INVITE", "200"), ("BYE", "200"), ("CANCEL", "481")):
        answer = _ask(uas.port, method, ";tag=m2-7")
        assert answer is not None
        assert answer.startswith(f"SIP/2.0 {status} ")
        assert "X-Simulated-Member: 1" in answer
    result = uas.stop(patience_s=0.1)
    assert result.counters["adopted"] == 2


def test_retransmitted_invite(tmp_path: Path, start: Start) -> None:
    uas = start(Sipp.member(tmp_path, 1, "uas_slow", trace=True))
    uac = start(Sipp(tmp_path, "uac_retrans", target=uas.port, rate=50, calls=10))
    result = uac.finish()
    assert_all_succeeded(uac, result, 10)
    assert result.retransmissions >= 10
    assert uas.stop().failed == 0
    invites = [m for way, m in uas.messages() if way == "received" and m.startswith("INVITE")]
    assert len(invites) >= 20
    assert len(set(invites)) == 10


def test_a_member_that_answers_for_another_fails_the_call(tmp_path: Path, start: Start) -> None:
    """The member of the answers is not the member of the To tag: misrouted."""
    text = (rig.SCENARIOS / "uas_member.xml").read_text()
    lying = rig.SCENARIOS / "uas_member.xml"
    wrong = tmp_path / "uas_wrong.xml"
    wrong.write_text(text.replace("X-Simulated-Member: [member]", "X-Simulated-Member: 2"))
    uas = Sipp.member(tmp_path, 1)
    uas.command[uas.command.index(str(lying))] = str(wrong)
    start(uas)
    result = start(Sipp(tmp_path, "uac_full", target=uas.port, rate=50, calls=5)).finish()
    assert result.failed == 5
    assert result.reasons == {"FailedStrcmpDoesntMatch": 5}


@pytest.mark.parametrize("method", ["INVITE", "BYE", "INFO"])
def test_a_member_refuses_the_dialog_of_another(tmp_path: Path, start: Start, method: str) -> None:
    uas = start(Sipp.member(tmp_path, 1))
    answer = _ask(uas.port, method, ";tag=m2-1-1")
    if method == "INFO":  # no part of any scenario
        assert answer is None
    else:
        assert answer is not None
        assert answer.startswith("SIP/2.0 481 ")
    result = uas.stop(patience_s=3.0)
    assert result.failed == 1
    assert result.counters["misrouted"] == (0 if method == "INFO" else 1)


def test_a_member_answers_probes_under_load(tmp_path: Path, start: Start) -> None:
    uas = start(Sipp.member(tmp_path, 1))
    uac = start(Sipp(tmp_path, "uac_full", target=uas.port, rate=100, calls=200, hold_ms=200))
    answers = [_ask(uas.port, "OPTIONS") for _ in range(100)]
    assert all(answer and answer.startswith("SIP/2.0 200 ") for answer in answers)
    assert_all_succeeded(uac, uac.finish(), 200)
    counters = uas.stop().counters
    assert (counters["probes"], counters["calls"], counters["misrouted"]) == (100, 200, 0)


def _ask(port: int, method: str, to_tag: str = "") -> str | None:
    """One request over UDP and its answer, None after half a second."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.bind((rig.HOST, 0))
        caller.settimeout(0.5)
        here = caller.getsockname()[1]
        _ask.count += 1  # type: ignore[attr-defined]
        call = f"ask-{here}-{_ask.count}"  # type: ignore[attr-defined]
        caller.sendto(_request(method, port, here, call, to_tag), (rig.HOST, port))
        try:
            return caller.recv(65535).decode()
        except TimeoutError:
            return None


def _answer(request: bytes, status: str, port: int) -> bytes:
    """By member 1, which names itself."""
    kept = [
        line + (";tag=m1-1" if line.startswith("To:") and "tag=" not in line else "")
        for line in request.decode().split("\r\n")
        if line.startswith(("Via:", "From:", "To:", "Call-ID:", "CSeq:"))
    ]
    own = [f"Contact: <sip:m1@{rig.HOST}:{port}>", "X-Simulated-Member: 1", "Content-Length: 0"]
    return ("\r\n".join([f"SIP/2.0 {status}", *kept, *own]) + "\r\n\r\n").encode()


def _request(method: str, port: int, here: int, call: str, to_tag: str = "") -> bytes:
    lines = [
        f"{method} sip:{rig.HOST}:{port} SIP/2.0",
        f"Via: SIP/2.0/UDP {rig.HOST}:{here};branch=z9hG4bK-{call}-{method}",
        f"From: <sip:probe@{rig.HOST}>;tag=1",
        f"To: <sip:{rig.HOST}:{port}>{to_tag}",
        f"Call-ID: {call}",
        f"CSeq: 1 {method}",
        "Max-Forwards: 70",
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


_ask.count = 0
