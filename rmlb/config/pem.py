"""Whether the PEM files that a configuration names can be used; the only reader of them here."""

from __future__ import annotations

import ssl
from collections.abc import Iterator


def pair(certificate: str, key: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a certificate and its key: which of the two, and why."""
    files = {"certificate": certificate, "key": key}
    if key == certificate:
        del files["key"]
    unreadable = {name: why for name, path in files.items() if (why := _unreadable(path))}
    if unreadable:
        yield from unreadable.items()
        return
    if _is_encrypted(key):
        yield "key", f"{key} is encrypted"
        return
    try:
        # A password that is no password: OpenSSL would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="-")
    except OSError as error:  # ssl.SSLError is one
        reason = (getattr(error, "reason", None) or "no PEM").lower().replace("_", " ")
        name = "key" if "key" in reason else "certificate"
        yield name, f"{certificate} with key {key} cannot be used: {reason}"


def authorities(path: str) -> str:
    """Why a file of certificate authorities cannot be used; empty if it can."""
    if why := _unreadable(path):
        return why
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError:  # ssl.SSLError is one
        return f"{path} holds no certificates"
    return ""


def ciphers_known(ciphers: str) -> bool:
    """True if OpenSSL knows at least one cipher of the list."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(ciphers)
    except ssl.SSLError:
        return False
    return True


def _is_encrypted(path: str) -> bool:
    """True for a PEM key with a password, in the old form or in PKCS 8."""
    with open(path, "rb") as file:
        return b"ENCRYPTED" in file.read(2**16)


def _unreadable(path: str) -> str:
    """Why a file cannot be read; empty if it can."""
    try:
        with open(path, "rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return f"{path} cannot be read: {reason.lower()}"
    return ""
