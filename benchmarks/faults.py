"""What goes wrong in `chaos.py`: each fault is a context manager, done at its start and undone at
its end. It hands out what it was done to, and which member it put out of service.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "integration")]

from rig_net import ADDRESSES, VIP, NetBalancer, Site, ip, kill_all  # noqa: E402
from rig_process import Process, wait_until  # noqa: E402

from benchmarks.native import build  # noqa: E402

PLAYERS = HERE / "players.py"
FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
"""Of Debian's libfaketime; .ci/packages sees to it."""


class Stage(Site):
    """Two balancers with a witness and a store, two members, a caller: all as processes."""

    def __init__(self, directory: Path, rng: Random) -> None:
        super().__init__(directory)
        self.rng = rng
        self.pool: dict[int, Process] = {}
        self.clock = directory / "clock"
        """What the balancers' wall clocks are shifted by, as faketime reads it."""
        self.security = ""
        """More of their `[security]`."""
        self.watchers: list[Process] = []

    def open(self, rate: int) -> None:
        """Everything starts, and all is normal."""
        self.clock.write_text("+0")
        self.start_redis()
        for number in (1, 2):
            host = f"m{number}"
            self.pool[number] = self.player(
                host, f"member{number}", "member", str(number), ADDRESSES[host],
                str(self.directory / f"requests{number}"),
            )  # fmt: skip
        for number in (1, 2):
            balancer = self.make_balancer(number, extra=self.security)
            self.share_state(balancer)
            self.start_again(balancer)
            self._stack.push(balancer.__exit__)
        self.wait_normal(30.0)
        for number in (1, 2):
            watcher = self.player(
                f"b{number}", f"watch{number}", "watch", str(self.directory / f"answers{number}")
            )
            wait_until("it watches", lambda watcher=watcher: "watching" in watcher.stdout)
            self.watchers.append(watcher)
        self.caller = self.player(
            "caller", "caller", "caller", ADDRESSES["caller"], VIP, str(rate),
            str(self.directory / "calls"),
        )  # fmt: skip

    def player(self, host: str, name: str, *words: str) -> Process:
        return self.run(host, name, sys.executable, str(PLAYERS), *words)

    def share_state(self, balancer: NetBalancer) -> None:
        """The witness is its store, too."""
        text = balancer.config_path.read_text()
        url = f'[state]\nurl = "redis://{ADDRESSES["redis"]}:6379/1"\n'
        balancer.config_path.write_text(text.replace("[state]\n", url, 1))

    def start_again(self, balancer: NetBalancer) -> None:
        """Start it with a wall clock that can be shifted."""
        balancer._spawn(
            {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        )

    def shut(self) -> None:
        """The balancers end at once: nobody calls any more."""
        for balancer in self.balancers.values():
            balancer.kill()

    def wait_normal(self, timeout_s: float) -> None:
        """One owner and a ready peer, members in service, the store connected."""
        deadline = time.monotonic() + timeout_s
        self.wait_settled(timeout_s)

        def normal() -> bool:
            try:
                states = [each.status() for each in self.balancers.values()]
            except (OSError, AssertionError):
                return False
            return all(
                state["state"]["connected"]
                and all(member["health"] == "in service" for member in state["members"])
                for state in states
            )

        wait_until("all is normal", normal, max(0.1, deadline - time.monotonic()))

    # whom

    def any_member(self) -> int:
        return self.rng.choice((1, 2))

    def any_balancer(self) -> tuple[str, NetBalancer]:
        owner = self.owner
        role, number = self.rng.choice((("owner", owner), ("standby", 3 - owner)))
        return role, self.balancers[number]

    def number_of(self, balancer: NetBalancer) -> int:
        return next(n for n, each in self.balancers.items() if each is balancer)


@dataclass(frozen=True, slots=True)
class Hit:
    """What a fault was done to."""

    target: str
    member: int = 0


Doing = Callable[[Stage], AbstractContextManager[Hit]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    do: Doing
    longest_s: float = 3.0
    witness_lost: bool = False
    may_fail: str = ""


@contextmanager
def member_killed(stage: Stage) -> Iterator[Hit]:
    number = stage.any_member()
    stage.pool[number].kill()
    yield Hit(f"member {number}", number)
    stage.pool[number].start()


@contextmanager
def member_frozen(stage: Stage) -> Iterator[Hit]:
    number = stage.any_member()
    stage.pool[number].freeze()
    yield Hit(f"member {number}", number)
    stage.pool[number].resume()


@contextmanager
def member_flapping(stage: Stage) -> Iterator[Hit]:
    number = stage.any_member()
    for _ in range(4):
        stage.pool[number].freeze()
        time.sleep(0.3)
        stage.pool[number].resume()
        time.sleep(0.3)
    yield Hit(f"member {number}", number)


@contextmanager
def member_refuses(stage: Stage) -> Iterator[Hit]:
    """503 to every INVITE and to probes."""
    number = stage.any_member()
    stage.pool[number].send_signal(signal.SIGUSR1)
    yield Hit(f"member {number}", number)
    stage.pool[number].send_signal(signal.SIGUSR2)


@contextmanager
def keeper_killed(stage: Stage) -> Iterator[Hit]:
    role, balancer = stage.any_balancer()
    balancer.kill()
    yield Hit(role)
    stage.start_again(balancer)


@contextmanager
def worker_killed(stage: Stage) -> Iterator[Hit]:
    role, balancer = stage.any_balancer()
    os.kill(balancer.worker, signal.SIGKILL)
    yield Hit(role)


def _frozen(choose: Callable[[NetBalancer], list[int]]) -> Doing:
    @contextmanager
    def frozen(stage: Stage) -> Iterator[Hit]:
        role, balancer = stage.any_balancer()
        pids = choose(balancer)
        kill_all(pids, signal.SIGSTOP)
        yield Hit(role)
        with contextlib.suppress(ProcessLookupError):  # it may have been replaced
            kill_all(pids, signal.SIGCONT)

    return frozen


@contextmanager
def released(stage: Stage) -> Iterator[Hit]:
    stage.balancers[stage.owner].post("/api/v1/release")
    yield Hit("owner")


@contextmanager
def taken_over(stage: Stage) -> Iterator[Hit]:
    stage.balancers[3 - stage.owner].post("/api/v1/takeover")
    yield Hit("standby")


@contextmanager
def restarted(stage: Stage) -> Iterator[Hit]:
    role, balancer = stage.any_balancer()
    balancer.send_signal(signal.SIGTERM)
    balancer.wait(10.0)
    yield Hit(role)
    stage.start_again(balancer)


@contextmanager
def partition(stage: Stage) -> Iterator[Hit]:
    with stage.cut("b1", "b2"):
        yield Hit("both balancers")


@contextmanager
def cut_off(stage: Stage) -> Iterator[Hit]:
    owner = stage.owner
    with stage.cut(f"b{owner}", f"b{3 - owner}", "redis"):
        yield Hit("owner")


def _nft(rules: str) -> Doing:
    """Rules for what a balancer's eth0 receives and sends."""

    @contextmanager
    def filtered(stage: Stage) -> Iterator[Hit]:
        role, balancer = stage.any_balancer()
        number = stage.number_of(balancer)
        text = (
            "add table netdev chaos\n"
            "add chain netdev chaos in { type filter hook ingress device eth0 priority 0; }\n"
            "add chain netdev chaos out { type filter hook egress device eth0 priority 0; }\n"
        ) + rules.format(peer=ADDRESSES[f"b{3 - number}"])
        nft = ["ip", "netns", "exec", stage.name(f"b{number}"), "nft"]
        subprocess.run([*nft, "-f", "-"], input=text, text=True, check=True)
        try:
            yield Hit(role)
        finally:
            subprocess.run([*nft, "delete", "table", "netdev", "chaos"], check=True)

    return filtered


@contextmanager
def slow_network(stage: Stage) -> Iterator[Hit]:
    """50 ms each way between one balancer and everybody else."""
    role, balancer = stage.any_balancer()
    number = stage.number_of(balancer)
    bridge, cable = stage.name("net"), f"to-b{number}"
    ip("-n", bridge, "link", "add", "slow-a", "type", "veth", "peer", "name", "slow-b")
    for end in ("slow-a", "slow-b"):
        ip("-n", bridge, "link", "set", end, "up")
    relay = stage.run("net", f"slow{time.monotonic_ns()}", sys.executable,
                      str(HERE / "slow_cable.py"), cable, "slow-a", "50")  # fmt: skip
    wait_until("it carries", lambda: "carrying" in relay.stdout)
    # One way at a time, and none for what it took while there were two: frames that come twice on a
    # large scale are another fault, which sipp does not understand.
    ip("-n", bridge, "link", "set", cable, "nomaster")
    time.sleep(0.06)
    ip("-n", bridge, "link", "set", "slow-b", "master", "br0")
    try:
        yield Hit(role)
    finally:
        ip("-n", bridge, "link", "delete", "slow-a")
        relay.kill()
        ip("-n", bridge, "link", "set", cable, "master", "br0")


@contextmanager
def port_down(stage: Stage) -> Iterator[Hit]:
    role, balancer = stage.any_balancer()
    number = stage.number_of(balancer)
    stage.port(f"b{number}", "down")
    yield Hit(role)
    stage.port(f"b{number}", "up")


@contextmanager
def nic_down(stage: Stage) -> Iterator[Hit]:
    role, balancer = stage.any_balancer()
    ip("-n", balancer.namespace, "link", "set", "eth0", "down")
    yield Hit(role)
    ip("-n", balancer.namespace, "link", "set", "eth0", "up")


@contextmanager
def buffer_overflow(stage: Stage) -> Iterator[Hit]:
    """Junk as fast as one process can send it: more than the socket's buffer takes."""
    words = (str(build("flood")), "junk", ADDRESSES["caller"], VIP, "0", "1")
    flood = stage.run("caller", f"flood{time.monotonic_ns()}", *words)
    yield Hit("owner")
    flood.wait(20.0)


@contextmanager
def redis_killed(stage: Stage) -> Iterator[Hit]:
    """It comes back empty."""
    assert stage.redis is not None
    stage.redis.kill()
    yield Hit("Redis")
    stage.start_redis()


@contextmanager
def redis_frozen(stage: Stage) -> Iterator[Hit]:
    assert stage.redis is not None
    stage.redis.freeze()
    yield Hit("Redis")
    stage.redis.resume()


def _redis(stage: Stage, *words: str) -> None:
    command = ["ip", "netns", "exec", stage.name("redis"), "redis-cli", "-h", ADDRESSES["redis"]]
    subprocess.run([*command, *words], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def redis_flushed(stage: Stage) -> Iterator[Hit]:
    _redis(stage, "FLUSHALL")
    yield Hit("Redis")


@contextmanager
def redis_full(stage: Stage) -> Iterator[Hit]:
    _redis(stage, "CONFIG", "SET", "maxmemory", "1mb")
    yield Hit("Redis")
    _redis(stage, "CONFIG", "SET", "maxmemory", "0")


@contextmanager
def clock_jumped(stage: Stage) -> Iterator[Hit]:
    """The wall clock of both balancers: an hour forth or back, and right again."""
    shift = stage.rng.choice(("+3600", "-3600"))
    stage.clock.write_text(shift)
    yield Hit(f"both, {shift} s")
    stage.clock.write_text("+0")


@contextmanager
def configuration_skewed(stage: Stage) -> Iterator[Hit]:
    """One balancer hashes new calls otherwise, until it is put right."""
    role, balancer = stage.any_balancer()
    text = balancer.config_path.read_text()
    balancer.config_path.write_text(text + '\n[affinity]\nhash-key = "another one"\n')
    balancer.send_signal(signal.SIGHUP)
    yield Hit(role)
    balancer.config_path.write_text(text)
    balancer.send_signal(signal.SIGHUP)


@contextmanager
def admin_flood(stage: Stage) -> Iterator[Hit]:
    role, balancer = stage.any_balancer()
    host = f"b{stage.number_of(balancer)}"
    url = f"http://127.0.0.1:{balancer.admin_port}"
    flood = stage.player(host, f"scrape{time.monotonic_ns()}", "scrape", url, "2")
    yield Hit(role)
    flood.wait(20.0)


def _everything(balancer: NetBalancer) -> list[int]:
    return [balancer.pid, *balancer.children()]


LOSS = "numgen random mod 100 < 5 drop"

KINDS: dict[str, Kind] = {
    "member killed": Kind(member_killed),
    "member frozen": Kind(member_frozen),
    "member flapping": Kind(member_flapping, 0.5),
    "member refuses": Kind(member_refuses),
    "keeper killed": Kind(keeper_killed),
    "worker killed": Kind(worker_killed, 1.0),
    "keeper frozen": Kind(_frozen(lambda b: [b.pid])),
    "worker frozen": Kind(_frozen(lambda b: [b.worker])),
    "host frozen": Kind(_frozen(_everything), 4.0),
    "released": Kind(released, 1.0),
    "taken over": Kind(taken_over, 1.0),
    "restarted": Kind(restarted, 1.0),
    "partition": Kind(partition),
    "one-way partition": Kind(_nft("add rule netdev chaos in ip saddr {peer} drop\n")),
    "cut off from peer and witness": Kind(cut_off),
    "5 percent lost": Kind(
        _nft(f"add rule netdev chaos in {LOSS}\nadd rule netdev chaos out {LOSS}\n")
    ),
    "50 ms late": Kind(slow_network),
    "switch port down": Kind(port_down),
    "NIC down": Kind(nic_down),
    "receive buffer overflows": Kind(buffer_overflow, 1.0),
    "Redis killed": Kind(redis_killed, witness_lost=True),
    "Redis frozen": Kind(redis_frozen, witness_lost=True),
    "Redis flushed": Kind(redis_flushed, 1.0),
    "Redis full": Kind(redis_full),
    "wall clock jumped": Kind(clock_jumped),
    "configuration skewed": Kind(configuration_skewed),
    "admin API flooded": Kind(admin_flood, 2.0),
}


def plan(rng: Random, count: int) -> list[str]:
    """So many faults, each kind as often as another, in an order of their own."""
    names: list[str] = []
    while len(names) < count:
        names += rng.sample(list(KINDS), len(KINDS))
    return names[:count]


def do(name: str, stage: Stage, hold_s: float) -> tuple[Hit, float, float]:
    """What was hit, when it began, and when it was healed (seconds since 1970)."""
    begun = time.time()
    with KINDS[name].do(stage) as hit:
        time.sleep(hold_s)
    return hit, begun, time.time()
