"""Every kind, reason and step is what some packet comes to."""

from __future__ import annotations

import pytest
from verdict_cases import CASES, Case

from rmlb.routing.verdict import Forward, Kind, Reason, Reply, Step


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    packet = case.packet()
    verdict = packet.bench.receive(packet.data, packet.host, packet.port, packet.transport)
    assert verdict.kind is case.kind, verdict
    if isinstance(verdict, Forward):
        assert case.expected is verdict.step, verdict
        return
    assert case.expected is verdict.reason, verdict
    assert isinstance(verdict, Reply) is bool(case.status), verdict
    if isinstance(verdict, Reply):
        assert verdict.status == case.status
        assert verdict.data.startswith(b"SIP/2.0 %d " % case.status)
        to = verdict.data[verdict.data.index(b"\r\nTo:") + 2 :].partition(b"\r\n")[0]
        assert to.count(b";tag=") == 1
        assert verdict.to.host == packet.host


def test_every_reason_is_exercised() -> None:
    """A reason that nothing can produce is none; one without a test may mean nothing."""
    of_packets = {Reason.BACKLOG}  # the packet thread's own: tests/integration/test_packets.py
    exercised = {case.expected for case in CASES if isinstance(case.expected, Reason)}
    assert exercised == set(Reason) - of_packets


def test_every_kind_is_exercised() -> None:
    assert {case.kind for case in CASES} == set(Kind)


def test_every_step_is_exercised() -> None:
    assert {case.expected for case in CASES if isinstance(case.expected, Step)} == set(Step)


def test_every_reason_names_its_rule() -> None:
    assert all(":" in reason.rule for reason in Reason)
