"""`make run` and `make demo` without make: what starts is told, works, and ends as one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import rig
from conftest import Start
from rig import Sipp, assert_all_succeeded


class Quickstart(rig.Process):
    """`python -m rmlb.sim.quickstart` on free ports."""

    def __init__(self, directory: Path) -> None:
        self.port, self.admin_port, first, second = (rig.free_port() for _ in range(4))
        self.member_ports = (first, second)
        path = directory / "quick.toml"
        path.write_text(
            f'[cluster]\nha-mode = "active-active"\nvirtual-ip = "{rig.HOST}"\n'
            f'[rm.1]\nsip = "{rig.HOST}:{first}"\n[rm.2]\nsip = "{rig.HOST}:{second}"\n'
            f'[sip]\nlisten = ["udp:{self.port}", "tcp:{self.port}"]\n'
            f'[state]\ndir = "{directory / "state"}"\n'
            f'[admin]\nlisten = "{rig.HOST}:{self.admin_port}"\n'
        )
        command = [sys.executable, "-u", "-m", "rmlb.sim.quickstart", path]
        super().__init__(directory, "quickstart", command)

    def start(self) -> Quickstart:
        super().start()
        rig.wait_until(
            "the welcome", lambda: "Ctrl-C ends" in self.stdout or not self.running, 20.0
        )
        assert self.running, self.stderr
        return self

    def balancer_pid(self) -> int:
        """The one child that it has."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        assert len(children) == 1
        return int(children[0])

    def nothing_is_left(self) -> bool:
        ports = (self.port, *self.member_ports)
        return not any(rig.is_bound(port, kind) for port in ports for kind in ("udp", "tcp"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_make_run(tmp_path: Path, start: Start, number: signal.Signals) -> None:
    quickstart = start(Quickstart(tmp_path))
    assert f"sipp -sn uac {rig.HOST}:{quickstart.port} -m 100" in quickstart.stdout
    assert f"http://{rig.HOST}:{quickstart.admin_port}/api/v1/status" in quickstart.stdout
    uac = start(Sipp(tmp_path, "sn:uac", target=quickstart.port, rate=100, calls=100))
    assert_all_succeeded(uac, uac.finish(), 100)
    quickstart.send_signal(number)
    assert quickstart.wait(15.0) == 0, quickstart.stderr
    assert quickstart.nothing_is_left()
    assert "Traceback" not in quickstart.stderr
    assert "misrouted 0" in quickstart.stdout


@pytest.mark.parametrize("which", ["port", "admin_port", "member"])
def test_a_port_in_use_is_named(tmp_path: Path, which: str) -> None:
    quickstart = Quickstart(tmp_path)
    port = quickstart.member_ports[1] if which == "member" else getattr(quickstart, which)
    with socket.create_server((rig.HOST, port)):
        done = subprocess.run(
            quickstart.command, capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert f"{rig.HOST}:{port}" in done.stderr
    assert "address already in use" in done.stderr


def test_the_balancer_dies(tmp_path: Path, start: Start) -> None:
    quickstart = start(Quickstart(tmp_path))
    os.kill(quickstart.balancer_pid(), signal.SIGKILL)
    assert quickstart.wait(15.0) == 1
    assert "the balancer ended with status -9" in quickstart.stderr
    assert quickstart.nothing_is_left()


def test_a_wrong_configuration(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("[clutser]\n")
    command = [sys.executable, "-m", "rmlb.sim.quickstart", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "clutser" in done.stderr
    assert "Traceback" not in done.stderr


class Demo(rig.Process):
    """`python -m rmlb.sim.demo`, in a hurry."""

    def __init__(self, directory: Path) -> None:
        self.scratch = directory / "scratch"
        self.scratch.mkdir()
        super().__init__(
            directory, "demo", [sys.executable, "-m", "rmlb.sim.demo", "--pace", "0.1"]
        )

    def start(self) -> Demo:
        self._spawn({"TMPDIR": str(self.scratch), "COLUMNS": "200"})
        return self

    def nothing_is_left(self) -> bool:
        """No file, and no process: whatever it starts inherits where its files are."""
        return not list(self.scratch.iterdir()) and not any(
            str(self.scratch).encode() in environment(process)
            for process in Path("/proc").glob("[0-9]*")
        )


def environment(process: Path) -> bytes:
    with contextlib.suppress(OSError):  # it has ended meanwhile, or is somebody else's
        return (process / "environ").read_bytes()
    return b""


def test_make_demo(tmp_path: Path, start: Start) -> None:
    demo = start(Demo(tmp_path))
    assert demo.wait(120.0) == 0, demo.stdout + demo.stderr
    shown = demo.stdout
    for text in ("member 2 is killed", "which owns the virtual IP, is killed", "the calls go on"):
        assert text in shown
    assert "What became of the calls" in shown
    assert "No call was lost" in shown
    assert demo.stderr == ""
    assert demo.nothing_is_left()


def test_make_demo_interrupted(tmp_path: Path, start: Start) -> None:
    demo = start(Demo(tmp_path))
    rig.wait_until("calls flow", lambda: "calls a second" in demo.stdout, 60.0)
    url = demo.stdout.split("dashboard: ")[1].split()[0]
    with urllib.request.urlopen(f"{url}api/v1/status", timeout=10) as answer:
        status = json.load(answer)
    assert status["vip"]["owner"] is True
    demo.send_signal(signal.SIGINT)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(30.0) == 130, demo.stdout + demo.stderr
    assert demo.stdout.rstrip().endswith("demo: interrupted")
    assert demo.stderr == ""
    assert demo.nothing_is_left()
