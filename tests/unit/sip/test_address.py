"""Transports and addresses."""

from __future__ import annotations

import pytest

from rmlb.sip.address import SipAddress, Transport, bracketed, is_ip_literal, is_unicast


@pytest.mark.parametrize(
    ("host", "unicast"),
    [
        ("192.0.2.1", True), ("127.0.0.1", True), ("2001:db8::1", True), ("::1", True),
        ("224.0.0.1", False), ("239.255.255.255", False), ("255.255.255.255", False),
        ("0.0.0.0", False), ("::", False), ("ff02::1", False),
    ],
)  # fmt: skip
def test_unicast(host: str, unicast: bool) -> None:
    assert is_unicast(host) is unicast


@pytest.mark.parametrize(
    ("host", "literal"),
    [("192.0.2.1", True), ("::1", True), ("example.com", False), ("127.1", False),
     ("0x7f000001", False), ("2130706433", False), ("[::1]", False), ("", False)],
)  # fmt: skip
def test_literal(host: str, literal: bool) -> None:
    assert is_ip_literal(host) is literal


def test_transports() -> None:
    assert [t.default_port for t in Transport] == [5060, 5060, 5061]
    assert [t.is_stream for t in Transport] == [False, True, True]
    assert [t.via_name for t in Transport] == [b"UDP", b"TCP", b"TLS"]


def test_as_text() -> None:
    assert str(SipAddress(Transport.TCP, "2001:db8::1", 5060)) == "tcp:[2001:db8::1]:5060"
    assert bracketed("192.0.2.1") == "192.0.2.1"
