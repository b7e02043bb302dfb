"""Of the rig: a balancer as a process on free ports, and what its admin API says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rig_process import HOST, Process, free_port, wait_until

_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s(?P<value>\S+)(?:\s.*)?")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of /metrics."""

    name: str
    labels: dict[str, str]
    value: float


class Metrics:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [
            Sample(m["name"], dict(_LABEL.findall(m["labels"] or "")), float(m["value"]))
            for m in map(_SAMPLE.fullmatch, text.splitlines())
            if m is not None
        ]

    def total(self, name: str, **labels: object) -> float:
        """The sum over all samples of that name with these labels; 0 where there is none."""
        wanted = {key.rstrip("_"): str(value) for key, value in labels.items()}
        return sum(
            s.value for s in self.samples if s.name == name and wanted.items() <= s.labels.items()
        )

    def by(self, name: str, label: str) -> dict[str, float]:
        """Values of that name by one label."""
        found: dict[str, float] = {}
        for sample in self.samples:
            if sample.name == name and label in sample.labels:
                key = sample.labels[label]
                found[key] = found.get(key, 0.0) + sample.value
        return found


class Balancer(Process):
    """`rmlb run` on free ports in front of `members`: {id: address or addresses}.

    `extra` is TOML put after the generated tables; `health`, `sip`, `cluster`, `state` add lines to
    the generated ones; `listen` names the listeners, `{port}` in them is the balancer's. Probing is
    quick (200 ms) and the slow start off, so that tests need not wait; a test of either says so
    in `health`.
    """

    HEALTH = 'interval = "200ms"\ntimeout = "200ms"\nslow-start = "0s"\n'

    def __init__(
        self,
        directory: Path,
        members: Mapping[int, str | Sequence[str]],
        *,
        port: int | None = None,
        admin_port: int | None = None,
        virtual_ip: str = HOST,
        listen: Sequence[str] = ("udp:{port}", "tcp:{port}"),
        ha_mode: str = "active-active",
        cluster: str = "",
        sip: str = "",
        health: str = HEALTH,
        state: str = "",
        extra: str = "",
        env: Mapping[str, str] | None = None,
        name: str = "balancer",
    ) -> None:
        self.port = free_port() if port is None else port
        self.admin_port = free_port() if admin_port is None else admin_port
        self.config_path = directory / f"{name}.toml"
        self.state_dir = directory / f"{name}.state"
        self._env = env
        tables = [
            f'[cluster]\nha-mode = "{ha_mode}"\nvirtual-ip = "{virtual_ip}"\n{cluster}',
            *(f"[rm.{i}]\nsip = {json.dumps(address)}\n" for i, address in members.items()),
            f"[sip]\nlisten = {json.dumps([x.format(port=self.port) for x in listen])}\n{sip}",
            f"[health]\n{health}",
            f'[state]\ndir = "{self.state_dir}"\n{state}',
            f'[admin]\nlisten = "{HOST}:{self.admin_port}"\n',
            extra,
        ]
        self.config_path.write_text("\n".join(tables))
        super().__init__(
            directory, name, [sys.executable, "-m", "rmlb.cli", "run", self.config_path]
        )

    def start(self, *, ready: bool = True, timeout_s: float = 30.0) -> Self:
        """Start it and wait until it can carry calls (`ready=False`: until it is alive)."""
        self._spawn(self._env)
        path = "/readyz" if ready else "/healthz"
        wait_until(f"{self.name}: 200 from {path}", lambda: self._is_up(path), timeout_s)
        return self

    def _is_up(self, path: str) -> bool:
        if not self.running:
            raise AssertionError(f"{self.name} ended by itself; stderr:\n{self.stderr[-4000:]}")
        try:
            return self.get(path)[0] == 200
        except OSError:
            return False

    # what it says

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET on the admin API; OSError where nothing listens."""
        return self._request("GET", path)

    def _request(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        request = urllib.request.Request(
            f"http://{HOST}:{self.admin_port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=5.0) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def _json(self, path: str) -> Any:
        status, body = self.get(path)
        assert status == 200, f"GET {path}: {status} {body}"
        return json.loads(body)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self._json("/api/v1/status")
        return found

    def members(self) -> dict[int, dict[str, Any]]:
        """What /api/v1/status says of each member, by id."""
        return {int(member["id"]): member for member in self.status()["members"]}

    def events(self) -> list[dict[str, Any]]:
        """Every event so far, oldest first."""
        found: list[dict[str, Any]] = self._json("/api/v1/events?follow=0")["events"]
        return found

    def metrics(self) -> Metrics:
        status, text = self.get("/metrics")
        assert status == 200
        return Metrics(text)

    def open_connections(self) -> int:
        """Streams of callers and members, as it counts them."""
        return int(self.metrics().total("rmlb_connections"))

    def see_close(self, close: Callable[[], object]) -> None:
        """Close a connection to it, and wait until it has noticed."""
        before = self.open_connections()
        close()
        wait_until("it sees the end", lambda: self.open_connections() < before)

    def put_state(self, member: int, state: str) -> None:
        """What `rmlb enable|drain|disable N` does."""
        status, body = self._request("PUT", f"/api/v1/members/{member}", {"state": state})
        assert status == 200, f"PUT {state}: {status} {body}"

    def post(self, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON of a POST."""
        status, text = self._request("POST", path, body)
        return status, json.loads(text)

    def told(self, name: str) -> list[dict[str, Any]]:
        """The fields of every event of that name, oldest first."""
        return [event["fields"] for event in self.events() if event["name"] == name]

    def cli(self, *words: str) -> str:
        """`rmlb WORDS` against this balancer; what it prints. AssertionError if it fails."""
        command = [sys.executable, "-m", "rmlb.cli", *words]
        command += ["--api", f"http://{HOST}:{self.admin_port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def wait_health(self, member: int, health: str, timeout_s: float = 10.0) -> None:
        """Wait until health checking says that of the member ("in service", ...)."""
        wait_until(
            f"member {member} {health}",
            lambda: bool(self.members()[member]["health"] == health),
            timeout_s,
        )

    def initial_requests(self) -> dict[int, int]:
        """New calls offered to each member so far."""
        found = self.metrics().by("rmlb_member_initial_requests_total", "member")
        return {int(member): int(value) for member, value in found.items()}

    def share(self, member: int) -> float:
        """The member's part of all new calls, 0 to 1."""
        offered = self.initial_requests()
        return offered.get(member, 0) / max(1, sum(offered.values()))

    def assert_balanced(self) -> None:
        """received = forwarded + answered + absorbed + dropped + held (SIP-RULES 8)."""
        metrics = self.metrics()
        received = metrics.total("rmlb_messages_received_total")
        ends = {
            end: metrics.total(f"rmlb_messages_{end}")
            for end in (
                "forwarded_total",
                "answered_total",
                "absorbed_total",
                "dropped_total",
                "held",
            )
        }
        assert received > 0, "nothing was received at all"
        assert received == sum(ends.values()), f"received {received} but {ends}\n{metrics.text}"

    # its two processes

    def children(self) -> list[int]:
        """The worker, by process id."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def signal_all(self, number: signal.Signals) -> None:
        """To keeper and worker."""
        for pid in (self.pid, *self.children()):
            os.kill(pid, number)

    def freeze(self) -> None:
        self.signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal_all(signal.SIGCONT)

    # how it ends

    def stop(self, timeout_s: float = 10.0) -> None:
        """SIGTERM; it must end with status 0 and without a traceback on stderr."""
        if self._child is None:
            return
        self.send_signal(signal.SIGTERM)
        code = self.wait(timeout_s)
        self.assert_clean_stderr()
        assert code == 0, f"{self.name} ended with {code}; stderr:\n{self.stderr[-4000:]}"

    def assert_clean_stderr(self) -> None:
        assert "Traceback" not in self.stderr, self.stderr[-6000:]

    def close(self) -> None:
        if self.running:
            self.stop()
        elif self._child is not None:
            self.assert_clean_stderr()
