"""Kept messages: bounded, and put together into calls."""

from __future__ import annotations

import pytest
from trace_samples import UUID, received, request, response, sent, traced

from rmlb.trace.copies import Copy
from rmlb.trace.recorder import OCTETS_EACH, Recorder
from rmlb.trace.wanted import Wanted


def recorded(*copies: Copy, most: int = 100) -> Recorder:
    recorder = Recorder(most)
    for each in traced(*copies):
        recorder.add(each)
    return recorder


def states(recorder: Recorder, wanted: Wanted = Wanted()) -> list[tuple[str, str, int]]:  # noqa: B008
    return [
        (each["call_id"], each["state"], each["messages"])
        for each in (call.as_json() for call in recorder.calls(wanted, 10))
    ]


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ([], "calling"),
        ([(100, "INVITE")], "calling"),
        ([(180, "INVITE")], "ringing"),
        ([(180, "INVITE"), (200, "INVITE")], "answered"),
        ([(200, "INVITE"), (200, "BYE")], "ended"),
        ([(200, "INVITE"), (200, "INFO")], "answered"),
        ([(486, "INVITE")], "failed"),
        ([(487, "INVITE"), (200, "INVITE")], "cancelled"),
    ],
)
def test_states(answers: list[tuple[int, str]], state: str) -> None:
    messages = [received(response(status, "x", method)) for status, method in answers]
    found = recorded(received(request("INVITE")), *messages)
    assert states(found) == [("a@b", state, 1 + len(answers))]


def test_the_latest_call_is_first_and_no_call_is_none() -> None:
    found = recorded(
        received(request("INVITE", "1")),
        received(request("OPTIONS", "2")),
        received(request("INVITE", "3", to_tag="t")),
        received(request("INVITE", "4")),
        sent(request("INVITE", "1")),
    )
    assert states(found) == [("4", "calling", 1), ("1", "calling", 2)]
    assert states(found, Wanted("4")) == [("4", "calling", 1)]
    assert len(found.calls(Wanted(), 1)) == 1


def test_people_and_times() -> None:
    (call,) = recorded(
        received(request("INVITE", uuid=UUID), at=10.0),
        received(response(180, "Ringing", "INVITE"), at=12.0),
    ).calls(Wanted(), 10)
    shown = call.as_json()
    assert (shown["from"], shown["to"], shown["correlation"]) == ("alice", "service", UUID)
    assert (shown["begun"], shown["last"], shown["status"]) == (10.0, 12.0, 180)


def test_a_call_is_found_whole_by_a_uuid_that_comes_late() -> None:
    found = recorded(
        received(request("INVITE", "1")),
        received(request("INVITE", "2")),
        sent(request("INVITE", "1", uuid=UUID)),
    )
    assert [each.number for each in found.find(Wanted(UUID, exact=True), 10)] == [1, 3]
    assert [each.number for each in found.find(Wanted("1"), 1)] == [3]


def test_the_oldest_messages_make_room() -> None:
    found = recorded(*(received(request("INVITE", f"{n}")) for n in range(5)), most=3)
    assert len(found) == 3
    assert [call for call, _, _ in states(found)] == ["4", "3", "2"]
    assert found.find(Wanted("0", exact=True), 10) == []


def test_octets_are_bounded_too() -> None:
    large = request("INVITE", "large") + b"x" * OCTETS_EACH
    found = recorded(received(large), received(large), received(large), most=3)
    assert len(found) == 2
    assert states(found) == [("large", "calling", 2)]
