"""Network interfaces that are watched, and the gateway: parts of this host's score. SHELL: netlink.

As the RM has it: `[gvp] nics` and `nic.ethN` name them by MAC; without them all that had carrier
since the start count. Nothing here is a veto: it goes into the score.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Final

from rmlb.vip.rtnetlink import Link

NIC_WORTH: Final = 10_000
GATEWAY_WORTH: Final = 1_000
MOST_MEMBERS: Final = 999
"""A NIC outweighs the gateway, the gateway any number of members."""

GATEWAY_EVERY_S: Final = 1.0
GATEWAY_FAILS: Final = 3


def serves(score: int) -> bool:
    """A host with that score has a member in service."""
    return score % GATEWAY_WORTH > 0


class Nics:
    """The watched interfaces. `on_change` gets the name and whether it has carrier."""

    def __init__(self, macs: Iterable[str], on_change: Callable[[str, bool], object]) -> None:
        """`macs` as `[gvp]` names them; empty: all that have carrier now or later."""
        self._macs = frozenset(macs)
        self._on_change = on_change
        self._states: dict[str, bool] = {}

    def begin(self, links: Iterable[Link]) -> list[str]:
        """What there is at the start; the MACs that no interface has."""
        seen = set()
        for link in links:
            seen.add(link.mac)
            if self._counts(link) and (link.running or self._macs):
                self._states[link.name] = link.running
        return sorted(self._macs - seen)

    def follow(self, link: Link, gone: bool) -> bool:
        """A change of a link; True if the score may have changed."""
        running = link.running and not gone
        before = self._states.get(link.name)
        if before is None and not (self._counts(link) and running):
            return False
        self._states[link.name] = running
        if before is running:
            return False
        if before is not None:
            self._on_change(link.name, running)
        return True

    @property
    def down(self) -> int:
        return sum(not running for running in self._states.values())

    def _counts(self, link: Link) -> bool:
        return link.mac in self._macs if self._macs else not link.loopback and bool(link.mac)


class Gateway:
    """Asks a router for an ICMP echo, every second."""

    def __init__(self, host: str, on_change: Callable[[bool], object]) -> None:
        """Raises OSError without the right to a raw socket."""
        self._host = host
        self._on_change = on_change
        self.answers = True
        self._six = ":" in host
        self._socket = echo_socket(host)
        self._number = 0

    async def watch(self) -> None:
        failed = 0
        while True:
            self._number = (self._number + 1) & 0xFFFF
            answered = await ping(self._socket, self._host, self._number, GATEWAY_EVERY_S)
            failed = 0 if answered else failed + 1
            good = failed < GATEWAY_FAILS
            if good is not self.answers:
                self.answers = good
                self._on_change(good)
            if answered:
                await asyncio.sleep(GATEWAY_EVERY_S)

    def close(self) -> None:
        self._socket.close()


def echo_socket(host: str) -> socket.socket:
    """A raw ICMP socket. Raises OSError without the right to one."""
    six = ":" in host
    family = socket.AF_INET6 if six else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    sock = socket.socket(family, socket.SOCK_RAW, protocol)
    sock.setblocking(False)
    return sock


async def ping(sock: socket.socket, host: str, number: int, timeout_s: float) -> bool:
    """One echo request; whether it was answered in time."""
    six = ":" in host
    ident = os.getpid() & 0xFFFF
    head = struct.pack("!BBHHH", 128 if six else 8, 0, 0, ident, number)
    checksum = 0 if six else _checksum(head)  # the kernel fills in ICMPv6's
    packet = head[:2] + struct.pack("!H", checksum) + head[4:]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            await loop.sock_sendto(sock, packet, (host, 0))
            while True:
                data = await loop.sock_recv(sock, 1024)
                answer = data if six else data[(data[0] & 0xF) * 4 :]
                if answer[:1] == (b"\x81" if six else b"\x00") and answer[4:8] == head[4:8]:
                    return True
    except (OSError, TimeoutError):
        return False


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
