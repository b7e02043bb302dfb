from __future__ import annotations

import pytest
from sim_doubles import CALLER, FakeScheduler, FakeWire, asked

from rmlb.sim.rm import RmTally, SimulatedRm
from rmlb.sim.sip_text import SipText
from rmlb.sip.address import Transport

ROUTE = ("Record-Route", "<sip:192.0.2.100;lr>")


class Rig:
    def __init__(self, **options: object) -> None:
        self.wire = FakeWire()
        self.rm = SimulatedRm(1, "192.0.2.9", 5060, wires=[self.wire], **options)  # type: ignore[arg-type]
        self.rm.agent._scheduler = FakeScheduler()

    def receive(self, message: SipText) -> list[SipText]:
        """What it sends upon a message."""
        self.wire.sent.clear()
        self.rm.agent.receive(Transport.UDP, message, CALLER)
        return [sent for sent, _ in self.wire.sent]


def test_a_probe() -> None:
    rig = Rig()
    (answer,) = rig.receive(asked("OPTIONS"))
    assert answer.status == 200
    assert answer.header("X-Simulated-Member") == "1"
    assert rig.rm.tally == RmTally(1, probes=1)


def test_a_probe_that_it_refuses() -> None:
    assert Rig(probe_answer=503).receive(asked("OPTIONS"))[0].status == 503


def test_a_call() -> None:
    rig = Rig()
    ringing, accepted = rig.receive(asked("INVITE", more=(ROUTE,)))
    assert (ringing.status, accepted.status) == (180, 200)
    tag = accepted.to_tag
    assert tag == ringing.to_tag
    assert tag.startswith("m1-")
    assert accepted.all("Record-Route") == [ROUTE[1]]
    assert accepted.header("Contact") == "<sip:m1@192.0.2.9:5060;transport=udp>"
    assert accepted.body.startswith("v=0\r\n")
    assert rig.receive(asked("ACK", branch="z9hG4bKb", to_tag=tag)) == []
    (again,) = rig.receive(asked("INVITE", branch="z9hG4bKc", cseq=2, to_tag=tag))
    assert (again.status, again.to_tag) == (200, tag)
    assert rig.receive(asked("ACK", branch="z9hG4bKd", cseq=2, to_tag=tag)) == []
    (ended,) = rig.receive(asked("BYE", branch="z9hG4bKe", cseq=3, to_tag=tag))
    assert (ended.status, ended.header("X-Simulated-Member")) == (200, "1")
    assert rig.rm.tally == RmTally(1, calls=1, answered=1, ended=1, in_dialog=4)
    assert rig.rm.calls == {}


def test_a_refused_call() -> None:
    rig = Rig(answer=486)
    ringing, refused = rig.receive(asked("INVITE", more=(ROUTE,)))
    assert (refused.status, refused.to_tag) == (486, ringing.to_tag)
    assert rig.rm.tally == RmTally(1, calls=1, refused=1)


async def test_a_cancelled_call() -> None:
    rig = Rig(ring_s=60.0)
    (ringing,) = rig.receive(asked("INVITE"))
    assert ringing.status == 180
    assert [m.status for m in rig.receive(asked("CANCEL"))] == [200, 487]
    assert rig.rm.tally == RmTally(1, calls=1, cancelled=1)
    assert rig.rm._ringing == {}


@pytest.mark.parametrize(("tag", "misrouted"), [("m2-x", 1), ("m1-x", 0), ("other", 0)])
def test_a_dialog_that_it_does_not_know(tag: str, misrouted: int) -> None:
    """It serves it, as RMs synchronise, and says whose it was."""
    rig = Rig()
    (answer,) = rig.receive(asked("INFO", to_tag=tag))
    assert (answer.status, answer.to_tag) == (200, tag)
    assert rig.rm.tally == RmTally(1, in_dialog=1, misrouted=misrouted, adopted=1)


def test_its_own_record_route_goes_on_top() -> None:
    own = "<sip:192.0.2.100;lr;gvp.rm.datanodes=1>"
    rig = Rig(record_route=own)
    _, accepted = rig.receive(asked("INVITE", more=(ROUTE,)))
    assert accepted.all("Record-Route") == [own, ROUTE[1]]
    assert rig.rm.calls["call"].routes == (ROUTE[1],)


def test_the_tally_in_words() -> None:
    assert str(RmTally(3, calls=2)).startswith("member 3: probes 0, calls 2, answered 0")
