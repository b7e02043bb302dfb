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
    """The two contexts. `reload` reads the files again; connections that are up stay as they are.

    Raises OSError or ssl.SSLError when a file cannot be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self.server: ssl.SSLContext | None = None
        self.client = ssl.create_default_context(cafile=files.ca or None)
        if files.certificate:
            self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.reload(files)

    def reload(self, files: TlsFiles) -> None:
        """Take new certificates and authorities for handshakes from now on."""
        for context in filter(None, (self.server, self.client)):
            context.minimum_version = _VERSIONS[files.min_version]
            if files.ciphers:
                context.set_ciphers(files.ciphers)
            if files.certificate:
                context.load_cert_chain(files.certificate, files.key or None)
            if files.ca:
                context.load_verify_locations(files.ca)
        if self.server is not None and files.verify_clients:
            self.server.verify_mode = ssl.CERT_REQUIRED
            if not files.ca:
                self.server.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        if not files.verify_members:
            self.client.check_hostname = False
            self.client.verify_mode = ssl.CERT_NONE
