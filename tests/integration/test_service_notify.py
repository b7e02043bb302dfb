"""What the keeper tells the service manager (sd_notify), heard by a socket of the test's own."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rig_balancer import Balancer
from rig_process import free_port, wait_until

FED_S = 0.1
"""The watchdog's time is three times that."""


class Receiver:
    """Everything that was said: when, by which process, which lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[tuple[float, int, list[str]]] = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._sock.bind(str(path))
        self._sock.settimeout(0.1)
        self._open = True
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while self._open:
            try:
                data, ancillary, _, _ = self._sock.recvmsg(4096, socket.CMSG_SPACE(12))
            except TimeoutError:
                continue
            pid, _, _ = struct.unpack("3i", ancillary[0][2])
            self.heard.append((time.monotonic(), pid, data.decode().splitlines()))

    def close(self) -> None:
        self._open = False
        self._thread.join()
        self._sock.close()

    def times(self, line: str) -> list[float]:
        """When that line came."""
        return [at for at, _, lines in self.heard if line in lines]

    def lines(self) -> list[str]:
        """All but the watchdog's food, in order."""
        return [line for _, _, lines in self.heard for line in lines if line != "WATCHDOG=1"]


@contextmanager
def service(tmp_path: Path) -> Iterator[tuple[Balancer, Receiver]]:
    receiver = Receiver(tmp_path / "notify")
    own, other = free_port(), free_port()
    balancer = Balancer(
        tmp_path,
        {1: f"127.0.0.1:{free_port()}"},
        extra=(  # somebody could take over: a worker that stands still is noticed soon
            f'[heartbeat]\nid = 1\nlisten = "127.0.0.2:{own}"\npeers = ["127.0.0.3:{other}"]\n'
            '[security]\nsecret = "sixteen characters and more"\n'
        ),
        env={
            "NOTIFY_SOCKET": str(receiver.path),
            "WATCHDOG_USEC": str(int(3 * FED_S * 1e6)),
        },
    )
    try:
        with balancer.start(ready=False):
            yield balancer, receiver
    finally:
        receiver.close()


def test_a_reload_while_a_worker_starts_does_not_end_it(tmp_path: Path) -> None:
    with service(tmp_path) as (balancer, receiver):
        wait_until("it is ready", lambda: receiver.times("READY=1"))
        (before,) = balancer.children()
        os.kill(before, signal.SIGKILL)
        wait_until("another starts", lambda: balancer.children() not in ([], [before]))
        (starting,) = balancer.children()
        balancer.send_signal(signal.SIGHUP)
        wait_until("it has reloaded", lambda: "event=reloaded" in balancer.stderr)
        assert balancer.children() == [starting]
        assert receiver.times("RELOADING=1")[-1] < receiver.times("READY=1")[-1]


def test_from_start_to_end(tmp_path: Path) -> None:
    with service(tmp_path) as (balancer, receiver):
        wait_until("it is ready", lambda: receiver.times("READY=1"))
        (worker,) = balancer.children()
        wait_until("it says its part", lambda: "STATUS=owner of 127.0.0.1" in receiver.lines())
        fed = len(receiver.times("WATCHDOG=1"))
        wait_until("fed again and again", lambda: len(receiver.times("WATCHDOG=1")) > fed + 5)

        before = time.monotonic_ns() // 1000
        balancer.send_signal(signal.SIGHUP)
        wait_until("it has reloaded", lambda: len(receiver.times("READY=1")) == 2)
        (reloading,) = [lines for _, _, lines in receiver.heard if "RELOADING=1" in lines]
        (stamp,) = [each for each in reloading if each.startswith("MONOTONIC_USEC=")]
        assert before <= int(stamp.partition("=")[2]) <= time.monotonic_ns() // 1000
        assert receiver.times("RELOADING=1")[0] < receiver.times("READY=1")[1]

        good = balancer.config_path.read_text()
        balancer.config_path.write_text("nonsense")
        balancer.send_signal(signal.SIGHUP)  # refused: else the manager would wait for READY=1
        wait_until("it goes on", lambda: len(receiver.times("READY=1")) == 3)
        balancer.config_path.write_text(good)

        os.kill(worker, signal.SIGSTOP)
        frozen_at = time.monotonic()
        wait_until("it is replaced", lambda: balancer.children() not in ([], [worker]), 20.0)
        replaced_at = time.monotonic()
        late = [at for at in receiver.times("WATCHDOG=1") if frozen_at + 2.5 < at < replaced_at]
        assert not late, "nothing is fed for a worker that stands still"
        wait_until("fed again", lambda: receiver.times("WATCHDOG=1")[-1] > replaced_at)

        balancer.send_signal(signal.SIGTERM)
        assert balancer.wait(10.0) == 0
        wait_until("it stops", lambda: receiver.times("STOPPING=1"))
        assert {pid for _, pid, _ in receiver.heard} == {balancer.pid}, "the main process alone"
        assert receiver.lines()[-1] == "STOPPING=1"
