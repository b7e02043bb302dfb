"""A cable that takes its time: frames between two interfaces, each so much later.

    python benchmarks/slow_cable.py INTERFACE INTERFACE MILLISECONDS

`tc netem` by hand, for kernels without it. Frames keep what the kernel has yet to do for them
(checksums, segments): the sockets carry it along as virtio_net headers (packet(7)).
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import sys
import time
from collections import deque

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
ETH_P_ALL = 3


def port(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    sock.bind((name, ETH_P_ALL))
    sock.setblocking(False)
    return sock


def main(first: str, second: str, milliseconds: str) -> None:
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    a, b = port(first), port(second)
    late = float(milliseconds) / 1000
    on_the_way: deque[tuple[float, socket.socket, bytes]] = deque()
    print("carrying", flush=True)
    while not stop:
        wait = max(0.0, on_the_way[0][0] - time.monotonic()) if on_the_way else 0.1
        for sock in select.select([a, b], [], [], wait)[0]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    frame = sock.recv(70000)
                    on_the_way.append((time.monotonic() + late, b if sock is a else a, frame))
        while on_the_way and on_the_way[0][0] <= time.monotonic():
            _, towards, frame = on_the_way.popleft()
            with contextlib.suppress(OSError):
                towards.send(frame)


if __name__ == "__main__":
    main(*sys.argv[1:])
