"""Probes a virtual IP by SIP OPTIONS every 5 ms (or PROBER_EVERY_MS): prober.py OWN-IP VIP MAC...

As callers do (by ARP), and, by frames to each MAC, every host that might answer. Prints "probing",
and at SIGTERM one line of JSON: when answers came, as the kernel stamped them (seconds since 1970).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time

EVERY_S = float(os.environ.get("PROBER_EVERY_MS", "5")) / 1000
CALLER_PORT, HOST_PORT, SIP = 20001, 20002, 5060
SO_TIMESTAMPNS = 35


def options(own: str, vip: str, port: int, number: int) -> bytes:
    return (
        f"OPTIONS sip:{vip}:5060 SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {own}:{port};branch=z9hG4bKp{port}{number};rport\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:probe@{own}>;tag=p{number}\r\nTo: <sip:{vip}:5060>\r\n"
        f"Call-ID: probe-{port}-{number}@{own}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def frame(own_mac: bytes, mac: bytes, own: str, vip: str, payload: bytes) -> bytes:
    length = 28 + len(payload)
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, length, 0, 0x4000, 64, 17, 0,
        socket.inet_aton(own), socket.inet_aton(vip),
    )  # fmt: skip
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    udp = struct.pack("!HHHH", HOST_PORT, SIP, 8 + len(payload), 0)
    return mac + own_mac + b"\x08\x00" + head + udp + payload


def stamped(sock: socket.socket) -> tuple[bytes, float]:
    data, ancillary, _, _ = sock.recvmsg(2048, 64)
    for level, kind, value in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("qq", value)
            return data, seconds + nanoseconds / 1e9
    return data, time.time()


def main(own: str, vip: str, *macs: str) -> None:
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    caller = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    caller.bind((own, CALLER_PORT))
    quiet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    quiet.bind((own, HOST_PORT))
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    raw.bind(("eth0", 0x0800))
    own_mac = raw.getsockname()[4]
    for sock in (caller, quiet, raw):
        sock.setblocking(False)
    for sock in (caller, raw):
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    targets = [bytes.fromhex(mac.replace(":", "")) for mac in macs]
    answers: list[float] = []
    hosts: dict[str, list[float]] = {mac: [] for mac in macs}
    number, due = 0, time.monotonic()
    sys.stdout.write("probing\n")
    sys.stdout.flush()
    while not stop:
        left = due - time.monotonic()
        if left <= 0:
            number, due = number + 1, max(due + EVERY_S, time.monotonic() - 0.05)
            with contextlib.suppress(OSError):  # no neighbour answers
                caller.sendto(options(own, vip, CALLER_PORT, number), (vip, SIP))
            for mac in targets:
                payload = options(own, vip, HOST_PORT, number)
                with contextlib.suppress(OSError):
                    raw.send(frame(own_mac, mac, own, vip, payload))
            continue
        for sock in select.select([caller, raw, quiet], [], [], left)[0]:
            try:
                if sock is quiet:
                    sock.recv(2048)
                    continue
                data, at = stamped(sock)
            except OSError:
                continue
            if sock is caller:
                if data.startswith(b"SIP/2.0 "):
                    answers.append(at)
            elif data[23] == 17 and data[36:38] == struct.pack("!H", HOST_PORT):
                hosts.setdefault(data[6:12].hex(":"), []).append(at)
    known = {mac: at for mac, at in hosts.items() if mac in macs}
    sys.stdout.write(json.dumps({"end": time.time(), "answers": answers, "hosts": known}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
