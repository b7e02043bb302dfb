"""rtnetlink as the keeper needs it: addresses and links, one request at a time. SHELL: the kernel.

pyroute2 writes and reads the messages; the socket is our own, because the kernel answers a request
before `send` returns, so nothing has to be awaited, and because the encoded request to remove an
address must be handed to the worker. Knows nothing of who owns what.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_LINK,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

LABEL: Final = "rmlb"
"""What our IPv4 addresses are labelled with: "eth0:rmlb"."""

PROTOCOL: Final = 0x52
"""IFA_PROTO of our addresses: by that the IPv6 ones, which have no label, are found."""

_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP = 1, 4, 0x300
_NLM_F_REPLACE, _NLM_F_CREATE = 0x100, 0x400
_NODAD: Final = 0x02
_IFF_RUNNING: Final = 0x40
_FOREVER: Final = 2**32 - 1
_LONGEST_LABEL: Final = 15


class Address(NamedTuple):
    """An address of an interface."""

    number: int
    host: str
    prefix: int
    ours: bool
    """It carries our label or protocol."""


class Link(NamedTuple):
    """A network interface."""

    number: int
    name: str
    mac: str
    running: bool
    """Up, and with carrier."""
    loopback: bool


class Change(NamedTuple):
    """What the kernel tells on its own."""

    address: Address | None
    link: Link | None
    gone: bool


def new_address(index: int, name: str, host: str, prefix: int, lifetime_s: int | None) -> bytes:
    """The request to add an address, or refresh it; the kernel removes it after `lifetime_s`.

    Deprecated from the start, so that the host never chooses it for connections of its own.
    """
    valid = _FOREVER if lifetime_s is None else lifetime_s
    extra: list[tuple[str, Any]] = [
        ("IFA_CACHEINFO", _cacheinfo(valid)),
        ("IFA_PROTO", PROTOCOL),
        ("IFA_FLAGS", _NODAD),
    ]
    label = f"{name}:{LABEL}"
    if ":" not in host and len(label) <= _LONGEST_LABEL:
        extra.append(("IFA_LABEL", label))
    flags = _NLM_F_REQUEST | _NLM_F_ACK | _NLM_F_CREATE | _NLM_F_REPLACE
    return _address(RTM_NEWADDR, flags, index, host, prefix, extra)


def del_address(index: int, host: str, prefix: int) -> bytes:
    """The request to remove an address."""
    return _address(RTM_DELADDR, _NLM_F_REQUEST | _NLM_F_ACK, index, host, prefix, [])


class Netlink:
    """A socket for requests. Open it before it is needed."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, 0))
        self._socket.settimeout(1.0)
        self._marshal = MarshalRtnl()

    def request(self, message: bytes) -> None:
        """Carry it out. Raises OSError with what the kernel says."""
        self._socket.send(message)
        for answer in self._receive():
            error = answer["header"].get("error")
            if error is not None:
                raise OSError(error.code, os.strerror(error.code))

    def remove(self, message: bytes) -> bool:
        """The same for a removal; False where there was nothing to remove."""
        try:
            self.request(message)
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
                return False
            raise
        return True

    def addresses(self) -> list[Address]:
        message = ifaddrmsg()
        return [_as_address(answer) for answer in self._dump(message, RTM_GETADDR)]

    def links(self) -> list[Link]:
        message = ifinfmsg()
        return [_as_link(answer) for answer in self._dump(message, RTM_GETLINK)]

    def link(self, name: str) -> Link | None:
        """The interface of that name."""
        return next((link for link in self.links() if link.name == name), None)

    def close(self) -> None:
        self._socket.close()

    def _dump(self, message: Any, kind: int) -> Iterator[Any]:
        message["family"] = socket.AF_UNSPEC
        message["header"]["type"] = kind
        message["header"]["flags"] = _NLM_F_REQUEST | _NLM_F_DUMP
        message.encode()
        self._socket.send(bytes(message.data))
        while True:
            for answer in self._receive():
                if answer["header"]["type"] == 3:  # NLMSG_DONE
                    return
                yield answer

    def _receive(self) -> list[Any]:
        return list(self._marshal.parse(self._socket.recv(1 << 18)))


class Monitor:
    """A socket on which the kernel tells of changes; for an event loop's reader."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
        self._socket.setblocking(False)
        self._marshal = MarshalRtnl()

    def fileno(self) -> int:
        return self._socket.fileno()

    def changes(self) -> Iterator[Change]:
        """What has happened since; OSError (ENOBUFS) when some of it was lost."""
        while True:
            try:
                data = self._socket.recv(1 << 18)
            except BlockingIOError:
                return
            for message in self._marshal.parse(data):
                kind = message["header"]["type"]
                if kind in (RTM_NEWADDR, RTM_DELADDR):
                    yield Change(_as_address(message), None, kind == RTM_DELADDR)
                elif kind in (RTM_NEWLINK, RTM_DELLINK):
                    yield Change(None, _as_link(message), kind == RTM_DELLINK)

    def close(self) -> None:
        self._socket.close()


def _address(
    kind: int, flags: int, index: int, host: str, prefix: int, extra: list[tuple[str, Any]]
) -> bytes:
    message = ifaddrmsg()
    ip = ip_address(host)
    message["family"] = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    message["prefixlen"] = prefix
    message["index"] = index
    message["attrs"] = [("IFA_LOCAL", str(ip)), ("IFA_ADDRESS", str(ip)), *extra]
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    message.encode()
    return bytes(message.data)


def _cacheinfo(valid_s: int) -> dict[str, int]:
    return {"ifa_preferred": 0, "ifa_valid": valid_s, "cstamp": 0, "tstamp": 0}


def _as_address(message: Any) -> Address:
    host = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS") or ""
    label = message.get_attr("IFA_LABEL") or ""
    ours = label.endswith(f":{LABEL}") or message.get_attr("IFA_PROTO") == PROTOCOL
    return Address(message["index"], host, message["prefixlen"], ours)


def _as_link(message: Any) -> Link:
    return Link(
        number=message["index"],
        name=message.get_attr("IFLA_IFNAME") or "",
        mac=(message.get_attr("IFLA_ADDRESS") or "").lower(),
        running=bool(message["flags"] & _IFF_RUNNING),
        loopback=bool(message["flags"] & 0x8),
    )
