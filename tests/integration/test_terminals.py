"""`rmlb top` and `rmlb trace` on a real terminal (tmux), in front of a real balancer."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import rig
from conftest import Start


class Terminal:
    """One tmux server of our own with one window."""

    def __init__(self, width: int, height: int) -> None:
        self._socket = f"rmlb-{uuid.uuid4().hex[:12]}"
        self._size = ("-x", str(width), "-y", str(height))

    def run(self, *command: str) -> None:
        line = f"{shlex.join(command)}; echo ended with $?; sleep 60"
        self._tmux("-f", "/dev/null", "new-session", "-d", *self._size, line)

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def close(self) -> None:
        subprocess.run(
            ["tmux", "-L", self._socket, "kill-server"], capture_output=True, check=False
        )

    def shows(self, *texts: str, timeout_s: float = 20.0) -> None:
        try:
            rig.wait_until(
                f"{texts} on the terminal",
                lambda: all(text in self.screen() for text in texts),
                timeout_s,
            )
        except AssertionError as error:
            error.add_note(self.screen())
            raise

    def _tmux(self, *words: str) -> str:
        size = ("COLUMNS", "LINES")  # of the terminal that runs the tests
        env = {key: value for key, value in os.environ.items() if key not in size}
        done = subprocess.run(
            ["tmux", "-L", self._socket, *words],
            capture_output=True, text=True, check=True, env=env,
        )  # fmt: skip
        return done.stdout


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    found = Terminal(120, 36)
    yield found
    found.close()


@pytest.fixture
def lb(start: Start, tmp_path: Path) -> rig.Balancer:
    members = {n: start(rig.SimulatedMember(tmp_path, n)) for n in (1, 2)}
    addresses = {n: each.address for n, each in members.items()}
    return start(rig.Balancer(tmp_path, addresses))


def command(lb: rig.Balancer, *words: str) -> list[str]:
    api = f"http://{rig.HOST}:{lb.admin_port}"
    return [sys.executable, "-m", "rmlb.cli", *words, "--api", api]


def test_top(lb: rig.Balancer, terminal: Terminal, tmp_path: Path) -> None:
    terminal.run(*command(lb, "top"))
    terminal.shows("active-active", "members", "held here", "member-in-service", "live")
    rig.Sipp(tmp_path, "uac_full", target=lb.port, calls=40, rate=20).run()
    rig.wait_until("the rates are seen", lambda: "█" in terminal.screen())
    lb.put_state(2, "draining")
    terminal.shows("draining", "admin-state-changed", "REQ/S")
    terminal.resize(60, 20)
    rig.wait_until("it is drawn anew", lambda: "REQ/S" not in terminal.screen())
    terminal.shows("draining", "admin-state-changed", " q quit   live")
    terminal.resize(80, 8)
    terminal.shows("ready", " q quit   live")
    lb.stop()
    terminal.shows("not live: no balancer answers")
    lb.start()
    terminal.shows("live")
    terminal.press("q")
    terminal.shows("ended with 0")


def test_top_without_a_balancer(terminal: Terminal) -> None:
    api = f"{rig.HOST}:{rig.free_port()}"
    terminal.run(sys.executable, "-m", "rmlb.cli", "top", "--api", api)
    terminal.shows("no balancer answers", "(connection refused)", " q quit   waiting")
    terminal.press("C-c")
    terminal.shows("ended with 130")


def test_status_on_a_narrow_terminal(lb: rig.Balancer) -> None:
    terminal = Terminal(60, 20)
    try:
        terminal.run(*command(lb, "status"))
        terminal.shows("ended with 0")
        lines = terminal.screen().splitlines()
        assert lines.count("    answered 200") == 2
        assert "in service" in next(line for line in lines if line.startswith(" 1  "))
    finally:
        terminal.close()


def test_top_needs_a_terminal() -> None:
    top = [sys.executable, "-m", "rmlb.cli", "top"]
    done = subprocess.run(top, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "top needs a terminal" in done.stderr


def test_trace(lb: rig.Balancer, terminal: Terminal, tmp_path: Path) -> None:
    terminal.run(*command(lb, "trace"))
    terminal.shows("tracing messages")
    rig.wait_until("it watches", lambda: lb.status()["trace"]["watchers"] == 1)
    rig.Sipp(tmp_path, "uac_full", target=lb.port, calls=1).run()
    terminal.shows("SIP Server", "RM 1", "RM 2", "── INVITE ──", "180 Ringing", "200 OK (BYE)", "▶")
    terminal.press("C-c")
    terminal.shows("ended with 130")
    rig.wait_until("nobody watches", lambda: lb.status()["trace"]["watchers"] == 0)


def test_trace_of_one_call(lb: rig.Balancer, terminal: Terminal, tmp_path: Path) -> None:
    terminal.run(*command(lb, "trace", "--call-id", "1-wanted@"))
    rig.wait_until("it watches", lambda: lb.status()["trace"]["watchers"] == 1)
    args = ["-cid_str", "%u-wanted@%s"]
    rig.Sipp(tmp_path, "uac_full", target=lb.port, calls=3, args=args).run()
    terminal.shows("200 OK (BYE)", "1-wanted@")
    assert "2-wanted@" not in terminal.screen()


def test_trace_ends_with_the_balancer(lb: rig.Balancer, terminal: Terminal) -> None:
    terminal.run(*command(lb, "trace"))
    rig.wait_until("it watches", lambda: lb.status()["trace"]["watchers"] == 1)
    lb.stop()
    terminal.shows("has stopped", "ended with 1")
