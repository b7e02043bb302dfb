"""The VIP on a network interface: added, refreshed, announced, watched, removed. SHELL.

Netlink and packet sockets are open from the start. The kernel removes an address of ours that
nobody refreshes for LIFETIME_S, so that a dead or frozen host does not keep it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Collection, Sequence
from typing import Final

from rmlb.vip import arp
from rmlb.vip.rtnetlink import Address, Link, Netlink, del_address, new_address

LIFETIME_S: Final = 2
"""Whole seconds are what the kernel counts; gone after 2 to 2.5 s."""

REFRESH_S: Final = 0.5

ANNOUNCED_AT_S: Final = (0.0, 0.05, 0.2, 1.0, 5.0)
"""After a takeover: a lost frame must not cost a minute of a caller's ARP cache."""

PROBED_AT_S: Final = (0.0, 0.06, 0.12)
LISTEN_S: Final = 0.2
"""A stranger check: three probes, and a moment for the last answer."""

CONFLICT_PAUSE_S: Final = 1.0
"""Between two defences against the same stranger (RFC 5227 2.4 allows one in 10 s for hosts that
may give up their address; an owner by the rules does not)."""

Place = tuple[str, int | None]
"""An address and the prefix length given with it."""


class Interface:
    """The VIP's interface on this host."""

    def __init__(
        self,
        name: str,
        places: Sequence[Place],
        on_stranger: Callable[[str, str], object],
    ) -> None:
        """`on_stranger` gets address and MAC of somebody else who claims it while we hold it.

        Raises OSError: no such interface, or no right to change it.
        """
        self.name = name
        self._places = [(host, prefix or (128 if ":" in host else 32)) for host, prefix in places]
        self._on_stranger = on_stranger
        self._netlink = Netlink()
        link = self._netlink.link(name)
        if link is None:
            self._netlink.close()
            raise OSError(errno.ENODEV, f"there is no interface {name}")
        if link.loopback:
            self._netlink.close()
            raise OSError(errno.EINVAL, f"{name} is the loopback interface")
        self._packet: socket.socket | None = None
        self._link = link
        self.known_macs: set[bytes] = set()
        """Of the other balancers: no strangers."""
        self.held = False
        self._timers: list[asyncio.TimerHandle] = []
        self._checking: set[str] | None = None
        self._defended_at = -1e9
        self._encode()
        self._open_packets()

    # what the keeper calls

    @property
    def mac(self) -> bytes:
        return bytes.fromhex(self._link.mac.replace(":", "")) if self._link.mac else bytes(6)

    @property
    def removal(self) -> list[bytes]:
        """The netlink requests that remove the VIP; for whoever survives."""
        return self._removals

    def remove_leftovers(self) -> list[str]:
        """What an earlier process left behind, here or under another configuration."""
        hosts = {host for host, _ in self._places}
        gone = []
        for each in self._netlink.addresses():
            mine = each.ours or (each.host in hosts and each.number == self._link.number)
            if mine and self._netlink.remove(del_address(each.number, each.host, each.prefix)):
                gone.append(each.host)
        return gone

    def add(self) -> None:
        """Hold the VIP, and announce it. Raises OSError."""
        for message in self._additions:
            self._netlink.request(message)
        self.held = True
        self.announce()

    def refresh(self) -> None:
        """Hold it for LIFETIME_S more. Raises OSError."""
        if self.held:
            for message in self._additions:
                self._netlink.request(message)

    def remove(self) -> None:
        """Let go of it at once. Raises OSError."""
        self.held = False
        self._cancel()
        for message in self._removals:
            self._netlink.remove(message)

    def announce(self) -> None:
        """Tell the neighbours, now and a few times more."""
        self._cancel()
        self._announce_now()
        loop = asyncio.get_running_loop()
        for delay in ANNOUNCED_AT_S[1:]:
            self._timers.append(loop.call_later(delay, self._announce_now))

    async def strangers(self) -> list[str]:
        """MACs of whoever answers for the VIP and is no balancer of ours."""
        found: set[str] = set()
        self._checking = found
        try:
            begun = 0.0
            for at in PROBED_AT_S:
                await asyncio.sleep(at - begun)
                begun = at
                for host, _ in self._places:
                    self._transmit(arp.probe(self.mac, host))
            await asyncio.sleep(LISTEN_S - begun)
        finally:
            self._checking = None
        return sorted(found)

    def follow(self, link: Link) -> bool:
        """The interface has changed; True if it is another one by the same name."""
        renewed = link.number != self._link.number
        self._link = link
        if renewed:
            self._encode()
            self._open_packets()
        return renewed

    def concerns(self, address: Address) -> bool:
        """It is one of ours, on our interface."""
        return (
            address.number == self._link.number and (address.host, address.prefix) in self._places
        )

    def close(self) -> None:
        self._cancel()
        if self._packet is not None:
            asyncio.get_running_loop().remove_reader(self._packet.fileno())
            self._packet.close()
        self._netlink.close()

    # frames

    def _encode(self) -> None:
        index = self._link.number
        self._additions = [
            new_address(index, self.name, host, prefix, LIFETIME_S) for host, prefix in self._places
        ]
        self._removals = [del_address(index, host, prefix) for host, prefix in self._places]

    def _open_packets(self) -> None:
        loop = asyncio.get_running_loop()
        if self._packet is not None:
            loop.remove_reader(self._packet.fileno())
            self._packet.close()
        # ARP alone where all addresses are IPv4: an interface under load has other frames, too.
        every = any(":" in host for host, _ in self._places)
        kind = 0x0003 if every else arp.ETHERTYPE_ARP
        packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0))
        packet.setblocking(False)
        if every:
            _attach_filter(packet)
        packet.bind((self.name, kind))
        loop.add_reader(packet.fileno(), self._heard)
        self._packet = packet

    def _announce_now(self) -> None:
        for host, _ in self._places:
            for frame in arp.announcements(self.mac, host):
                self._transmit(frame)

    def _transmit(self, frame: bytes) -> None:
        try:
            if self._packet is not None:
                self._packet.send(frame)
        except OSError:
            return  # no carrier: the next announcement may find one

    def _heard(self) -> None:
        for _ in range(64):
            try:
                assert self._packet is not None
                frame, source = self._packet.recvfrom(256)
            except (BlockingIOError, OSError):
                return
            if source[2] == socket.PACKET_OUTGOING:
                continue
            seen = arp.sighting(frame)
            if seen is not None and any(host == seen.address for host, _ in self._places):
                self._sighted(seen)

    def _sighted(self, seen: arp.Sighting) -> None:
        if seen.mac == self.mac:
            return
        mac = seen.mac.hex(":")
        if self._checking is not None and seen.mac not in self.known_macs:
            self._checking.add(mac)
        now = asyncio.get_running_loop().time()
        if self.held and now - self._defended_at >= CONFLICT_PAUSE_S:
            self._defended_at = now
            self._announce_now()
            if seen.mac not in self.known_macs:
                self._on_stranger(seen.address, mac)

    def _cancel(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


def _attach_filter(packet: socket.socket) -> None:
    """ARP, and ICMPv6 neighbour advertisements alone (classic BPF)."""
    import ctypes
    import struct

    program = (
        (0x28, 0, 0, 12),  # ldh [12]
        (0x15, 5, 0, arp.ETHERTYPE_ARP),
        (0x15, 0, 5, arp.ETHERTYPE_IPV6),
        (0x30, 0, 0, 20),  # ldb [20]: next header
        (0x15, 0, 3, 58),
        (0x30, 0, 0, 54),  # ldb [54]: ICMPv6 type
        (0x15, 0, 1, 136),
        (0x06, 0, 0, 256),
        (0x06, 0, 0, 0),
    )
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("HP", len(program), ctypes.addressof(buffer))
    packet.setsockopt(socket.SOL_SOCKET, 26, filter_)  # SO_ATTACH_FILTER


def holds(places: Collection[Place], names: Collection[str] = ()) -> list[tuple[str, str]]:
    """Which of these addresses are on this host, and on which interface."""
    netlink = Netlink()
    try:
        links = {link.number: link.name for link in netlink.links()}
        hosts = {host for host, _ in places}
        return [
            (each.host, links.get(each.number, "?"))
            for each in netlink.addresses()
            if each.host in hosts and (not names or links.get(each.number) in names)
        ]
    finally:
        netlink.close()
