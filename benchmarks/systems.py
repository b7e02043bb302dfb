"""What is compared, and how each is started: in a folder of its own, pinned to one core."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks import kamailio
from benchmarks.generator import BUFFER, Ports
from benchmarks.native import build
from benchmarks.resources import is_bound, session

KAMAILIO = shutil.which("kamailio") or "/usr/sbin/kamailio"


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start it; `ready_path` on the admin port says 200 once it can carry calls."""

    command: list[str]
    environment: dict[str, str]
    ready_path: str = ""


@dataclass(frozen=True, slots=True)
class System:
    """`missing` tells why it cannot run here, or nothing. `keeps_dialogs`: a dialog stays with its
    member. `engine` is rmlb's."""

    name: str
    title: str
    transport: str
    launch: Callable[[Path, Ports], Launch]
    missing: Callable[[], str]
    keeps_dialogs: bool = True
    engine: str = ""


class Running:
    """One started system; its whole session is its process group."""

    def __init__(self, system: System, folder: Path, ports: Ports, core: int | None) -> None:
        self.system = system
        self.ports = ports
        self._log = folder / "output.log"
        launch = system.launch(folder, ports)
        pinned = ["taskset", "-c", str(core)] if core is not None else []
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [*pinned, *launch.command],
                env={**os.environ, **launch.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=folder,
            )
        self._until(lambda: is_bound(ports.proxy, system.transport))
        if launch.ready_path:
            self._until(lambda: self._says(launch.ready_path))

    @property
    def pids(self) -> list[int]:
        return session(self._child.pid)

    @property
    def last_words(self) -> str:
        """The end of what it wrote to its standard output and error."""
        return self._log.read_text(errors="replace")[-2000:]

    def reload(self) -> None:
        """SIGHUP: an rmlb reads its configuration again."""
        self._child.send_signal(signal.SIGHUP)

    def close(self) -> None:
        left = self.pids
        self._child.terminate()
        try:
            self._child.wait(10.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for pid in set(left) & set(session(self._child.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            if self._child.poll() is not None or time.monotonic() > end:
                self.close()
                raise RuntimeError(f"{self.system.name} did not come up:\n{self.last_words}")
            time.sleep(0.02)

    def _says(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.ports.admin}{path}", timeout=2.0
            ) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _blind(_: Path, ports: Ports) -> Launch:
    numbers = (ports.proxy, ports.caller, ports.member, ports.members, BUFFER)
    return Launch([str(build("blindrelay")), *map(str, numbers)], {})


def _rmlb(engine: str, transport: str, state: str = "") -> Callable[[Path, Ports], Launch]:
    def launch(folder: Path, ports: Ports) -> Launch:
        members = "".join(
            f'[rm.{i + 1}]\nsip = "{transport}:127.0.0.1:{ports.member + i}"\n'
            for i in range(ports.members)
        )
        (folder / "rmlb.toml").write_text(
            '[cluster]\nha-mode = "active-active"\nvirtual-ip = "127.0.0.1"\n'
            f"{members}"
            f'[sip]\nlisten = ["{transport}:{ports.proxy}"]\n'
            f'[state]\ndir = "{folder / "state"}"\n{state}\n'
            f'[admin]\nlisten = "127.0.0.1:{ports.admin}"\n'
        )
        return Launch(
            [sys.executable, "-m", "rmlb.cli", "run", str(folder / "rmlb.toml")],
            {"RMLB_ENGINE": engine},
            "/readyz",
        )

    return launch


def _engine_missing(engine: str) -> Callable[[], str]:
    def missing() -> str:
        from rmlb.cli.balancer import choose_engine
        from rmlb.cli.failure import CliError

        try:
            choose_engine({"RMLB_ENGINE": engine})
        except CliError as error:
            return str(error)
        return ""

    return missing


def _kamailio(
    transport: str, *, stateful: bool, memory: str = "fm"
) -> Callable[[Path, Ports], Launch]:
    def launch(folder: Path, ports: Ports) -> Launch:
        config = folder / "kamailio.cfg"
        config.write_text(
            kamailio.configuration(str(folder), ports, transport=transport, stateful=stateful)
        )
        (folder / "dispatcher.list").write_text(
            kamailio.dispatcher_list(ports, transport=transport)
        )
        return Launch(
            [
                KAMAILIO, "-f", str(config), "-DD", "-E", "-x", memory, "-m", "4096", "-M", "32",
                "-w", str(folder), "-Y", str(folder), "-P", str(folder / "kamailio.pid"),
            ],
            {},
        )  # fmt: skip

    return launch


def _kamailio_missing() -> str:
    return "" if os.access(KAMAILIO, os.X_OK) else "kamailio is not installed"


def _nothing() -> str:
    return ""


def _rmlb_system(engine: str, transport: str) -> System:
    name = f"rmlb-{engine}" + ("-tcp" if transport == "tcp" else "")
    title = f"rmlb, {engine} engine" + (", TCP" if transport == "tcp" else "")
    return System(
        name, title, transport, _rmlb(engine, transport), _engine_missing(engine), engine=engine
    )


def rmlb_with_state(engine: str, url: str) -> System:
    """rmlb over UDP whose bindings go into that store."""
    return System(
        f"rmlb-{engine}-{url.partition(':')[0]}",
        f"rmlb, {engine} engine, {url}",
        "udp",
        _rmlb(engine, "udp", f'url = "{url}"'),
        _engine_missing(engine),
        engine=engine,
    )


BLIND = System("blind", "blind relay", "udp", _blind, _nothing, keeps_dialogs=False)
KAMAILIO_STATELESS = System(
    "kamailio", "Kamailio, stateless", "udp", _kamailio("udp", stateful=False), _kamailio_missing
)
KAMAILIO_STATEFUL = System(
    "kamailio-tm",
    "Kamailio, t_relay with failover",
    "udp",
    _kamailio("udp", stateful=True),
    _kamailio_missing,
)
KAMAILIO_TLSF = System(
    "kamailio-tm-tlsf",
    "Kamailio, t_relay with failover, -x tlsf",
    "udp",
    _kamailio("udp", stateful=True, memory="tlsf"),
    _kamailio_missing,
)
KAMAILIO_TCP = System(
    "kamailio-tcp", "Kamailio, TCP", "tcp", _kamailio("tcp", stateful=False), _kamailio_missing
)
SYSTEMS: dict[str, System] = {
    s.name: s
    for s in (
        BLIND,
        _rmlb_system("compiled", "udp"),
        _rmlb_system("python", "udp"),
        KAMAILIO_STATELESS,
        KAMAILIO_STATEFUL,
        KAMAILIO_TLSF,
        _rmlb_system("compiled", "tcp"),
        _rmlb_system("python", "tcp"),
        KAMAILIO_TCP,
    )
}
