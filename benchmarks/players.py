"""Those around the balancers in `chaos.py` and `soak.py`, as processes of their own.

    python benchmarks/players.py member NUMBER HOST HISTORY
    python benchmarks/players.py caller HOST VIP RATE HISTORY
    python benchmarks/players.py idle HOST VIP SECONDS
    python benchmarks/players.py scrape URL SECONDS
    python benchmarks/players.py watch HISTORY

A member answers every call, names itself in the To tag, and takes other members' dialogs, as
Resource Managers that share their sessions do; SIGUSR1: it refuses with 503, SIGUSR2: no more.
A caller makes calls that last between nothing and 20 s until it gets SIGTERM, and keeps RFC 3261's
timers. Each writes what it saw into HISTORY, one JSON object a line, times in seconds since 1970.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import random
import signal
import socket
import struct
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "integration"))

from rig_calls import Callers, Made, Repeater, tag_of  # noqa: E402 - found by the line above
from rig_server import T2, branch_of  # noqa: E402
from rig_wire import Agent, Heard, response  # noqa: E402

PROBER_PORT = 20002
"""From which prober.py asks each host by itself."""

SO_ATTACH_FILTER, SO_TIMESTAMPNS = 26, 35

RINGS_S = 0.1
LONGEST_S = 20.0
PATIENCE_S = 64.0
"""Two transactions after the last call every call has an outcome."""


class History:
    """A file that is appended to; a line is whole or not there."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, **fields: Any) -> None:
        os.write(self._file, json.dumps(fields).encode() + b"\n")


class Member(Agent):
    """One Resource Manager."""

    def __init__(self, number: int, host: str, history: History) -> None:
        super().__init__("udp", 5060, host=host, name=f"m{number}")
        self.number = number
        self.refuses = False
        self._history = history
        self._answers: dict[str, tuple[bytes, Callable[[bytes], None]]] = {}
        self._repeaters: dict[str, Repeater] = {}

    def take(self, heard: Heard) -> None:
        if heard.status:
            return
        if heard.method == "OPTIONS":
            heard.answer(response(heard, 503 if self.refuses else 200, tag="probe"))
            return
        call_id, tag = heard.header("Call-ID"), tag_of(heard.header("To"))
        self._history.note(
            at=time.time(), member=self.number, call=call_id, method=heard.method, tag=tag
        )
        if heard.method == "ACK":
            self._stop(call_id)
        elif heard.method == "CANCEL":
            heard.answer(response(heard, 200, tag=self._tag(call_id)))
        elif heard.method == "INVITE" and not tag:
            self._on_invite(heard, call_id)
        else:
            heard.answer(response(heard, 200))

    def _tag(self, call_id: str) -> str:
        return f"m{self.number}-{call_id}"

    def _on_invite(self, heard: Heard, call_id: str) -> None:
        branch = branch_of(heard)
        known = self._answers.get(branch)
        if known is not None:
            heard.answer(known[0])
            return
        if self.refuses:
            self._say(branch, heard, response(heard, 503, tag=self._tag(call_id)))
            return
        contact = f"sip:ivr@{self.host}:{self.port}"

        def final() -> None:
            data = response(heard, 200, tag=self._tag(call_id), contact=contact)
            self._repeaters[call_id] = Repeater(self.loop, T2)
            self._repeaters[call_id].start(
                lambda: self._say(branch, heard, data), lambda: self._stop(call_id)
            )

        self._say(branch, heard, response(heard, 180, tag=self._tag(call_id), contact=contact))
        self.loop.call_later(RINGS_S, final)
        self.loop.call_later(PATIENCE_S, self._answers.pop, branch, None)

    def _say(self, branch: str, heard: Heard, data: bytes) -> None:
        self._answers[branch] = (data, heard.answer)
        heard.answer(data)

    def _stop(self, call_id: str) -> None:
        repeater = self._repeaters.pop(call_id, None)
        if repeater is not None:
            repeater.stop()


class Caller(Callers):
    """Calls of all lengths, noted as they end."""

    def __init__(self, host: str, vip: str, history: History) -> None:
        super().__init__(5060, (vip, 5060), host=host)
        self._history = history
        self._offset = time.time() - time.monotonic()
        self._name = f"{random.getrandbits(32):08x}"

    def hold(self) -> float:
        return random.expovariate(1 / 2.0) % LONGEST_S

    def call_id(self, number: int) -> str:
        return f"{self._name}-{number}"

    def ended(self) -> None:
        super().ended()
        for call_id in [each for each, made in self.made.items() if made.outcome]:
            self.note(self.made.pop(call_id))
            self.loop.call_later(PATIENCE_S, self._calls.pop, call_id, None)

    def note(self, made: Made) -> None:
        shift = self._offset
        self._history.note(
            call=made.call_id,
            begun=made.begun + shift,
            answered=made.answered and made.answered + shift,
            ended=(made.ended or self.loop.time()) + shift,
            status=made.status,
            outcome=made.outcome or "unfinished",
        )


def member(number: str, host: str, path: str) -> None:
    with Member(int(number), host, History(path)) as player:

        def refuse(signal_number: int, _: object) -> None:
            player.refuses = signal_number == signal.SIGUSR1

        signal.signal(signal.SIGUSR1, refuse)
        signal.signal(signal.SIGUSR2, refuse)
        until_told()


def caller(host: str, vip: str, rate: str, path: str) -> None:
    with Caller(host, vip, History(path)) as player:
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        print("calling", flush=True)
        at_once = max(1, int(rate))
        while not ended.wait(1.0):
            player.begin(at_once, float(rate))
        deadline = time.monotonic() + PATIENCE_S
        while player.made and time.monotonic() < deadline:
            time.sleep(0.1)
        for made in list(player.made.values()):
            player.note(made)


def idle(host: str, vip: str, seconds: str) -> None:
    """Connections that say nothing, as many as are taken; closed ones are opened again."""
    ends = time.monotonic() + float(seconds)
    opened = 0
    held: list[socket.socket] = []
    while time.monotonic() < ends:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(0.5)
        try:
            sock.bind((host, 0))
            sock.connect((vip, 5060))
        except OSError:
            sock.close()
            for each in held[: len(held) // 2]:
                each.close()
            del held[: len(held) // 2]
            continue
        opened += 1
        held.append(sock)
        if len(held) > 900:
            held.pop(0).close()
    print(opened)


def watch(path: str) -> None:
    """When a balancer's answers to the prober leave its host, as the kernel stamps them: what was
    sent before it let go may arrive later."""
    history = History(path)
    udp_to_the_prober = (
        (0x28, 0, 0, 12), (0x15, 0, 5, 0x0800),  # IPv4
        (0x30, 0, 0, 23), (0x15, 0, 3, 17),  # UDP
        (0x28, 0, 0, 36), (0x15, 0, 1, PROBER_PORT),
        (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0),
    )  # fmt: skip
    code = b"".join(struct.pack("=HBBI", *each) for each in udp_to_the_prober)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HL", len(udp_to_the_prober), ctypes.addressof(buffer))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.bind(("eth0", 3))
        print("watching", flush=True)
        while True:
            try:
                _, ancillary, _, address = sock.recvmsg(2048, 64)
            except OSError as error:
                if error.errno != errno.ENETDOWN:
                    raise
                continue  # told once; when the NIC is up again the socket hears again
            if address[2] == socket.PACKET_OUTGOING:
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                history.note(at=seconds + nanoseconds / 1e9)


def scrape(url: str, seconds: str) -> None:
    """The admin API asked by many at once."""
    ends = time.monotonic() + float(seconds)

    def ask(path: str) -> None:
        while time.monotonic() < ends:
            with contextlib.suppress(OSError), urllib.request.urlopen(url + path, timeout=5) as got:
                got.read()

    paths = ("/metrics", "/api/v1/status", "/healthz", "/api/v1/calls?call-id=x") * 4
    threads = [threading.Thread(target=ask, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def until_told() -> None:
    """Until SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()


if __name__ == "__main__":
    {each.__name__: each for each in (member, caller, idle, scrape, watch)}[sys.argv[1]](
        *sys.argv[2:]
    )
