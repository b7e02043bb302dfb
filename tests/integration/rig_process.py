"""Of the rig: ports, waiting, child processes, and the simulated member as one."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = range(10_000 + _WORKER % 2 * 11_000, 21_000 + _WORKER % 2 * 11_000)
"""Below the ephemeral ports (32768 on), which any client socket may get meanwhile; half of them
for each of two test runners."""

_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """That many consecutive ports, each free for UDP and TCP and given to nobody else here."""
    for _ in range(1000):
        first = random.randrange(_PORTS.start, _PORTS.stop - count)
        ports = list(range(first, first + count))
        if not _given.intersection(ports) and all(map(_is_free, ports)):
            _given.update(ports)
            return ports
    raise RuntimeError(f"no {count} consecutive free ports")


def free_port() -> int:
    """One port, free for UDP and TCP."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    places = ((socket.AF_INET, HOST), (socket.AF_INET6, "::1"))
    for (family, host), kind in itertools.product(places, (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
        with socket.socket(family, kind) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def wait_until(what: str, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Ask every 20 ms until it holds. AssertionError naming `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.02)


async def until(what: str, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """`wait_until` for an async test; its event loop runs on meanwhile."""
    deadline = time.monotonic() + timeout_s
    while not condition():  # what is waited for happens elsewhere
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        await asyncio.sleep(0.01)


def is_bound(port: int, transport: str) -> bool:
    """Somebody listens on that port ("udp" or "tcp"), as the kernel tells it."""
    listening = {"tcp": "0A", "udp": "07"}[transport]
    lines = Path(f"/proc/net/{transport}").read_text().splitlines()[1:]
    return any(
        fields[1].endswith(f":{port:04X}") and fields[3] == listening
        for fields in map(str.split, lines)
    )


class Process:
    """A child with its output in files; ends only itself."""

    def __init__(self, directory: Path, name: str, command: Sequence[str | Path]) -> None:
        self.directory = directory
        self.name = name
        self.command = [str(part) for part in command]
        self._child: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def start(self) -> Self:
        self._spawn()
        return self

    def __enter__(self) -> Self:
        if self.running:
            return self
        try:
            return self.start()
        except BaseException as error:  # nobody else would end it
            self.__exit__(type(error), error, error.__traceback__)
            raise

    def _spawn(self, env: Mapping[str, str] | None = None) -> None:
        self._starts += 1
        with self.stdout_path.open("wb") as out, self.stderr_path.open("wb") as err:
            self._child = subprocess.Popen(
                self.command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **(env or {})},
            )

    @property
    def stdout_path(self) -> Path:
        return self.directory / f"{self.name}.{self._starts}.out"

    @property
    def stderr_path(self) -> Path:
        return self.directory / f"{self.name}.{self._starts}.err"

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text(errors="replace")

    @property
    def stdout(self) -> str:
        return self.stdout_path.read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self._child is not None, f"{self.name} was not started"
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def send_signal(self, number: signal.Signals) -> None:
        assert self._child is not None
        self._child.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP: alive, silent, the sockets stay open."""
        self.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait for the end. Nothing is checked."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def wait(self, timeout_s: float) -> int:
        """The exit status. AssertionError (and the process killed) when it takes longer."""
        assert self._child is not None
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"{self.name} did not end within {timeout_s:g} s; stderr:\n{self.stderr[-3000:]}"
            ) from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self._child is not None:
            self.kill()
            error.add_note(f"--- stderr of {self.name}:\n{self.stderr[-4000:]}")
        else:
            self.close()

    def close(self) -> None:
        """End it if it still runs."""
        self.kill()


class SimulatedMember(Process):
    """`rmlb simulate rm` as a process of its own, UDP and TCP on one port."""

    def __init__(
        self, directory: Path, member: int, *, port: int | None = None, args: Iterable[str] = ()
    ) -> None:
        self.member = member
        self.port = free_port() if port is None else port
        command = [sys.executable, "-m", "rmlb.cli", "simulate", "rm", "--id", str(member)]
        super().__init__(
            directory,
            f"member{member}",
            [*command, "--listen", f"{HOST}:{self.port}", *args],
        )

    @property
    def address(self) -> str:
        """As `[rm.N] sip` takes it: UDP and TCP."""
        return f"{HOST}:{self.port}"

    def start(self) -> Self:
        self._spawn()
        wait_until(
            f"{self.name} listens",
            lambda: is_bound(self.port, "tcp") and is_bound(self.port, "udp"),
            timeout_s=30.0,
        )
        return self

    def wind_down(self) -> None:
        """OPTIONS get 503 from now on; calls are still taken."""
        self.send_signal(signal.SIGUSR1)

    def stop(self, timeout_s: float = 10.0) -> str:
        """SIGTERM; the tally that it prints."""
        self.send_signal(signal.SIGTERM)
        self.wait(timeout_s)
        assert "Traceback" not in self.stderr, self.stderr[-6000:]
        return self.stdout
