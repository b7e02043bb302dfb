"""Of the rig: a machine of its own under a real systemd, in namespaces, on a copy of this root.

What it writes lies on a tmpfs over the machine's own files, kernel settings and devices are out of
its reach, and its control group ends all of it at once. Needs root.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rig_process import Process, wait_until

GROUPS: Final = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
"""Where the unified hierarchy is, beside older ones or alone."""

_BOOT: Final = """\
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" root
cd root
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs dev
for name in null zero full random urandom tty; do
  : >dev/$name
  mount --bind /dev/$name dev/$name
done
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mkdir dev/pts dev/shm
mount -t tmpfs tmpfs dev/shm
mkdir tmp/given
mount --bind "$2" tmp/given
ip link set lo up
mkdir former
pivot_root . former
umount --lazy /former
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --unit=basic.target --log-target=journal --show-status=0
"""


class Machine(Process):
    """Runs `systemd` as process 1 in front of `given`, which it sees as /tmp/given."""

    def __init__(self, directory: Path, given: Path) -> None:
        place = directory / "machine"
        place.mkdir()
        root = next(path for path in map(Path, GROUPS) if (path / "cgroup.procs").exists())
        self._group = root / f"rmlb-test-{os.getpid()}"
        boot = [
            *("unshare", "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--fork"),
            *("--kill-child", "sh", "-c", _BOOT, "boot", str(place), str(given)),
        ]
        enter = f'echo $$ >"{self._group}/cgroup.procs"; exec "$@"'
        super().__init__(directory, "machine", ["sh", "-c", enter, "enter", *boot])

    def start(self) -> Self:
        self._group.mkdir()
        self._spawn()
        wait_until(
            f"it has booted: {self.stderr}", lambda: self.active("basic.target"), timeout_s=30.0
        )
        return self

    @property
    def first(self) -> int:
        """Its process 1, by the number that it has outside."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command on it, as root."""
        enter = ("nsenter", f"--target={self.first}", "--all", "--root", "--wd")
        return subprocess.run(
            [*enter, *command], capture_output=True, text=True, timeout=120, check=False
        )

    def does(self, *command: str) -> str:
        """The same; it must succeed. What it prints."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def active(self, unit: str) -> bool:
        return self.first != 0 and self.run("systemctl", "is-active", unit).returncode == 0

    def shows(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.does("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        (self._group / "cgroup.kill").write_text("1")
        super().__exit__(kind, error, trace)
        wait_until("all of it has ended", self._is_gone)

    def _is_gone(self) -> bool:
        folders = [path for path in self._group.rglob("*") if path.is_dir()]
        try:
            for path in [*sorted(folders, reverse=True), self._group]:
                path.rmdir()
        except OSError:
            return False
        return True
