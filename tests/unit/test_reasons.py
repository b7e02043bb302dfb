"""Connection failures in words: no addresses, no source lines, never empty."""

from __future__ import annotations

import errno
import ssl

import pytest

from rmlb.reasons import reason_of


def _unverified(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] (_ssl.c:1006)")
    error.verify_message = message
    return error


def _refused(reason: str | None) -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL: X] x (_ssl.c:1)")
    error.reason = reason  # type: ignore[assignment]  # OpenSSL may have none
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_unverified("has expired."), "certificate not accepted: has expired"),
        (_refused("TLSV1_ALERT_PROTOCOL_VERSION"), "TLS: tlsv1 alert protocol version"),
        (OSError(errno.ECONNREFUSED, "Connect call failed ('::1', 1)"), "Connection refused"),
        (ConnectionResetError("connection closed"), "connection closed"),
        (OSError("Multiple exceptions: ..."), "Multiple exceptions: ..."),
        (ConnectionAbortedError(), "ConnectionAbortedError"),
    ],
)
def test_words(error: OSError, words: str) -> None:
    assert reason_of(error) == words
