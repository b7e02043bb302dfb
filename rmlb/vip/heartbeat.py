"""Heartbeat sockets: datagrams to and from the other balancers, by several paths. SHELL: UDP.

Tells replays from heartbeats and learns which balancer is at which address. Knows nothing of what
a beat means.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from typing import Final

from rmlb.vip import advert
from rmlb.vip.advert import Alongside, Association, Datagram, Keys
from rmlb.vip.ballot import Beat, Send

Where = tuple[str, int]

_BATCH: Final = 256
_DSCP_CS6: Final = 0xC0
"""Network control: queues that know it do not drop heartbeats for bulk traffic."""

Compose = Callable[[int, Send], Beat]
"""The beat to this balancer (0: not known yet)."""


class Heartbeats:
    """All paths to all other balancers."""

    def __init__(
        self,
        keys: Keys,
        listen: Sequence[Where],
        peers: Sequence[Where],
        compose: Compose,
        on_datagram: Callable[[Datagram, bool, Where], object],
    ) -> None:
        """`on_datagram` gets what is authentic, and whether it counts (no replay).

        Opens the sockets; raises OSError with the address named.
        """
        self.keys = keys
        self.nonce = secrets.token_bytes(advert.NONCE_OCTETS)
        self.associations: dict[int, Association] = {}
        self.places: dict[Where, int] = {}
        """Which balancer was heard from which configured address."""
        self._compose = compose
        self._on_datagram = on_datagram
        self._peers = list(peers)
        self._seq = 0
        self._sockets: list[socket.socket] = []
        self.refused = 0
        """Datagrams that were no heartbeats, or not by a key of ours."""
        try:
            for place in listen:
                self._sockets.append(_open(place))
        except OSError:
            self.close()
            raise
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.add_reader(sock.fileno(), self._ready, sock)

    def send(self, send: Send, along: Alongside) -> None:
        """To whom it says, by every path."""
        self._seq += 1
        for number, where in enumerate(self._peers):
            id = self.places.get(where, 0)
            if send.to is None or send.to == id:
                data = self._write(id, self._compose(id, send), along, self._seq)
                self._transmit(self._path(number, where), data, where)

    def last_will(self, beat: Callable[[int], Beat], along: Alongside) -> list[tuple[Where, bytes]]:
        """The datagrams that somebody else sends when this process is dead."""
        written = []
        for where in self._peers:
            id = self.places.get(where, 0)
            if id:
                written.append((where, self._write(id, beat(id), along, advert.LAST_SEQ)))
        return written

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()

    def _write(self, id: int, beat: Beat, along: Alongside, seq: int, echo: bytes = b"") -> bytes:
        association = self.associations.get(id)
        echo = echo or (association.echo if association else bytes(advert.NONCE_OCTETS))
        return advert.write(self.keys, beat, along, seq=seq, nonce=self.nonce, echo=echo)

    def _path(self, number: int, where: Where) -> socket.socket | None:
        """The socket of the same number and family; addresses are given in the order of paths."""
        family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        fit = [sock for sock in self._sockets if sock.family == family]
        return fit[number % len(fit)] if fit else None

    def _transmit(self, sock: socket.socket | None, data: bytes, where: Where) -> None:
        try:
            if sock is not None:
                sock.sendto(data, where)
        except OSError:
            return  # no route, no neighbour, an ICMP error of before: silence says enough

    def _ready(self, sock: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                data, source = sock.recvfrom(4096)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error for an earlier datagram
                continue
            self._take(sock, data, (source[0].partition("%")[0], source[1]))

    def _take(self, sock: socket.socket, data: bytes, source: Where) -> None:
        datagram = advert.read(self.keys, data)
        if datagram is None:
            self.refused += 1
            return
        sender = datagram.beat.sender
        association = self.associations.setdefault(sender, Association())
        counts = association.accept(datagram, self.nonce)
        if counts is None:
            return
        if source in self._peers:
            self.places[source] = sender
        if not counts and source in self._peers:
            self._answer(sock, datagram, source)
        self._on_datagram(datagram, counts, source)

    def _answer(self, sock: socket.socket, datagram: Datagram, source: Where) -> None:
        """So that it learns our nonce, and we hear by its next one that it is no replay."""
        self._seq += 1
        beat = self._compose(datagram.beat.sender, Send())
        data = self._write(beat.sender, beat, Alongside(), self._seq, echo=datagram.nonce)
        self._transmit(sock, data, source)


def _open(place: Where) -> socket.socket:
    host, port = place
    six = ":" in host
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if six:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _DSCP_CS6)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _DSCP_CS6)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"[heartbeat] listen: {host}:{port}: {error.strerror}") from None
    return sock
