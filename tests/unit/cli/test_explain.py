"""`rmlb explain`: every message of the corpus, every kind of verdict, and any junk."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmlb import config as configuration
from rmlb.cli.explain import as_object, explain
from rmlb.cli.explanation import Explanation, explain_octets
from rmlb.cli.failure import CliError
from rmlb.config import Config
from rmlb.routing.verdict import Forward, Kind, Reply, Step

CORPUS = Path(__file__).parents[2] / "corpus"
EXPECTED = json.loads((CORPUS / "expected.json").read_text())["rfc4475"]

CONFIG = """
[cluster]
ha-mode    = "active-active"
virtual-ip = "127.0.0.1"
[rm.1]
sip = "10.0.0.11:5060"
[rm.2]
sip = ["udp:10.0.0.12:5060", "tls:rm2.example.com:5061"]
[sip]
listen = ["udp:5060", "tcp:5060", "udp:[::1]:5060"]
[state]
dir = "{directory}"
"""

INVITE = b"""INVITE sip:ivr@127.0.0.1 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK-1;rport
From: <sip:a@192.0.2.7>;tag=a
To: <sip:ivr@127.0.0.1>
Call-ID: explain-1
CSeq: 1 INVITE
Contact: <sip:a@192.0.2.7:5070>
Content-Length: 0

""".replace(b"\n", b"\r\n")


def load(directory: Path, security: str = "") -> Config:
    path = directory / "rmlb.toml"
    secret = security or '[security]\nsecret = "of twenty characters"\n'
    path.write_text(CONFIG.format(directory=directory) + secret)
    return configuration.load(path)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(tmp_path)


@pytest.fixture(scope="module")
def one_config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return load(tmp_path_factory.mktemp("explain"))


def only(config: Config, data: bytes, source: str = "", transport: str = "") -> Explanation:
    (found,) = explain_octets(config, data, source, transport)
    return found


def outcome(explanation: Explanation) -> str:
    """In the words of expected.json."""
    verdict = explanation.verdict
    if isinstance(verdict, Forward):
        return "FWD"
    return str(verdict.status) if isinstance(verdict, Reply) else "DROP"


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_message_of_rfc_4475(one_config: Config, name: str) -> None:
    data = (CORPUS / "rfc4475" / f"{name}.dat").read_bytes()
    found = only(one_config, data, transport="udp")
    assert outcome(found) in EXPECTED[name][1]
    assert "RFC" in found.rule or "SIP-RULES" in found.rule
    for each in explain_octets(one_config, data, transport="tcp"):
        json.dumps(as_object(each))


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_message_is_printed(
    one_config: Config, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = CORPUS / "rfc4475" / f"{name}.dat"
    assert explain(Path(one_config.path), message, "", "udp", False) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["message", "received", "kind", "verdict"]
    assert any(line.startswith("rule ") for line in lines)
    assert all(line.isprintable() for line in lines)
    assert explain(Path(one_config.path), message, "", "udp", True) == 0
    assert json.loads(capsys.readouterr().out)["kind"] in "ABCDEFG"


def test_a_request_for_a_member(config: Config) -> None:
    found = only(config, INVITE)
    verdict = found.verdict
    assert isinstance(verdict, Forward)
    assert (verdict.kind, verdict.step) == (Kind.TO_MEMBER, Step.ALGORITHM)
    assert found.rule == (
        "SIP-RULES 3 (6): nobody named a member, so the weighted rendezvous hash of the Call-ID"
    )
    assert found.origin[3:] == ("192.0.2.7", 5070), "as the top Via says"
    shown = as_object(found)
    assert shown["member"] == verdict.to.member
    assert str(shown["destination"]).startswith("udp:10.0.0.1")
    assert base64.b64decode(str(shown["leaves_base64"])) == verdict.data


def test_the_same_every_time(config: Config) -> None:
    """The hash is the balancer's own: not random, not remembered."""
    assert as_object(only(config, INVITE)) == as_object(only(config, INVITE))


def test_datanodes_of_a_trusted_source(config: Config) -> None:
    named = INVITE.replace(
        b"Contact:", b"X-Genesys-GVP-Session-ID: x;gvp.rm.datanodes=2|1\r\nContact:"
    )
    found = only(config, named)
    assert isinstance(found.verdict, Forward)
    assert (found.verdict.step, found.verdict.to.member) == (Step.SESSION_HEADER, 2)
    assert found.rule.startswith("SIP-RULES 3 (4)")


def test_a_bye_of_the_member_goes_outward(config: Config) -> None:
    sent = only(config, INVITE).verdict
    assert isinstance(sent, Forward)
    mark = sent.data.partition(b"Record-Route: ")[2].partition(b"\r\n")[0]
    bye = (
        b"BYE sip:a@192.0.2.7:5070 SIP/2.0\r\n"
        b"Via: SIP/2.0/UDP %b:5060;branch=z9hG4bK-2\r\n"
        b"Route: %b\r\nFrom: <sip:ivr@127.0.0.1>;tag=m\r\nTo: <sip:a@192.0.2.7>;tag=a\r\n"
        b"Call-ID: explain-1\r\nCSeq: 1 BYE\r\nMax-Forwards: 70\r\n\r\n"
    ) % (sent.to.host.encode(), mark)
    found = only(config, bye)
    assert found.verdict.kind is Kind.OUTWARD
    assert as_object(found)["destination"] == "udp:192.0.2.7:5070"
    stranger = only(config, bye, source="198.51.100.1:5060")
    assert stranger.verdict.kind is not Kind.OUTWARD


def test_a_response_and_its_way_back(config: Config) -> None:
    sent = only(config, INVITE).verdict
    assert isinstance(sent, Forward)
    head = b"\r\n".join(x for x in sent.data.split(b"\r\n") if x.startswith(b"Via: "))
    answer = (
        b"SIP/2.0 200 OK\r\n%b\r\nFrom: <sip:a@192.0.2.7>;tag=a\r\n"
        b"To: <sip:ivr@127.0.0.1>;tag=m\r\nCall-ID: explain-1\r\nCSeq: 1 INVITE\r\n\r\n"
    ) % head
    found = as_object(only(config, answer))
    assert (found["kind"], found["destination"], found["status"]) == (
        "B", "udp:192.0.2.7:5070", 200,
    )  # fmt: skip
    assert found["from"] == f"{sent.to.host}:5060", "the member that our Via names"
    forged = as_object(only(config, answer.replace(b"explain-1", b"explain-2")))
    assert (forged["verdict"], forged["reason"]) == ("drop", "unverified_response")


def test_options_for_the_balancer(config: Config) -> None:
    options = INVITE.replace(b"INVITE sip:ivr@", b"OPTIONS sip:").replace(b"1 INVITE", b"1 OPTIONS")
    found = as_object(only(config, options))
    assert (found["kind"], found["verdict"], found["status"]) == ("E", "answer", 200)
    assert "11.2" in str(found["rule"])


def test_sips_and_a_member_by_name(config: Config) -> None:
    """No name is resolved to explain a message."""
    secure = INVITE.replace(b"INVITE sip:", b"INVITE sips:").replace(
        b"Contact:", b"X-Genesys-GVP-Session-ID: x;gvp.rm.datanodes=2\r\nContact:"
    )
    found = as_object(only(config, secure))
    assert found["destination"] == "tls:rm2.example.com:5061"


def test_what_is_wrong_is_said(config: Config) -> None:
    found = as_object(only(config, INVITE.replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE")))
    assert found["status"] == 400
    assert str(found["rule"]).endswith(": CSeq method is not the request's")
    found = as_object(only(config, INVITE.replace(b"SIP/2.0/UDP 192", b"SIP/2.0/UDP <192")))
    assert str(found["rule"]).endswith(": malformed Via")


def test_line_ends_of_an_editor(config: Config) -> None:
    found = only(config, INVITE.replace(b"\r\n", b"\n"))
    assert found.verdict.kind is Kind.TO_MEMBER
    assert found.notes == ("the file has LF line ends; they were read as CRLF",)


def test_several_messages_of_a_stream(config: Config) -> None:
    stream = INVITE + b"\r\n\r\n" + INVITE.replace(b"explain-1", b"explain-2") + INVITE[:40]
    found = list(explain_octets(config, stream, transport="tcp"))
    assert [each.outcome for each in found] == ["forward", "forward", "drop"]
    assert found[2].rule.endswith(": the message is not whole in time")
    assert [each.outcome for each in explain_octets(config, stream, transport="udp")] == ["forward"]


def test_ipv6(config: Config) -> None:
    found = only(config, INVITE.replace(b"192.0.2.7:5070", b"[2001:db8::7]:5070"))
    assert found.listener.host == "::1"
    assert as_object(found)["from"] == "[2001:db8::7]:5070"
    told = only(config, INVITE, source="[2001:DB8:0::9]:6060")
    assert as_object(told)["from"] == "[2001:db8::9]:6060"


@pytest.mark.parametrize(
    ("source", "transport", "said"),
    [
        ("", "tls", "nothing for tls"),
        ("", "sctp", "allowed: udp, tcp, tls"),
        ("nonsense", "", "--from nonsense"),
        ("10.0.0.1:99999", "", "--from 10.0.0.1:99999"),
        ("[::2]:5060", "tcp", "no tcp for IPv6"),
    ],
)
def test_options_that_cannot_be(config: Config, source: str, transport: str, said: str) -> None:
    with pytest.raises(CliError, match=said.replace("[", r"\[")) as caught:
        only(config, INVITE, source, transport)
    assert caught.value.code == 2


def test_files_that_cannot_be_read(
    tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CliError, match="No such file"):
        explain(Path(config.path), tmp_path / "none", "", "", False)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[cluster]\n")
    assert explain(wrong, tmp_path / "none", "", "", False) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "virtual-ip" in err


def test_nothing_is_kept(tmp_path: Path) -> None:
    """Without a configured secret none is made: the balancer does that."""
    before = load(tmp_path, security="\n")
    found = only(before, INVITE)
    assert found.notes[0].startswith("there is no secret yet")
    assert [path.name for path in tmp_path.iterdir()] == ["rmlb.toml"]
    (tmp_path / "secret").write_text("a secret that was kept\n")
    assert only(before, INVITE).notes == ()


def test_new_lines_are_highlighted_on_a_terminal(
    tmp_path: Path,
    config: Config,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "invite.sip"
    file.write_bytes(INVITE)
    explain(Path(config.path), file, "", "", False)
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    explain(Path(config.path), file, "", "", False)
    lines = capsys.readouterr().out.splitlines()
    coloured = {x.split("m", 1)[1].partition(":")[0] for x in lines if x.startswith("\x1b[1;32m")}
    assert coloured == {"Via", "Record-Route", "Max-Forwards"}


MESSAGES = [(CORPUS / "rfc4475" / f"{name}.dat").read_bytes() for name in sorted(EXPECTED)]


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400), transport=st.sampled_from(["udp", "tcp", ""]))
def test_any_junk(one_config: Config, data: bytes, transport: str) -> None:
    for each in explain_octets(one_config, data, transport=transport):
        json.dumps(as_object(each))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_messages(one_config: Config, data: Any) -> None:
    message = bytearray(data.draw(st.sampled_from(MESSAGES)))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        if not message:
            break
    transport = data.draw(st.sampled_from(["udp", "tcp", ""]))
    for each in explain_octets(one_config, bytes(message), transport=transport):
        json.dumps(as_object(each))
