"""Of the rig: throw-away certificates, and contexts of agents that use them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Files:
    """A certificate with its key in one PEM file."""

    pem: Path
    der: bytes


class Authority:
    """One certificate authority; its certificates live in `directory`."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._ca = trustme.CA()
        self._directory = directory
        self._name = name
        self.pem = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.pem)

    def issue(
        self, *names: str, file: str = "", key_type: trustme.KeyType = trustme.KeyType.ECDSA
    ) -> Files:
        """A certificate for these names or IP addresses, written to `file`.pem."""
        issued = self._ca.issue_cert(*names, key_type=key_type)
        path = self._directory / f"{file or self._name + '-' + names[0].replace(':', '_')}.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(path)
        chain = issued.cert_chain_pems[0].bytes().decode()
        return Files(path, ssl.PEM_cert_to_DER_cert(chain))

    def server(self, *names: str, ask_clients: bool = False) -> ssl.SSLContext:
        """The context of an agent that listens."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.issue(*names, file=f"{self._name}-server-{names[0]}").pem)
        if ask_clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.pem)
        return context

    def client(self, *names: str) -> ssl.SSLContext:
        """The context of an agent that connects, with a certificate if names are given."""
        context = ssl.create_default_context(cafile=str(self.pem))
        if names:
            context.load_cert_chain(self.issue(*names, file=f"{self._name}-client-{names[0]}").pem)
        return context
