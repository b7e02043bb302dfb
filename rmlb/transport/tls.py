"""TLS contexts for listeners and for connections to members ([tls]; RFC 3261 26.3)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """[tls]: PEM files by path, empty where not given."""

    certificate: str = ""
    key: str = ""
    ca: str = ""
    verify_clients: bool = False
    verify_members: bool = True
    min_version: str = "1.2"
    ciphers: str = ""


class TlsContexts:
    """The two contexts, made of files as they are now.

    Never changed afterwards: a reload makes new ones, or an authority that was taken away would
    still be trusted, and a new certificate of another key type would stand beside the old one.
    Raises OSError (ssl.SSLError is one) when a file cannot be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self.server: ssl.SSLContext | None = _server(files) if files.certificate else None
        """For listeners; None without a certificate."""
        self.client: ssl.SSLContext = _client(files)
        """For connections to members and callers."""


def _server(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _settle(context, files)
    if files.verify_clients:
        context.verify_mode = ssl.CERT_REQUIRED
        if files.ca:
            context.load_verify_locations(files.ca)
        else:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    return context


def _client(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.ca or None)
    _settle(context, files)
    if not files.verify_members:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _settle(context: ssl.SSLContext, files: TlsFiles) -> None:
    context.minimum_version = _VERSIONS[files.min_version]
    if files.ciphers:
        context.set_ciphers(files.ciphers)
    if files.certificate:
        context.load_cert_chain(files.certificate, files.key or None)
