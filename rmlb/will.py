"""The keeper's last will: what the worker writes to sockets when the keeper is dead.

Encoded by the keeper at each change, kept in the shared page; carried out by the worker through
sockets that were opened at its start. The worker knows nothing of what the octets mean.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

import orjson

Where = tuple[str, int]


def write(requests: Sequence[bytes], frames: Sequence[tuple[Where, bytes]]) -> bytes:
    """Netlink requests, then datagrams."""
    if not requests and not frames:
        return b""
    return orjson.dumps(
        {
            "netlink": [request.hex() for request in requests],
            "send": [[host, port, data.hex()] for (host, port), data in frames],
        }
    )


class Executor:
    """Opens its sockets at once, so that nothing can fail when it counts."""

    def __init__(self) -> None:
        self._netlink = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._netlink.bind((0, 0))
        self._udp = {socket.AF_INET: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)}
        with contextlib.suppress(OSError):  # a host without IPv6
            self._udp[socket.AF_INET6] = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)

    def carry_out(self, will: bytes) -> bool:
        """False where there was nothing to do."""
        if not will:
            return False
        content = orjson.loads(will)
        for request in content["netlink"]:
            with contextlib.suppress(OSError):
                self._netlink.send(bytes.fromhex(request))
        for host, port, data in content["send"]:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with contextlib.suppress(OSError, KeyError):
                self._udp[family].sendto(bytes.fromhex(data), (host, port))
        return True

    def close(self) -> None:
        self._netlink.close()
        for sock in self._udp.values():
            sock.close()
