"""Responses: back by Via (B), to a member whose Via names the VIP (C), past a lost one."""

from __future__ import annotations

import pytest
from packets import (
    CALLER,
    MCP,
    RM,
    STRANGER,
    TCP,
    UDP,
    VIP,
    Bench,
    answer,
    headers_of,
    listeners,
    member,
    request,
    response,
    through_rm,
)

from rmlb.routing.verdict import Drop, Forward, Kind, Reason
from rmlb.sip.address import SipAddress
from rmlb.sip.message import scan


class TestBackByVia:
    def test_pops_ours_and_nothing_else(self) -> None:
        bench = Bench()
        below = 'SIP/2.0/TLS below;x="a,b", SIP/2.0/TCP c'
        vias = [f"SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bKa", below]
        sent = bench.forwarded(request(via=vias))
        ok = answer(sent.data, 200)
        back = bench.forwarded(ok, RM[sent.to.member])
        ours = f"Via: {headers_of(ok, 'Via')[0]}\r\n".encode()
        assert back.data == ok.replace(ours, b"")

    def test_comma_joined_by_the_rm(self) -> None:
        bench = Bench(record_route=False)
        sent = bench.forwarded(request())
        ok = answer(sent.data, 200)
        joined = ok.replace(b"\r\nVia: SIP/2.0/UDP 192", b" ,\r\n  SIP/2.0/UDP 192")
        assert joined != ok
        back = bench.forwarded(joined, RM[sent.to.member])
        assert headers_of(back.data, "Via") == headers_of(ok, "Via")[1:]

    def test_from_wherever_it_comes(self) -> None:
        """4 of FIELD-NOTES 1.8: from the RM's address, another port, or past the VIP."""
        bench = Bench()
        sent = bench.forwarded(request())
        for host, port in ((RM[1], 5060), (RM[2], 45678), (MCP, 5070)):
            assert bench.forwarded(answer(sent.data, 180), host, port).to.host == CALLER

    @pytest.mark.parametrize("status", [100, 180, 200, 302, 404, 486, 603])
    def test_the_status_passes(self, status: int) -> None:
        bench = Bench()
        sent = bench.forwarded(request())
        back = bench.forwarded(answer(sent.data, status), RM[sent.to.member])
        assert scan(back.data).status == status
        assert bench.router.counted().member(sent.to.member).responses[status // 100] == 1

    def test_503_of_the_only_member_left_stays(self) -> None:
        bench = Bench(members=[member(1)])
        sent = bench.forwarded(request())
        reply = bench.forwarded(answer(sent.data, 503, extra=["Retry-After: 60"]), RM[1])
        assert scan(reply.data).status == 503

    def test_503_of_an_in_dialog_request_leaves_as_500(self) -> None:
        """16.7: one member's trouble must not park the whole VIP."""
        bench = Bench()
        dialog = bench.establish("one@caller")
        sent = bench.forwarded(dialog.from_caller("INFO"))
        refused = answer(sent.data, 503, extra=["Retry-After: 60"])
        back = bench.forwarded(refused, RM[dialog.member])
        assert scan(back.data).status == 500
        assert scan(back.data).header("Retry-After") is None


class TestToAMember:
    """Kind C: virtual-ip-in-via, and the answer comes to the VIP."""

    def top(self, *, received: str | None = RM[1], port: int | None = 5060, more: str = "",
            transport: str = "UDP") -> str:  # fmt: skip
        at = f"{VIP}:{port}" if port else VIP
        got = f";received={received}" if received else ""
        return f"SIP/2.0/{transport} {at};branch=z9hG4bKrm{more}{got}"

    def test_by_received(self) -> None:
        for number in (1, 2):
            data = response([self.top(received=RM[number]), "SIP/2.0/UDP below"])
            sent = Bench().forwarded(data, MCP, 5070)
            assert (sent.kind, sent.to.host, sent.to.port) == (
                Kind.MEMBER_RESPONSE, RM[number], 5060)  # fmt: skip
            assert sent.data == data

    def test_by_rport_before_sent_by(self) -> None:
        bench = Bench(
            members=[member(1, SipAddress(UDP, RM[1], 5060), SipAddress(UDP, RM[1], 5064))]
        )
        sent = bench.forwarded(response([self.top(more=";rport=5064")]), MCP)
        assert sent.to.port == 5064
        sent = bench.forwarded(response([self.top(more=";rport=6666")]), MCP)
        assert sent.to.port == 5060

    def test_by_the_binding(self) -> None:
        bench = Bench()
        call = bench.forwarded(request())
        sent = bench.forwarded(response([self.top(received=None)]), MCP, 5070)
        assert (sent.kind, sent.to.member) == (Kind.MEMBER_RESPONSE, call.to.member)

    def test_by_the_binding_where_received_is_no_member(self) -> None:
        bench = Bench()
        call = bench.forwarded(request())
        sent = bench.forwarded(response([self.top(received=MCP)]), MCP, 5070)
        assert sent.to.member == call.to.member

    def test_by_the_bindings_holder(self) -> None:
        bench = Bench(record_route=False)
        call = bench.establish("one@caller")
        bench.lose(call.member)
        sent = bench.forwarded(response([self.top(received=None)]), MCP, 5070)
        assert sent.to.member == 3 - call.member

    def test_several_members_on_one_host(self) -> None:
        """The quick start's members: told apart by port."""
        host = RM[1]
        members = [member(n, SipAddress(UDP, host, 7000 + n)) for n in (1, 2)]
        bench = Bench(members=members)
        for number in (1, 2):
            by_rport = response([self.top(port=5060, more=f";rport={7000 + number}")])
            assert bench.forwarded(by_rport, MCP).to.member == number
            by_sent_by = response([self.top(port=7000 + number)])
            assert bench.forwarded(by_sent_by, MCP).to.member == number
        assert bench.dropped(response([self.top(port=5060)]), MCP).reason is Reason.NO_SUCH_MEMBER

    def test_the_address_that_received_names(self) -> None:
        """A member with an address per transport."""
        addresses = (SipAddress(UDP, RM[1], 5060), SipAddress(TCP, RM[3], 5060))
        bench = Bench(members=[member(1, *addresses), member(2)])
        sent = bench.forwarded(response([self.top(received=RM[3], transport="TCP")]), MCP)
        assert (sent.to.transport, sent.to.host) == (TCP, RM[3])

    @pytest.mark.parametrize("received", ["[2001:DB8::11]", "2001:db8:0::11"])
    def test_received_in_any_spelling(self, received: str) -> None:
        six = ("2001:db8::100", "2001:db8::11")
        bench = Bench(
            listeners=listeners(VIP, six[0]),
            vips=frozenset({VIP, six[0]}),
            members=[member(1, SipAddress(UDP, six[1], 5060)), member(2)],
        )
        top = f"SIP/2.0/UDP [{six[0]}]:5060;branch=z9hG4bKrm;received={received}"
        assert bench.forwarded(response([top]), "2001:db8::31").to.host == six[1]

    @pytest.mark.parametrize("port", [22, 80, 5061, 9801, 65535])
    def test_only_ports_of_the_member(self, port: int) -> None:
        for data in (response([self.top(port=port)]),):
            assert Bench().dropped(data, STRANGER).reason is Reason.NO_SUCH_MEMBER

    @pytest.mark.parametrize("received", [STRANGER, VIP, "224.0.0.1", "name.example.com"])
    def test_nothing_else_of_the_vip(self, received: str) -> None:
        data = response([self.top(received=received)])
        assert Bench().dropped(data, STRANGER).reason is Reason.NO_SUCH_MEMBER

    def test_not_back_to_the_member_itself(self) -> None:
        verdict = Bench().dropped(response([self.top()]), RM[1])
        assert verdict.reason is Reason.BACK_TO_SENDER

    def test_the_next_via_after_ours_is_the_members_with_the_vip(self) -> None:
        """An MCP's call through the RM and back through us: B that resolves to ourselves is C."""
        bench = Bench()
        via = [self.top(received=None), f"SIP/2.0/TCP {MCP}:7090;branch=z9hG4bKmcp"]
        bench.set_member(1, weight=0)  # so that the call goes to the other one
        sent = bench.forwarded(request(via=via), RM[1])
        assert sent.to.member == 2
        ok = answer(sent.data, 200)
        back = bench.forwarded(ok, RM[2])
        assert (back.kind, back.to.host, back.to.port) == (Kind.RESPONSE, RM[1], 5060)

    def test_the_next_via_that_resolves_to_ourselves(self) -> None:
        """A neighbour of ours signs with the VIP and our port: we would send to ourselves."""
        bench = Bench()
        sent = bench.forwarded(request(via=f"SIP/2.0/UDP {VIP}:5060;branch=z9hG4bKx"), VIP, 40000)
        verdict = bench.receive(answer(sent.data, 200), RM[sent.to.member])
        if isinstance(verdict, Forward):
            assert (verdict.kind, verdict.to.host) == (Kind.MEMBER_RESPONSE, RM[1])
        else:
            assert isinstance(verdict, Drop)


class TestPastALostMember:
    """C for a lost member whose Via is followed by ours: both are popped, the call completes."""

    @pytest.fixture
    def bench(self) -> Bench:
        return Bench()

    def at_the_mcp(self, bench: Bench, *, joined: bool = False) -> tuple[bytes, int]:
        sent = bench.forwarded(request())
        number = sent.to.member
        at_rm = bench.forwarded(answer(sent.data, 180), RM[number])
        assert at_rm.to.host == CALLER
        through = through_rm(sent.data, number, transport="TCP", joined=joined)
        received = f";received={RM[number]};branch=z9hG4bKrm".encode()
        return through.replace(b";branch=z9hG4bKrm", received), number

    @pytest.mark.parametrize("joined", [False, True])
    @pytest.mark.parametrize("status", [180, 200, 486])
    def test_both_are_popped(self, bench: Bench, joined: bool, status: int) -> None:
        data, number = self.at_the_mcp(bench, joined=joined)
        bench.set_member(3 - number, weight=0)  # nobody to send it to again
        bench.lose(number)
        bench.router.take_outbox()
        back = bench.forwarded(answer(data, status), MCP, 5070)
        assert (back.kind, back.to.host, back.to.port) == (Kind.MEMBER_RESPONSE, CALLER, 5060)
        assert len(headers_of(back.data, "Via")) == 1
        assert scan(back.data).status == status

    def test_the_call_counts(self, bench: Bench) -> None:
        data, number = self.at_the_mcp(bench)
        bench.set_member(3 - number, weight=0)
        bench.lose(number)
        bench.forwarded(answer(data, 200), MCP, 5070)
        assert bench.memory.bindings.calls.total() == 1
        assert bench.memory.pending.unanswered == 0

    def test_while_the_member_lives_it_gets_it(self, bench: Bench) -> None:
        data, number = self.at_the_mcp(bench)
        sent = bench.forwarded(answer(data, 200), MCP, 5070)
        assert (sent.to.member, sent.data) == (number, answer(data, 200))

    def test_what_was_sent_again_is_cancelled(self, bench: Bench) -> None:
        """The survivor was asked too: it must not ring on once the first call is answered."""
        data, number = self.at_the_mcp(bench)
        bench.lose(number)
        (resent,) = [own for own in bench.router.take_outbox() if own.what == "resend"]
        assert resent.to.member == 3 - number
        bench.receive(answer(resent.data, 180, to_tag="other"), resent.to.host)
        bench.router.take_outbox()
        bench.forwarded(answer(data, 200), MCP, 5070)
        assert [own.to.member for own in bench.router.take_outbox() if own.what == "cancel"] == [
            3 - number
        ]

    def test_a_forged_via_of_ours_below_opens_no_way(self, bench: Bench) -> None:
        data, number = self.at_the_mcp(bench)
        bench.set_member(3 - number, weight=0)
        bench.lose(number)
        forged = answer(data, 200).replace(CALLER.encode(), STRANGER.encode())
        verdict = bench.receive(forged, MCP, 5070)
        assert not isinstance(verdict, Forward) or verdict.to.host == RM[number]


class TestOutsiders:
    """Replayed, forged and stray responses move nothing to third parties."""

    def test_replayed_from_another_dialog(self) -> None:
        bench = Bench()
        sent = bench.forwarded(request())
        ok = answer(sent.data, 200)
        assert bench.forwarded(ok, STRANGER).to.host == CALLER  # its own caller, as asked for
        for old, new in ((b"one@caller", b"two@caller"), (CALLER.encode(), STRANGER.encode())):
            verdict = bench.dropped(ok.replace(old, new), STRANGER)
            assert verdict.reason is Reason.UNVERIFIED_RESPONSE

    @pytest.mark.parametrize(
        "via",
        [
            f"SIP/2.0/UDP {STRANGER}", "SIP/2.0/UDP 255.255.255.255", "SIP/2.0/UDP victim.example",
            f"SIP/2.0/UDP {STRANGER};received={RM[1]}", f"SIP/2.0/UDP {RM[1]}:5060;branch=z9hG4bKx",
            f"SIP/2.0/UDP {VIP};rmlb=x", f"SIP/2.0/UDP {VIP};branch=z9hG4bKabcd.1.0123456789abcdef",
            f"SIP/2.0/UDP {VIP};maddr={STRANGER};branch=z9hG4bKx",
        ],
    )  # fmt: skip
    def test_stray(self, via: str) -> None:
        for vias in ([via], [via, f"SIP/2.0/UDP {STRANGER}"], [f"{via}, SIP/2.0/UDP {STRANGER}"]):
            assert isinstance(Bench().receive(response(vias), STRANGER), Drop)

    def test_without_any_via(self) -> None:
        assert Bench().dropped(response([]), STRANGER).reason is Reason.MALFORMED
