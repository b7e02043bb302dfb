"""Remembered requests written by one balancer and taken up by its successor."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from packets import CALLER, RM, UDP, Bench, answer, request, through_rm

from rmlb.routing import handover
from rmlb.routing.affinity import Moment
from rmlb.routing.bindings import Phase
from rmlb.routing.verdict import Absorb, Forward
from rmlb.sip.message import scan


def moment(bench: Bench) -> Moment:
    return Moment(bench.table, bench.memory, bench.now)


def records(bench: Bench) -> list[dict[str, Any]]:
    """As they arrive: through JSON."""
    at = moment(bench)
    written = orjson.dumps([handover.write(each, at) for each in handover.unanswered(at)])
    read: list[dict[str, Any]] = orjson.loads(written)
    return read


def hand_over(former: Bench, successor: Bench) -> int:
    at = moment(successor)
    return sum(handover.take(record, at) for record in records(former))


def own(bench: Bench) -> list[tuple[str, int]]:
    return [(each.what, each.to.member) for each in bench.router.take_outbox()]


def look(bench: Bench, later_s: float = 0.0) -> list[tuple[str, int]]:
    bench.now += later_s
    bench.router.look(bench.now)
    return own(bench)


@pytest.fixture
def pair() -> tuple[Bench, Bench]:
    """Two balancers whose clocks have nothing in common."""
    former, successor = Bench(), Bench()
    successor.now = 77.0
    return former, successor


@pytest.mark.parametrize("answers", [(), (100,), (100, 180)])
def test_a_call_outlives_its_member_after_the_hand_over(
    pair: tuple[Bench, Bench], answers: tuple[int, ...]
) -> None:
    former, successor = pair
    sent = former.forwarded(request())
    first, second = sent.to.member, 3 - sent.to.member
    for status in answers:
        former.forwarded(answer(sent.data, status), RM[first])
    assert hand_over(former, successor) == 1
    successor.lose(first)
    (resent,) = successor.router.take_outbox()
    assert (resent.what, resent.to.member) == ("resend", second)
    passed = successor.forwarded(answer(resent.data, 200), RM[second])
    assert (passed.status, passed.to.host, passed.to.port) == (200, CALLER, 5060)


def test_answers_to_what_the_former_owner_sent_pass(pair: tuple[Bench, Bench]) -> None:
    former, successor = pair
    sent = former.forwarded(request())
    hand_over(former, successor)
    for status in (180, 200):
        assert successor.forwarded(answer(sent.data, status), RM[sent.to.member]).status == status
    key = next(iter(records(former)))["key"]
    entry = successor.memory.pending.find(key)
    assert entry is not None
    assert (entry.final, successor.memory.pending.unanswered) == (200, 0)
    assert successor.memory.loads.of(sent.to.member).waiting == 0
    assert successor.memory.bindings.calls[sent.to.member] == 1


def test_a_cancel_finds_the_member_that_has_it(pair: tuple[Bench, Bench]) -> None:
    """Also where the hash would say otherwise: the former owner had asked another member."""
    former, successor = pair
    sent = former.forwarded(request())
    former.lose(sent.to.member)
    (resent,) = former.router.take_outbox()
    former.set_member(sent.to.member, health=successor.table.members[1].health)
    former.forwarded(answer(resent.data, 180), RM[resent.to.member])
    hand_over(former, successor)
    cancel = successor.forwarded(request("CANCEL"))
    assert cancel.to.member == resent.to.member
    assert scan(cancel.data).method == b"CANCEL"


def test_times_travel_as_ages(pair: tuple[Bench, Bench]) -> None:
    former, successor = pair
    former.forwarded(request())
    former.now += 10.0
    record = records(former)[0]
    handover.take(record, moment(successor))
    entry = successor.memory.pending.find(record["key"])
    assert entry is not None
    assert successor.now - entry.begun == pytest.approx(10.0)
    assert entry.expires - successor.now == pytest.approx(190.0)
    assert successor.now - entry.newest.sent_at == pytest.approx(10.0)


def test_our_own_repetitions_go_on(pair: tuple[Bench, Bench]) -> None:
    """The caller has seen a 1xx and repeats nothing: who sent it again repeats it."""
    former, successor = pair
    sent = former.forwarded(request())
    former.forwarded(answer(sent.data, 180), RM[sent.to.member])
    former.lose(sent.to.member)
    assert own(former) == [("resend", 3 - sent.to.member)]
    hand_over(former, successor)
    assert look(successor, 0.51) == [("resend", 3 - sent.to.member)]


def test_its_member_is_out_already(pair: tuple[Bench, Bench]) -> None:
    former, successor = pair
    sent = former.forwarded(request())
    successor.lose(sent.to.member)
    hand_over(former, successor)
    assert look(successor) == [("resend", 3 - sent.to.member)]


def test_a_swallowed_failure_is_still_answered(pair: tuple[Bench, Bench]) -> None:
    former, successor = pair
    sent = former.forwarded(request())
    former.absorbed(answer(sent.data, 503), RM[sent.to.member])
    hand_over(former, successor)
    assert ("answer", 0) in look(successor, successor.table.deadline_s + 1.0)


class TestTooLate:
    def test_known_already(self, pair: tuple[Bench, Bench]) -> None:
        former, successor = pair
        former.forwarded(request())
        successor.forwarded(request())
        assert hand_over(former, successor) == 0

    def test_answered_meanwhile(self, pair: tuple[Bench, Bench]) -> None:
        former, successor = pair
        sent = former.forwarded(request())
        successor.forwarded(answer(sent.data, 200), RM[sent.to.member])
        assert hand_over(former, successor) == 0

    def test_rang_meanwhile(self, pair: tuple[Bench, Bench]) -> None:
        former, successor = pair
        sent = former.forwarded(request())
        successor.forwarded(answer(sent.data, 180), RM[sent.to.member])
        assert hand_over(former, successor) == 1
        entry = successor.memory.pending.find(records(former)[0]["key"])
        assert entry is not None
        assert (entry.quiet, entry.newest.provisional) == (True, True)

    def test_the_former_owner_saw_its_answer_after_all(self, pair: tuple[Bench, Bench]) -> None:
        former, successor = pair
        sent = former.forwarded(request())
        hand_over(former, successor)
        handover.answered_elsewhere(records(former)[0]["key"], moment(successor))
        successor.lose(sent.to.member)
        assert own(successor) == []
        assert successor.memory.loads.of(sent.to.member).waiting == 0

    def test_the_ack_tells_that_it_has_failed(self, pair: tuple[Bench, Bench]) -> None:
        """Its failure passed before the record came: it is not sent to anybody else."""
        former, successor = pair
        sent = former.forwarded(request())
        successor.forwarded(answer(sent.data, 486), RM[sent.to.member])
        hand_over(former, successor)
        ack = successor.receive(request("ACK", to_tag="callee"))
        assert isinstance(ack, Forward)
        assert ack.to.member == sent.to.member
        successor.lose(sent.to.member)
        assert own(successor) == []

    def test_without_having_been_handed_over_an_ack_means_nothing(self) -> None:
        bench = Bench()
        sent = bench.forwarded(request())
        bench.receive(request("ACK", to_tag="callee"))
        bench.lose(sent.to.member)
        assert own(bench) == [("resend", 3 - sent.to.member)]


def test_the_former_owner_forgets(pair: tuple[Bench, Bench]) -> None:
    former, _ = pair
    sent = former.forwarded(request())
    for entry in handover.unanswered(moment(former)):
        former.memory.pending.forget(entry)
    assert (len(former.memory.pending), former.memory.pending.unanswered) == (0, 0)
    former.lose(sent.to.member)
    assert own(former) == []


def test_there_and_back_again(pair: tuple[Bench, Bench]) -> None:
    former, successor = pair
    sent = former.forwarded(request())
    hand_over(former, successor)
    for entry in handover.unanswered(moment(former)):
        former.memory.pending.forget(entry)
    assert hand_over(successor, former) == 1
    former.lose(sent.to.member)
    assert own(former) == [("resend", 3 - sent.to.member)]


def test_what_is_no_record_is_an_error(pair: tuple[Bench, Bench]) -> None:
    former, successor = pair
    former.forwarded(request())
    good = records(former)[0]
    for key in good:
        with pytest.raises((KeyError, TypeError, ValueError)):
            handover.take({k: v for k, v in good.items() if k != key}, moment(successor))
    assert len(successor.memory.pending) == 0


def test_octets_are_kept_as_they_are(pair: tuple[Bench, Bench]) -> None:
    former, successor = pair
    body = bytes(range(256))
    former.forwarded(request(body=body))
    record = records(former)[0]
    handover.take(record, moment(successor))
    entry = successor.memory.pending.find(record["key"])
    assert entry is not None
    assert entry.data == request(body=body)
    assert entry.origin == former.origin()._replace(channel=0)


def test_the_binding_comes_along(pair: tuple[Bench, Bench]) -> None:
    former, successor = pair
    sent = former.forwarded(request())
    hand_over(former, successor)
    binding = successor.memory.bindings.find(records(former)[0]["call"])
    assert binding is not None
    assert (binding.member, binding.phase) == (sent.to.member, Phase.TRYING)
    assert binding.transaction == records(former)[0]["key"]


def test_kind_c_completes_it_after_the_hand_over(pair: tuple[Bench, Bench]) -> None:
    """`virtual-ip-in-via`: the answer names the VIP as the member's own; its member lives."""
    former, successor = pair
    sent = former.forwarded(request())
    passed_on = through_rm(sent.data, sent.to.member)
    hand_over(former, successor)
    verdict = successor.receive(answer(passed_on, 200), "10.0.0.31", 5060, UDP)
    assert not isinstance(verdict, Absorb)
