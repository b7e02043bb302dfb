"""Requests: who may pass, which Routes are ours, which way is out; and nobody is relayed for."""

from __future__ import annotations

import pytest
from packets import (
    CALLER,
    MCP,
    RM,
    STRANGER,
    TCP,
    TLS,
    UDP,
    VIP,
    Bench,
    Dialog,
    answer,
    headers_of,
    listeners,
    look_alike,
    member,
    request,
    through_rm,
)

from rmlb.routing.keys import Keyring
from rmlb.routing.verdict import Drop, Forward, Kind, Reason, Reply, Step
from rmlb.sip.address import SipAddress
from rmlb.sip.message import scan

SIX = "2001:db8::100"


class TestOwnRoutes:
    """4: marked entries are popped, and VIP or alias entries with neither mark nor datanodes."""

    @pytest.mark.parametrize(
        ("routes", "left"),
        [
            ([f"<sip:{VIP};lr>"], []),
            ([f"<sip:{VIP}:5060;lr>", f"<sip:{VIP};transport=tcp;lr>"], []),
            ([f"<sip:{VIP};lr>", look_alike(1)], [look_alike(1)]),
            ([look_alike(1), f"<sip:{VIP};lr>"], [look_alike(1), f"<sip:{VIP};lr>"]),
            ([look_alike(1, 15060)], [look_alike(1, 15060)]),
            (["<sip:lb.example.com;lr>", look_alike(2)], [look_alike(2)]),
            (['"Us" <sip:10.0.0.100;lr>;x=y', f"<sip:{RM[2]};lr>"], [f"<sip:{RM[2]};lr>"]),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("joined", [False, True])
    def test_pop(self, routes: list[str], left: list[str], joined: bool) -> None:
        bench = Bench(aliases=frozenset({("lb.example.com", 5060), ("lb.example.com", None)}))
        given = [", ".join(routes)] if joined else routes
        sent = bench.forwarded(request("BYE", to_tag="x", routes=given))
        assert headers_of(sent.data, "Route") == left

    def test_strict_router_before_us(self) -> None:
        """16.4: our Record-Route entry in the Request-URI, the target last in the Route."""
        bench = Bench()
        dialog = bench.establish("one@caller")
        uri = dialog.recorded[0].strip("<>")
        data = dialog.from_caller(uri=uri, routes=[look_alike(1), "<sip:ivr@10.0.0.31:5070>"])
        sent = bench.forwarded(data)
        assert sent.step is Step.MARK
        assert scan(sent.data).uri == b"sip:ivr@10.0.0.31:5070"
        assert headers_of(sent.data, "Route") == [look_alike(1)]

    def test_strict_router_next(self) -> None:
        """16.6 step 6: it gets itself as Request-URI, and the target as last Route."""
        bench = Bench()
        dialog = bench.establish("one@caller")
        strict = f"<sip:{CALLER}:5090;x=y>"
        data = dialog.from_callee(routes=[*dialog.recorded, strict, "<sip:last.example.com;lr>"])
        sent = bench.forwarded(data, RM[dialog.member])
        assert (sent.to.host, sent.to.port) == (CALLER, 5090)
        assert scan(sent.data).uri == f"sip:{CALLER}:5090;x=y".encode()
        target = f"<sip:caller@{CALLER}:5060>"
        assert headers_of(sent.data, "Route") == ["<sip:last.example.com;lr>", target]

    def test_only_a_strict_router_next(self) -> None:
        bench = Bench()
        dialog = bench.establish("one@caller")
        data = dialog.from_callee(routes=[*dialog.recorded, f"<sip:{CALLER}:5090>"])
        sent = bench.forwarded(data, RM[dialog.member])
        assert headers_of(sent.data, "Route") == [f"<sip:caller@{CALLER}:5060>"]


class TestTwoLookAlikes:
    """An RM that knows the VIP records it too: ours and its own stand in the route set."""

    @pytest.fixture
    def bench(self) -> Bench:
        return Bench()

    @pytest.fixture
    def dialog(self, bench: Bench) -> Dialog:
        """INVITE, through the RM, which records itself on top; answered by an MCP."""
        sent = bench.forwarded(request())
        number = sent.to.member
        at_mcp = through_rm(
            sent.data, number, transport="TCP", joined=True, record_route=look_alike(number)
        )
        ok = answer(at_mcp, 200)
        # the RM takes its Via off, and it leaves alone the one that it joined it with
        message = scan(ok)
        rm_via = headers_of(ok, "Via")[0].encode()
        back = message.data.replace(rm_via + b", ", b"")
        forward = bench.forwarded(back, RM[number])
        assert headers_of(forward.data, "Via") == headers_of(sent.data, "Via")[1:]
        return Dialog("one@caller", number, headers_of(forward.data, "Record-Route"), "callee")

    def test_the_route_set(self, dialog: Dialog) -> None:
        assert "gvp.rm.datanodes" in dialog.recorded[0]
        assert ";rmlb=" in dialog.recorded[1]

    def test_from_the_caller(self, bench: Bench, dialog: Dialog) -> None:
        sent = bench.forwarded(dialog.from_caller("INFO"))
        assert (sent.kind, sent.step, sent.to.member) == (Kind.TO_MEMBER, Step.MARK, dialog.member)
        assert headers_of(sent.data, "Route") == [look_alike(dialog.member)]

    def test_from_the_callee_to_the_rm(self, bench: Bench, dialog: Dialog) -> None:
        """The MCP follows the RM's entry, which names the VIP."""
        sent = bench.forwarded(dialog.from_callee("INFO"), MCP, 5070)
        assert (sent.kind, sent.step, sent.to.member) == (Kind.TO_MEMBER, Step.MARK, dialog.member)
        assert headers_of(sent.data, "Route") == dialog.recorded

    def test_from_the_callee_outward(self, bench: Bench, dialog: Dialog) -> None:
        """The RM popped its own entry alone."""
        data = dialog.from_callee("INFO", routes=dialog.recorded[1:])
        sent = bench.forwarded(data, RM[dialog.member])
        assert (sent.kind, sent.to.host, sent.to.port) == (Kind.OUTWARD, CALLER, 5060)
        assert headers_of(sent.data, "Route") == []

    def test_without_any_memory(self, bench: Bench, dialog: Dialog) -> None:
        other = Bench(instance=b"0000000b")
        assert other.forwarded(dialog.from_caller("INFO")).to.member == dialog.member
        sent = other.forwarded(dialog.from_callee("INFO"), MCP, 5070)
        assert sent.to.member == dialog.member
        data = dialog.from_callee("BYE", routes=dialog.recorded[1:])
        assert other.forwarded(data, RM[dialog.member]).kind is Kind.OUTWARD

    def test_the_other_order(self, bench: Bench, dialog: Dialog) -> None:
        """An RM that appends its entry at the end (some do): both directions still work."""
        ours, theirs = dialog.recorded[1], dialog.recorded[0]
        sent = bench.forwarded(dialog.from_caller("INFO", routes=[theirs, ours]))
        assert sent.to.member == dialog.member
        assert headers_of(sent.data, "Route") == [theirs, ours]
        sent = bench.forwarded(dialog.from_callee("BYE", routes=[ours]), RM[dialog.member])
        assert sent.kind is Kind.OUTWARD

    def test_an_rm_that_pops_every_vip_route(self, bench: Bench, dialog: Dialog) -> None:
        """It goes straight to the caller; the answer comes back by Via, past us."""
        sent = bench.forwarded(dialog.from_caller("INFO"))
        back = answer(sent.data, 200)
        assert bench.forwarded(back, RM[dialog.member]).to.host == CALLER


class TestDirection:
    """4: outward only if the MAC fits, the direction is outward, and a member sends it."""

    @pytest.fixture
    def bench(self) -> Bench:
        return Bench()

    @pytest.fixture
    def dialog(self, bench: Bench) -> Dialog:
        return bench.establish("one@caller")

    def test_from_a_member(self, bench: Bench, dialog: Dialog) -> None:
        for port in (5060, 45678):
            sent = bench.forwarded(dialog.from_callee(cseq=port), RM[dialog.member], port)
            assert sent.kind is Kind.OUTWARD

    def test_from_the_other_member(self, bench: Bench, dialog: Dialog) -> None:
        """Sessions are shared between the two RMs."""
        assert bench.forwarded(dialog.from_callee(), RM[3 - dialog.member]).kind is Kind.OUTWARD

    def test_from_an_outsider(self, bench: Bench, dialog: Dialog) -> None:
        sent = bench.forwarded(dialog.from_callee(uri=f"sip:victim@{STRANGER}"), STRANGER)
        assert (sent.kind, sent.to.member) == (Kind.TO_MEMBER, dialog.member)

    def test_of_another_dialog(self, bench: Bench, dialog: Dialog) -> None:
        other = Dialog("two@caller", 1, dialog.recorded, "callee")
        verdict = bench.receive(other.from_callee(uri=f"sip:victim@{STRANGER}"), RM[1])
        assert not isinstance(verdict, Forward) or verdict.to.host in RM.values()

    def test_of_the_initiator(self, bench: Bench, dialog: Dialog) -> None:
        """From the initiator's tag: inward, wherever it comes from."""
        data = dialog.from_caller(via=f"SIP/2.0/UDP {MCP}:5070;branch=z9hG4bKx")
        sent = bench.forwarded(data, RM[dialog.member], 5070)
        assert (sent.kind, sent.to.member) == (Kind.TO_MEMBER, dialog.member)

    @pytest.mark.parametrize("at", range(0, 45, 3))
    def test_a_mark_that_was_changed(self, bench: Bench, dialog: Dialog, at: int) -> None:
        entry = dialog.recorded[0]
        place = entry.index("rmlb=") + 5 + at
        if place >= entry.index(">"):
            return
        forged = entry[:place] + ("1" if entry[place] != "1" else "2") + entry[place + 1 :]
        data = dialog.from_callee(routes=[forged], uri=f"sip:victim@{STRANGER}")
        verdict = bench.receive(data, RM[dialog.member])
        assert verdict.kind is not Kind.OUTWARD

    def test_a_mark_of_another_cluster(self, dialog: Dialog) -> None:
        other = Bench(keys=Keyring(["quite another secret"]))
        assert other.receive(dialog.from_callee(), RM[1]).kind is not Kind.OUTWARD

    def test_maddr_is_not_followed(self, bench: Bench, dialog: Dialog) -> None:
        uri = f"sip:caller@{CALLER};maddr={STRANGER}"
        sent = bench.forwarded(dialog.from_callee(uri=uri), RM[dialog.member])
        assert (sent.to.host, scan(sent.data).uri) == (CALLER, uri.encode())

    @pytest.mark.parametrize(
        "uri",
        [
            f"sip:{VIP}", f"sip:{VIP}:5060", f"sip:x@{VIP};transport=tcp", "sip:lb.example.com",
            "sip:LB.example.com.:5060", f"sip:[::ffff:{VIP}]:5060",
        ],
    )  # fmt: skip
    def test_never_to_ourselves(self, uri: str) -> None:
        bench = Bench(aliases=frozenset({("lb.example.com", None)}))
        dialog = bench.establish("one@caller")
        for data in (
            dialog.from_callee(uri=uri, cseq=1),
            dialog.from_callee(cseq=2, routes=[*dialog.recorded, f"<{uri};lr;gvp.rm.datanodes=1>"]),
        ):
            verdict = bench.receive(data, RM[dialog.member])
            assert isinstance(verdict, Reply), verdict
            assert verdict.status == 482

    @pytest.mark.parametrize(
        "host",
        ["224.0.0.1", "239.1.2.3", "255.255.255.255", "0.0.0.0", "[ff02::1]", "[::]",
         "[::ffff:224.0.0.1]", "[::ffff:255.255.255.255]"],
    )  # fmt: skip
    def test_never_to_many(self, host: str) -> None:
        bench = Bench(listeners=listeners(VIP, SIX), vips=frozenset({VIP, SIX}))
        dialog = bench.establish("one@caller")
        reply = bench.replied(dialog.from_callee(uri=f"sip:x@{host}"), RM[dialog.member])
        assert (reply.status, reply.reason) == (403, Reason.FORBIDDEN_DESTINATION)

    def test_a_name_is_left_to_the_shell(self, bench: Bench, dialog: Dialog) -> None:
        sent = bench.forwarded(dialog.from_callee(uri="sip:x@phone.example.com"), RM[1])
        assert (sent.to.host, sent.to.port) == ("phone.example.com", 5060)


class TestNoRelay:
    """F: an outsider can never make the balancer send to a third party."""

    THIRD = f"sip:{STRANGER}:5060"

    @pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "MESSAGE", "REGISTER", "BYE", "ACK"])
    @pytest.mark.parametrize("to_tag", [None, "x"])
    @pytest.mark.parametrize(
        ("uri", "routes"),
        [
            (f"sip:{STRANGER}", []),
            (f"sip:ivr@{VIP};maddr={STRANGER}", []),
            (f"sip:ivr@{VIP}", [f"<sip:{STRANGER};lr>"]),
            (f"sip:ivr@{VIP}", [f"<sip:{STRANGER}>"]),
            (f"sip:ivr@{VIP}", [f"<sip:{VIP};lr>", f"<sip:{STRANGER};lr>"]),
            (f"sip:ivr@{VIP}", [f"<sip:{VIP};lr>", f"<sip:{STRANGER}>"]),
            (f"sip:ivr@{VIP}", [f"<sip:{VIP};lr>, <sip:{VIP};lr> , <sip:{STRANGER};lr>"]),
            (f"sip:{VIP};lr;rmlb=abcd.1.0.00000000.0000000000000000", [f"<sip:{STRANGER};lr>"]),
            (f"sip:ivr@{VIP}", [f"<sip:{STRANGER};lr;gvp.rm.datanodes=1>"]),
            (f"sip:ivr@{VIP}", [f"<sip:{VIP};lr;gvp.rm.datanodes=1>", f"<sip:{STRANGER};lr>"]),
            (f"sip:ivr@{VIP}", [f"<sip:{VIP}:9999;lr>"]),
            (f"sip:ivr@{VIP}", [f"<sip:{VIP};lr;maddr={STRANGER}>"]),
            ("tel:+12015550123", [f"<sip:{VIP};lr>", f"<sips:{STRANGER};lr>"]),
        ],
    )
    def test_outsider(self, method: str, to_tag: str | None, uri: str, routes: list[str]) -> None:
        for host in (CALLER, STRANGER, MCP):
            bench = Bench()
            verdict = bench.receive(request(method, uri, routes=routes, to_tag=to_tag), host)
            self.is_harmless(verdict, host)
            for own in bench.router.take_outbox():
                assert own.to.host in RM.values()

    def is_harmless(self, verdict: object, host: str) -> None:
        if isinstance(verdict, Forward):
            assert (verdict.to.host, verdict.to.port) in {(rm, 5060) for rm in RM.values()}
        elif isinstance(verdict, Reply):
            assert verdict.to.host == host

    @pytest.mark.parametrize(
        ("routes", "initial", "status"),
        [
            ([f"<sip:{VIP};lr>", f"<{THIRD};lr>"], True, 403),
            ([f"<sip:{VIP};lr>", f"<{THIRD}>"], False, 403),
            ([f"<{THIRD};lr>"], True, 403),
            ([f"<{THIRD};lr>"], False, 0),
            ([f"<{THIRD}>"], True, 0),
        ],
    )
    def test_foreign_routes(self, routes: list[str], initial: bool, status: int) -> None:
        data = request("BYE", routes=routes, to_tag=None if initial else "x")
        verdict = Bench().receive(data)
        if status:
            assert isinstance(verdict, Reply)
            assert verdict.status == status
        else:
            assert isinstance(verdict, Forward)
            assert headers_of(verdict.data, "Route") == routes

    def test_a_route_to_a_port_of_a_members_host(self) -> None:
        """An RM that records its own address with another port than its configured one."""
        bench = Bench()
        dialog = bench.establish("one@caller")
        route = f"<sip:{RM[dialog.member]}:5066;lr>"
        sent = bench.forwarded(dialog.from_caller(routes=[*dialog.recorded, route]))
        assert (sent.to.member, sent.to.port) == (dialog.member, 5060)
        assert headers_of(sent.data, "Route") == [route]

    @pytest.mark.parametrize(
        "data",
        [
            request(extra=["X: a\r\n Route: <sip:203.0.113.66;lr>"]),
            request(extra=["X: a\r\n\tVia: SIP/2.0/UDP 203.0.113.66"]),
        ],
    )
    def test_a_folded_line_is_no_header(self, data: bytes) -> None:
        sent = Bench().forwarded(data)
        assert headers_of(sent.data, "Route") == []
        assert b"203.0.113.66" in sent.data

    @pytest.mark.parametrize("line_end", ["\n", "\r", "\n\r", "\r\r\n"])
    def test_line_ends_of_other_kinds(self, line_end: str) -> None:
        """Another element might take them for line ends, and read headers that we did not."""
        data = request(extra=[f"X: a{line_end}Route: <sip:{STRANGER};lr>"])
        reply = Bench().replied(data)
        assert (reply.status, reply.reason) == (400, Reason.MALFORMED)

    @pytest.mark.parametrize("port", [5060])
    @pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "BYE"])
    def test_a_source_that_is_ours(self, method: str, port: int) -> None:
        """Spoofed: whatever it asks for, nothing may come back to us."""
        for data in (request(method), request(method, max_forwards=0), b"INVITE broken\r\n\r\n"):
            verdict = Bench().receive(data, VIP, port)
            assert isinstance(verdict, Drop)
            assert verdict.reason is Reason.TO_OURSELVES

    @pytest.mark.parametrize("host", ["255.255.255.255", "224.0.0.1", "0.0.0.0"])
    def test_a_source_that_is_no_host(self, host: str) -> None:
        """Spoofed: it gets no answer, and what is forwarded for it comes back to nobody."""
        bench = Bench()
        verdict = bench.receive(request(max_forwards=0), host)
        assert isinstance(verdict, Drop), verdict
        assert verdict.reason is Reason.FORBIDDEN_DESTINATION

    def test_a_source_without_a_port(self) -> None:
        verdict = Bench().receive(request(max_forwards=0), CALLER, 0)
        assert isinstance(verdict, Drop), verdict
        assert verdict.reason is Reason.FORBIDDEN_DESTINATION

    def test_a_kept_answer_goes_to_its_caller_alone(self) -> None:
        """Somebody else who sends the same request must not make us send to the caller."""
        bench = Bench(members=[member(1)])
        bench.forwarded(request())
        bench.lose(1)
        assert bench.absorbed(request(), STRANGER).reason is Reason.REPEATED
        again = bench.replied(request(), CALLER, 40000)
        assert (again.to.host, again.to.port, again.status) == (CALLER, 40000, 503)
        stream = bench.replied(request(), CALLER, 50000, TCP, channel=77)
        assert (stream.to.transport, stream.to.channel) == (TCP, 77)


class TestOptions:
    """E: the balancer answers for itself, and only then."""

    @pytest.mark.parametrize("method", ["INVITE", "REGISTER", "MESSAGE"])
    def test_other_methods_go_to_a_member(self, method: str) -> None:
        assert Bench().forwarded(request(method, f"sip:{VIP}")).kind is Kind.TO_MEMBER

    def test_503_asks_to_come_back_soon(self) -> None:
        bench = Bench()
        bench.lose(1)
        bench.lose(2)
        reply = bench.replied(request("OPTIONS", f"sip:{VIP}"))
        assert reply.status == 503
        assert int(scan(reply.data).header("Retry-After") or b"99") < 10

    def test_ok_while_one_is_left(self) -> None:
        bench = Bench()
        bench.lose(1)
        assert bench.replied(request("OPTIONS", f"sip:{VIP}")).status == 200

    def test_without_members_that_take_calls(self) -> None:
        bench = Bench()
        bench.set_member(1, weight=0)
        bench.lose(2)
        assert bench.replied(request("OPTIONS", f"sip:{VIP}")).status == 503

    def test_a_foreign_route_left(self) -> None:
        bench = Bench()
        data = request("OPTIONS", f"sip:{VIP}", routes=[f"<sip:{VIP};lr>", f"<sip:{RM[1]};lr>"])
        assert bench.forwarded(data).kind is Kind.TO_MEMBER


class TestAnswers:
    """7: what the balancer answers itself."""

    def test_420_lists_what_is_not_supported(self) -> None:
        extra = ["Proxy-Require: nothing, any\r\n thing", "Require: other", "proxy-require: more"]
        reply = Bench().replied(request(extra=extra))
        assert scan(reply.data).header("Unsupported") == b"nothing, any  thing, more"

    @pytest.mark.parametrize("method", ["ACK", "CANCEL"])
    def test_proxy_require_is_ignored_in_ack_and_cancel(self, method: str) -> None:
        """20.29, 16.3 (5)."""
        Bench().forwarded(request(method, extra=["Proxy-Require: x"], to_tag="x"))

    @pytest.mark.parametrize(
        "data",
        [
            request("ACK", max_forwards=0),
            request("ACK", uri="foo:bar"),
            request("ACK", uri="sip:x@y?h=z"),
            request("ACK", routes=[f"<sip:{VIP};lr>", f"<sip:{STRANGER};lr>"]),
            request("ACK", routes=["malformed"]),
            request("ACK", cseq_method="INVITE"),
            request("ACK", uri="sips:x@y"),
        ],
    )
    def test_an_ack_is_never_answered(self, data: bytes) -> None:
        assert isinstance(Bench().receive(data), Drop)

    def test_no_answer_is_mistaken_for_anothers_ack(self) -> None:
        bench = Bench()
        tag = scan(bench.replied(request(max_forwards=0)).data).to_tag.decode()
        for other in (
            request("ACK", to_tag=tag, call_id="two"),
            request("ACK", to_tag=tag, cseq=2),
            request("ACK", to_tag=tag, from_tag="z"),
            request("ACK", to_tag=tag[:-1] + ("0" if tag[-1] != "0" else "1")),
        ):
            assert bench.receive(other).kind is not Kind.OWN_ACK

    def test_max_forwards(self) -> None:
        for given, leaves in ((70, 69), (1, 0), (255, 254), (300, 255), (None, 70)):
            sent = Bench().forwarded(request(max_forwards=given))
            assert scan(sent.data).max_forwards == leaves


class TestWays:
    """Transport, family and listener to a member; double Record-Route where they change."""

    def test_the_way_it_came(self) -> None:
        for transport in (UDP, TCP):
            sent = Bench().forwarded(request(), transport=transport)
            assert sent.to.transport is transport
            assert len(headers_of(sent.data, "Record-Route")) == 1

    def test_from_tcp_to_udp(self) -> None:
        bench = Bench(members=[member(1, SipAddress(UDP, RM[1], 5060))])
        sent = bench.forwarded(request(), transport=TCP)
        assert sent.to.transport is UDP
        top, below = headers_of(sent.data, "Record-Route")
        assert "transport" not in top
        assert ";transport=tcp" in below

    def test_from_udp_to_tcp(self) -> None:
        bench = Bench(members=[member(1, SipAddress(TCP, RM[1], 5060))])
        sent = bench.forwarded(request(body=b"sdp", length=None))
        assert sent.to.transport is TCP
        assert scan(sent.data).content_length == 3
        top, below = headers_of(sent.data, "Record-Route")
        assert ";transport=tcp" in top
        assert "transport" not in below

    def test_the_answer_gets_a_length_on_a_stream(self) -> None:
        """18.3: over TCP Content-Length is a must; the UDP member may have left it out."""
        bench = Bench(members=[member(1, SipAddress(UDP, RM[1], 5060))])
        sent = bench.forwarded(request(via=f"SIP/2.0/TCP {CALLER};branch=z9hG4bKt"), transport=TCP)
        ok = answer(sent.data, 200, length=False) + b"v=0\r\n"
        back = bench.forwarded(ok, RM[1])
        assert back.to.transport is TCP
        assert scan(back.data).content_length == 5

    def test_from_ipv6_to_ipv4_and_back(self) -> None:
        bench = Bench(listeners=listeners(VIP, SIX), vips=frozenset({VIP, SIX}))
        via = "SIP/2.0/UDP [2001:db8::10]:5062;branch=z9hG4bKsix;rport"
        sent = bench.forwarded(request(via=via, uri=f"sip:ivr@[{SIX}]"), "2001:db8::10", 5062)
        assert sent.to.host in RM.values()
        top, below = headers_of(sent.data, "Record-Route")
        assert VIP in top
        assert f"[{SIX}]" in below
        vias = headers_of(sent.data, "Via")
        assert vias[1].endswith(";rport=5062;received=2001:db8::10")
        ok = bench.forwarded(answer(sent.data, 200), RM[sent.to.member])
        assert (ok.to.host, ok.to.port) == ("2001:db8::10", 5062)
        assert bench.table.listeners[ok.to.listener].host == SIX
        dialog = Dialog("one@caller", sent.to.member, [top, below], "callee")
        inward = bench.forwarded(dialog.from_caller(), "2001:db8::10")
        assert headers_of(inward.data, "Route") == []
        out = bench.forwarded(dialog.from_callee(uri="sip:c@[2001:db8::10]:5062"), RM[1])
        assert (out.to.host, out.to.port) == ("2001:db8::10", 5062)
        assert headers_of(out.data, "Route") == []

    def test_sips_leaves_over_tls_alone(self) -> None:
        addresses = [SipAddress(UDP, RM[1], 5060), SipAddress(TLS, RM[1], 5061)]
        bench = Bench(members=[member(1, *addresses)], listeners=listeners(tls=True))
        for transport in (UDP, TCP, TLS):
            uri = f"sips:x@{VIP}"
            sent = bench.forwarded(request(uri=uri, cseq=len(transport)), transport=transport)
            assert (sent.to.transport, sent.to.port) == (TLS, 5061)
            assert all(r.startswith("<sips:") for r in headers_of(sent.data, "Record-Route"))
        dialog = bench.establish("one@caller")
        out = bench.forwarded(dialog.from_callee(uri=f"sips:x@{CALLER}"), RM[1])
        assert (out.to.transport, out.to.port) == (TLS, 5061)

    def test_large_requests_leave_over_tcp_if_asked_to(self) -> None:
        """18.1.1, as an option."""
        bench = Bench(udp_size_limit=1300)
        assert bench.forwarded(request(body=b"x" * 100)).to.transport is UDP
        sent = bench.forwarded(request(body=b"x" * 1300, call_id="two"))
        assert sent.to.transport is TCP
        assert len(headers_of(sent.data, "Record-Route")) == 2

    def test_record_route_only_where_a_dialog_begins(self) -> None:
        for method in ("INVITE", "SUBSCRIBE", "REFER"):
            sent = Bench().forwarded(request(method))
            assert ";rmlb=" in headers_of(sent.data, "Record-Route")[0]
        for data in (request("MESSAGE"), request("OPTIONS"), request("REGISTER"),
                     request("BYE", to_tag="x"), request("INVITE", to_tag="x")):  # fmt: skip
            assert headers_of(Bench().forwarded(data).data, "Record-Route") == []

    def test_record_route_can_be_off(self) -> None:
        assert headers_of(Bench(record_route=False).forwarded(request()).data, "Record-Route") == []

    def test_ours_is_on_top(self) -> None:
        extra = ["Record-Route: <sip:before.example.com;lr>, <sip:first.example.com;lr>"]
        sent = Bench().forwarded(request(extra=extra))
        hosts = [r.split(";")[0] for r in headers_of(sent.data, "Record-Route")]
        assert hosts == [f"<sip:{VIP}:5060", "<sip:before.example.com", "<sip:first.example.com"]


class TestBackToTheSender:
    def test_an_own_call_of_a_member(self) -> None:
        """A member's new call that the hash gives to itself is refused, to the other it passes."""
        bench = Bench()
        seen = set()
        for i in range(20):
            data = request(call_id=f"rm-{i}", via=f"SIP/2.0/UDP {VIP}:5060;branch=z9hG4bK{i}")
            verdict = bench.receive(data, RM[1])
            if isinstance(verdict, Reply):
                assert (verdict.status, verdict.reason) == (482, Reason.BACK_TO_SENDER)
                seen.add(1)
            else:
                assert isinstance(verdict, Forward)
                seen.add(verdict.to.member)
                assert verdict.to.member == 2
        assert seen == {1, 2}

    def test_over_a_connection_from_any_port(self) -> None:
        bench = Bench()
        call_id = bench.call_to(1)
        data = request(call_id=call_id, via=f"SIP/2.0/TCP {RM[1]}:5060;branch=z9hG4bKx")
        assert bench.replied(data, RM[1], 45000, TCP).reason is Reason.BACK_TO_SENDER

    def test_a_neighbour_on_the_members_host_is_another(self) -> None:
        """An MCP beside its RM."""
        bench = Bench()
        call_id = bench.call_to(1)
        data = request(call_id=call_id, via=f"SIP/2.0/UDP {RM[1]}:5070;branch=z9hG4bKx")
        assert bench.forwarded(data, RM[1], 5070).to.member == 1
