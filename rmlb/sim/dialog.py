"""A dialog (RFC 3261 section 12): route set, remote target, tags and sequence numbers.

Owns what a request inside a dialog looks like and where its next hop is; knows nothing of
transactions or sockets.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from rmlb.sim.sip_text import SipText, address_of, request, tag_of, uri_of
from rmlb.sip.address import SipAddress, bracketed


def new_branch() -> str:
    return f"z9hG4bK{secrets.token_hex(8)}"


def via(address: SipAddress, branch: str = "") -> tuple[str, str]:
    """A Via of ours that asks for rport."""
    place = f"{bracketed(address.host)}:{address.port}"
    name = address.transport.upper()
    return ("Via", f"SIP/2.0/{name} {place};rport;branch={branch or new_branch()}")


def contact(user: str, address: SipAddress) -> tuple[str, str]:
    """A Contact that names host, port and transport."""
    place = f"{bracketed(address.host)}:{address.port}"
    return ("Contact", f"<sip:{user}@{place};transport={address.transport}>")


@dataclass(slots=True)
class Dialog:
    """One side of a dialog."""

    call_id: str
    local: str
    """Our From (or To) value with our tag."""
    remote: str
    """The other's, with its tag."""
    target: str
    """The other's Contact URI."""
    routes: tuple[str, ...]
    """The route set in the order in which it is travelled."""
    cseq: int
    """Of the last request that we sent."""

    @classmethod
    def of_caller(cls, invite: SipText, answer: SipText) -> Self:
        """12.1.2: the caller's view, from its INVITE and a 1xx or 2xx. ValueError."""
        return cls(
            answer.call_id,
            invite.header("From"),
            answer.header("To"),
            _target(answer),
            tuple(reversed(answer.all("Record-Route"))),
            invite.cseq,
        )

    @classmethod
    def of_callee(cls, invite: SipText, tag: str) -> Self:
        """12.1.1: the callee's view, from the INVITE and its own tag. ValueError."""
        callee = invite.header("To")
        return cls(
            invite.call_id,
            callee if tag_of(callee) else f"{callee};tag={tag}",
            invite.header("From"),
            _target(invite),
            tuple(invite.all("Record-Route")),
            0,
        )

    @property
    def remote_tag(self) -> str:
        return tag_of(self.remote)

    @property
    def next_hop(self) -> SipAddress:
        """Where requests go: the first route, else the target."""
        return address_of(uri_of(self.routes[0]) if self.routes else self.target)

    def request(
        self,
        method: str,
        address: SipAddress,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: str = "",
        cseq: int | None = None,
    ) -> SipText:
        """A request in the dialog from our `address`; an ACK takes the `cseq` of its INVITE."""
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        target, routes = self.target, self.routes
        if routes and ";lr" not in uri_of(routes[0]).lower():  # a strict router: 12.2.1.1
            target, routes = uri_of(routes[0]), (*routes[1:], f"<{self.target}>")
        fields = [
            via(address),
            *(("Route", route) for route in routes),
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Max-Forwards", "70"),
            *headers,
        ]
        return request(method, target, fields, body)


def _target(message: SipText) -> str:
    value = message.header("Contact")
    if not value:
        raise ValueError(f"no Contact in {message.start_line}")
    return uri_of(value)
