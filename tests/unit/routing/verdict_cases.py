"""One packet each -> its verdict: the table that names every reason, kind and step.

A case is a function that sets a bench up and gives the packet and where it came from; the
decorator says what must become of it, with the rule it is judged by in the docstring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

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
    answer,
    headers_of,
    listeners,
    look_alike,
    member,
    request,
    response,
    through_rm,
)

from rmlb.routing.affinity import Memory
from rmlb.routing.member import Health
from rmlb.routing.overload import LoadLimits, Loads
from rmlb.routing.sources import SourceLimits, Sources
from rmlb.routing.verdict import Kind, Reason, Step
from rmlb.sip.address import SipAddress, Transport
from rmlb.sip.message import scan


class Packet(NamedTuple):
    """What arrives, and where from."""

    bench: Bench
    data: bytes
    host: str = CALLER
    port: int = 5060
    transport: Transport = UDP


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    kind: Kind
    expected: Reason | Step | None
    """A reason, a step of SIP-RULES 3, or None for what is just passed on."""
    status: int
    """Of our own answer; 0 for what is absorbed, dropped or passed on."""
    packet: Callable[[], Packet]


CASES: list[Case] = []


def case(
    kind: Kind, expected: Reason | Step | None = None, status: int = 0
) -> Callable[[Callable[[], Packet]], Callable[[], Packet]]:
    def register(packet: Callable[[], Packet]) -> Callable[[], Packet]:
        CASES.append(Case(packet.__name__, kind, expected, status, packet))
        return packet

    return register


# --- kind A: to a member, by each step -------------------------------------------------------


@case(Kind.TO_MEMBER, Step.ALGORITHM)
def new_call() -> Packet:
    return Packet(Bench(), request())


@case(Kind.TO_MEMBER, Step.ALGORITHM)
def new_call_to_any_host_at_all() -> Packet:
    """1 A: whatever its Request-URI host."""
    return Packet(Bench(), request(uri="sip:someone@elsewhere.example.com"))


@case(Kind.TO_MEMBER, Step.ALGORITHM)
def tel_uri() -> Packet:
    return Packet(Bench(), request(uri="tel:+12015550123"))


@case(Kind.TO_MEMBER, Step.ALGORITHM)
def preloaded_route_to_the_vip() -> Packet:
    return Packet(Bench(), request(routes=[f"<sip:{VIP};lr>"], uri="sip:x@example.com"))


@case(Kind.TO_MEMBER, Step.ALGORITHM)
def route_past_us_to_a_member() -> Packet:
    """1 A: the first Route after popping names a member."""
    return Packet(Bench(), request(routes=[f"<sip:{VIP};lr>", f"<sip:{RM[1]}:5060;lr>"]))


@case(Kind.TO_MEMBER, Step.ALGORITHM)
def strict_foreign_route_that_we_are_no_part_of() -> Packet:
    """RFC 4475 mpart01: left alone and not followed."""
    return Packet(Bench(), request("MESSAGE", routes=["<sip:127.0.0.1:5080>"]))


@case(Kind.TO_MEMBER, Step.TRANSACTION)
def retransmission() -> Packet:
    bench = Bench()
    bench.forwarded(request())
    return Packet(bench, request())


@case(Kind.TO_MEMBER, Step.TRANSACTION)
def cancel() -> Packet:
    bench = Bench()
    bench.forwarded(request())
    return Packet(bench, request("CANCEL"))


@case(Kind.TO_MEMBER, Step.MARK)
def in_dialog_with_our_mark() -> Packet:
    bench = Bench()
    return Packet(Bench(), bench.establish("one@caller").from_caller())


@case(Kind.TO_MEMBER, Step.DATANODES)
def in_dialog_with_datanodes() -> Packet:
    bench = Bench(record_route=False)
    return Packet(bench, request("BYE", to_tag="x", routes=[look_alike(2)]))


@case(Kind.TO_MEMBER, Step.BINDING)
def in_dialog_without_any_route() -> Packet:
    bench = Bench(record_route=False)
    bench.forwarded(request())
    via = f"SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bKtwo"
    return Packet(bench, request("INFO", to_tag="x", cseq=2, via=via))


@case(Kind.TO_MEMBER, Step.SESSION_HEADER)
def second_dialog_of_a_session() -> Packet:
    header = "X-Genesys-GVP-Session-ID: 7A9B-1;gvp.rm.datanodes=2|1;gvp.rm.tenant-id=1.102_X"
    return Packet(Bench(), request(extra=[header]))


@case(Kind.TO_MEMBER, Step.HEADER_KEY)
def second_dialog_with_a_header_key() -> Packet:
    bench = Bench(header_keys=(b"x-genesys-calluuid",))
    header = ["X-Genesys-CallUUID: 00000000000000000000000000000001"]
    bench.forwarded(request(call_id="first", extra=header))
    via = f"SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bKtwo"
    return Packet(bench, request(call_id="second", extra=header, via=via))


# --- kinds B and C: responses -----------------------------------------------------------------


@case(Kind.RESPONSE)
def answer_of_a_member() -> Packet:
    bench = Bench()
    sent = bench.forwarded(request())
    return Packet(bench, answer(sent.data, 180), RM[sent.to.member])


@case(Kind.RESPONSE, Reason.UNVERIFIED_RESPONSE)
def answer_with_another_call_id() -> Packet:
    bench = Bench()
    sent = bench.forwarded(request())
    forged = answer(sent.data, 180).replace(b"one@caller", b"two@caller")
    return Packet(bench, forged, RM[sent.to.member])


@case(Kind.RESPONSE, Reason.OWN_REQUEST)
def answer_to_a_cancel_of_our_own() -> Packet:
    """5: consumed, a response with only our Via."""
    bench = Bench()
    sent = bench.forwarded(request())
    bench.forwarded(answer(sent.data, 180), RM[sent.to.member])
    bench.lose(sent.to.member)
    (resent,) = bench.router.take_outbox()
    bench.forwarded(answer(resent.data, 180), resent.to.host)
    cancel = next(own for own in bench.router.take_outbox() if own.what == "cancel")
    return Packet(bench, answer(cancel.data, 200), cancel.to.host)


@case(Kind.RESPONSE, Reason.UNREACHABLE)
def answer_to_a_family_without_a_listener() -> Packet:
    bench = Bench(listeners=listeners(VIP, "2001:db8::100"))
    via = "SIP/2.0/UDP [2001:db8::10]:5060;branch=z9hG4bKsix"
    sent = bench.forwarded(request(via=via), "2001:db8::10")
    bench.change(listeners=listeners())
    return Packet(bench, answer(sent.data, 200), RM[1])


@case(Kind.MEMBER_RESPONSE)
def answer_to_a_member_whose_via_names_the_vip() -> Packet:
    via = f"SIP/2.0/UDP {VIP}:5060;branch=z9hG4bKrm;received={RM[2]}"
    return Packet(Bench(), response([via]), MCP, 5070)


@case(Kind.MEMBER_RESPONSE, Reason.NO_SUCH_MEMBER)
def answer_to_no_member_that_we_know() -> Packet:
    via = f"SIP/2.0/UDP {VIP}:5060;branch=z9hG4bKrm;received={STRANGER}"
    return Packet(Bench(), response([via]), MCP, 5070)


@case(Kind.MEMBER_RESPONSE, Reason.NO_SUCH_MEMBER)
def answer_to_a_port_that_is_not_the_members() -> Packet:
    via = f"SIP/2.0/UDP {VIP}:2222;branch=z9hG4bKrm;received={RM[1]}"
    return Packet(Bench(), response([via]), STRANGER)


@case(Kind.OTHER, Reason.FOREIGN_RESPONSE)
def answer_that_is_not_ours() -> Packet:
    return Packet(Bench(), response([f"SIP/2.0/UDP {STRANGER}:5060;branch=z9hG4bKx"]), STRANGER)


# --- kind D: outward ---------------------------------------------------------------------------


@case(Kind.OUTWARD)
def bye_of_the_callee() -> Packet:
    bench = Bench()
    dialog = bench.establish("one@caller")
    return Packet(bench, dialog.from_callee(), RM[dialog.member])


@case(Kind.OUTWARD, Reason.FORBIDDEN_DESTINATION, 403)
def outward_to_a_multicast_group() -> Packet:
    bench = Bench()
    dialog = bench.establish("one@caller")
    return Packet(bench, dialog.from_callee(uri="sip:x@224.0.1.75"), RM[dialog.member])


@case(Kind.OUTWARD, Reason.TO_OURSELVES, 482)
def outward_to_ourselves() -> Packet:
    bench = Bench()
    dialog = bench.establish("one@caller")
    return Packet(bench, dialog.from_callee(uri=f"sip:x@{VIP}:5060"), RM[dialog.member])


@case(Kind.OUTWARD, Reason.BACK_TO_SENDER, 482)
def outward_to_the_member_that_sends_it() -> Packet:
    """1 F: nothing is ever sent back to the member it came from."""
    bench = Bench()
    dialog = bench.establish("one@caller")
    uri = f"sip:x@{RM[dialog.member]}:5060"
    return Packet(bench, dialog.from_callee(uri=uri), RM[dialog.member])


@case(Kind.OUTWARD, Reason.LOOP, 482)
def outward_twice() -> Packet:
    bench = Bench()
    dialog = bench.establish("one@caller")
    sent = bench.forwarded(dialog.from_callee(), RM[dialog.member])
    vias = headers_of(sent.data, "Via")
    return Packet(bench, dialog.from_callee(via=["SIP/2.0/UDP x;branch=z9hG4bKx", *vias]),
                  RM[dialog.member])  # fmt: skip


@case(Kind.OUTWARD, Reason.UNREACHABLE, 500)
def outward_over_a_transport_that_we_have_not() -> Packet:
    bench = Bench()
    dialog = bench.establish("one@caller")
    uri = f"sip:x@{CALLER};transport=sctp"
    return Packet(bench, dialog.from_callee(uri=uri), RM[dialog.member])


# --- kind E: OPTIONS for the balancer ----------------------------------------------------------


@case(Kind.OPTIONS, Reason.OPTIONS, 200)
def options_for_the_balancer() -> Packet:
    return Packet(Bench(), request("OPTIONS", f"sip:{VIP}:5060"))


@case(Kind.OPTIONS, Reason.OPTIONS, 200)
def options_with_no_forwards_left() -> Packet:
    return Packet(Bench(), request("OPTIONS", f"sip:{VIP}", max_forwards=0))


@case(Kind.OPTIONS, Reason.OPTIONS, 200)
def options_for_an_alias() -> Packet:
    bench = Bench(aliases=frozenset({("gvp.example.com", None)}))
    return Packet(bench, request("OPTIONS", "sip:GVP.Example.com.:5060"))


@case(Kind.OPTIONS, Reason.OPTIONS, 200)
def options_for_a_user_of_the_balancer() -> Packet:
    return Packet(Bench(options_users=frozenset({b"ping"})), request("OPTIONS", f"sip:ping@{VIP}"))


@case(Kind.OPTIONS, Reason.OPTIONS, 200)
def options_with_a_route_to_us() -> Packet:
    return Packet(Bench(), request("OPTIONS", f"sip:{VIP}", routes=[f"<sip:{VIP};lr>"]))


@case(Kind.OPTIONS, Reason.OPTIONS, 503)
def options_with_no_member_left() -> Packet:
    members = [member(1, health=Health.REFUSING), member(2, health=Health.OUT_OF_SERVICE)]
    return Packet(Bench(members=members), request("OPTIONS", f"sip:{VIP}"))


@case(Kind.TO_MEMBER, Step.ALGORITHM)
def options_for_a_user_behind_us() -> Packet:
    return Packet(Bench(), request("OPTIONS", f"sip:ivr@{VIP}"))


@case(Kind.TO_MEMBER, Step.ALGORITHM)
def options_for_another_port_of_the_vip() -> Packet:
    return Packet(Bench(), request("OPTIONS", f"sip:{VIP}:5999"))


@case(Kind.TO_MEMBER, Step.ALGORITHM)
def options_inside_a_dialog() -> Packet:
    return Packet(Bench(), request("OPTIONS", f"sip:{VIP}", to_tag="x"))


# --- kind G: ACK to our own answer -------------------------------------------------------------


@case(Kind.OWN_ACK, Reason.OWN_ACK)
def ack_to_our_answer() -> Packet:
    bench = Bench()
    refused = bench.replied(request(max_forwards=0))
    tag = scan(refused.data).to_tag.decode()
    return Packet(bench, request("ACK", to_tag=tag))


# --- kind F: everything else ------------------------------------------------------------------


@case(Kind.OTHER, Reason.KEEPALIVE)
def keep_alive_datagram() -> Packet:
    return Packet(Bench(), b"\r\n\r\n")


@case(Kind.OTHER, Reason.KEEPALIVE)
def datagram_of_zeros() -> Packet:
    return Packet(Bench(), b"\0\0\0\0")


@case(Kind.OTHER, Reason.MALFORMED)
def octets_that_are_no_message() -> Packet:
    return Packet(Bench(), b"GET / HTTP/1.1\r\n\r\n")


@case(Kind.OTHER, Reason.MALFORMED, 400)
def request_without_a_cseq_number() -> Packet:
    return Packet(Bench(), request().replace(b"CSeq: 1 INVITE", b"CSeq: x INVITE"))


@case(Kind.OTHER, Reason.MALFORMED, 400)
def malformed_route() -> Packet:
    return Packet(Bench(), request(routes=["sip:no.brackets"]))


@case(Kind.OTHER, Reason.MALFORMED)
def response_with_a_malformed_via_below_ours() -> Packet:
    bench = Bench()
    sent = bench.forwarded(request())
    vias = [headers_of(sent.data, "Via")[0], "SIP/2.0/UDP"]
    return Packet(bench, response(vias), RM[1])


@case(Kind.OTHER, Reason.BAD_VERSION, 505)
def another_version() -> Packet:
    return Packet(Bench(), request().replace(b" SIP/2.0\r\nVia", b" SIP/3.0\r\nVia"))


@case(Kind.OTHER, Reason.BAD_METHOD, 501)
def method_that_is_no_token() -> Packet:
    return Packet(Bench(), request("IN(VITE"))


@case(Kind.OTHER, Reason.TOO_LARGE, 513)
def too_many_headers() -> Packet:
    return Packet(Bench(), request(extra=["X: y"] * 300))


@case(Kind.OTHER, Reason.MALFORMED_URI, 400)
def headers_in_the_request_uri() -> Packet:
    return Packet(Bench(), request(uri="sip:u@example.com?Route=%3Csip:v.example.com%3E"))


@case(Kind.OTHER, Reason.UNKNOWN_SCHEME, 416)
def unknown_scheme() -> Packet:
    return Packet(Bench(), request(uri="nobodyKnowsThisScheme:totallyopaquecontent"))


@case(Kind.OTHER, Reason.SIPS_NEEDS_TLS, 416)
def sips_to_members_without_tls() -> Packet:
    return Packet(Bench(), request(uri=f"sips:ivr@{VIP}"))


@case(Kind.OTHER, Reason.PROXY_REQUIRE, 420)
def proxy_require() -> Packet:
    return Packet(Bench(), request(extra=["Proxy-Require: sec-agree"]))


@case(Kind.OTHER, Reason.TOO_MANY_HOPS, 483)
def no_forwards_left() -> Packet:
    return Packet(Bench(), request(max_forwards=0))


@case(Kind.OTHER, Reason.FOREIGN_ROUTE, 403)
def route_past_us_to_a_third_party() -> Packet:
    routes = [f"<sip:{VIP};lr>", f"<sip:{STRANGER};lr>"]
    return Packet(Bench(), request(routes=routes))


@case(Kind.OTHER, Reason.FOREIGN_ROUTE, 403)
def loose_route_to_a_third_party_in_an_initial_request() -> Packet:
    return Packet(Bench(), request(routes=[f"<sip:{STRANGER};lr>"]))


@case(Kind.OTHER, Reason.LOOP, 482)
def back_by_another_way() -> Packet:
    bench = Bench()
    sent = bench.forwarded(request())
    again = through_rm(sent.data, sent.to.member, via_host=MCP)
    return Packet(bench, again, MCP)


@case(Kind.OTHER, Reason.BACK_TO_SENDER, 482)
def back_from_the_member_it_went_to() -> Packet:
    bench = Bench()
    sent = bench.forwarded(request())
    return Packet(bench, through_rm(sent.data, sent.to.member), RM[sent.to.member])


@case(Kind.OTHER, Reason.NO_MEMBER, 503)
def no_member_left() -> Packet:
    bench = Bench()
    bench.lose(1)
    bench.lose(2)
    return Packet(bench, request())


@case(Kind.OTHER, Reason.MEMBER_LOST, 481)
def dialog_of_a_lost_member_without_hotstandby() -> Packet:
    bench = Bench(hotstandby=False)
    dialog = bench.establish("one@caller")
    bench.lose(dialog.member)
    return Packet(bench, dialog.from_caller())


@case(Kind.OTHER, Reason.UNREACHABLE, 500)
def member_of_another_family() -> Packet:
    address = SipAddress(UDP, "2001:db8::11", 5060)
    return Packet(Bench(members=[member(1, address)]), request())


@case(Kind.OTHER, Reason.ACK_UNROUTABLE)
def ack_with_no_member_left() -> Packet:
    bench = Bench()
    bench.lose(1)
    bench.lose(2)
    return Packet(bench, request("ACK", to_tag="x"))


@case(Kind.OTHER, Reason.TO_OURSELVES)
def packet_that_claims_to_come_from_us() -> Packet:
    return Packet(Bench(), request(), VIP, 5060)


@case(Kind.OTHER, Reason.FORBIDDEN_DESTINATION)
def packet_that_claims_to_come_from_everybody() -> Packet:
    return Packet(Bench(), request(), "255.255.255.255")


@case(Kind.OTHER, Reason.TO_OURSELVES)
def request_whose_answer_would_reach_us() -> Packet:
    """Its Via has no rport, so that the answer goes to sent-by's port at the source (18.2.2)."""
    via = f"SIP/2.0/UDP {VIP}:5060;branch=z9hG4bKx"
    return Packet(Bench(), request(via=via, max_forwards=0), VIP, 40000)


# --- what failover adds (5) ---------------------------------------------------------------------


@case(Kind.OTHER, Reason.OVERLOAD, 503)
def more_calls_than_the_members_may_get() -> Packet:
    memory = Memory(loads=Loads(LoadLimits(requests_waiting=1)))
    bench = Bench(memory, members=[member(1)])
    bench.forwarded(request())
    return Packet(bench, request(call_id="two@caller"))


@case(Kind.OTHER, Reason.SOURCE_RATE)
def more_than_its_source_may_send() -> Packet:
    bench = Bench(Memory(sources=Sources(SourceLimits(rate=1))))
    bench.forwarded(request())
    return Packet(bench, request(call_id="two@caller"))


@case(Kind.RESPONSE, Reason.RETRIED)
def refusal_of_the_first_member() -> Packet:
    bench = Bench()
    sent = bench.forwarded(request())
    return Packet(bench, answer(sent.data, 503), RM[sent.to.member])


@case(Kind.RESPONSE, Reason.ABANDONED)
def ringing_at_a_member_that_was_given_up() -> Packet:
    bench = Bench()
    sent = bench.forwarded(request())
    bench.lose(sent.to.member)
    return Packet(bench, answer(sent.data, 180), RM[sent.to.member])


@case(Kind.TO_MEMBER, Reason.REPEATED)
def retransmission_of_what_was_just_sent_again() -> Packet:
    bench = Bench()
    sent = bench.forwarded(request())
    bench.lose(sent.to.member)
    return Packet(bench, request())


@case(Kind.TO_MEMBER, Reason.CANCELLED, 200)
def cancel_with_no_member_left() -> Packet:
    bench = Bench(members=[member(1)])
    bench.forwarded(request())
    bench.lose(1)
    return Packet(bench, request("CANCEL"))


@case(Kind.OTHER, Reason.EARLY_DIALOG_GONE, 481)
def prack_in_an_early_dialog_that_died() -> Packet:
    bench = Bench()
    sent = bench.forwarded(request())
    bench.forwarded(answer(sent.data, 183, to_tag="early"), RM[sent.to.member])
    bench.lose(sent.to.member)
    via = f"SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bKprack"
    return Packet(bench, request("PRACK", to_tag="early", cseq=2, via=via))


@case(Kind.RESPONSE, Reason.LATE_FINAL)
def failure_after_our_own() -> Packet:
    bench = Bench(members=[member(1)])
    sent = bench.forwarded(request())
    bench.lose(1)
    return Packet(bench, answer(sent.data, 486), RM[1])


class _Standby:
    """Another balancer owns the VIP."""

    def may_forward(self) -> bool:
        return False


@case(Kind.OTHER, Reason.NOT_OWNER)
def call_at_a_standby() -> Packet:
    bench = Bench()
    bench.router.ownership = _Standby()
    return Packet(bench, request())


# --- transports ---------------------------------------------------------------------------------


@case(Kind.TO_MEMBER, Step.ALGORITHM)
def call_over_tcp() -> Packet:
    via = f"SIP/2.0/TCP {CALLER}:5060;branch=z9hG4bKone"
    return Packet(Bench(), request(via=via), transport=TCP, port=40000)


@case(Kind.TO_MEMBER, Step.ALGORITHM)
def sips_over_tls() -> Packet:
    bench = Bench(members=[member(1, SipAddress(TLS, RM[1], 5061))], listeners=listeners(tls=True))
    via = f"SIP/2.0/TLS {CALLER}:5061;branch=z9hG4bKone"
    return Packet(bench, request(uri=f"sips:x@{VIP}", via=via), transport=TLS, port=40000)
