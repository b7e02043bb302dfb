"""A running sipload: SIP Server and the members at both ends of one system, on a core of its own.

It stays for as long as its system does, answers the health probes between runs, and keeps the
dialogs that were established.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.native import build

BUFFER = 4 << 20
"""Octets of every socket buffer in a comparison; rmlb's own default."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The members' are consecutive."""

    proxy: int
    caller: int
    admin: int
    member: int
    members: int


@dataclass(frozen=True, slots=True)
class Load:
    """One run, as sipload counted it. Calls or transactions, then messages."""

    started: int
    completed: int
    lost: int
    failed: int
    starved: int
    relayed: int
    sent: int
    octets: int
    misrouted: int
    stray: int
    broken: int
    malformed: int
    seconds: float
    rate: float
    lag_max_us: float
    latency_us: dict[str, float]
    other: dict[str, Any] = field(default_factory=dict)

    @property
    def messages_per_s(self) -> float:
        return self.relayed / self.seconds


class Generator:
    """`size`: octets of a request, an answer has two thirds; `most`: dialogs at once.

    `namespace`, `host`: where it is, else on loopback; `proxy_host`: where the balancer is.
    """

    def __init__(
        self,
        ports: Ports,
        *,
        transport: str = "udp",
        direct: bool = False,
        size: int = 900,
        most: int = 65536,
        core: int | None = None,
        connections: int = 8,
        namespace: str = "",
        host: str = "127.0.0.1",
        proxy_host: str = "127.0.0.1",
    ) -> None:
        command = [
            *(["ip", "netns", "exec", namespace] if namespace else []),
            *(["taskset", "-c", str(core)] if core is not None else []),
            str(build("sipload")),
            f"--caller={ports.caller}", f"--proxy={ports.proxy}", f"--member={ports.member}",
            f"--members={ports.members}", f"--size={size}", f"--answer-size={size * 2 // 3}",
            f"--dialogs={most}", f"--buffer={BUFFER}", f"--connections={connections}",
            f"--host={host}", f"--proxy-host={proxy_host}",
            *(["--tcp"] if transport == "tcp" else []),
            *(["--direct"] if direct else []),
        ]  # fmt: skip
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path("/")
        )
        self._pending = b""
        self._answer(10.0)

    def establish(self, count: int, timeout_s: float = 600.0) -> Load:
        """Live dialogs, kept; some 64 under way at once. Blocks."""
        return self._order(f"establish count={count}", timeout_s)

    def calls(self, rate: float, seconds: float, **words: int) -> Load:
        """Whole calls at so many a second. Blocks."""
        return self._order(f"calls rate={rate:.3f} seconds={seconds}", seconds + 60, **words)

    def transactions(self, rate: float, seconds: float, **words: int) -> Load:
        """Requests within the established dialogs at so many a second. Blocks."""
        return self._order(f"transactions rate={rate:.3f} seconds={seconds}", seconds + 60, **words)

    def close(self) -> None:
        if self._child.stdin:
            self._child.stdin.close()
        try:
            self._child.wait(5.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout:
            self._child.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _order(self, text: str, timeout_s: float, **words: int) -> Load:
        text = " ".join([text, *(f"{name}={value}" for name, value in words.items())])
        assert self._child.stdin is not None
        self._child.stdin.write(text.encode() + b"\n")
        self._child.stdin.flush()
        found = self._answer(timeout_s)
        if "error" in found:
            raise RuntimeError(f"sipload: {found['error']}")
        known = {name: found.pop(name) for name in Load.__slots__ if name in found}
        return Load(**known, other=found)

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        assert self._child.stdout is not None
        descriptor = self._child.stdout.fileno()
        while b"\n" not in self._pending:
            if not select.select([descriptor], [], [], timeout_s)[0]:
                self._child.kill()
                raise RuntimeError(f"sipload gave no answer within {timeout_s:.0f} s")
            octets = os.read(descriptor, 65536)
            if not octets:
                raise RuntimeError(f"sipload ended with {self._child.wait()}")
            self._pending += octets
        line, _, self._pending = self._pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer
