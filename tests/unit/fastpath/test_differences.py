"""What the differential test found, each as the few steps that it takes."""

from __future__ import annotations

from dataclasses import replace

from lockstep import Limits, Lockstep

from rmlb.fastpath.members import Members
from rmlb.fastpath.pending import PendingRequests
from rmlb.routing.bindings import BindingLimits
from rmlb.routing.keys import Keyring, affinity_key
from rmlb.routing.member import Health, Member
from rmlb.routing.overload import LoadLimits
from rmlb.routing.pending import Attempt, PendingLimits
from rmlb.routing.table import Listener, RoutingTable
from rmlb.routing.verdict import Forward, Origin
from rmlb.sip.address import SipAddress, Transport

UDP = Transport.UDP
VIP, CALLER = "10.0.0.100", Origin(UDP, 0, 0, "192.0.2.10", 5060)
LIMITS = Limits(BindingLimits(max_bindings=100), PendingLimits(max_requests=100), LoadLimits())
TABLE = RoutingTable(
    members={
        n: Member(n, (SipAddress(UDP, f"10.0.0.1{n}", 5060),), Health.IN_SERVICE) for n in (1, 2)
    },
    listeners=(Listener(0, UDP, VIP, 5060, VIP),),
    keys=Keyring(["a secret of sixteen"]),
    affinity_key=affinity_key("differences"),
    instance=b"0000000a",
    vips=frozenset((VIP,)),
)
INVITE = (
    b"INVITE sip:ivr@10.0.0.100 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKx\r\n"
    b"From: <sip:a@b>;tag=f\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def answered(sent: bytes, status: int) -> bytes:
    kept = [
        line + b";tag=c" * line.startswith(b"To:")
        for line in sent.split(b"\r\n")
        if line.startswith((b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:"))
    ]
    return b"\r\n".join((b"SIP/2.0 %d x" % status, *kept, b"Content-Length: 0\r\n\r\n"))


def test_a_fork_is_told_by_the_loss_log_alone() -> None:
    """With hotstandby off a dialog stays where it was, but who answers it late is a fork."""
    both = Lockstep(replace(TABLE, hotstandby=False, after_provisional=False), LIMITS)
    sent = both.receive(INVITE, CALLER, 1000.0)
    assert isinstance(sent, Forward)
    first, member = sent.to.member, Origin(UDP, 0, 0, sent.to.host, 5060)
    both.receive(answered(sent.data, 180), member, 1001.0)
    members = dict(both.table.members)
    members[first] = replace(members[first], health=Health.OUT_OF_SERVICE)
    losses = both.table.losses.record(first, (3 - first,))
    both.publish(replace(both.table, members=members, losses=losses), 1002.0)
    both.publish(replace(both.table, members=TABLE.members), 1003.0)
    assert isinstance(both.receive(answered(sent.data, 200), member, 1004.0), Forward)
    both.compare_all(1005.0)


def test_a_request_that_comes_again_after_it_was_forgotten() -> None:
    """Its object of before goes, the one of now stays: both have one key."""
    pending = PendingRequests(PendingLimits(max_requests=1), Members())
    origin = Origin(UDP, 0, 0, "2001:db8::1", 5060)
    for key in (1, 2, 1):
        attempt = Attempt(1, 0.0, UDP, waiting=True)
        pending.remember(
            key, call=7, method=b"INVITE", initial=True, data=b"x" * key, origin=origin,
            attempt=attempt, now=0.0,
        )  # fmt: skip
    entry = pending.find(1)
    assert entry is not None
    assert entry.origin == origin
    assert pending.expire(0.0) == {1: 2}
