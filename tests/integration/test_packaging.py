"""What is given to people: sdist and wheel, the bundle, the unit; installed where nothing is.

Everything is built once: the sdist of what is tracked, of that the wheel, and with it the bundle,
which is installed in a network namespace without any interface and with a compiler that fails.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import free_port, wait_until
from rig_systemd import Machine

from rmlb import __version__

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "config" / "rmlb.service"


def run(*command: str | Path, **environ: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT, env={**os.environ, **environ},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that any user may enter."""
    path = Path(tempfile.mkdtemp(prefix="rmlb-packaging-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def sdist(place: Path) -> Path:
    run(ROOT / ".ci" / "source", place / "source")
    out = place / "sdist"
    run(sys.executable, "-m", "build", "--sdist", "--outdir", out, place / "source")
    (found,) = out.iterdir()
    return found


@pytest.fixture(scope="module")
def bundle(place: Path, sdist: Path) -> Path:
    """The unpacked bundle, its wheel of rmlb made of the sdist."""
    run(ROOT / ".ci" / "bundle", place / "dist", PYTHON=sys.executable, SOURCE=str(sdist))
    (archive,) = (place / "dist").iterdir()
    with tarfile.open(archive) as tar:
        tar.extractall(place, filter="data")
    unpacked = place / archive.name.removesuffix(".tar.gz")
    assert unpacked.is_dir(), "one folder, named as the archive"
    return unpacked


@pytest.fixture(scope="module")
def installed(place: Path, bundle: Path) -> Path:
    prefix = place / "opt" / "rmlb"
    prefix.parent.mkdir()
    run(
        "unshare", "--net", bundle / "install.sh", prefix,
        CC="/bin/false", CXX="/bin/false", PYTHON=sys.executable,
    )  # fmt: skip
    return prefix


def engine_modules(names: list[str]) -> bool:
    """Every module of the compiled engine is among these."""
    wanted = {path.stem for path in (ROOT / "rmlb" / "fastpath").glob("*.pyx")}
    found = re.findall(r"^rmlb/fastpath/(\w+)\.[\w-]+\.so$", "\n".join(names), re.MULTILINE)
    return bool(wanted) and set(found) == wanted


def test_the_bundle_is_whole(bundle: Path) -> None:
    names = {path.name for path in bundle.iterdir()}
    assert {"install.sh", "wheels", "config", "docs", "README.md", "LICENSE"} <= names
    config = {path.name for path in (bundle / "config").iterdir()}
    assert {"rmlb.toml", "rmlb.service", "rmlb.sysusers", "rmlb.sysctl"} <= config
    assert {"prometheus-rules.yml", "grafana-dashboard.json"} <= config
    wheels = [path.name for path in (bundle / "wheels").iterdir()]
    assert all(name.endswith(".whl") for name in wheels)
    (own,) = (bundle / "wheels").glob(f"rmlb-{__version__}-*.whl")
    with zipfile.ZipFile(own) as archive:
        assert engine_modules(archive.namelist()), "the sdist lacks sources of the engine"


def test_a_damaged_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    with (copy / "LICENSE").open("a") as file:
        file.write("x")
    done = subprocess.run(
        [copy / "install.sh", tmp_path / "opt"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "the bundle is damaged" in done.stderr
    assert not (tmp_path / f"opt-{__version__}").exists()


def test_it_installs_without_network_and_compiler(installed: Path) -> None:
    rmlb = installed / "bin" / "rmlb"
    assert run(rmlb, "version").strip() == f"rmlb {__version__}"
    engine = "from rmlb import fastpath; print(fastpath.is_built())"
    assert run(installed / "bin" / "python", "-I", "-c", engine).strip() == "True"
    assert "virtual-ip" in run(rmlb, "check", installed / "share/rmlb/config/rmlb.toml")
    assert installed.is_symlink()


def test_it_installs_again_over_itself(installed: Path, bundle: Path) -> None:
    run(bundle / "install.sh", installed, PYTHON=sys.executable)
    assert run(installed / "bin" / "rmlb", "version").strip() == f"rmlb {__version__}"


def test_the_sdist_is_whole(sdist: Path) -> None:
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "rmlb/alarms/unprivileged.py"} <= names


def test_the_wheel_installs_as_any_other(bundle: Path, tmp_path: Path) -> None:
    """Without install.sh and its pins: what it needs is what it says of itself."""
    (wheel,) = (bundle / "wheels").glob(f"rmlb-{__version__}-*.whl")
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    run(
        *(sys.executable, "-m", "pip", "--python", venv / "bin" / "python"),
        *("--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-compile"),
        *("--find-links", bundle / "wheels", wheel),
    )
    assert run(venv / "bin" / "rmlb", "version").strip() == f"rmlb {__version__}"


class TestUnit:
    def test_systemd_accepts_it(self, tmp_path: Path) -> None:
        text = UNIT.read_text()
        unit = tmp_path / "rmlb.service"
        unit.write_text(text.replace("/opt/rmlb/bin/rmlb", "/bin/true"))
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", unit],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        about_it = [line for line in done.stderr.splitlines() if "rmlb" in line]
        assert about_it == []

    def test_its_exposure(self) -> None:
        """2.2: nearly all of it the sockets and the network capabilities that are its purpose."""
        out = run("systemd-analyze", "security", "--offline=true", "--threshold=25", UNIT)
        found = re.search(r"Overall exposure level for rmlb.service: ([0-9.]+)", out)
        assert found
        assert float(found[1]) <= 2.5

    def test_what_it_promises(self) -> None:
        text = UNIT.read_text()
        for line in (
            "Type=notify", "KillMode=mixed", "User=rmlb", "NoNewPrivileges=yes",
            "ExecStopPost=-/opt/rmlb/bin/rmlb vip disable /etc/rmlb/rmlb.toml",
            "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE",
        ):  # fmt: skip
            assert f"\n{line}\n" in text

    def test_drain_fits_into_its_time(self) -> None:
        from rmlb.config import DrainConfig

        found = re.search(r"^TimeoutStopSec=(\d+)s$", UNIT.read_text(), re.MULTILINE)
        assert found
        assert int(found[1]) > DrainConfig().limit_s + 10


SITE = """
[cluster]
virtual-ip = "10.99.0.100/24"
[rm.1]
sip = "10.99.0.11:5060"
[vip]
provider = "netlink"
interface = "eth0"
[admin]
listen = "127.0.0.1:8560"
"""


def test_under_systemd(bundle: Path, tmp_path: Path) -> None:
    """As docs/deployment.md has it: install, start, reload, a frozen and a killed balancer, stop.

    The unit as it is, with all that it forbids."""
    unit = "rmlb"
    with Machine(tmp_path, bundle) as machine:
        machine.does("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "switch")
        machine.does("ip", "link", "set", "switch", "up")
        machine.does("ip", "address", "add", "10.99.0.1/24", "dev", "eth0")
        machine.does("ip", "link", "set", "eth0", "up")
        machine.does("env", "PYTHON=/usr/bin/python3", "/tmp/given/install.sh", "/opt/rmlb")
        share = "/opt/rmlb/share/rmlb/config"
        machine.does("install", "-D", f"{share}/rmlb.sysusers", "/etc/sysusers.d/rmlb.conf")
        machine.does("systemd-sysusers")
        machine.does("cp", f"{share}/rmlb.service", "/etc/systemd/system/")
        machine.does("mkdir", "/etc/rmlb")
        machine.does("sh", "-c", f"echo '{SITE}' >/etc/rmlb/rmlb.toml")
        machine.does("systemctl", "daemon-reload")

        def holds() -> bool:
            return "10.99.0.100/" in machine.does("ip", "address", "show", "eth0")

        def pid() -> str:
            return machine.shows(unit, "MainPID")

        machine.does("systemctl", "enable", "--now", unit)  # returns when it said READY
        wait_until("the VIP is here", holds)
        assert machine.does("stat", "--format=%U", f"/proc/{pid()}").strip() == "rmlb"
        wait_until("it says so", lambda: "owner" in machine.shows(unit, "StatusText"))
        first = pid()

        machine.does("systemctl", "reload", unit)  # RELOADING, then READY again
        assert pid() == first
        assert "event=reloaded" in machine.does("journalctl", "--unit=rmlb", "--output=cat")

        machine.does("kill", "-STOP", first)  # no more food for the watchdog
        wait_until("it is restarted", lambda: pid() not in (first, "0") and holds(), 60.0)
        second = pid()
        machine.does("kill", "-KILL", second)
        wait_until("and again", lambda: pid() not in (second, "0") and holds(), 60.0)

        machine.does("systemctl", "stop", unit)
        assert machine.shows(unit, "Result") == "success"
        assert not holds()
        machine.does("ip", "address", "add", "10.99.0.100/24", "dev", "eth0")
        assert holds()
        journal = machine.does("journalctl", "--unit=rmlb", "--output=cat")
        assert "Traceback" not in journal
        assert "Operation not permitted" not in journal


SANDBOX = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN = 65, 1
libc.prctl(PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)  # Linux 6.3; older ones have no such thing
os.execv(sys.argv[1], sys.argv[1:])
"""
"""MemoryDenyWriteExecute as a program of its own."""


def test_it_runs_as_the_unit_runs_it(installed: Path, place: Path) -> None:
    """Three capabilities and nothing that user 0 is otherwise given (the interpreter of the tests
    may be out of reach for anybody else), no privileges to gain, no writable code; SIP on a port
    below 1024, and a reaction without any capability."""
    admin, sip = free_port(), 260
    state, told = place / "state", place / "told"
    told.mkdir()
    config = place / "rmlb.toml"
    look = f"grep -E '^Cap' /proc/self/status > {told}/caps"
    config.write_text(
        '[cluster]\nvirtual-ip = "127.0.0.1"\n[rm.1]\nsip = "127.0.0.1:9"\n'
        f'[sip]\nlisten = ["udp:127.0.99.1:{sip}"]\n[state]\ndir = "{state}"\n'
        f'[admin]\nlisten = "127.0.0.1:{admin}"\n'
        f'[[reaction]]\non = ["started"]\ncommand = ["/bin/sh", "-c", "{look}"]\n'
    )
    three = "+net_admin,+net_raw,+net_bind_service"
    command = [
        *("setpriv", "--clear-groups", "--securebits=+noroot,+noroot_locked"),
        *(f"--inh-caps=-all,{three}", f"--ambient-caps=-all,{three}"),
        *(f"--bounding-set=-all,{three}", "--no-new-privs"),
        *(sys.executable, "-c", SANDBOX, str(installed / "bin" / "rmlb"), "run", str(config)),
    ]
    errors = place / "errors"
    with errors.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, cwd="/", env={"PATH": os.environ["PATH"]})
    try:
        wait_until("alive", lambda: process.poll() is None and _alive(admin), 15.0)
        wait_until("the reaction ran", lambda: (told / "caps").exists())
        status = Path(f"/proc/{process.pid}/status").read_text()
        caps = dict(re.findall(r"^(Cap\w+):\s+(\w+)$", status, re.MULTILINE))
        assert int(caps["CapEff"], 16) == int(caps["CapBnd"], 16) == (1 << 12 | 1 << 13 | 1 << 10)
        time.sleep(0.1)
        of_reaction = dict(
            re.findall(r"^(Cap\w+):\s+(\w+)$", (told / "caps").read_text(), re.MULTILINE)
        )
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(of_reaction[name], 16) == 0, name
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
    assert code == 0, errors.read_text()
    assert "Traceback" not in errors.read_text()


def _alive(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2.0) as answer:
            return int(answer.status) == 200
    except OSError:
        return False
