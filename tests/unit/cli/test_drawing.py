"""Ladder lines of `rmlb trace`, column by column."""

from __future__ import annotations

from typing import Any

import pytest

from rmlb.cli.tracing import Drawing

WIDTH = 100


def message(source: str, target: str, label: str, **changes: Any) -> dict[str, Any]:
    status = int(label[:3]) if label[:3].isdigit() else 0
    fields = {
        "kind": "arrow", "at": 1_700_000_000.125, "source": source, "target": target,
        "label": label, "status": status, "method": "INVITE" if status else label,
        "correlation": "call-1",
    }  # fmt: skip
    return fields | changes


def drawn(*messages: dict[str, Any], width: int = WIDTH) -> list[str]:
    drawing = Drawing(["member 1", "member 2"])
    return [line for each in messages for line in drawing.lines(each, width)]


def test_a_call() -> None:
    head, invite, passed, ringing = drawn(
        message("10.0.0.1", "rmlb", "INVITE"),
        message("rmlb", "member 1", "INVITE"),
        message("member 1", "rmlb", "180 Ringing"),
    )
    assert head.split() == ["SIP", "Server", "rmlb", "RM", "1", "RM", "2"]
    places = [i for i, char in enumerate(invite) if char == "│"]
    assert len(places) == 4
    assert invite.endswith("call-1")
    assert "INVITE" in invite[places[0] : places[1]]
    assert invite[places[1] - 1] == "▶"
    assert "INVITE" in passed[places[1] : places[2]]
    assert ringing[places[1] + 1] == "◀"
    for line in (invite, passed, ringing):
        assert [i for i, char in enumerate(line) if char == "│"] == places


def test_an_arrow_that_passes_a_column_by() -> None:
    line = drawn(message("rmlb", "member 2", "INVITE"))[1]
    assert line.count("│") == 2
    assert line.count("▶") == 1
    wide = drawn(message("192.0.2.1", "member 2", "INVITE"), width=140)[1]
    assert wide.count("┼") == 2


def test_a_short_lane_has_the_short_label() -> None:
    (line,) = drawn(message("member 1", "rmlb", "200 OK"), width=60)[1:]
    assert "200 OK" in line
    assert "(INVITE)" not in line
    (line,) = drawn(message("member 1", "rmlb", "480 Temporarily Unavailable"), width=60)[1:]
    assert "480 Tempor…" in line
    (line,) = drawn(message("member 1", "rmlb", "480 Temporarily Unavailable"), width=46)[1:]
    assert " 480 " in line


@pytest.mark.parametrize("width", [60, 70, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    across = (("10.0.0.1", "rmlb"), ("rmlb", "member 2"), ("member 2", "rmlb"))
    for label in ("SUBSCRIBE", "480 Temporarily Unavailable"):
        lines = drawn(*(message(*way, label) for way in across), width=width)
        assert max(map(len, lines)) <= width


def test_the_head_comes_again() -> None:
    lines = drawn(*[message("10.0.0.1", "rmlb", "INVITE")] * 81)
    assert sum("SIP Server" in line for line in lines) == 3
    both = drawn(message("10.0.0.1", "rmlb", "INVITE"), message("10.0.0.2", "rmlb", "INVITE"))
    assert "10.0.0.1" in both[3]
    assert "10.0.0.2" in both[3]


def test_what_comes_from_the_network_cannot_steer_a_terminal() -> None:
    line = drawn(message("10.0.0.1", "rmlb", "INV\x1b[2JITE", correlation="x\x07y"))[1]
    assert line.isprintable()


def test_lost_messages_are_said() -> None:
    assert drawn({"kind": "lost", "count": 7}) == ["... 7 messages lost: too many to show ..."]
