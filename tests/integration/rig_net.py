"""Of the rig: hosts of their own, as network namespaces on one bridge, and what goes wrong there.

    with Site(tmp_path) as site:
        site.start_members(); site.start_redis(); site.start_balancers()
        with site.prober() as probe:
            site.unplug("b1")
        print(probe.silence_ms())

Names carry the process id and a count, so that two test runners never meet. Every namespace has
one interface, eth0, and the same network, 10.99.0.0/24. A process of a namespace is started by
`ip netns exec`, which becomes that process.
"""

from __future__ import annotations

import bisect
import contextlib
import ctypes
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

from rig_balancer import Balancer
from rig_process import Process, wait_until
from rig_sipp import Sipp

VIP = "10.99.0.100"
ADDRESSES = {
    "b1": "10.99.0.1",
    "b2": "10.99.0.2",
    "b3": "10.99.0.3",
    "m1": "10.99.0.11",
    "m2": "10.99.0.12",
    "redis": "10.99.0.50",
    "caller": "10.99.0.200",
}
SECRET = "a secret of the site's own"

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_sites = itertools.count(1)

T = TypeVar("T")


def ip(*words: str, check: bool = True) -> None:
    """`ip WORDS`; a failure shows what it says."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Do it in that namespace, in a thread: sockets made there belong to it."""
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        handle = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            assert _libc.setns(handle, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            found.append(work())
        except BaseException as error:
            failed.append(error)
        finally:
            os.close(handle)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def listens(namespace: str, port: int, transport: str) -> bool:
    """Somebody listens there; "u" or "t"."""
    path, state = {"u": ("udp", "07"), "t": ("tcp", "0A")}[transport]
    table = inside(namespace, Path(f"/proc/thread-self/net/{path}").read_text)
    rows = map(str.split, table.splitlines()[1:])
    return any(row[1].endswith(f":{port:04X}") and row[3] == state for row in rows)


class NetBalancer(Balancer):
    """`rmlb run` on a host of its own."""

    def __init__(self, site: Site, number: int, *, interval: str, vip: str, extra: str) -> None:
        self.namespace = site.name(f"b{number}")
        own = ADDRESSES[f"b{number}"]
        others = [f"{ADDRESSES[f'b{n}']}:9811" for n in site.numbers if n != number]
        tables = (
            f'[vip]\nprovider = "netlink"\ninterface = "eth0"\n{vip}\n'
            f'[heartbeat]\nid = {number}\ninterval = "{interval}"\n'
            f'listen = "{own}:9811"\npeers = {json.dumps(others)}\n'
            f'[security]\nsecret = "{SECRET}"\n{extra}'
        )
        super().__init__(
            site.directory,
            {n: f"{ADDRESSES[f'm{n}']}:5060" for n in (1, 2)},
            port=5060,
            admin_port=8560,
            virtual_ip=VIP,
            extra=tables,
            name=f"balancer{number}",
        )
        self.command = ["ip", "netns", "exec", self.namespace, *self.command]

    def _request(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        return inside(self.namespace, lambda: super(NetBalancer, self)._request(method, path, body))

    def begin(self) -> Self:
        """Start it without waiting."""
        self._spawn()
        return self

    @property
    def owner(self) -> bool:
        return bool(self.status()["vip"]["owner"])

    def has_address(self, host: str = VIP) -> bool:
        """The VIP (or this part of it) is on its interface."""
        shown = subprocess.run(
            ["ip", "-n", self.namespace, "-j", "address", "show"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return any(
            address.get("local") == host
            for link in json.loads(shown.stdout)
            for address in link.get("addr_info", [])
        )

    @property
    def worker(self) -> int:
        """Its process id."""
        return self.children()[0]


class NetSipp(Sipp):
    """sipp on a host of the site."""

    @classmethod
    def at(cls, site: Site, host: str, scenario: str, **options: Any) -> Self:
        made = cls(site.directory, scenario, **options)
        made.namespace = site.name(host)
        own = ADDRESSES[host]
        command = [own if word == "127.0.0.1" else word for word in made.command]
        made.command = ["ip", "netns", "exec", made.namespace, *command]
        return made

    namespace = ""

    def start(self) -> Self:
        self._statistics.unlink(missing_ok=True)
        self._spawn()
        if not self._is_caller:
            wait_until(
                f"{self.name} listens: {self.stderr}",
                lambda: listens(self.namespace, self.port, self.transport[0]),
            )
        return self


class Prober(Process):
    """Probes the VIP every 5 ms from the caller's host (prober.py)."""

    def __init__(self, site: Site) -> None:
        self._macs = {site.mac(f"b{n}"): n for n in (1, 2)}
        script = Path(__file__).with_name("prober.py")
        super().__init__(
            site.directory,
            f"prober{next(_sites)}",
            ["ip", "netns", "exec", site.name("caller"), sys.executable, str(script),
             ADDRESSES["caller"], VIP, *self._macs],
        )  # fmt: skip
        self.answers: list[float] = []
        self.ended_at = 0.0
        self.by_host: dict[int, list[float]] = {}

    def start(self) -> Self:
        self._spawn()
        wait_until("the prober probes", lambda: "probing" in self.stdout)
        return self

    def __exit__(self, *why: Any) -> None:
        if self.running:
            self.send_signal(signal.SIGTERM)
            self.wait(10.0)
        if why[0] is None:
            found = json.loads(self.stdout.splitlines()[-1])
            self.answers = sorted(found["answers"])
            self.ended_at = float(found["end"])
            self.by_host = {self._macs[mac]: sorted(at) for mac, at in found["hosts"].items()}

    def silence_ms(self, since: float = 0.0) -> float:
        """The longest gap between answers that ends after `since` (seconds since 1970)."""
        pairs = itertools.pairwise([*self.answers, self.ended_at])
        return 1000 * max((b - a for a, b in pairs if b > since), default=float("inf"))

    def two_owners_ms(self) -> float:
        """How long both hosts answered at once: probes of one that lie between the other's."""
        first, second = (self.by_host.get(n, []) for n in (1, 2))
        return 5.0 * sum(_between(at, second) for at in first)

    def last_answer(self, host: int) -> float:
        return max(self.by_host.get(host, [0.0]))


def _between(at: float, others: list[float]) -> bool:
    """Others answered both just before and just after."""
    place = bisect.bisect(others, at)
    before = place > 0 and at - others[place - 1] < 0.0075
    return before and place < len(others) and others[place] - at < 0.0075


class Site:
    """A bridge and six hosts, or seven: with three balancers."""

    def __init__(self, directory: Path, balancers: int = 2) -> None:
        self.directory = directory
        self.numbers = range(1, balancers + 1)
        self._prefix = f"rv{os.getpid() % 100000}x{next(_sites)}"
        self._stack = ExitStack()
        self.balancers: dict[int, NetBalancer] = {}
        self.redis: Process | None = None
        self.members: dict[int, NetSipp] = {}

    def name(self, host: str) -> str:
        return f"{self._prefix}{host}"

    def __enter__(self) -> Self:
        self._stack.__enter__()
        bridge = self.name("net")
        self._namespace(bridge)
        ip("-n", bridge, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        ip("-n", bridge, "link", "set", "br0", "up")
        for host in ADDRESSES:
            if host[0] == "b" and int(host[1:]) not in self.numbers:
                continue
            self._namespace(self.name(host))
            self.plug(host)
        return self

    def __exit__(self, *why: Any) -> None:
        self._stack.__exit__(*why)

    def _namespace(self, name: str) -> None:
        ip("netns", "add", name)
        self._stack.callback(ip, "netns", "delete", name, check=False)
        ip("-n", name, "link", "set", "lo", "up")

    # cables

    def plug(self, host: str) -> None:
        """A new cable from the host's eth0 to the switch."""
        namespace, bridge = self.name(host), self.name("net")
        # fmt: off
        ip("-n", namespace, "link", "add", "eth0", "type", "veth",
           "peer", "name", f"to-{host}", "netns", bridge)
        # fmt: on
        ip("-n", bridge, "link", "set", f"to-{host}", "master", "br0", "up")
        ip("-n", namespace, "address", "add", f"{ADDRESSES[host]}/24", "dev", "eth0")
        ip("-n", namespace, "link", "set", "eth0", "up")

    def port(self, host: str, state: str) -> None:
        """The switch port of a host: "up" or "down"."""
        ip("-n", self.name("net"), "link", "set", f"to-{host}", state)

    def delete_cable(self, host: str) -> None:
        """The host vanishes from the network; its processes do not know."""
        ip("-n", self.name("net"), "link", "delete", f"to-{host}")

    def mac(self, host: str) -> str:
        path = "/sys/class/net/eth0/address"
        return subprocess.run(
            ["ip", "netns", "exec", self.name(host), "cat", path],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip

    @contextlib.contextmanager
    def cut(self, host: str, *from_hosts: str) -> Iterator[None]:
        """Nothing passes between this host and those, in either direction."""
        table = "\n".join(
            f"add rule netdev cut {chain} ether type ip ip {direction} {ADDRESSES[other]} drop"
            for other in from_hosts
            for chain, direction in (("in", "saddr"), ("out", "daddr"))
        )
        rules = (
            "add table netdev cut\n"
            "add chain netdev cut in { type filter hook ingress device eth0 priority 0; }\n"
            "add chain netdev cut out { type filter hook egress device eth0 priority 0; }\n"
            f"{table}\n"
        )
        nft = ["ip", "netns", "exec", self.name(host), "nft"]
        done = subprocess.run(
            [*nft, "-f", "-"], input=rules, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        try:
            yield
        finally:
            subprocess.run([*nft, "delete", "table", "netdev", "cut"], check=True)

    # processes

    def start(self, process: Any) -> Any:
        return self._stack.enter_context(process)

    def run(self, host: str, name: str, *command: str) -> Process:
        """A process on a host, ended with the site."""
        words = ["ip", "netns", "exec", self.name(host), *command]
        return self._stack.enter_context(Process(self.directory, name, words))

    def start_redis(self) -> None:
        """The witness: forgets everything when it is killed."""
        self.redis = self.run(
            "redis", f"redis{next(_sites)}", "redis-server", "--bind", ADDRESSES["redis"],
            "--protected-mode", "no", "--save", "", "--appendonly", "no",
        )  # fmt: skip
        wait_until("redis listens", lambda: listens(self.name("redis"), 6379, "t"))

    def start_members(self, scenario: str = "uas_member") -> dict[int, NetSipp]:
        return {
            n: self.start(
                NetSipp.at(self, f"m{n}", scenario, port=5060, transport="u1",
                           keys={"member": n}, hold_ms=0, name=f"member{n}")
            )
            for n in (1, 2)
        }  # fmt: skip

    def make_balancer(
        self,
        number: int,
        *,
        interval: str = "100ms",
        witness: bool = True,
        vip: str = "",
        extra: str = "",
    ) -> NetBalancer:
        url = f"redis://{ADDRESSES['redis']}:6379/0" if witness else "none"
        made = NetBalancer(
            self, number, interval=interval, vip=f'witness = "{url}"\n{vip}', extra=extra
        )
        self.balancers[number] = made
        return made

    def start_balancers(self, **options: Any) -> None:
        """All of them, alike."""
        for number in self.numbers:
            self.make_balancer(number, **options)
        self.begin_balancers()

    def begin_balancers(self) -> None:
        """Those that were made; returns when one owns and the others are ready."""
        for balancer in self.balancers.values():
            balancer._spawn()
            self._stack.push(balancer.__exit__)
        self.wait_settled()

    def wait_settled(self, timeout_s: float = 20.0) -> None:
        """One owns, and the other one hears it and could take over."""

        def settled() -> bool:
            try:
                states = [each.status() for each in self.balancers.values()]
            except (OSError, AssertionError):
                return False
            owners = [state["vip"]["owner"] for state in states]
            heard = all(peer["alive"] for state in states for peer in state["peers"])
            return sum(owners) == 1 and heard and all(state["ready"] for state in states)

        wait_until("one owner, one ready standby", settled, timeout_s)

    @property
    def owner(self) -> int:
        found = [n for n, each in self.balancers.items() if each.running and each.owner]
        assert len(found) == 1, f"owners: {found}"
        return found[0]

    def prober(self) -> Prober:
        return Prober(self)


def kill_all(pids: Iterable[int], number: signal.Signals) -> None:
    """One signal to several processes, as close together as can be."""
    for pid in pids:
        os.kill(pid, number)


def now() -> float:
    return time.time()
