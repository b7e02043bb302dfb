"""What a remembered request's repetitions and answers come to (SIP-RULES 5), as packet traces."""

from __future__ import annotations

import pytest
from failing import Trace, kinds, seen, swallowed
from packets import CALLER, MCP, RM, STRANGER, TCP, UDP, Bench, answer, headers_of, member, request

from rmlb.routing.affinity import Memory
from rmlb.routing.member import Health
from rmlb.routing.overload import LoadLimits, Loads
from rmlb.routing.verdict import Absorb, Drop, Forward, Hint, Own, Reason, Reply, Verdict
from rmlb.sip.message import scan

DEADLINE_S = 16.0


def reason(verdict: Verdict) -> Reason:
    assert isinstance(verdict, Absorb | Drop | Reply), verdict
    return verdict.reason


def sent_elsewhere(*before: int, **changes: object) -> Trace:
    """An INVITE whose member answered so far and then went out; the other one has it."""
    trace = Trace(**changes)  # type: ignore[arg-type]
    for status in before:
        trace.says(trace.first, status)
    assert kinds(trace.out(trace.first)) == [("resend", trace.second)]
    return trace


class TestRetryCodes:
    """503 and further configured codes: another member is asked, once each."""

    @pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "MESSAGE", "REGISTER", "SUBSCRIBE"])
    @pytest.mark.parametrize("transport", [UDP, TCP])
    def test_503(self, method: str, transport: object) -> None:
        trace = Trace(method, transport=transport)  # type: ignore[arg-type]
        assert reason(trace.says(trace.first, 503)) is Reason.RETRIED
        own = trace.own()
        acks = [("ack", trace.first)] if method == "INVITE" else []
        assert kinds(own) == [("resend", trace.second), *acks]
        assert seen(trace.says(trace.second, 200)) == 200
        trace.is_over()

    def test_configured(self) -> None:
        trace = Trace(retry_codes=frozenset((480,)))
        assert swallowed(trace.says(trace.first, 480))
        assert seen(Trace(retry_codes=frozenset((480,))).says(trace.first, 503)) == 500

    @pytest.mark.parametrize("status", [486, 500, 600, 302])
    def test_others_are_the_calls_own(self, status: int) -> None:
        trace = Trace()
        assert seen(trace.says(trace.first, status)) == status
        assert trace.own() == []

    def test_what_is_swallowed_is_kept_and_counts(self) -> None:
        trace = Trace()
        before = trace.bench.memory.pending.octets
        trace.says(trace.first, 503, extra=["X: " + "x" * 1000])
        kept = len(trace.own()[0].data)
        assert trace.bench.memory.pending.octets > before + kept + 1000
        trace.is_over()

    def test_retransmitted_it_is_acknowledged_again_and_nothing_more(self) -> None:
        trace = Trace()
        trace.says(trace.first, 503)
        trace.own()
        for _ in range(3):
            assert reason(trace.says(trace.first, 503)) is Reason.ABANDONED
            assert kinds(trace.own()) == [("ack", trace.first)]

    def test_each_member_once(self) -> None:
        trace = Trace(members=3)
        asked = [trace.first]
        for _ in range(2):
            trace.says(asked[-1], 503)
            resent, _ack = trace.own()
            asked.append(resent.to.member)
        assert sorted(asked) == [1, 2, 3]
        assert seen(trace.says(asked[-1], 503)) == 500
        assert trace.own() == []
        trace.is_over()

    def test_503_of_all_leaves_as_500_without_retry_after(self) -> None:
        """The others take calls still: SIP Server must not park the whole VIP (16.7 step 6)."""
        trace = Trace()
        for number in (trace.first, trace.second):
            verdict = trace.says(number, 503, extra=["Retry-After: 60"])
            trace.own()
        assert isinstance(verdict, Forward)
        assert seen(verdict) == 500
        assert scan(verdict.data).header("Retry-After") is None

    def test_503_where_no_other_takes_calls(self) -> None:
        trace = Trace(members=1)
        verdict = trace.says(1, 503, extra=["Retry-After: 60"])
        assert isinstance(verdict, Forward)
        assert (seen(verdict), scan(verdict.data).header("Retry-After")) == (503, b"60")

    @pytest.mark.parametrize(
        ("first", "second", "leaves"),
        [(503, 486, 486), (503, 404, 404), (603, 503, 603), (404, 503, 404), (480, 603, 603),
         (404, 401, 401), (401, 404, 401), (302, 404, 302), (503, 504, 504)],
    )  # fmt: skip
    def test_the_best_failure_leaves(self, first: int, second: int, leaves: int) -> None:
        """16.7 step 6: 6xx, else the lowest class, 401 and its like before other 4xx."""
        trace = Trace(retry_codes=frozenset((first, second)))
        trace.says(trace.first, first)
        trace.own()
        verdict = trace.says(trace.second, second)
        own = trace.own()
        if leaves == second:
            assert (seen(verdict), own) == (leaves, [])
        else:
            assert swallowed(verdict)
            assert [(o.what, o.to.host) for o in own] == [
                ("answer", CALLER),
                ("ack", RM[trace.second]),
            ]
            assert seen(own[0]) == leaves
            assert scan(own[0].data).to_tag == f"m{trace.first}".encode()
            assert reason(trace.says(trace.second, second)) is Reason.ABANDONED
            trace.own()
            assert headers_of(own[0].data, "Via")[0].startswith(f"SIP/2.0/UDP {CALLER}")
        trace.is_over()

    def test_the_best_is_repeated_and_its_ack_absorbed(self) -> None:
        trace = Trace(retry_codes=frozenset((404, 503)))
        trace.says(trace.first, 404)
        trace.own()
        trace.says(trace.second, 503)
        (own, _ack) = trace.own()
        again = trace.again()
        assert isinstance(again, Reply)
        assert (again.status, again.data) == (404, own.data)
        assert reason(trace.ack(f"m{trace.first}")) is Reason.OWN_ACK

    def test_after_a_1xx_too(self) -> None:
        trace = Trace()
        trace.says(trace.first, 180)
        assert swallowed(trace.says(trace.first, 503))
        assert kinds(trace.own()) == [("resend", trace.second), ("ack", trace.first)]
        assert seen(trace.says(trace.second, 180)) == 180

    def test_after_a_1xx_not_if_told_so(self) -> None:
        trace = Trace(after_provisional=False)
        trace.says(trace.first, 180)
        assert seen(trace.says(trace.first, 503)) == 500
        assert trace.own() == []

    @pytest.mark.parametrize("method", ["INFO", "INVITE", "BYE"])
    def test_inside_a_dialog_it_passes_as_500(self, method: str) -> None:
        bench = Bench()
        dialog = bench.establish("one@caller")
        sent = bench.forwarded(
            dialog.from_caller(method, via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bKd")
        )
        assert seen(bench.receive(answer(sent.data, 503), RM[dialog.member])) == 500
        assert bench.router.take_outbox() == []

    def test_not_to_a_member_at_its_limit(self) -> None:
        memory = Memory(loads=Loads(LoadLimits(requests_waiting=1)))
        bench = Bench(memory)
        one = Trace(bench=bench, call_id=bench.call_to(1))
        Trace(bench=bench, call_id=bench.call_to(2, "other"))
        assert seen(one.says(1, 503)) == 500

    def test_not_past_the_deadline(self) -> None:
        """The caller's own 32 s are half over: it hears at once (16.7)."""
        trace = Trace()
        trace.wait(DEADLINE_S + 0.1)
        assert seen(trace.says(trace.first, 503)) == 500

    @pytest.mark.parametrize("status", [100, 180])
    def test_past_the_deadline_of_a_patient_caller(self, status: int) -> None:
        """It heard a 1xx: a member that took long and gave up is no reason to fail."""
        trace = Trace()
        trace.says(trace.first, status)
        trace.wait(60.0)
        assert swallowed(trace.says(trace.first, 503))
        assert kinds(trace.own()) == [("resend", trace.second), ("ack", trace.first)]
        assert [o for o in trace.wait(5.0) if o.what == "answer"] == []
        assert seen(trace.says(trace.second, 200)) == 200


class TestDeadline:
    """The best swallowed failure leaves at `retry.deadline`."""

    @pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
    def test_where_the_other_says_nothing(self, method: str) -> None:
        trace = Trace(method)
        trace.wait(1.0)
        trace.says(trace.first, 503)
        trace.own()
        answers = [o for o in trace.wait(DEADLINE_S - 1.1) if o.what == "answer"]
        assert answers == []
        (own,) = [o for o in trace.wait(0.2) if o.what == "answer"]
        assert (seen(own), scan(own.data).to_tag) == (500, f"m{trace.first}".encode())
        trace.is_over()

    def test_not_while_the_other_rings(self) -> None:
        trace = Trace()
        trace.says(trace.first, 503)
        trace.own()
        trace.says(trace.second, 180)
        assert [o for o in trace.wait(60.0) if o.what == "answer"] == []
        assert seen(trace.says(trace.second, 200)) == 200

    def test_late_answers_after_it(self) -> None:
        """1xx: cancelled; failure: acknowledged and dropped; 2xx passes (decision 0004)."""
        trace = Trace()
        trace.says(trace.first, 503)
        trace.own()
        trace.wait(DEADLINE_S + 0.1)
        assert swallowed(trace.says(trace.second, 180))
        assert kinds(trace.own()) == [("cancel", trace.second)]
        assert seen(trace.says(trace.second, 200)) == 200


class TestAbandoned:
    """The attempt given up: its 2xx is a fork, everything else of it ends here."""

    @pytest.mark.parametrize("status", [100, 180, 183])
    def test_its_1xx_is_swallowed(self, status: int) -> None:
        trace = sent_elsewhere()
        assert reason(trace.says(trace.first, status)) is Reason.ABANDONED

    def test_the_cancel_leaves_with_its_first_1xx(self) -> None:
        """Once the other has found somebody (8.2.2.2), and not before a 1xx (9.1)."""
        trace = sent_elsewhere()
        trace.says(trace.second, 180)
        assert trace.own() == []
        trace.says(trace.first, 100)
        assert kinds(trace.own()) == [("cancel", trace.first)]

    def test_or_with_the_others_first_180(self) -> None:
        trace = sent_elsewhere(180)
        trace.says(trace.second, 100)
        assert trace.own() == []
        trace.says(trace.second, 180)
        assert kinds(trace.own()) == [("cancel", trace.first)]

    @pytest.mark.parametrize("status", [200, 486])
    def test_or_with_the_others_answer(self, status: int) -> None:
        trace = sent_elsewhere(180)
        assert seen(trace.says(trace.second, status)) == status
        assert kinds(trace.own()) == [("cancel", trace.first)]

    def test_it_repeats_until_it_is_answered(self) -> None:
        trace = sent_elsewhere(180)
        trace.says(trace.second, 200)
        (cancel,) = trace.own()
        repeated = trace.wait(4.0)
        assert [o.data for o in repeated] == [cancel.data] * 3  # 0.5, 1.5, 3.5
        verdict = trace.bench.receive(answer(cancel.data, 200), RM[trace.first])
        assert reason(verdict) is Reason.OWN_REQUEST
        assert trace.wait(40.0) == []

    def test_or_until_the_invite_is(self) -> None:
        trace = sent_elsewhere(180)
        trace.says(trace.second, 200)
        trace.own()
        assert swallowed(trace.says(trace.first, 487))
        assert kinds(trace.own()) == [("ack", trace.first)]
        assert trace.wait(40.0) == []

    def test_or_for_64_t1(self) -> None:
        trace = sent_elsewhere(180)
        begun = trace.bench.now
        trace.says(trace.second, 200)
        trace.own()
        last = 0.0
        for _ in range(900):
            if trace.wait(0.05):
                last = trace.bench.now - begun
        assert 26.0 < last <= 32.0

    def test_over_a_stream_it_is_sent_once(self) -> None:
        trace = sent_elsewhere(180, transport=TCP)
        trace.says(trace.second, 200)
        assert kinds(trace.own()) == [("cancel", trace.first)]
        assert trace.wait(40.0) == []

    def test_it_is_not_sent_twice(self) -> None:
        """Answered by the member, and then the caller is: nothing new to cancel."""
        trace = sent_elsewhere(180)
        trace.says(trace.second, 180)
        (cancel,) = trace.own()
        trace.bench.receive(answer(cancel.data, 200), RM[trace.first])
        trace.says(trace.second, 200)
        assert trace.own() == []

    @pytest.mark.parametrize("status", [302, 404, 487, 503, 603])
    def test_its_failure_is_acknowledged_and_swallowed(self, status: int) -> None:
        trace = sent_elsewhere(180)
        for _ in range(2):  # and when it is retransmitted
            assert reason(trace.says(trace.first, status)) is Reason.ABANDONED
            assert kinds(trace.own()) == [("ack", trace.first)]
        assert seen(trace.says(trace.second, 200)) == 200
        trace.is_over()

    def test_its_503_says_nothing_of_its_member(self) -> None:
        trace = sent_elsewhere()
        trace.says(trace.first, 503, extra=["Retry-After: 60"])
        assert trace.bench.router.take_reports() == []

    def test_its_late_2xx_first(self) -> None:
        trace = sent_elsewhere(180)
        assert seen(trace.says(trace.first, 200)) == 200
        assert trace.own() == []  # the other has not rung yet
        assert swallowed(trace.says(trace.second, 180))
        assert kinds(trace.own()) == [("cancel", trace.second)]
        assert swallowed(trace.says(trace.second, 487))
        assert kinds(trace.own()) == [("ack", trace.second)]
        trace.is_over()

    @pytest.mark.parametrize("status", [486, 503, 603])
    def test_after_its_2xx_no_failure_of_the_other(self, status: int) -> None:
        trace = sent_elsewhere(180)
        assert seen(trace.says(trace.first, 200)) == 200
        assert reason(trace.says(trace.second, status)) is Reason.LATE_FINAL
        assert kinds(trace.own()) == [("ack", trace.second)]

    def test_its_late_2xx_second(self) -> None:
        trace = sent_elsewhere()
        assert seen(trace.says(trace.second, 200)) == 200
        assert seen(trace.says(trace.first, 200)) == 200

    @pytest.mark.parametrize("order", ["first", "second"])
    @pytest.mark.parametrize("record_route", [True, False])
    def test_both_dialogs_live_where_they_were_answered(
        self, order: str, record_route: bool
    ) -> None:
        """13.2.2.4: the caller sees a fork; each dialog goes to its own member by callee tag."""
        trace = sent_elsewhere(180, record_route=record_route)
        trace.back(trace.first)
        numbers = [trace.first, trace.second]
        routes = {}
        for number in numbers if order == "first" else numbers[::-1]:
            ok = trace.says(number, 200)
            assert isinstance(ok, Forward)
            routes[number] = headers_of(ok.data, "Record-Route")[::-1]
        for number in numbers:
            for cseq, method in ((1, "ACK"), (2, "BYE")):
                data = request(
                    method, to_tag=f"m{number}", cseq=cseq, routes=routes[number],
                    via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bK{method}{number}",
                )  # fmt: skip
                assert trace.bench.forwarded(data).to.member == number
        calls = trace.bench.memory.bindings.calls
        assert calls[numbers[0] if order == "first" else numbers[1]] == 1

    def test_the_second_dialog_of_a_member_that_is_not_back_yet(self) -> None:
        """Its 2xx came when it was out already: ACK and BYE go to nobody else all the same."""
        trace = sent_elsewhere(180)
        bench = trace.bench
        routes = {}
        for number in (trace.second, trace.first):
            ok = trace.says(number, 200)
            assert isinstance(ok, Forward)
            routes[number] = headers_of(ok.data, "Record-Route")[::-1]
        for cseq, method in ((1, "ACK"), (2, "BYE")):
            data = request(
                method, uri=f"sip:m@{RM[trace.first]}:5060", to_tag=f"m{trace.first}", cseq=cseq,
                routes=routes[trace.first], via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bK{method}",
            )  # fmt: skip
            sent = bench.forwarded(data)
            assert sent.to.member == trace.first
            assert scan(sent.data).uri == f"sip:m@{RM[trace.first]}:5060".encode()
        bench.forwarded(answer(sent.data, 200), RM[trace.first])
        assert bench.memory.bindings.calls[trace.second] == 1
        bye = request(
            "BYE", to_tag=f"m{trace.second}", cseq=2, routes=routes[trace.second],
            via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bKlast",
        )  # fmt: skip
        sent = bench.forwarded(bye)
        assert sent.to.member == trace.second
        bench.forwarded(answer(sent.data, 200), RM[trace.second])
        assert bench.memory.bindings.calls[trace.second] == 0

    def test_the_second_dialog_of_a_disabled_member(self) -> None:
        trace = sent_elsewhere(180)
        bench = trace.bench
        trace.says(trace.second, 200)
        trace.says(trace.first, 200)
        bench.lose(trace.first, disabled=True)
        ack = request(
            "ACK", to_tag=f"m{trace.first}", via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bKack"
        )
        assert bench.forwarded(ack).to.member == trace.second

    def test_a_late_answer_inside_a_dialog_moves_nothing(self) -> None:
        """A member that returns does not get its dialogs back (SIP-RULES 4)."""
        bench = Bench()
        dialog = bench.establish("one@caller")
        trace = Trace(bench=bench)  # a retransmission only, for its helpers
        trace.first = dialog.member
        sent = bench.forwarded(
            dialog.from_caller("INVITE", via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bKr")
        )
        (resent,) = trace.out(dialog.member)
        bench.forwarded(answer(resent.data, 200), RM[resent.to.member])
        trace.back(dialog.member)
        late = bench.receive(answer(sent.data, 200), RM[dialog.member])
        assert reason(late) is Reason.LATE_FINAL  # no fork: the dialog has its answer
        info = dialog.from_caller("INFO", cseq=3, via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bKinfo")
        assert bench.forwarded(info).to.member == resent.to.member

    def test_a_late_2xx_inside_a_dialog_passes_after_a_failure(self) -> None:
        bench = Bench()
        dialog = bench.establish("one@caller")
        trace = Trace(bench=bench)
        trace.first = dialog.member
        sent = bench.forwarded(
            dialog.from_caller("INVITE", via=f"SIP/2.0/UDP {CALLER};branch=z9hG4bKr")
        )
        (resent,) = trace.out(dialog.member)
        assert seen(bench.receive(answer(resent.data, 481), RM[resent.to.member])) == 481
        trace.back(dialog.member)
        assert seen(bench.receive(answer(sent.data, 200), RM[dialog.member])) == 200

    def test_of_a_request_without_fork_the_first_answer_counts(self) -> None:
        trace = Trace("MESSAGE")
        trace.out(trace.first)
        assert seen(trace.says(trace.first, 200)) == 200
        for status in (200, 404):
            assert reason(trace.says(trace.second, status)) is Reason.LATE_FINAL
        assert trace.own() == []

    def test_past_its_lost_member(self) -> None:
        """Kind C: the MCP answers to the VIP, and the call rings there still."""
        trace = Trace()
        bench = trace.bench
        at_mcp = (
            b"Via: SIP/2.0/UDP 10.0.0.100:5060;branch=z9hG4bKrm;received="
            + RM[trace.first].encode()
        )
        top = trace.sent.data.index(b"Via:")
        through = trace.sent.data[:top] + at_mcp + b"\r\n" + trace.sent.data[top:]
        trace.out(trace.first)
        assert reason(bench.receive(answer(through, 180), MCP)) is Reason.ABANDONED
        assert seen(bench.receive(answer(through, 200), MCP)) == 200


class TestOwnMessages:
    """CANCEL and ACK carry our Via alone, and answers to them end here."""

    def trace(self, **changes: object) -> tuple[Trace, Own, Own]:
        """The ACK to m1's 503, and the CANCEL to what rang before."""
        trace = sent_elsewhere(180, **changes)
        trace.says(trace.second, 180)
        (cancel,) = trace.own()
        trace.says(trace.first, 487)
        (ack,) = trace.own()
        return trace, cancel, ack

    def test_one_via_with_the_branch_of_the_invite(self) -> None:
        """9.1, 17.1.1.3."""
        trace, cancel, ack = self.trace()
        top = headers_of(trace.sent.data, "Via")[0]
        for own in (cancel, ack):
            (via,) = headers_of(own.data, "Via")
            assert via.partition(";rmlb=")[0] == top.partition(";rmlb=")[0]
            assert own.to == trace.sent.to

    def test_the_cancel_is_as_the_invite(self) -> None:
        """9.1: Request-URI, Call-ID, To, From, the number of CSeq; no Require."""
        extra = ("Require: 100rel", "Route: <sip:10.0.0.11:5060;lr>")
        trace, cancel, _ = self.trace(extra=extra)
        invite, made = scan(trace.sent.data), scan(cancel.data)
        assert (made.method, made.uri) == (b"CANCEL", invite.uri)
        for name in ("From", "To", "Call-ID", "Route"):
            assert headers_of(made.data, name) == headers_of(invite.data, name), name
        assert (made.cseq, made.cseq_method) == (invite.cseq, b"CANCEL")
        assert headers_of(made.data, "Require") == []
        assert made.body == b""

    def test_the_ack_is_as_the_invite_with_the_to_of_the_answer(self) -> None:
        extra = ("Route: <sip:10.0.0.11:5060;lr>",)
        trace, _, ack = self.trace(extra=extra)
        invite, made = scan(trace.sent.data), scan(ack.data)
        assert (made.method, made.uri) == (b"ACK", invite.uri)
        for name in ("From", "Call-ID", "Route"):
            assert headers_of(made.data, name) == headers_of(invite.data, name), name
        assert made.to_tag == f"m{trace.first}".encode()
        assert (made.cseq, made.cseq_method) == (invite.cseq, b"ACK")

    def test_of_what_we_sent_again(self) -> None:
        """By the way it left: here by TCP, because it is too large for a datagram (18.1.1)."""
        trace = Trace(members=3, extra=("X: " + "x" * 1300,), udp_size_limit=1300)
        (resent,) = trace.out(trace.first)
        assert resent.to.transport is TCP
        trace.says(resent.to.member, 503)
        _, ack = trace.own()
        assert ack.to == resent.to
        (via,) = headers_of(ack.data, "Via")
        assert (
            via.partition(";rmlb=")[0] == headers_of(resent.data, "Via")[0].partition(";rmlb=")[0]
        )

    @pytest.mark.parametrize("status", [100, 200, 481])
    def test_answers_are_consumed(self, status: int) -> None:
        trace, cancel, _ = self.trace()
        verdict = trace.bench.receive(answer(cancel.data, status), RM[trace.first])
        assert reason(verdict) is Reason.OWN_REQUEST

    def test_a_forged_answer_stops_nothing(self) -> None:
        trace, cancel, _ = self.trace()
        forged = answer(cancel.data, 200).replace(b";rmlb=0000000a", b";rmlb=0000000b")
        assert reason(trace.bench.receive(forged, STRANGER)) is Reason.UNVERIFIED_RESPONSE


class TestCancelledByTheCaller:
    def test_passes_to_the_member(self) -> None:
        trace = Trace()
        trace.says(trace.first, 180)
        cancel = trace.cancel()
        assert isinstance(cancel, Forward)
        assert cancel.to.member == trace.first
        ok = trace.bench.receive(answer(cancel.data, 200), RM[trace.first])
        assert seen(ok) == 200
        assert seen(trace.says(trace.first, 487)) == 487
        assert isinstance(trace.ack(f"m{trace.first}"), Forward)
        trace.is_over()

    def test_passes_to_the_newest_member_that_rings(self) -> None:
        trace = sent_elsewhere(180)
        trace.says(trace.second, 180)
        trace.own()
        cancel = trace.cancel()
        assert isinstance(cancel, Forward)
        assert cancel.to.member == trace.second

    def test_never_sent_again_afterwards(self) -> None:
        trace = Trace()
        trace.says(trace.first, 180)
        trace.cancel()
        trace.suspect(trace.first)
        assert trace.wait(5.0) == []
        assert seen(trace.says(trace.first, 503)) == 500
        assert trace.own() == []

    @pytest.mark.parametrize("answers", [(), (180,)])
    def test_while_its_member_dies(self, answers: tuple[int, ...]) -> None:
        """The CANCEL was under way: 200 to it, 487 to the INVITE."""
        trace = Trace()
        for status in answers:
            trace.says(trace.first, status)
        assert isinstance(trace.cancel(), Forward)
        own = trace.out(trace.first)
        told = [(scan(o.data).cseq_method, seen(o), o.to.host) for o in own if o.what == "answer"]
        assert told == [(b"CANCEL", 200, CALLER), (b"INVITE", 487, CALLER)]
        assert {o.what for o in own} <= {"answer", "cancel"}
        assert {o.what for o in trace.wait(40.0)} <= {"answer", "cancel"}
        trace.is_over()

    def test_its_member_is_out_already(self) -> None:
        trace = Trace(members=1)
        trace.says(1, 180)
        trace.out(1)
        verdict = trace.cancel()
        assert isinstance(verdict, Reply)
        assert (verdict.status, verdict.reason) == (200, Reason.CANCELLED)
        final, cancel = trace.own()
        assert (final.what, seen(final), cancel.what) == ("answer", 487, "cancel")
        assert scan(final.data).to_tag == scan(verdict.data).to_tag  # 9.2

    def test_sent_elsewhere_and_unheard_there(self) -> None:
        """9.1: no CANCEL before a 1xx. It is ours to answer, and ours to cancel later."""
        trace = sent_elsewhere(180)
        verdict = trace.cancel()
        assert isinstance(verdict, Reply)
        assert verdict.status == 200
        assert [seen(o) for o in trace.own() if o.what == "answer"] == [487]
        assert "resend" not in {o.what for o in trace.wait(10.0)}  # not repeated any more
        assert swallowed(trace.says(trace.second, 180))
        assert ("cancel", trace.second) in kinds(trace.own())
        assert reason(trace.says(trace.second, 487)) is Reason.LATE_FINAL
        assert ("ack", trace.second) in kinds(trace.own())

    def test_retransmissions_get_the_same_answers(self) -> None:
        trace = sent_elsewhere(180)
        first = trace.cancel()
        final = next(o for o in trace.own() if o.what == "answer")
        again = trace.cancel()
        assert isinstance(first, Reply)
        assert isinstance(again, Reply)
        assert first.data == again.data
        repeated = trace.again()
        assert isinstance(repeated, Reply)
        assert (repeated.status, repeated.data) == (487, final.data)
        tag = scan(final.data).to_tag.decode()
        assert reason(trace.ack(tag)) is Reason.OWN_ACK
        assert trace.own() == []

    def test_after_the_final_answer_it_passes(self) -> None:
        trace = Trace()
        trace.says(trace.first, 486)
        assert isinstance(trace.cancel(), Forward)

    def test_of_another_request_it_passes(self) -> None:
        """9.1 forbids it, and a stateless proxy has no opinion."""
        trace = Trace("MESSAGE")
        assert isinstance(trace.cancel(), Forward)

    def test_from_elsewhere_the_answer_is_not_for_them(self) -> None:
        trace = Trace(members=1)
        trace.out(1)
        data = trace.caller("INVITE")[0]
        assert swallowed(trace.bench.receive(data, STRANGER))


class TestLateAnswers:
    """After our own final answer."""

    def trace(self, *before: int) -> Trace:
        trace = Trace(members=1)
        for status in before:
            trace.says(1, status)
        if before:
            trace.cancel()
        assert [seen(o) for o in trace.out(1) if o.what == "answer"][-1] in (503, 487)
        return trace

    @pytest.mark.parametrize("before", [(), (180,)])
    @pytest.mark.parametrize("status", [302, 486, 503, 600])
    def test_a_failure_is_acknowledged_and_dropped(
        self, before: tuple[int, ...], status: int
    ) -> None:
        trace = self.trace(*before)
        verdict = trace.says(1, status)
        assert isinstance(verdict, Drop)
        assert verdict.reason is Reason.LATE_FINAL
        assert kinds(trace.own()) == [("ack", 1)]
        assert trace.bench.router.counted().dropped[Reason.LATE_FINAL] == 1

    def test_what_begins_to_ring_is_cancelled(self) -> None:
        """A frozen member wakes up and finds the INVITE in its socket."""
        trace = self.trace()
        assert swallowed(trace.says(1, 180))
        (cancel,) = trace.own()
        assert (cancel.what, cancel.to.member) == ("cancel", 1)
        assert len(trace.wait(4.0)) == 3

    @pytest.mark.parametrize("before", [(), (180,)])
    def test_a_2xx_passes(self, before: tuple[int, ...]) -> None:
        """Decision 0004: the caller sends BYE; dropped, the member would talk to nobody."""
        trace = self.trace(*before)
        trace.back(1)
        ok = trace.says(1, 200)
        assert isinstance(ok, Forward)
        via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bKbye"
        routes = headers_of(ok.data, "Record-Route")[::-1]
        bye = request("BYE", to_tag="m1", cseq=2, via=via, routes=routes)
        assert trace.bench.forwarded(bye).to.member == 1

    @pytest.mark.parametrize("status", [200, 404])
    def test_of_another_request_every_final_is_dropped(self, status: int) -> None:
        trace = Trace("MESSAGE", members=1)
        trace.out(1)
        assert reason(trace.says(1, status)) is Reason.LATE_FINAL
        assert trace.own() == []

    def test_the_200_to_a_cancel_that_we_answered(self) -> None:
        trace = Trace(members=1)
        trace.says(1, 180)
        cancel = trace.cancel()
        assert isinstance(cancel, Forward)
        trace.out(1)
        assert reason(trace.bench.receive(answer(cancel.data, 200), RM[1])) is Reason.LATE_FINAL


class TestMerged:
    """482 to what was sent again (8.2.2.2); more in test_merged_requests.py."""

    def test_without_an_earlier_attempt_that_lives(self) -> None:
        trace = Trace()
        trace.says(trace.first, 503)
        trace.own()
        assert reason(trace.says(trace.second, 482)) is Reason.RETRIED
        final, ack = trace.own()
        assert (final.what, seen(final)) == ("answer", 500)
        assert kinds([ack]) == [("ack", trace.second)]
        trace.is_over()

    def test_of_the_first_attempt_it_passes(self) -> None:
        trace = Trace()
        assert seen(trace.says(trace.first, 482)) == 482

    def test_of_another_request_it_passes(self) -> None:
        trace = Trace("MESSAGE")
        trace.out(trace.first)
        assert seen(trace.says(trace.second, 482)) == 482

    @pytest.mark.parametrize("status", [200, 486])
    def test_the_earlier_answer_is_the_answer(self, status: int) -> None:
        trace = Trace()
        trace.suspect(trace.first)
        trace.wait(0.6)
        trace.says(trace.second, 482)
        trace.own()
        assert seen(trace.says(trace.first, 180)) == 180
        assert trace.own() == []
        assert seen(trace.says(trace.first, status)) == status
        trace.is_over()

    def test_the_only_hope_dies(self) -> None:
        """It was the one that the caller waited for, so its loss counts."""
        trace = Trace()
        trace.suspect(trace.first)
        trace.wait(0.6)
        trace.says(trace.second, 482)
        trace.own()
        (final,) = trace.out(trace.first)
        assert (final.what, seen(final)) == ("answer", 503)

    def test_or_a_third_member_takes_it(self) -> None:
        trace = Trace(members=3)
        trace.suspect(trace.first)
        (resent,) = trace.wait(0.6)
        trace.says(resent.to.member, 482)
        trace.own()
        third = 6 - trace.first - resent.to.member
        assert kinds(trace.out(trace.first)) == [("resend", third)]

    def test_a_487_to_our_own_cancel_is_no_answer(self) -> None:
        """It rang at the second, so the first was cancelled; then the second was merged."""
        trace = sent_elsewhere(180)
        trace.back(trace.first)
        trace.says(trace.second, 180)
        trace.says(trace.second, 482)
        assert kinds(trace.own()) == [("cancel", trace.first), ("ack", trace.second)]
        assert trace.wait(10.0) == []
        assert reason(trace.says(trace.first, 487)) is Reason.RETRIED
        final, ack = trace.own()
        assert (final.what, seen(final)) == ("answer", 500)
        assert kinds([ack]) == [("ack", trace.first)]

    def test_but_its_2xx_is(self) -> None:
        """It crossed the CANCEL."""
        trace = sent_elsewhere(180)
        trace.says(trace.second, 180)
        trace.says(trace.second, 482)
        trace.own()
        assert seen(trace.says(trace.first, 200)) == 200
        trace.is_over()


class TestEarlyDialogs:
    """PRACK, UPDATE ... inside an abandoned early dialog: 481 unless that attempt still lives."""

    def early(self, method: str, trace: Trace, number: int) -> Verdict:
        via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bK{method}{number}"
        return trace.bench.receive(request(method, to_tag=f"m{number}", cseq=2, via=via))

    @pytest.mark.parametrize("method", ["PRACK", "UPDATE", "BYE"])
    def test_481(self, method: str) -> None:
        trace = sent_elsewhere(183)
        verdict = self.early(method, trace, trace.first)
        assert isinstance(verdict, Reply)
        assert (verdict.status, verdict.reason) == (481, Reason.EARLY_DIALOG_GONE)

    @pytest.mark.parametrize("method", ["PRACK", "UPDATE"])
    def test_to_the_attempt_that_lives(self, method: str) -> None:
        trace = sent_elsewhere(183)
        trace.back(trace.first)
        verdict = self.early(method, trace, trace.first)
        assert isinstance(verdict, Forward)
        assert verdict.to.member == trace.first

    def test_481_once_it_has_failed(self) -> None:
        trace = Trace()
        trace.says(trace.first, 183)
        trace.says(trace.first, 503)
        trace.own()
        verdict = self.early("PRACK", trace, trace.first)
        assert isinstance(verdict, Reply)
        assert verdict.status == 481

    def test_to_the_new_one(self) -> None:
        trace = sent_elsewhere(183)
        trace.says(trace.second, 183)
        verdict = self.early("PRACK", trace, trace.second)
        assert isinstance(verdict, Forward)
        assert verdict.to.member == trace.second


class TestReports:
    """What answers to initial requests say of their member."""

    def refuse(self, bench: Bench, count: int, status: int = 503, *extra: str) -> None:
        for number in range(count):
            self.calls = getattr(self, "calls", 0) + 1
            via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bK{self.calls}"
            sent = bench.forwarded(request(call_id=f"call-{self.calls}-{number}", via=via))
            bench.receive(answer(sent.data, status, extra=extra), RM[1])

    def test_ten_in_a_row(self) -> None:
        bench = Bench(members=[member(1)])
        self.refuse(bench, 9)
        assert bench.router.take_reports() == []
        self.refuse(bench, 1)
        (report,) = bench.router.take_reports()
        assert (report.member, report.what) == (1, Hint.REFUSES_CALLS)
        self.refuse(bench, 9)
        assert bench.router.take_reports() == []

    @pytest.mark.parametrize("status", [200, 486, 500, 404])
    def test_in_a_row_only(self, status: int) -> None:
        bench = Bench(members=[member(1)])
        self.refuse(bench, 9)
        self.refuse(bench, 1, status)
        self.refuse(bench, 9)
        assert bench.router.take_reports() == []

    def test_as_many_as_configured(self) -> None:
        bench = Bench(members=[member(1)], refusals=2)
        self.refuse(bench, 2)
        assert len(bench.router.take_reports()) == 1

    def test_inside_a_dialog_it_says_nothing(self) -> None:
        bench = Bench(refusals=1)
        dialog = bench.establish("one@caller")
        sent = bench.forwarded(dialog.from_caller("INFO"))
        bench.receive(answer(sent.data, 503, extra=["Retry-After: 9"]), RM[dialog.member])
        assert bench.router.take_reports() == []

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("60", 60.0),
            ("18000;duration=3600", 18000.0),
            ("120 (I'm in a meeting)", 120.0),
        ],
    )
    def test_retry_after(self, value: str, seconds: float) -> None:
        bench = Bench(members=[member(1)])
        self.refuse(bench, 1, 503, f"Retry-After: {value}")
        (report,) = bench.router.take_reports()
        assert (report.member, report.what, report.value) == (1, Hint.RETRY_AFTER, seconds)

    @pytest.mark.parametrize("value", ["soon", "-1", "", "0", "99999999999999"])
    def test_no_retry_after(self, value: str) -> None:
        bench = Bench(members=[member(1)])
        self.refuse(bench, 1, 503, f"Retry-After: {value}")
        assert bench.router.take_reports() == []


def test_a_2xx_of_the_member_itself_leaves_nothing_to_repeat() -> None:
    trace = Trace()
    trace.says(trace.first, 200)
    assert (trace.bench.memory.pending.unanswered, trace.bench.memory.pending.octets) == (0, 0)
    assert isinstance(trace.again(), Forward)  # to the member that answered it


def test_a_retransmission_after_the_answer_goes_to_who_answered() -> None:
    """Its own late answer won: that member repeats it."""
    trace = sent_elsewhere(180)
    trace.back(trace.first)
    trace.says(trace.first, 200)
    again = trace.again()
    assert isinstance(again, Forward)
    assert again.to.member == trace.first


def test_the_ack_goes_to_who_failed() -> None:
    trace = sent_elsewhere(180)
    trace.says(trace.second, 486)
    trace.own()
    ack = trace.ack(f"m{trace.second}")
    assert isinstance(ack, Forward)
    assert ack.to.member == trace.second


def test_a_suspect_member_is_asked_if_nobody_else_is_there() -> None:
    trace = Trace()
    trace.suspect(trace.second)
    assert kinds(trace.out(trace.first)) == [("resend", trace.second)]


@pytest.mark.parametrize("health", [Health.REFUSING, Health.OUT_OF_SERVICE])
def test_nobody_else_takes_calls(health: Health) -> None:
    trace = Trace()
    trace.health(trace.second, health)
    assert seen(trace.says(trace.first, 503)) == 503


def test_a_repeated_2xx_fetches_no_dialog_back() -> None:
    """Answered in time, then its member was lost for a moment: the dialog moved (SIP-RULES 4)."""
    trace = Trace()
    ok = trace.says(trace.first, 200)
    assert isinstance(ok, Forward)
    trace.out(trace.first)
    trace.back(trace.first)
    assert seen(trace.says(trace.first, 200)) == 200
    routes = headers_of(ok.data, "Record-Route")[::-1]
    via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bKinfo"
    info = request("INFO", to_tag=f"m{trace.first}", cseq=2, routes=routes, via=via)
    assert trace.bench.forwarded(info).to.member == trace.second


def test_a_failure_ends_the_binding_of_its_own_request_only() -> None:
    """A MESSAGE with the Call-ID of an INVITE that rings."""
    trace = Trace(record_route=False)
    trace.says(trace.first, 180)
    via = f"SIP/2.0/UDP {CALLER};branch=z9hG4bKmessage"
    sent = trace.bench.forwarded(request("MESSAGE", cseq=2, via=via))
    trace.bench.forwarded(answer(sent.data, 404), RM[sent.to.member])
    trace.bench.now += 100.0
    trace.bench.router.expire(trace.bench.now)
    assert len(trace.bench.memory.bindings) == 1
