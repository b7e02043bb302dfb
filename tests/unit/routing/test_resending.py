"""A member goes out of service, falls silent or loses a connection: who is asked next."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from failing import Trace, kinds, seen, swallowed
from packets import CALLER, RM, TCP, UDP, VIP, Bench, answer, headers_of, member, request

from rmlb.routing.affinity import Memory
from rmlb.routing.member import AdminState, Health
from rmlb.routing.overload import LoadLimits, Loads
from rmlb.routing.resending import AT_ONCE
from rmlb.routing.verdict import Absorb, Forward, Hint, Own, Reason, Reply
from rmlb.sip.address import SipAddress
from rmlb.sip.message import scan

T1 = 0.5
REPEATED_AT = [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
"""17.1.1.2: T1, then at doubling intervals, until 64 T1."""


def branch_of(data: bytes) -> str:
    return headers_of(data, "Via")[0].partition("branch=")[2].partition(";")[0]


class TestOut:
    """The member goes out of service: everything remembered for it goes elsewhere."""

    @pytest.mark.parametrize("answers", [(), (100,), (100, 180), (183,)])
    @pytest.mark.parametrize("transport", [UDP, TCP])
    def test_an_invite_is_sent_again(self, answers: tuple[int, ...], transport: object) -> None:
        trace = Trace(transport=transport)
        for status in answers:
            assert seen(trace.says(trace.first, status)) == status
        (resent,) = trace.out(trace.first)
        assert kinds([resent]) == [("resend", trace.second)]
        assert (resent.to.host, resent.to.transport) == (RM[trace.second], transport)
        assert seen(trace.says(trace.second, 200)) == 200
        trace.is_over()

    def test_as_from_us_to_the_new_member(self) -> None:
        """Its own Via branch, its own mark with the loss just recorded; else the same request."""
        trace = Trace()
        (resent,) = trace.out(trace.first)
        old, new = branch_of(trace.sent.data), branch_of(resent.data)
        assert old.replace(f".{trace.first}.", f".{trace.second}.", 1) == new != old
        mark = headers_of(resent.data, "Record-Route")[0].partition("rmlb=")[2]
        assert mark.split(".")[1:3] == [str(trace.second), "1"]
        for name in ("From", "To", "Call-ID", "CSeq", "Max-Forwards"):
            assert headers_of(resent.data, name) == headers_of(trace.sent.data, name)
        assert headers_of(resent.data, "Via")[1:] == headers_of(trace.sent.data, "Via")[1:]
        assert scan(resent.data).uri == scan(trace.sent.data).uri

    def test_the_callers_retransmission_is_equal_to_the_octet(self) -> None:
        trace = Trace()
        (resent,) = trace.out(trace.first)
        trace.wait(T1 + 0.01)
        again = trace.again()
        assert isinstance(again, Forward)
        assert (again.to.member, again.data) == (trace.second, resent.data)

    def test_a_retransmission_in_the_same_interval_counts_as_one(self) -> None:
        trace = Trace()
        trace.out(trace.first)
        assert trace.wait(T1 - 0.05) == []
        verdict = trace.again()
        assert isinstance(verdict, Absorb)
        assert verdict.reason is Reason.REPEATED

    @pytest.mark.parametrize("answers", [(), (100,)])
    @pytest.mark.parametrize("method", ["OPTIONS", "MESSAGE", "REGISTER", "SUBSCRIBE"])
    def test_another_request_only_without_any_response(
        self, method: str, answers: tuple[int, ...]
    ) -> None:
        trace = Trace(method)
        for status in answers:
            trace.says(trace.first, status)
        expected = [] if answers else [("resend", trace.second)]
        assert kinds(trace.out(trace.first)) == expected
        trace.is_over()

    def test_another_request_with_a_provisional_goes_on_with_its_retransmission(self) -> None:
        """Its caller repeats it still (17.1.2.2)."""
        trace = Trace("MESSAGE")
        trace.says(trace.first, 100)
        assert trace.out(trace.first) == []
        assert swallowed(trace.again())
        assert kinds(trace.own()) == [("resend", trace.second)]

    def test_what_is_answered_stays(self) -> None:
        trace = Trace()
        trace.says(trace.first, 200)
        assert trace.out(trace.first) == []

    def test_its_calls_alone(self) -> None:
        bench = Bench()
        traces = [Trace(bench=bench, call_id=bench.call_to(n)) for n in (1, 2)]
        (resent,) = traces[0].out(1)
        assert scan(resent.data).call_id.decode() == traces[0].call_id

    def test_a_member_that_is_configured_no_more(self) -> None:
        trace = Trace()
        left = {trace.second: trace.bench.table.members[trace.second]}
        trace.bench.change(members=left)
        assert kinds(trace.own()) == [("resend", trace.second)]
        assert seen(trace.says(trace.second, 200)) == 200

    def test_disabled_it_may_still_answer(self) -> None:
        """Its dialogs move, but what it has not answered yet it can finish."""
        trace = Trace()
        trace.bench.set_member(trace.first, admin_state=AdminState.DISABLED)
        assert trace.own() == []
        assert isinstance(trace.again(), Forward)
        assert seen(trace.says(trace.first, 200)) == 200

    @pytest.mark.parametrize("hotstandby", [True, False])
    def test_what_it_has_answered_when_it_was_disabled_is_acknowledged_there(
        self, hotstandby: bool
    ) -> None:
        trace = Trace()
        bench = trace.bench
        bench.change(hotstandby=hotstandby)
        trace.says(trace.first, 180)
        bench.lose(trace.first, disabled=True)
        answered = trace.says(trace.first, 200)
        assert seen(answered) == 200
        routes = headers_of(answered.data, "Record-Route")
        for method, branch in (("ACK", "z9hG4bKack"), ("BYE", "z9hG4bKbye")):
            later = request(
                method, to_tag=f"m{trace.first}", routes=routes, cseq=2,
                via=f"SIP/2.0/UDP {CALLER};branch={branch}",
            )  # fmt: skip
            assert bench.forwarded(later).to.member == trace.first, method

    def test_three_members_one_after_the_other(self) -> None:
        trace = Trace(members=3)
        order = [trace.first]
        for _ in range(2):
            (resent,) = trace.out(order[-1])
            order.append(resent.to.member)
        assert sorted(order) == [1, 2, 3]
        (last,) = trace.out(order[-1])
        assert seen(last) == 503
        trace.is_over()

    @pytest.mark.parametrize("answers", [(), (100,), (180,)])
    def test_it_waits_with_the_newest_alone(self, answers: tuple[int, ...]) -> None:
        trace = Trace(members=3)
        number = trace.first
        for _ in range(2):
            for status in answers:
                trace.says(number, status)
            number = next(own for own in trace.out(number) if own.what == "resend").to.member
            loads = trace.bench.memory.loads
            waiting = {n: loads.of(n).waiting for n in trace.bench.table.members}
            assert waiting == {n: int(n == number) for n in waiting}
        trace.is_over()

    def test_another_request_that_got_a_1xx_from_the_second(self) -> None:
        trace = Trace("MESSAGE", members=3)
        (resent,) = trace.out(trace.first)
        trace.says(resent.to.member, 100)
        assert trace.out(resent.to.member) == []

    def test_never_a_cancel_but_for_an_invite(self) -> None:
        """9.1."""
        trace = Trace("MESSAGE")
        trace.out(trace.first)
        for number in (trace.second, trace.first):
            trace.says(number, 180)
        trace.says(trace.second, 200)
        assert trace.own() == []

    def test_never_twice_to_one_member(self) -> None:
        trace = Trace()
        trace.out(trace.first)
        trace.back(trace.first)
        (last,) = trace.out(trace.second)
        assert (last.what, seen(last)) == ("answer", 503)

    def test_thousands_are_seen_to_in_slices(self) -> None:
        """Neither the worker nor the survivor's socket is flooded."""
        bench = Bench(members=[member(1)])
        count = 2 * AT_ONCE + 1
        for number in range(count):
            bench.forwarded(
                request(
                    call_id=f"call-{number}", via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bK{number}"
                )
            )
        bench.change(members=[member(1, health=Health.OUT_OF_SERVICE), member(2)])
        found = [bench.router.take_outbox()]
        for _ in range(4):
            bench.now += 0.06
            bench.router.look(bench.now)
            found.append(bench.router.take_outbox())
        assert [len(each) for each in found] == [AT_ONCE, AT_ONCE, 1, 0, 0]
        order = [scan(own.data).call_id.decode() for each in found for own in each]
        assert order == [f"call-{number}" for number in range(count)]

    def test_what_was_sent_elsewhere_meanwhile_is_not_sent_twice(self) -> None:
        """A retransmission of the caller comes before the turn of its request."""
        bench = Bench(members=[member(1)])
        via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bK"
        for number in range(AT_ONCE + 1):
            bench.forwarded(request(call_id=f"call-{number}", via=f"{via}{number}"))
        bench.change(members=[member(1, health=Health.OUT_OF_SERVICE), member(2)])
        bench.router.take_outbox()
        bench.absorbed(request(call_id=f"call-{AT_ONCE}", via=f"{via}{AT_ONCE}"))
        (resent,) = bench.router.take_outbox()
        assert resent.to.member == 2
        bench.now += 0.06
        bench.router.look(bench.now)
        assert bench.router.take_outbox() == []


class TestOwnRepetitions:
    """What we send again ourselves repeats over UDP where the caller does not (17.1.1.2)."""

    def times(self, trace: Trace) -> list[float]:
        begun = trace.bench.now
        found = []
        for _ in range(1000):
            for own in trace.wait(0.05):
                assert kinds([own]) == [("resend", trace.second)]
                assert own.data == trace.at[trace.second]
                found.append(round(trace.bench.now - begun, 1))
        return found

    @pytest.mark.parametrize("status", [100, 180])
    def test_after_a_1xx(self, status: int) -> None:
        """100 stops the caller's retransmissions like any other (figure 5)."""
        trace = Trace()
        trace.says(trace.first, status)
        trace.out(trace.first)
        assert self.times(trace) == REPEATED_AT

    def test_the_caller_retransmits_itself(self) -> None:
        trace = Trace()
        trace.out(trace.first)
        assert self.times(trace) == []

    def test_the_caller_came_by_a_stream(self) -> None:
        udp = [member(n, SipAddress(UDP, RM[n], 5060)) for n in (1, 2)]
        trace = Trace(transport=TCP, bench=Bench(members=udp))
        trace.out(trace.first)
        assert self.times(trace) == REPEATED_AT

    def test_the_member_is_reached_by_a_stream(self) -> None:
        trace = Trace(transport=TCP)
        trace.says(trace.first, 180)
        trace.out(trace.first)
        assert self.times(trace) == []

    def test_another_request_at_least_every_4_s(self) -> None:
        """T2 (17.1.2.2)."""
        udp = [member(n, SipAddress(UDP, RM[n], 5060)) for n in (1, 2)]
        trace = Trace("MESSAGE", transport=TCP, bench=Bench(members=udp))
        trace.out(trace.first)
        times = self.times(trace)
        assert times[:4] == [0.5, 1.5, 3.5, 7.5]
        assert {round(b - a, 1) for a, b in pairwise(times[3:])} == {4.0}
        assert times[-1] <= 32.0

    @pytest.mark.parametrize("status", [100, 180, 200, 486])
    def test_until_it_is_answered(self, status: int) -> None:
        trace = Trace()
        trace.says(trace.first, 180)
        trace.out(trace.first)
        trace.wait(1.0)
        trace.says(trace.second, status)
        trace.own()
        assert [own for own in trace.wait(40.0) if own.what == "resend"] == []

    def test_not_for_what_has_no_hope_any_more(self) -> None:
        """All members out: answered, and repeated to no member."""
        trace = Trace()
        trace.says(trace.first, 180)
        trace.out(trace.first)
        assert kinds(trace.out(trace.second)) == [("answer", 0), ("cancel", trace.first)]
        assert {own.what for own in trace.wait(40.0)} == {"answer", "cancel"}

    def test_what_a_pause_of_the_process_missed_is_not_made_up_for(self) -> None:
        trace = Trace()
        trace.says(trace.first, 180)
        trace.out(trace.first)
        trace.bench.now += 10.0
        for _ in range(3):
            trace.bench.router.look(trace.bench.now)
        assert len(trace.own()) == 1


class TestOwnAnswers:
    """Our final answer to an INVITE over UDP repeats where the caller does not (17.2.1)."""

    def answered(self, first: int, **parts: Any) -> tuple[Trace, Own]:
        """The answer to a call whose member said `first` (0: nothing) and cannot be replaced."""
        trace = Trace(**parts)
        if first:
            trace.says(trace.first, first)
        trace.out(trace.first)
        (own,) = [own for own in trace.out(trace.second) if own.what == "answer"]
        return trace, own

    def repeated(self, trace: Trace, seconds: float = 50.0) -> list[tuple[float, Own]]:
        begun = trace.bench.now
        return [
            (round(trace.bench.now - begun, 1), own)
            for _ in range(round(seconds / 0.05))
            for own in trace.wait(0.05)
            if own.what == "answer"
        ]

    @pytest.mark.parametrize("first", [100, 180])
    def test_until_64_t1(self, first: int) -> None:
        """T1, doubled up to T2: the same octets to the same place."""
        trace, own = self.answered(first)
        repeated = self.repeated(trace)
        times = [at for at, _ in repeated]
        assert times[:5] == [0.5, 1.5, 3.5, 7.5, 11.5]
        assert {round(b - a, 1) for a, b in pairwise(times[3:])} == {4.0}
        assert times[-1] <= 32.0
        assert {again for _, again in repeated} == {own}
        trace.is_over()

    def test_until_it_is_acknowledged(self) -> None:
        trace, own = self.answered(180)
        assert len(self.repeated(trace, 2.0)) == 2
        verdict = trace.ack(scan(own.data).to_tag.decode())
        assert isinstance(verdict, Absorb)
        assert verdict.reason is Reason.OWN_ACK
        assert self.repeated(trace) == []
        trace.is_over()

    def test_the_best_of_what_was_swallowed_too(self) -> None:
        """Its To tag is its member's; we have acknowledged it, so nobody else repeats it."""
        trace = Trace()
        trace.says(trace.first, 180)
        trace.says(trace.first, 503)
        trace.own()
        (own,) = [own for own in trace.out(trace.second) if own.what == "answer"]
        assert scan(own.data).to_tag == f"m{trace.first}".encode()
        assert [again for _, again in self.repeated(trace, 1.0)] == [own]
        assert swallowed(trace.ack(f"m{trace.first}"))
        assert self.repeated(trace) == []

    def test_inside_a_dialog(self) -> None:
        """A re-INVITE: its To tag is the dialog's."""
        bench = Bench(hotstandby=False)
        dialog = bench.establish("one@caller")
        via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bKre"
        sent = bench.forwarded(dialog.from_caller("INVITE", via=via))
        bench.receive(answer(sent.data, 100), RM[dialog.member])

        def answers(seconds: float) -> list[Own]:
            bench.now += seconds
            bench.router.look(bench.now)
            return [own for own in bench.router.take_outbox() if own.what == "answer"]

        bench.set_member(dialog.member, health=Health.OUT_OF_SERVICE)
        (own,) = answers(0.0)
        assert seen(own) == 481
        assert answers(T1) == [own]
        assert swallowed(bench.receive(dialog.from_caller("ACK", via=via)))
        assert answers(2 * T1) == []

    def test_the_caller_repeats_its_invite(self) -> None:
        """It heard no 1xx: each of its retransmissions is answered."""
        trace, own = self.answered(0)
        assert self.repeated(trace) == []
        again = trace.again()
        assert isinstance(again, Reply)
        assert again.data == own.data

    def test_the_caller_came_by_a_stream(self) -> None:
        trace, _ = self.answered(180, transport=TCP)
        assert self.repeated(trace) == []

    def test_another_request(self) -> None:
        """Its caller repeats it until the answer comes (17.1.2.2)."""
        trace, _ = self.answered(0, method="MESSAGE")
        assert self.repeated(trace) == []


class TestNotTheOwner:
    """A balancer whose cable is cut decides nothing for the one that has carried on."""

    class Ownership:
        def __init__(self) -> None:
            self.owner = True

        def may_forward(self) -> bool:
            return self.owner

    def away(self, *answers: int) -> tuple[Trace, Ownership]:
        """A call waits when it owns no more; then all members fall silent, and some time passes."""
        trace = Trace()
        trace.bench.router.ownership = ownership = self.Ownership()
        for status in answers:
            trace.says(trace.first, status)
        ownership.owner = False
        trace.wait(0.2)
        assert trace.out(trace.first) == []
        assert trace.out(trace.second) == []
        assert trace.wait(3.0) == []
        return trace, ownership

    def test_no_answer_of_its_own_comes_of_it(self) -> None:
        trace, ownership = self.away(180)
        for number in (1, 2):
            trace.back(number)
        ownership.owner = True
        assert [own for own in trace.wait(8.0) if own.what == "answer"] == []

    def test_it_reports_nobody_silent(self) -> None:
        trace, ownership = self.away()
        assert trace.bench.router.take_reports() == []
        ownership.owner = True
        trace.back(trace.first)
        trace.wait(0.2)
        assert trace.bench.router.take_reports() == []

    @pytest.mark.parametrize("answers", [(), (180,)])
    def test_who_owns_again_catches_up(self, answers: tuple[int, ...]) -> None:
        trace, ownership = self.away(*answers)
        trace.back(trace.second)
        ownership.owner = True
        sent = trace.wait(0.1)
        assert [(own.what, own.to.member) for own in sent] == [("resend", trace.second)]
        assert isinstance(trace.says(trace.second, 200), Forward)
        trace.is_over()


class TestInsideADialog:
    """Requests inside a dialog go to its holder."""

    def dialog(self, **changes: object) -> tuple[Trace, list[str]]:
        trace = Trace(**changes)  # type: ignore[arg-type]
        ok = trace.says(trace.first, 200)
        assert isinstance(ok, Forward)
        return trace, headers_of(ok.data, "Record-Route")[::-1]

    def send(self, trace: Trace, routes: list[str], method: str = "INFO", **parts: object) -> bytes:
        via = f"SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bK{method}"
        given = {"routes": routes, "to_tag": f"m{trace.first}", "cseq": 2, "via": via} | parts
        return request(method, call_id=trace.call_id, **given)  # type: ignore[arg-type]

    @pytest.mark.parametrize("method", ["INFO", "BYE", "INVITE", "UPDATE"])
    def test_to_the_survivor(self, method: str) -> None:
        trace, routes = self.dialog()
        trace.bench.forwarded(self.send(trace, routes, method))
        (resent,) = trace.out(trace.first)
        assert kinds([resent]) == [("resend", trace.second)]
        back = trace.bench.forwarded(answer(resent.data, 200), RM[trace.second])
        assert back.to.host == CALLER
        trace.is_over()

    def test_what_names_the_lost_member_names_the_survivor(self) -> None:
        trace, routes = self.dialog()
        lost, heir = RM[trace.first], RM[trace.second]
        trace.bench.forwarded(self.send(trace, [*routes, f"<sip:{lost}:5060;lr>"]))
        (resent,) = trace.out(trace.first)
        assert headers_of(resent.data, "Route") == [f"<sip:{heir}:5060;lr>"]

        trace, routes = self.dialog()
        lost, heir = RM[trace.first], RM[trace.second]
        trace.bench.forwarded(self.send(trace, routes, uri=f"sip:{lost}:5060"))
        (resent,) = trace.out(trace.first)
        assert scan(resent.data).uri == f"sip:{heir}:5060".encode()

    def test_481_without_hotstandby(self) -> None:
        trace, routes = self.dialog(hotstandby=False)
        trace.bench.forwarded(self.send(trace, routes))
        trace.suspect(trace.first)
        assert trace.own() == []  # only once it is confirmed out
        (own,) = trace.out(trace.first)
        assert (own.what, own.to.host, seen(own)) == ("answer", CALLER, 481)
        trace.is_over()

    def test_481_to_its_retransmission(self) -> None:
        """With a 1xx it is left to its caller, which repeats it (17.1.2.2)."""
        trace, routes = self.dialog(hotstandby=False)
        data = self.send(trace, routes)
        sent = trace.bench.forwarded(data)
        trace.bench.forwarded(answer(sent.data, 100, to_tag=None), RM[trace.first])
        assert trace.out(trace.first) == []
        trace.bench.absorbed(data)
        assert [seen(own) for own in trace.own()] == [481]

    def test_503_with_all_members_out(self) -> None:
        trace, routes = self.dialog()
        trace.bench.forwarded(self.send(trace, routes))
        (resent,) = trace.out(trace.first)
        assert resent.what == "resend"
        (own,) = trace.out(trace.second)
        assert (own.what, seen(own)) == ("answer", 503)
        assert scan(own.data).header("Retry-After") == b"2"

    def test_a_request_inside_an_early_dialog_that_dies_gets_481(self) -> None:
        trace = Trace()
        early = trace.says(trace.first, 183)
        assert isinstance(early, Forward)
        routes = headers_of(early.data, "Record-Route")[::-1]
        trace.bench.forwarded(self.send(trace, routes, "PRACK"))
        resent, own = trace.out(trace.first)
        assert resent.what == "resend"
        assert (own.what, seen(own)) == ("answer", 481)


class TestNobodyLeft:
    def test_503_where_nothing_was_heard(self) -> None:
        trace = Trace(members=1)
        (own,) = trace.out(1)
        assert (own.what, own.to.host, seen(own)) == ("answer", CALLER, 503)
        assert scan(own.data).header("Retry-After") == b"2"
        assert scan(own.data).to_tag.startswith(b"rmlb-")
        trace.is_over()

    @pytest.mark.parametrize(("status", "away_s"), [(100, 15.0), (180, 20.0)])
    def test_what_rings_stays_and_completes(self, status: int, away_s: float) -> None:
        trace = Trace(members=1)
        trace.says(1, status)
        assert trace.out(1) == []
        assert trace.wait(away_s) == []
        assert trace.back(1) == []
        assert seen(trace.says(1, 200)) == 200
        trace.is_over()

    @pytest.mark.parametrize(("status", "after_s"), [(100, 16.0), (180, 199.0)])
    def test_its_caller_hears_in_the_end_that_nobody_came_back(
        self, status: int, after_s: float
    ) -> None:
        trace = Trace(members=1)
        trace.says(1, status)
        trace.out(1)
        assert trace.wait(after_s - 0.2) == []
        answer, cancel = trace.wait(0.4)
        assert (answer.what, answer.to.host, seen(answer)) == ("answer", CALLER, 503)
        assert (cancel.what, cancel.to.host) == ("cancel", RM[1])

    def test_a_retransmission_of_what_rings_waits_with_it(self) -> None:
        trace = Trace(members=1)
        trace.says(1, 180)
        trace.out(1)
        assert swallowed(trace.again())
        assert trace.own() == []

    def test_the_first_member_that_returns_takes_what_rings(self) -> None:
        """Its caller retransmits no more, and its own member may never return."""
        trace = Trace()
        trace.says(trace.first, 180)
        bench = trace.bench
        members = {
            n: replace(m, health=Health.OUT_OF_SERVICE) for n, m in bench.table.members.items()
        }
        bench.change(members=members)
        assert trace.own() == []
        assert kinds(trace.back(trace.second)) == [("resend", trace.second)]
        assert seen(trace.says(trace.second, 200)) == 200

    def test_a_member_that_returns_gets_nothing_from_one_that_lives(self) -> None:
        trace = Trace()
        trace.says(trace.first, 180)
        trace.out(trace.second)
        assert trace.back(trace.second) == []

    def test_a_retransmission_finds_a_member_again(self) -> None:
        trace = Trace()
        trace.says(trace.first, 100)
        trace.health(trace.second, Health.REFUSING)
        assert trace.out(trace.first) == []
        trace.bench.set_member(trace.second, health=Health.IN_SERVICE)
        assert kinds(trace.own()) == [("resend", trace.second)]

    def test_answers_go_where_the_caller_is_now(self) -> None:
        """It lost its connection, and repeated its request on another one."""
        trace = Trace(transport=TCP)
        trace.says(trace.first, 100)
        trace.health(trace.second, Health.REFUSING)
        trace.out(trace.first)
        trace.bench.absorbed(*trace.caller("INVITE"), channel=2001)
        trace.bench.set_member(trace.second, health=Health.IN_SERVICE)
        trace.own()
        (final,) = [own for own in trace.out(trace.second) if own.what == "answer"]
        assert final.to.channel == 2001

    def test_a_503_before_leaves_as_503(self) -> None:
        """While the other took calls it would have been 500; now nobody does."""
        trace = Trace()
        trace.says(trace.first, 503, extra=["Retry-After: 60"])
        trace.own()
        trace.health(trace.first, Health.REFUSING)
        (own,) = trace.out(trace.second)
        assert (own.what, seen(own)) == ("answer", 503)
        assert scan(own.data).header("Retry-After") == b"60"
        assert scan(own.data).to_tag == f"m{trace.first}".encode()
        trace.is_over()


class TestSilence:
    """Only INVITEs without any response, and only while the member is suspect."""

    def test_sent_elsewhere(self) -> None:
        trace = Trace()
        trace.suspect(trace.first)
        assert kinds(trace.wait(T1 + 0.01)) == [("resend", trace.second)]
        assert trace.wait(10.0) == []  # its caller repeats it

    def test_of_the_second_member(self) -> None:
        """The first one gave a 1xx, which says nothing of this one."""
        trace = Trace(members=3)
        trace.says(trace.first, 100)
        (resent,) = trace.out(trace.first)
        trace.suspect(resent.to.member)
        sent = {own.to.member for own in trace.wait(1.1)}
        assert sent == {resent.to.member, 6 - trace.first - resent.to.member}

    def test_thousands_in_slices(self) -> None:
        bench = Bench(members=[member(1)])
        for number in range(AT_ONCE + 1):
            via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bK{number}"
            bench.forwarded(request(call_id=f"call-{number}", via=via))
        bench.change(members=[member(1, health=Health.SUSPECT), member(2)])
        found = []
        for _ in range(3):
            bench.now += T1
            bench.router.look(bench.now)
            found.append(len(bench.router.take_outbox()))
        assert found == [AT_ONCE, 1, 0]

    def test_of_a_member_that_is_excused(self) -> None:
        """Our cable was out; it stays silent, and another one is back."""
        trace = Trace()
        trace.bench.set_member(trace.first, health=Health.OUT_OF_SERVICE, excused=True)
        trace.bench.set_member(trace.second, health=Health.OUT_OF_SERVICE, excused=True)
        assert trace.wait(T1 + 0.01) == []
        trace.bench.set_member(trace.second, health=Health.IN_SERVICE, excused=False)
        assert kinds(trace.wait(0.1)) == [("resend", trace.second)]

    def test_not_in_service(self) -> None:
        assert Trace().wait(10.0) == []

    @pytest.mark.parametrize("status", [100, 180])
    def test_not_with_a_response(self, status: int) -> None:
        trace = Trace()
        trace.says(trace.first, status)
        trace.suspect(trace.first)
        assert trace.wait(10.0) == []

    def test_not_another_request(self) -> None:
        trace = Trace("MESSAGE")
        trace.suspect(trace.first)
        assert trace.wait(10.0) == []

    def test_not_within_t1(self) -> None:
        trace = Trace()
        trace.suspect(trace.first)
        assert trace.wait(T1 - 0.05) == []

    def test_not_inside_a_dialog(self) -> None:
        """Its member is not lost, so nobody else has that dialog."""
        bench = Bench()
        dialog = bench.establish("one@caller")
        bench.forwarded(dialog.from_caller("INVITE", via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bKre"))
        bench.set_member(dialog.member, health=Health.SUSPECT)
        for _ in range(60):
            bench.now += 0.05
            bench.router.look(bench.now)
        assert bench.router.take_outbox() == []

    def test_not_to_a_member_at_its_limit(self) -> None:
        """Nothing is lost yet. Only when its member goes out is it sent whatever the load."""
        memory = Memory(loads=Loads(LoadLimits(requests_waiting=1)))
        bench = Bench(memory)
        one = Trace(bench=bench, call_id=bench.call_to(1))
        Trace(bench=bench, call_id=bench.call_to(2, "other"))
        one.suspect(1)
        assert one.wait(2.0) == []
        assert kinds(one.out(1)) == [("resend", 2)]

    def test_silence_is_reported_after_0_4_s(self) -> None:
        trace = Trace()
        trace.wait(0.35)
        assert trace.bench.router.take_reports() == []
        trace.wait(0.1)
        report, *_ = trace.bench.router.take_reports()
        assert (report.member, report.what) == (trace.first, Hint.UNANSWERED)
        assert 0.39 <= report.value <= 0.5

    def test_any_response_breaks_it(self) -> None:
        trace = Trace()
        trace.wait(0.3)
        trace.says(trace.first, 100)
        trace.wait(10.0)
        assert trace.bench.router.take_reports() == []

    def test_a_member_that_returns_begins_anew(self) -> None:
        trace = Trace()
        trace.out(trace.first)
        trace.says(trace.second, 100)
        trace.wait(5.0)
        trace.back(trace.first)
        trace.wait(0.2)
        assert trace.bench.router.take_reports() == []

    def test_what_is_sent_again_begins_the_survivors(self) -> None:
        trace = Trace()
        trace.out(trace.first)
        trace.wait(0.5)
        assert {r.member for r in trace.bench.router.take_reports()} == {trace.second}

    def test_one_that_answers_probes_in_spite_of_it_is_asked_later(self) -> None:
        trace = Trace()
        trace.wait(0.5)
        trace.bench.router.take_reports()
        trace.bench.router.spared(trace.first, trace.bench.now)
        Trace(bench=trace.bench, call_id=trace.bench.call_to(trace.first))
        trace.wait(0.75)
        assert trace.bench.router.take_reports() == []
        trace.wait(0.1)
        assert trace.bench.router.take_reports() != []


class TestBrokenConnection:
    """The member lives, the connection does not: what it may have lost is repeated."""

    def test_the_same_octets(self) -> None:
        trace = Trace(transport=TCP)
        trace.bench.router.spared(trace.first, trace.bench.now)
        (own,) = trace.own()
        assert (own.what, own.to.member, own.data) == ("resend", trace.first, trace.sent.data)

    def test_the_same_octets_after_a_loss_elsewhere(self) -> None:
        trace = Trace(transport=TCP)
        trace.out(trace.second)
        trace.bench.router.spared(trace.first, trace.bench.now)
        assert [own.data for own in trace.own()] == [trace.sent.data]

    def test_of_what_was_sent_to_it_second(self) -> None:
        trace = Trace(transport=TCP)
        trace.says(trace.first, 100)
        (resent,) = trace.out(trace.first)
        trace.bench.router.spared(trace.second, trace.bench.now)
        assert [(own.to.member, own.data) for own in trace.own()] == [(trace.second, resent.data)]

    def test_not_what_it_answered(self) -> None:
        trace = Trace(transport=TCP)
        trace.says(trace.first, 100)
        trace.bench.router.spared(trace.first, trace.bench.now)
        assert trace.own() == []

    def test_not_what_went_by_udp(self) -> None:
        trace = Trace()
        trace.bench.router.spared(trace.first, trace.bench.now)
        assert trace.own() == []

    def test_what_was_cancelled_is_never_sent_again(self) -> None:
        trace = Trace(transport=TCP)
        assert isinstance(trace.cancel(), Forward)
        trace.bench.router.spared(trace.first, trace.bench.now)
        assert [(own.what, scan(own.data).cseq_method, seen(own)) for own in trace.own()] == [
            ("answer", b"CANCEL", 200),
            ("answer", b"INVITE", 487),
        ]


class TestBinding:
    def test_the_call_is_the_new_members(self) -> None:
        trace = Trace(record_route=False)
        trace.says(trace.first, 503)
        trace.own()
        trace.says(trace.second, 200)
        via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bKbye"
        bye = request("BYE", to_tag=f"m{trace.second}", cseq=2, via=via)
        assert trace.bench.forwarded(bye).to.member == trace.second

    def test_the_second_dialog_of_the_call_follows(self) -> None:
        """A configured header goes where its call went (SIP-RULES 3, step 5)."""
        uuid = ("X-Genesys-CallUUID: u1",)
        trace = Trace(extra=uuid, header_keys=(b"x-genesys-calluuid",))
        trace.says(trace.first, 503)
        trace.own()
        via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bKtwo"
        two = request(call_id="two@caller", extra=uuid, via=via)
        assert trace.bench.forwarded(two).to.member == trace.second

    def test_what_was_accepted_is_not_refused_for_load(self) -> None:
        memory = Memory(loads=Loads(LoadLimits(calls_per_second=1)))
        bench = Bench(memory)
        calls = [Trace(bench=bench, call_id=bench.call_to(n)) for n in (1, 2)]
        assert kinds(calls[0].out(1)) == [("resend", 2)]
        via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bKthree"
        refused = bench.receive(request(call_id="three@caller", via=via))
        assert isinstance(refused, Reply)
        assert (refused.reason, refused.status) == (Reason.OVERLOAD, 503)
        bench.now += 2.0
        assert isinstance(bench.receive(request(call_id="three@caller", via=via)), Forward)


def test_after_provisional_false_rings_on() -> None:
    """For callers that cannot take a second To tag."""
    trace = Trace(after_provisional=False)
    trace.says(trace.first, 180)
    assert trace.out(trace.first) == []
    assert swallowed(trace.again())
    assert trace.own() == []
    trace.back(trace.first)
    ok = trace.says(trace.first, 200)
    assert isinstance(ok, Forward)
    routes = headers_of(ok.data, "Record-Route")[::-1]
    via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bKack"
    ack = request("ACK", to_tag=f"m{trace.first}", routes=routes, via=via)
    assert trace.bench.forwarded(ack).to.member == trace.first


def test_after_provisional_false_without_to_tag() -> None:
    """A 100 begins no dialog, so it is sent again."""
    trace = Trace(after_provisional=False)
    trace.says(trace.first, 100)
    assert kinds(trace.out(trace.first)) == [("resend", trace.second)]


def test_active_standby_takes_over() -> None:
    trace = Trace(active=1)
    assert trace.first == 1
    bench = trace.bench
    members = {
        **bench.table.members,
        1: replace(bench.table.members[1], health=Health.OUT_OF_SERVICE),
    }
    bench.change(members=members, active=2)
    assert kinds(trace.own()) == [("resend", 2)]


def test_nobody_stands_by() -> None:
    """Before another one is active there is nobody to ask."""
    trace = Trace(active=1)
    assert [seen(own) for own in trace.out(1)] == [503]


def test_the_vip_is_never_named_wrongly() -> None:
    """Everything relayed leaves from the VIP, also what we send again."""
    trace = Trace()
    (resent,) = trace.out(trace.first)
    assert headers_of(resent.data, "Via")[0].startswith(f"SIP/2.0/UDP {VIP}:5060;")
