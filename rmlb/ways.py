"""This host's own way to an address: is the interface down that leads there? SHELL: the kernel.

One question to the kernel's routing table and one to the interface; nothing is sent anywhere.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from typing import Final

_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_NLM_F_REQUEST: Final = 1
_RTA_DST, _RTA_OIF = 1, 4
_NLMSG_ERROR: Final = 2
_SIOCGIFFLAGS: Final = 0x8913
_IFF_RUNNING: Final = 0x40
_HEAD: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, number, port
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # rtmsg: family, lengths of the addresses, ...
_ATTRIBUTE: Final = struct.Struct("=HH")  # rtattr: length, type
_ERROR: Final = struct.Struct("=i")
_NAMED: Final = struct.Struct("16sH14x")  # ifreq: name, flags


class Ways:
    """The way to any address; where the kernel does not say, nothing is wrong."""

    def __init__(self) -> None:
        self._sockets = [
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        ]
        self._sockets[0].settimeout(1.0)
        self._led_by: dict[str, str] = {}
        """The interface by address: one that is shut down takes its routes with it."""

    def fault(self, host: str) -> str | None:
        """For people: "eth0 is down". `host` is a numeric address."""
        try:
            index = self._interface(host)
            if index is not None:
                self._led_by[host] = socket.if_indextoname(index)
        except (OSError, ValueError):
            return None
        name = self._led_by.get(host)
        return None if name is None or self._runs(name) else f"{name} is down"

    def close(self) -> None:
        for each in self._sockets:
            each.close()

    def _interface(self, host: str) -> int | None:
        """By which the kernel would send to it; None: it has no route. It answers at once."""
        netlink = self._sockets[0]
        netlink.send(_question(host))
        answer = netlink.recv(65536)
        _, kind, *_ = _HEAD.unpack_from(answer)
        if kind == _NLMSG_ERROR:
            return None
        at = _HEAD.size + _ROUTE.size
        while kind == _RTM_NEWROUTE and at + _ATTRIBUTE.size <= len(answer):
            length, what = _ATTRIBUTE.unpack_from(answer, at)
            if what == _RTA_OIF:
                return int.from_bytes(answer[at + 4 : at + 8], sys.byteorder)
            at += max(4, (length + 3) & ~3)
        raise ValueError("the kernel's answer names no interface")

    def _runs(self, name: str) -> bool:
        """It is there, up, and has carrier."""
        asked = _NAMED.pack(name.encode(), 0)
        try:
            _, flags = _NAMED.unpack(fcntl.ioctl(self._sockets[1], _SIOCGIFFLAGS, asked))
        except OSError:
            return False
        return bool(flags & _IFF_RUNNING)


def _question(host: str) -> bytes:
    """RTM_GETROUTE."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    to = socket.inet_pton(family, host)
    body = _ROUTE.pack(family, 8 * len(to), 0, 0, 0, 0, 0, 0, 0)
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(to), _RTA_DST) + to
    return _HEAD.pack(_HEAD.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + body
