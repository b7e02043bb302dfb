"""How a transaction is signed: the branch and our Via parameter (SIP-RULES 2), our To tags.

The branch's MAC names the transaction alike on every balancer with the same secret, for
retransmission, CANCEL and ACK to non-2xx too. The parameter vouches for what the response must
bring back: where it goes, and that we asked for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from rmlb.routing.keys import Key, Keyring, mac, short_hash
from rmlb.routing.verdict import Origin
from rmlb.sip.address import Transport
from rmlb.sip.message import Message
from rmlb.sip.via import COOKIE, OWN_PARAM, Via

_BRANCH = re.compile(COOKIE + rb"([0-9a-f]{4})\.(\d{1,9})\.(?:([0-9a-f]{8})\.)?([0-9a-f]{16})\Z")
_OWN = re.compile(rb"([0-9a-f]{8})\.([uts])([0-9a-f]{1,12})\.([0-9a-f]{8})\.([0-9a-f]{16})\Z")
_TO_TAG = re.compile(rb"rmlb-([0-9a-f]{4})-([0-9a-f]{16})\Z")
_LETTERS = {Transport.UDP: b"u", Transport.TCP: b"t", Transport.TLS: b"s"}
_TRANSPORTS = {letter: transport for transport, letter in _LETTERS.items()}


class Branch(NamedTuple):
    """Our branch, taken apart. `key` is the MAC as a number: the transaction's key."""

    member: int
    key: int
    key_id: bytes
    carried: bytes | None
    mac: bytes


class ReturnPath(NamedTuple):
    """What our Via parameter says of where the request came from."""

    instance: bytes
    transport: Transport
    channel: int
    loop: bytes


class Transaction(NamedTuple):
    """What names a transaction: who signed it, the branch MAC, the hash of an RFC 2543 request."""

    signer: Key
    mac: bytes
    carried: bytes | None

    @property
    def number(self) -> int:
        """What it is remembered by."""
        return int(self.mac, 16)


def transaction(
    keys: Keyring, request: Message, via: Via, is_known: Callable[[int], bool]
) -> Transaction:
    """The transaction of a request. `via` is its top Via as received.

    The signing secret signs, unless `is_known` remembers the transaction under an older one:
    its retransmissions, CANCEL and ACK keep their branch over a change of secrets.
    """
    newest = _transaction(keys.signing, request, via)
    if len(keys.all) > 1 and not is_known(newest.number):
        for key in keys.all:
            found = _transaction(key, request, via)
            if is_known(found.number):
                return found
    return newest


def _transaction(key: Key, request: Message, via: Via) -> Transaction:
    """An old branch identifies nothing by itself, so the top Via and the Request-URI do (17.2.3);
    the response does not bring them back, hence they are carried as a hash.
    """
    if via.has_cookie:
        return Transaction(key, _branch_mac(key, request, via, b""), None)
    raw = request.data[via.start : via.end]
    carried = short_hash(key.branch, b"RFC 2543", b" ".join(raw.split()), request.uri)
    return Transaction(key, _branch_mac(key, request, via, carried), carried)


def make_branch(of: Transaction, member: int) -> bytes:
    """Our branch for one attempt of a transaction; `member` is 0 outward."""
    parts = [COOKIE + of.signer.id, b"%d" % member]
    if of.carried is not None:
        parts.append(of.carried)
    return b".".join((*parts, of.mac))


def read_branch(branch: bytes) -> Branch | None:
    """Our branch taken apart, unverified; None if it does not have our form."""
    match = _BRANCH.match(branch)
    if match is None:
        return None
    return Branch(int(match[2]), int(match[4], 16), match[1], match[3], match[4])


def loop_hash(key: Key, uri: bytes, routes: bytes, member: int) -> bytes:
    """What a request must look like again for a loop: Request-URI, Route and member (16.3)."""
    return short_hash(key.loop, uri, routes, b"%d" % member)


def make_own_param(
    signer: Key, instance: bytes, origin: Origin, loop: bytes, branch: bytes, via: Via
) -> bytes:
    """`;rmlb=...` for our Via. `via` is the next Via as received; it leaves stamped."""
    body = b"%b.%b%x.%b" % (instance, _LETTERS[origin.transport], origin.channel, loop)
    rport = b"%d" % origin.port if via.rport is not None else b""
    host = origin.host.encode()
    proof = mac(signer.via, branch, body, via.sent_by, host, rport)
    return b";%b=%b.%b" % (OWN_PARAM, body, proof)


def make_lone_param(keys: Keyring, instance: bytes, origin: Origin, branch: bytes) -> bytes:
    """`;rmlb=...` for the only Via of a request that the balancer itself makes (CANCEL, ACK)."""
    nowhere = b"00000000"
    body = b"%b.%b%x.%b" % (instance, _LETTERS[origin.transport], origin.channel, nowhere)
    known = read_branch(branch)
    signer = keys.find(known.key_id) if known is not None else None
    proof = mac((signer or keys.signing).via, branch, body, b"", b"", b"")
    return b";%b=%b.%b" % (OWN_PARAM, body, proof)


def verify_response(
    keys: Keyring, response: Message, own: Via, below: Via | None
) -> ReturnPath | None:
    """Whether branch and parameter of our Via on a response are ours, both; the way back if so.

    `below` is the next Via; None for an answer to a request that the balancer itself made.
    """
    branch = read_branch(own.branch)
    match = _OWN.match(own.own or b"")
    key = keys.find(branch.key_id) if branch is not None else None
    if branch is None or match is None or key is None:
        return None
    if below is not None:
        if _branch_mac(key, response, below, branch.carried or b"") != branch.mac:
            return None
        vouched = (below.sent_by, below.received or b"", below.rport or b"")
    else:
        vouched = (b"", b"", b"")
    assert own.own is not None
    body = own.own[: match.start(5) - 1]
    if mac(key.via, own.branch, body, *vouched) != match[5]:
        return None
    return ReturnPath(match[1], _TRANSPORTS[match[2]], int(match[3], 16), match[4])


def read_loop_hash(via: Via) -> tuple[bytes, bytes] | None:
    """(key id, loop hash) of a Via that has the form of ours, unverified."""
    branch = read_branch(via.branch)
    match = _OWN.match(via.own or b"")
    return None if branch is None or match is None else (branch.key_id, match[4])


def make_to_tag(keys: Keyring, request: Message) -> bytes:
    """The To tag of our own final answer, by which its ACK is known (SIP-RULES 1 G)."""
    key = keys.signing
    return b"rmlb-%b-%b" % (key.id, _to_tag_mac(key, request))


def is_own_to_tag(keys: Keyring, request: Message) -> bool:
    """The request's To tag is one that we gave to this transaction."""
    match = _TO_TAG.match(request.to_tag)
    key = keys.find(match[1]) if match is not None else None
    return match is not None and key is not None and _to_tag_mac(key, request) == match[2]


def _to_tag_mac(key: Key, request: Message) -> bytes:
    return mac(key.to_tag, request.call_id, request.from_tag, b"%d" % request.cseq)


def _branch_mac(key: Key, message: Message, via: Via, carried: bytes) -> bytes:
    return mac(
        key.branch,
        via.branch,
        via.sent_by,
        message.call_id,
        message.from_tag,
        b"%d" % message.cseq,
        carried,
    )
