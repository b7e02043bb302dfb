"""Which member: the steps of SIP-RULES 3, their order, and what each may not do."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_network

import pytest
from packets import CALLER, MCP, RM, STRANGER, VIP, Bench, answer, look_alike, member, request

from rmlb.routing.affinity import parse_datanodes
from rmlb.routing.member import AdminState, Health
from rmlb.routing.selection import Algorithm
from rmlb.routing.verdict import Forward, Kind, Reason, Step

KEY = b"x-genesys-calluuid"
SESSION = "X-Genesys-GVP-Session-ID: 8A7F-1;gvp.rm.datanodes={};gvp.rm.tenant-id=1.102_MSML"


def via(name: str) -> str:
    return f"SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bK{name}"


class TestOrder:
    """Each step's witness names one member, all later ones the other: the earlier one wins."""

    def bench(self, **changes: object) -> Bench:
        return Bench(header_keys=(KEY,), **changes)

    def hashes_to(self, call_id: str) -> int:
        return Bench().forwarded(request(call_id=call_id)).to.member

    def test_mark_before_datanodes(self) -> None:
        bench = self.bench()
        dialog = bench.establish(self.call_of(1))
        data = dialog.from_caller(routes=[*dialog.recorded, look_alike(2)])
        assert self.chosen(bench, data) == (Step.MARK, 1)

    def test_datanodes_before_binding(self) -> None:
        bench = self.bench(record_route=False)
        dialog = bench.establish(self.call_of(1))
        data = dialog.from_caller(routes=[look_alike(2)])
        assert self.chosen(bench, data) == (Step.DATANODES, 2)

    def test_binding_before_session_header(self) -> None:
        bench = self.bench(record_route=False)
        dialog = bench.establish(self.call_of(1))
        data = dialog.from_caller(extra=[SESSION.format(2)])
        assert self.chosen(bench, data) == (Step.BINDING, 1)

    def test_session_header_before_header_key(self) -> None:
        bench = self.bench()
        bench.forwarded(request(extra=["X-Genesys-CallUUID: 1", SESSION.format(1)]))
        extra = ["X-Genesys-CallUUID: 1", SESSION.format(2)]
        data = request(call_id="another", via=via("x"), extra=extra)
        assert self.chosen(bench, data) == (Step.SESSION_HEADER, 2)

    def test_header_key_before_hash(self) -> None:
        bench = self.bench()
        bench.forwarded(request(extra=["X-Genesys-CallUUID: 1", SESSION.format(1)]))
        for i in range(20):
            extra = ["X-Genesys-CallUUID: 1"]
            data = request(call_id=f"another-{i}", via=via(f"x{i}"), extra=extra)
            assert self.chosen(bench, data) == (Step.HEADER_KEY, 1)

    def test_transaction_before_all(self) -> None:
        bench = self.bench()
        call_id = self.call_of(1)
        bench.forwarded(request(call_id=call_id))
        data = request("CANCEL", call_id=call_id, extra=[SESSION.format(2)])
        assert self.chosen(bench, data) == (Step.TRANSACTION, 1)

    def call_of(self, number: int) -> str:
        return next(c for c in (f"call-{i}" for i in range(99)) if self.hashes_to(c) == number)

    def chosen(self, bench: Bench, data: bytes) -> tuple[Step | None, int]:
        sent = bench.forwarded(data)
        return sent.step, sent.to.member


class TestDatanodes:
    @pytest.mark.parametrize(
        ("value", "members"),
        [
            (b"1", [1]), (b"2|1", [2, 1]), (b"2%7C1", [2, 1]), (b"2%7c1|3", [2, 1, 3]), (b"", []),
            (b"|", []), (b"x", []), (b"0", [0]), (b"99999999999", []), (b"-1", []),
            (b"1|x|2", [1, 2]), (b"\xb2", []),
        ],
    )  # fmt: skip
    def test_lists(self, value: bytes, members: list[int]) -> None:
        assert parse_datanodes(value) == members

    @pytest.mark.parametrize(
        ("nodes", "number", "step"),
        [
            ("2|1", 2, Step.DATANODES),
            ("1%7C2", 1, Step.DATANODES),
            ("3|2", 2, Step.DATANODES),
            ("7", None, Step.ALGORITHM),
            ("", None, Step.ALGORITHM),
        ],
    )
    def test_in_the_route(self, nodes: str, number: int | None, step: Step) -> None:
        bench = Bench(members=[member(1), member(2), member(3, health=Health.OUT_OF_SERVICE)])
        route = f"<sip:0x1@{VIP}:5060;lr;gvp.rm.datanodes={nodes};confinstid=x>"
        sent = bench.forwarded(request("BYE", to_tag="x", routes=[route]))
        assert sent.step is step
        assert number is None or sent.to.member == number

    def test_in_a_second_route_do_not_count(self) -> None:
        routes = [look_alike(1), look_alike(2)]
        sent = Bench().forwarded(request("BYE", to_tag="x", routes=routes))
        assert (sent.step, sent.to.member) == (Step.DATANODES, 1)

    @pytest.mark.parametrize(
        "header",
        [
            "X-Genesys-GVP-Session-ID: 7A9B;gvp.rm.datanodes=2|1;gvp.rm.tenant-id=1",
            "x-genesys-gvp-session-id:7A9B ; GVP.RM.Datanodes = 2%7C1",
            "X-Genesys-GVP-Session-ID: 7A9B;a=b;\r\n gvp.rm.datanodes=2",
        ],
    )
    def test_in_the_session_header(self, header: str) -> None:
        for i in range(4):
            sent = Bench().forwarded(request(call_id=f"c{i}", extra=[header]))
            assert (sent.step, sent.to.member) == (Step.SESSION_HEADER, 2)


class TestTrust:
    """For initial requests steps 2, 4 and 5 count only from trusted sources."""

    TRUSTED = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))

    def claims(self, bench: Bench) -> dict[Step, bytes]:
        bench.forwarded(request(call_id="first", extra=["X-Genesys-CallUUID: 1"], via=via("0")))
        return {
            Step.DATANODES: request(call_id="a", via=via("a"), routes=[look_alike(1)]),
            Step.SESSION_HEADER: request(call_id="b", via=via("b"), extra=[SESSION.format(1)]),
            Step.HEADER_KEY: request(call_id="c", via=via("c"), extra=["X-Genesys-CallUUID: 1"]),
        }

    @pytest.mark.parametrize("step", [Step.DATANODES, Step.SESSION_HEADER, Step.HEADER_KEY])
    def test_initial_requests(self, step: Step) -> None:
        bench = Bench(header_keys=(KEY,), trusted=self.TRUSTED)
        data = self.claims(bench)[step]
        assert Bench(header_keys=(KEY,), trusted=self.TRUSTED)
        assert bench.forwarded(data, STRANGER).step is Step.ALGORITHM
        bench = Bench(header_keys=(KEY,), trusted=self.TRUSTED)
        assert bench.forwarded(self.claims(bench)[step], CALLER).step is step

    @pytest.mark.parametrize("step", [Step.DATANODES, Step.SESSION_HEADER, Step.HEADER_KEY])
    def test_nobody_is_distrusted_by_default(self, step: Step) -> None:
        bench = Bench(header_keys=(KEY,))
        assert bench.forwarded(self.claims(bench)[step], STRANGER).step is step

    def test_in_dialog_requests(self) -> None:
        bench = Bench(trusted=self.TRUSTED)
        data = request("BYE", to_tag="x", routes=[look_alike(2)])
        assert bench.forwarded(data, STRANGER).step is Step.DATANODES

    def test_an_untrusted_header_is_no_hash_input(self) -> None:
        bench = Bench(header_keys=(KEY,), trusted=self.TRUSTED)
        calls = {
            bench.forwarded(
                request(call_id=f"c{i}", via=via(str(i)), extra=["X-Genesys-CallUUID: 1"]), STRANGER
            ).to.member
            for i in range(30)
        }
        assert calls == {1, 2}

    @pytest.mark.parametrize("nodes", [1, 2])
    def test_a_cancel_goes_where_its_untrusted_invite_went(self, nodes: int) -> None:
        """On another balancer, without any memory of it."""
        for i in range(8):
            parts = {"call_id": f"c{i}", "extra": [SESSION.format(nodes)]}
            one = Bench(trusted=self.TRUSTED).forwarded(request(**parts), STRANGER)
            other = Bench(trusted=self.TRUSTED)
            assert other.forwarded(request("CANCEL", **parts), STRANGER).to == one.to


class TestMembers:
    """Unknown, disabled and lost members do not end the search."""

    def in_dialog(self, bench: Bench, number: int) -> bytes:
        return bench.establish(bench.call_to(number)).from_caller()

    @pytest.mark.parametrize("disabled", [False, True])
    def test_a_lost_members_dialog(self, disabled: bool) -> None:
        bench = Bench()
        data = self.in_dialog(bench, 1)
        bench.lose(1, disabled=disabled)
        sent = bench.forwarded(data)
        assert (sent.step, sent.to.member) == (Step.MARK, 2)

    def test_a_lost_members_dialog_without_hotstandby(self) -> None:
        bench = Bench(hotstandby=False)
        data = self.in_dialog(bench, 1)
        bench.set_member(1, health=Health.SUSPECT)
        assert bench.forwarded(data).to.member == 1  # never for suspect
        bench.lose(1)
        reply = bench.replied(data.replace(b"z9hG4bKone", b"z9hG4bKtwo"))
        assert (reply.status, reply.reason) == (481, Reason.MEMBER_LOST)

    def test_new_calls_without_hotstandby(self) -> None:
        bench = Bench(hotstandby=False)
        bench.lose(1)
        assert bench.forwarded(request(extra=[SESSION.format(1)])).to.member == 2

    def test_a_member_that_was_taken_out_of_the_configuration(self) -> None:
        bench = Bench()
        data = self.in_dialog(bench, 1)
        bench.change(members=[member(2)])
        assert bench.forwarded(data).to.member == 2

    @pytest.mark.parametrize(
        "state",
        [
            {"admin_state": AdminState.DRAINING},
            {"health": Health.REFUSING},
            {"weight": 0},
        ],
        ids=["draining", "refusing", "weightless"],
    )
    def test_no_new_calls_but_whatever_belongs_to_old_ones(self, state: dict[str, object]) -> None:
        bench = Bench(header_keys=(KEY,))
        data = self.in_dialog(bench, 1)
        bench.set_member(1, **state)
        assert bench.forwarded(data).to.member == 1
        for i in range(20):
            parts = {"call_id": f"new-{i}", "via": via(f"n{i}")}
            assert bench.forwarded(request(**parts)).to.member == 2
            parts = {"call_id": f"session-{i}", "via": via(f"s{i}")}
            again = bench.forwarded(request(**parts, extra=[SESSION.format("1|2")]))
            assert (again.step, again.to.member) == (Step.SESSION_HEADER, 1)

    def test_a_retransmission_stays_with_a_draining_member(self) -> None:
        bench = Bench()
        call_id = bench.call_to(1)
        bench.forwarded(request(call_id=call_id))
        bench.set_member(1, admin_state=AdminState.DRAINING)
        assert bench.forwarded(request(call_id=call_id)).to.member == 1

    def test_a_call_id_used_again_after_its_call_failed(self) -> None:
        """A draining member keeps no Call-ID for ever."""
        bench = Bench()
        call_id = bench.call_to(1)
        sent = bench.forwarded(request(call_id=call_id))
        bench.forwarded(answer(sent.data, 486), RM[1])
        again = bench.forwarded(request(call_id=call_id, cseq=2, via=via("two")))
        assert again.to.member == 1
        bench.forwarded(answer(again.data, 486), RM[1])
        bench.set_member(1, admin_state=AdminState.DRAINING)
        assert bench.forwarded(request(call_id=call_id, cseq=3, via=via("3"))).to.member == 2

    def test_a_call_challenged_and_sent_again_stays(self) -> None:
        bench = Bench(algorithm=Algorithm.ROUND_ROBIN)
        sent = bench.forwarded(request())
        bench.forwarded(answer(sent.data, 407), RM[sent.to.member])
        again = bench.forwarded(request(cseq=2, via=via("two")))
        assert (again.step, again.to.member) == (Step.BINDING, sent.to.member)


class TestActiveStandby:
    def test_everything_new_goes_to_the_active_one(self) -> None:
        bench = Bench(active=2)
        for i in range(20):
            sent = bench.forwarded(request(call_id=f"c{i}", via=via(str(i))))
            assert (sent.step, sent.to.member) == (Step.ALGORITHM, 2)

    def test_dialogs_of_the_former_active_follow_the_switch(self) -> None:
        bench = Bench(active=1)
        data = bench.establish("one@caller").from_caller()
        bench.change(active=2)
        assert bench.forwarded(data).to.member == 2

    def test_they_stay_while_it_drains(self) -> None:
        bench = Bench(active=1)
        data = bench.establish("one@caller").from_caller()
        bench.change(active=2, retiring=frozenset((1,)))
        sent = bench.forwarded(data)
        assert (sent.step, sent.to.member) == (Step.MARK, 1)

    def test_the_active_one_refuses(self) -> None:
        bench = Bench(active=2)
        bench.set_member(2, health=Health.REFUSING)
        assert bench.replied(request()).status == 503


class TestAlgorithms:
    def shares(self, bench: Bench, calls: int = 400) -> Counter[int]:
        found: Counter[int] = Counter()
        for i in range(calls):
            sent = bench.forwarded(request(call_id=f"share-{i}", via=via(f"s{i}")))
            found[sent.to.member] += 1
        return found

    @pytest.mark.parametrize("algorithm", list(Algorithm))
    def test_even_shares(self, algorithm: Algorithm) -> None:
        shares = self.shares(Bench(algorithm=algorithm))
        assert 0.4 < shares[1] / 400 < 0.6

    @pytest.mark.parametrize("algorithm", [Algorithm.HASH, Algorithm.ROUND_ROBIN])
    def test_weights(self, algorithm: Algorithm) -> None:
        bench = Bench(algorithm=algorithm, members=[member(1, weight=300), member(2)])
        assert 0.68 < self.shares(bench)[1] / 400 < 0.82

    def test_round_robin_alternates(self) -> None:
        bench = Bench(algorithm=Algorithm.ROUND_ROBIN)
        turns = [bench.forwarded(request(call_id=f"{i}", via=via(str(i)))) for i in range(6)]
        assert [t.to.member for t in turns] in ([1, 2] * 3, [2, 1] * 3)

    def test_a_cancel_takes_no_turn(self) -> None:
        bench = Bench(algorithm=Algorithm.ROUND_ROBIN)
        first = bench.forwarded(request(call_id="a", via=via("a"))).to.member
        bench.forwarded(request("CANCEL", call_id="stray", via=via("stray")))
        assert bench.forwarded(request(call_id="b", via=via("b"))).to.member == 3 - first

    def test_least_calls(self) -> None:
        bench = Bench(algorithm=Algorithm.LEAST_CALLS)
        self.carry(bench, 5, by=1)
        for i in range(5):
            dialog = bench.establish(f"c{i}", via=via(str(i)))
            assert dialog.member == 2
        assert bench.memory.bindings.calls == {1: 5, 2: 5}

    def carry(self, bench: Bench, calls: int, *, by: int) -> None:
        """So many calls, all with that member."""
        for number in bench.table.members:
            drained = AdminState.ENABLED if number == by else AdminState.DRAINING
            bench.set_member(number, admin_state=drained)
        for i in range(calls):
            bench.establish(f"carried-{by}-{i}", via=via(f"{by}-{i}"))
        for number in bench.table.members:
            bench.set_member(number, admin_state=AdminState.ENABLED)

    def test_least_calls_by_weight(self) -> None:
        members = [member(1, weight=300), member(2)]
        bench = Bench(algorithm=Algorithm.LEAST_CALLS, members=members)
        self.carry(bench, 5, by=1)
        self.carry(bench, 2, by=2)
        assert bench.forwarded(request()).to.member == 1

    def test_taking_a_member_away_moves_only_its_own_calls(self) -> None:
        everyone = [member(1), member(2), member(3)]
        before, after = Bench(members=everyone), Bench(members=everyone[:2])
        for i in range(200):
            data = request(call_id=f"c{i}", via=via(str(i)))
            old, new = before.forwarded(data).to.member, after.forwarded(data).to.member
            assert new == old or old == 3

    def test_two_balancers_choose_alike(self) -> None:
        one, other = Bench(), Bench(instance=b"0000000b")
        for i in range(200):
            data = request(call_id=f"c{i}", via=via(str(i)))
            assert one.forwarded(data).to.member == other.forwarded(data).to.member

    def test_a_header_key_is_the_hash_input(self) -> None:
        """Both dialogs of a call, at two balancers that know nothing of each other."""
        for i in range(10):
            extra = [f"X-Genesys-CallUUID: {i}"]
            one = Bench(header_keys=(KEY,)).forwarded(request(call_id=f"a{i}", extra=extra))
            other = Bench(header_keys=(KEY,)).forwarded(request(call_id=f"b{i}", extra=extra))
            assert one.to.member == other.to.member

    def test_a_cancel_is_hashed_as_its_invite(self) -> None:
        """On another balancer, with a member that drains and one that weighs more."""
        members = [
            member(1, admin_state=AdminState.DRAINING), member(2, weight=30), member(3, weight=200)
        ]  # fmt: skip
        for i in range(40):
            data = request(call_id=f"c{i}")
            invite = Bench(members=members).forwarded(data)
            cancel = Bench(members=members).forwarded(request("CANCEL", call_id=f"c{i}"))
            assert cancel.to == invite.to
            assert cancel.to.member != 1


class TestForks:
    def test_two_members_answered_one_invite(self) -> None:
        """3: Call-ID plus callee tag."""
        bench = Bench(record_route=False)
        sent = bench.forwarded(request())
        first = sent.to.member
        bench.lose(first)
        (again,) = (own for own in bench.router.take_outbox() if own.what == "resend")
        bench.forwarded(answer(again.data, 200, to_tag="second"), again.to.host)
        bench.forwarded(answer(sent.data, 200, to_tag="first"), RM[first])
        bench.set_member(first, health=Health.IN_SERVICE)
        for tag, number in (("second", again.to.member), ("first", first)):
            data = request("ACK", to_tag=tag, via=via(tag))
            assert bench.forwarded(data).to.member == number
            data = request("BYE", to_tag=tag, cseq=2, via=via(tag))
            assert bench.forwarded(data).to.member == number


def test_a_balancer_without_a_binding_learns_it_from_an_answer() -> None:
    """The standby takes over between INVITE and 180 (its hash would say otherwise)."""
    bench, other = Bench(record_route=False), Bench(record_route=False)
    call_id = bench.call_to(1)
    sent = bench.forwarded(request(call_id=call_id))
    other.set_member(1, weight=0)
    other.forwarded(answer(sent.data, 180), RM[1])
    found = other.receive(request("UPDATE", call_id=call_id, to_tag="callee", via=via("u")))
    assert isinstance(found, Forward)
    assert (found.kind, found.step, found.to.member) == (Kind.TO_MEMBER, Step.BINDING, 1)


def test_an_unverified_answer_teaches_nothing() -> None:
    bench, other = Bench(), Bench()
    sent = bench.forwarded(request())
    other.receive(answer(sent.data, 180).replace(b"tag=caller", b"tag=forged"), MCP)
    assert len(other.memory.bindings) == 0
