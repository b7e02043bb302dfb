"""Why a connection failed, in words for people: the same in events, in health and on screen."""

from __future__ import annotations

import os
import ssl


def reason_of(error: OSError) -> str:
    """The system's words; event loops put addresses, nested lists and source lines into theirs."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
