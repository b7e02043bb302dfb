"""The branch names a transaction alike everywhere; the parameter vouches for the way back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from packets import (
    CALLER,
    NEW_SECRET,
    RM,
    SECRET,
    STRANGER,
    TCP,
    UDP,
    VIP,
    Bench,
    answer,
    headers_of,
    request,
    through_rm,
)

from rmlb.routing import signature
from rmlb.routing.keys import Keyring
from rmlb.routing.verdict import Drop, Forward, Reason
from rmlb.sip.message import scan
from rmlb.sip.via import top_via

VIA = f"SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bKone;rport"
OLD_VIA = f"SIP/2.0/UDP {CALLER}:5060"


def branch_of(sent: Forward) -> bytes:
    return top_via(scan(sent.data)).branch


def branch(data: bytes, **where: object) -> bytes:
    """What a fresh balancer makes of it."""
    return branch_of(Bench().forwarded(data, **where))


@pytest.fixture(params=[VIA, OLD_VIA, f"{OLD_VIA};branch=old"], ids=["3261", "2543", "2543 tagged"])
def via(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


class TestTheSameTransaction:
    """Retransmission, CANCEL and ACK to a non-2xx carry the INVITE's branch."""

    def test_retransmission_elsewhere(self, via: str) -> None:
        assert branch(request(via=via)) == branch(request(via=via))

    def test_cancel(self, via: str) -> None:
        assert branch(request(via=via)) == branch(request("CANCEL", via=via))

    def test_ack_to_a_failure(self, via: str) -> None:
        """Its To has the tag of the answer."""
        bench = Bench()
        sent = bench.forwarded(request(via=via))
        bench.forwarded(answer(sent.data, 486), RM[sent.to.member])
        ack = bench.forwarded(request("ACK", via=via, to_tag="callee"))
        assert branch_of(ack) == branch_of(sent)
        assert ack.to == sent.to

    def test_another_source_port_and_connection(self, via: str) -> None:
        one = branch(request(via=via), port=5060, transport=TCP, channel=4000)
        other = branch(request(via=via), port=40000, transport=TCP, channel=4001)
        assert one == other

    def test_another_method_of_spelling(self) -> None:
        folded = request(via=VIA.replace(";branch=", "\r\n ; branch =\r\n "))
        assert branch(request(via=VIA)) == branch(folded)

    def test_another_balancer_of_the_cluster(self, via: str) -> None:
        one, other = Bench(), Bench(instance=b"0000000b")
        sent = one.forwarded(request(via=via))
        assert branch_of(sent) == branch_of(other.forwarded(request(via=via)))
        back = other.forwarded(answer(sent.data, 180), RM[sent.to.member])
        assert (back.to.host, back.to.port) == (CALLER, 5060)


@pytest.mark.parametrize(
    "change",
    [
        lambda: request(via=VIA.replace("one", "two")),
        lambda: request(via=VIA.replace(":5060", ":5062")),
        lambda: request(via=VIA.replace(CALLER, "192.0.2.11")),
        lambda: request(call_id="two@caller"),
        lambda: request(from_tag="another"),
        lambda: request(cseq=2),
    ],
)
def test_another_transaction(change: Callable[[], bytes]) -> None:
    mac = branch(change()).rpartition(b".")[2]
    assert mac != branch(request(via=VIA)).rpartition(b".")[2]


class TestOldBranches:
    """RFC 2543: no cookie, so top Via and Request-URI identify the transaction (17.2.3)."""

    @pytest.mark.parametrize("extra", ["", ";branch=z9hG4bK", ";branch=old"])
    def test_another_request_uri_is_another_transaction(self, extra: str) -> None:
        one = request(via=OLD_VIA + extra, uri="sip:a@example.com")
        other = request(via=OLD_VIA + extra, uri="sip:b@example.com")
        assert branch(one) != branch(other)

    def test_the_hash_comes_back_and_is_verified(self) -> None:
        bench = Bench()
        sent = bench.forwarded(request(via=OLD_VIA))
        assert bench.forwarded(answer(sent.data, 200), RM[sent.to.member])

    def test_a_changed_hash_is_noticed(self) -> None:
        bench = Bench()
        sent = bench.forwarded(request(via=OLD_VIA))
        carried = branch_of(sent).split(b".")[2]
        forged = answer(sent.data, 200).replace(carried, b"00000000")
        verdict = bench.dropped(forged, RM[sent.to.member])
        assert verdict.reason is Reason.UNVERIFIED_RESPONSE


class TestTampering:
    """A response is ours only if branch and parameter both verify (SIP-RULES 2)."""

    def flipped(self, region: Callable[[bytes], tuple[int, int]]) -> None:
        bench = Bench()
        sent = bench.forwarded(request())
        good = answer(sent.data, 180)
        start, end = region(good)
        assert end - start > 16
        for at in range(start, end):
            for mask in (0x01, 0x02, 0x10):
                bad = bytearray(good)
                bad[at] ^= mask
                verdict = bench.receive(bytes(bad), RM[sent.to.member])
                assert not isinstance(verdict, Forward), bytes(bad[start:end])
        bench.forwarded(good, RM[sent.to.member])

    def test_every_octet_of_the_parameter(self) -> None:
        def value(data: bytes) -> tuple[int, int]:
            start = data.index(b";rmlb=") + 6
            return start, data.index(b"\r\n", start)

        self.flipped(value)

    def test_every_octet_of_the_branch(self) -> None:
        def value(data: bytes) -> tuple[int, int]:
            start = data.index(b"branch=z9hG4bK") + 14
            return start, data.index(b";", start)

        self.flipped(value)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"received=" + CALLER.encode(), b"received=" + STRANGER.encode()),
            (b";received=" + CALLER.encode(), b""),
            (b";rport=5060", b";rport=5061"),
            (b";rport=5060", b""),
            (b"UDP " + CALLER.encode() + b":5060", b"UDP " + CALLER.encode() + b":5061"),
            (b"UDP " + CALLER.encode() + b":5060", b"UDP " + STRANGER.encode() + b":5060"),
            (b"branch=z9hG4bKone", b"branch=z9hG4bKtwo"),
            (b"tag=caller", b"tag=forged"),
            (b"CSeq: 1 ", b"CSeq: 2 "),
            (b"one@caller", b"two@caller"),
        ],
    )
    def test_whatever_the_answer_depends_on(self, old: bytes, new: bytes) -> None:
        bench = Bench()
        sent = bench.forwarded(request())
        good = answer(sent.data, 200)
        assert good.count(old) == 1
        verdict = bench.dropped(good.replace(old, new), RM[sent.to.member])
        assert verdict.reason is Reason.UNVERIFIED_RESPONSE

    def test_the_via_of_another_response(self) -> None:
        """Both were made by us, but not for each other."""
        bench = Bench()
        one = bench.forwarded(request(call_id="one"))
        two = bench.forwarded(request(call_id="two"))
        top_one, top_two = (headers_of(x.data, "Via")[0].encode() for x in (one, two))
        mixed = answer(one.data, 200).replace(top_one, top_two)
        assert bench.dropped(mixed, RM[one.to.member]).reason is Reason.UNVERIFIED_RESPONSE

    def test_parameter_of_one_attempt_with_the_branch_of_another(self) -> None:
        bench = Bench()
        one, two = bench.forwarded(request(call_id="one")), bench.forwarded(request(call_id="two"))
        own = top_via(scan(two.data)).own
        mine = top_via(scan(one.data)).own
        assert own is not None
        assert mine is not None
        mixed = answer(one.data, 200).replace(mine, own)
        assert bench.dropped(mixed, RM[one.to.member]).reason is Reason.UNVERIFIED_RESPONSE

    def test_our_via_without_the_one_below(self) -> None:
        """Cut off, it must not pass for a request of our own."""
        bench = Bench()
        sent = bench.forwarded(request())
        below = headers_of(sent.data, "Via")[1].encode()
        cut = answer(sent.data, 200).replace(b"Via: " + below + b"\r\n", b"")
        assert bench.dropped(cut, RM[sent.to.member]).reason is Reason.UNVERIFIED_RESPONSE

    def test_another_secret(self) -> None:
        bench = Bench()
        sent = bench.forwarded(request())
        stranger = Bench(keys=Keyring([NEW_SECRET]))
        verdict = stranger.dropped(answer(sent.data, 200), RM[sent.to.member])
        assert verdict.reason is Reason.UNVERIFIED_RESPONSE


class TestRotation:
    """9: the first secret signs, all verify."""

    def test_an_old_answer_verifies_after_the_change(self) -> None:
        bench = Bench()
        sent = bench.forwarded(request())
        bench.change(keys=Keyring([NEW_SECRET, SECRET]))
        assert bench.forwarded(answer(sent.data, 200), RM[sent.to.member])

    def test_a_retired_secret_verifies_no_more(self) -> None:
        bench = Bench()
        sent = bench.forwarded(request())
        bench.change(keys=Keyring([NEW_SECRET]))
        verdict = bench.dropped(answer(sent.data, 200), RM[sent.to.member])
        assert verdict.reason is Reason.UNVERIFIED_RESPONSE

    def test_own_ack_over_the_change(self) -> None:
        bench = Bench()
        refused = bench.replied(request(max_forwards=0))
        bench.change(keys=Keyring([NEW_SECRET, SECRET]))
        tag = scan(refused.data).to_tag.decode()
        bench.absorbed(request("ACK", to_tag=tag))

    def test_own_loop_over_the_change(self) -> None:
        bench = Bench()
        sent = bench.forwarded(request())
        bench.change(keys=Keyring([NEW_SECRET, SECRET]))
        again = through_rm(sent.data, 1, via_host="10.0.0.50")
        again = again.replace(b"branch=z9hG4bKrm", b"branch=z9hG4bKother")
        assert bench.replied(again, "10.0.0.50").reason is Reason.LOOP

    def test_a_dialog_over_the_change(self) -> None:
        bench = Bench()
        dialog = bench.establish("one@caller")
        other = Bench(keys=Keyring([NEW_SECRET, SECRET]), instance=b"0000000b")
        assert other.forwarded(dialog.from_caller()).to.member == dialog.member
        bye = other.forwarded(dialog.from_callee(), RM[dialog.member])
        assert bye.to.host == CALLER

    @pytest.mark.parametrize("method", ["INVITE", "CANCEL", "ACK"])
    def test_a_transaction_keeps_its_branch_over_the_change(self, method: str) -> None:
        """Or the member would take a retransmission for a merged request (8.2.2.2), and know
        nothing of what the CANCEL is to cancel."""
        bench = Bench()
        sent = bench.forwarded(request())
        if method == "ACK":
            bench.forwarded(answer(sent.data, 486), RM[sent.to.member])
        bench.change(keys=Keyring([NEW_SECRET, SECRET]))
        data = request(method, to_tag="callee" if method == "ACK" else None)
        later = bench.forwarded(data)
        assert branch_of(later) == branch_of(sent)
        assert later.to == sent.to

    def test_rolling_change_across_two_balancers(self) -> None:
        """Reload after reload, any of them sending, any receiving: no answer is lost."""
        stages = [[SECRET], [SECRET, NEW_SECRET], [NEW_SECRET, SECRET], [NEW_SECRET]]
        one, two = Bench(), Bench(instance=b"0000000b")
        for stage in range(3):
            for first, second in ((one, two), (two, one)):
                sent = first.forwarded(request(call_id=f"{stage}-{first is one}"))
                second.change(keys=Keyring(stages[stage + (second is two)]))
                for bench in (one, two):
                    bench.forwarded(answer(sent.data, 180), RM[sent.to.member])
                if second is two:
                    one.change(keys=Keyring(stages[stage]))
            one.change(keys=Keyring(stages[stage + 1]))


class TestChannels:
    """A response returns by the connection its request came by; by another balancer over a new
    one (18.2.2)."""

    STREAM = f"SIP/2.0/TCP {CALLER}:5070;branch=z9hG4bKone"

    def test_the_same_balancer(self) -> None:
        bench = Bench()
        sent = bench.forwarded(request(via=self.STREAM), CALLER, 40000, TCP, channel=4711)
        back = bench.forwarded(answer(sent.data, 180), RM[sent.to.member], transport=TCP)
        assert (back.to.transport, back.to.channel) == (TCP, 4711)
        assert (back.to.host, back.to.port) == (CALLER, 5070)

    def test_another_balancer(self) -> None:
        bench, other = Bench(), Bench(instance=b"0000000b")
        sent = bench.forwarded(request(via=self.STREAM), CALLER, 40000, TCP, channel=4711)
        back = other.forwarded(answer(sent.data, 180), RM[sent.to.member], transport=TCP)
        assert (back.to.transport, back.to.channel) == (TCP, 0)
        assert (back.to.host, back.to.port) == (CALLER, 5070)

    def test_the_transport_is_the_callers_whatever_the_member_used(self) -> None:
        bench = Bench()
        sent = bench.forwarded(request(via=self.STREAM), CALLER, 40000, TCP, channel=4711)
        back = bench.forwarded(answer(sent.data, 180), RM[sent.to.member], transport=UDP)
        assert back.to.transport is TCP


class TestReceivedAndRport:
    """RFC 3261 18.2.1, RFC 3581 4: received is always stamped, rport filled when asked for."""

    @pytest.mark.parametrize(
        ("via", "stamped", "port"),
        [
            ("SIP/2.0/UDP 192.0.2.10:5070;branch=z9hG4bKa",
             "SIP/2.0/UDP 192.0.2.10:5070;branch=z9hG4bKa;received=192.0.2.10", 5070),
            ("SIP/2.0/UDP phone.example.com;branch=z9hG4bKa",
             "SIP/2.0/UDP phone.example.com;branch=z9hG4bKa;received=192.0.2.10", 5060),
            ("SIP/2.0/UDP 10.1.1.1:5070;rport;branch=z9hG4bKa",
             "SIP/2.0/UDP 10.1.1.1:5070;rport=33333;branch=z9hG4bKa;received=192.0.2.10", 33333),
            ("SIP/2.0/UDP 10.1.1.1;rport=9;received=203.0.113.66;branch=z9hG4bKa",
             "SIP/2.0/UDP 10.1.1.1;rport=33333;received=192.0.2.10;branch=z9hG4bKa", 33333),
            ("SIP/2.0/UDP 10.1.1.1:5070;maddr=203.0.113.66;branch=z9hG4bKa",
             "SIP/2.0/UDP 10.1.1.1:5070;maddr=203.0.113.66;branch=z9hG4bKa;received=192.0.2.10",
             5070),
        ],
    )  # fmt: skip
    def test_udp(self, via: str, stamped: str, port: int) -> None:
        bench = Bench()
        sent = bench.forwarded(request(via=via), CALLER, 33333)
        assert headers_of(sent.data, "Via")[1] == stamped
        back = bench.forwarded(answer(sent.data, 200), RM[sent.to.member])
        assert (back.to.host, back.to.port) == (CALLER, port)
        refused = bench.replied(request(via=via, max_forwards=0), CALLER, 33333)
        assert (refused.to.host, refused.to.port) == (CALLER, port)


def test_our_own_cancel_is_answered_over_a_change_of_secrets() -> None:
    bench = Bench()
    sent = bench.forwarded(request())
    bench.forwarded(answer(sent.data, 180), RM[sent.to.member])
    bench.change(keys=Keyring([NEW_SECRET, SECRET]))
    bench.lose(sent.to.member)
    (resent,) = bench.router.take_outbox()
    bench.forwarded(answer(resent.data, 180), resent.to.host)
    (cancel,) = bench.router.take_outbox()
    assert top_via(scan(cancel.data)).branch == branch_of(sent)
    assert bench.absorbed(answer(cancel.data, 200), cancel.to.host).reason is Reason.OWN_REQUEST
    assert bench.forwarded(answer(resent.data, 200), resent.to.host)


def test_our_via_names_the_vip_with_its_port() -> None:
    sent = Bench().forwarded(request())
    assert headers_of(sent.data, "Via")[0].startswith(f"SIP/2.0/UDP {VIP}:5060;branch=z9hG4bK")


def test_a_branch_that_has_our_form_by_chance_proves_nothing() -> None:
    keys = Keyring([SECRET])
    assert signature.read_branch(b"z9hG4bKabcd.1.0123456789abcdef") is not None
    data = answer(request(via="SIP/2.0/UDP x;branch=z9hG4bKabcd.1.0123456789abcdef;rmlb=x"), 200)
    message = scan(data)
    assert signature.verify_response(keys, message, top_via(message), None) is None
    bench = Bench()
    assert isinstance(bench.receive(data, STRANGER), Drop)
