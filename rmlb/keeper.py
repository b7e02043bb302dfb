"""The parent process: holds the virtual IP and watches the worker (HA-RULES 1).

Plain asyncio, no packets, no admin API: nothing here may stall. Starts the worker (node.py), which
carries the calls, starts it again when it dies, and lets go of the VIP when it stands still.
Relays commands and signals. `vip.holding` decides who owns.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from rmlb import config as configuration
from rmlb import will
from rmlb.config import Config, ConfigError, VipProvider
from rmlb.events import Event, EventName, Severity, Value, write_log
from rmlb.notify import notify, watchdog_interval_s
from rmlb.ownership import Page, clock
from rmlb.script import ScriptEnd
from rmlb.tether import Message, Tether, pair
from rmlb.vip.advert import Alongside, Keys, SharedLoss
from rmlb.vip.ballot import Farewell, Health, Release, Settings, Stop, Takeover
from rmlb.vip.election import Election
from rmlb.vip.heartbeat import Heartbeats
from rmlb.vip.holding import Holding
from rmlb.vip.interface import Interface
from rmlb.vip.lease import Lease
from rmlb.vip.lossnews import LossNews
from rmlb.vip.nics import GATEWAY_WORTH, MOST_MEMBERS, NIC_WORTH, Gateway, Nics
from rmlb.vip.providers import ByNetlink, ByScript, Nobody, Provider, present
from rmlb.vip.rtnetlink import Monitor, Netlink

STILL_S: Final = 0.025
"""A worker is not taken to stand still before that, however short the interval."""

ALONE_STILL_S: Final = 2.0
"""The same where nobody else is there to take over."""

FROZEN_S: Final = 5.0
"""A worker that stands still for so long is killed and started again."""

STEADY_S: Final = 10.0
"""A worker that lived so long is started again at once, others after a growing pause."""

LONGEST_PAUSE_S: Final = 10.0

TELL_S: Final = 1.0
"""The worker gets figures so often, and changes at once."""

END_S: Final = 5.0
"""A worker told to stop has its drain limit and so much more."""


def run(config: Config) -> int:
    """Run a balancer until SIGTERM or SIGINT; the exit status."""
    with asyncio.Runner() as runner:
        return runner.run(_run(config))


async def _run(config: Config) -> int:
    try:
        keeper = Keeper(config)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        write_log(Event(EventName.FAULT, time.time(), Severity.ERROR, {"why": why}))
        return 1
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, keeper.stop)
    loop.add_signal_handler(signal.SIGHUP, keeper.reload)
    _be_prompt()
    return await keeper.run()


def _be_prompt() -> None:
    """Before all that is not as urgent; children are not. Needs CAP_SYS_NICE, goes without."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    gc.collect()
    gc.freeze()


def _be_patient() -> None:
    """What is left to do is nothing that others should wait for."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


class Keeper:
    """One balancer's parent process."""

    def __init__(self, config: Config) -> None:
        """Opens everything that the VIP needs. Raises OSError, ValueError with one clear line."""
        self._config = config
        self._page = Page()
        self._tether: Tether | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._shown = ""
        self._started = self._up = self._stopping = self._dead = False
        self._members = 0
        self._members_alive = self._local_alive = False
        self._still = False
        self._still_since = 0.0
        self._looked_at = clock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._monitor: Monitor | None = None
        self._gateway: Gateway | None = None
        self._interface: Interface | None = None
        self._digests: dict[int, bytes] = {}
        self._loss_news = LossNews()
        macs = [config.gvp.nic[n] for n in config.gvp.nics or config.gvp.nic]
        self._nics = Nics(macs, self._nic_changed)
        self._places = [(address.host, address.prefix) for address in config.virtual_addresses]
        self._ended = asyncio.Event()
        provider = self._make_provider()
        self._holding = self._make_holding(provider)
        self._begin()

    # making it

    @property
    def _alone(self) -> bool:
        """Nothing moves and nobody is to be heard: there is next to nothing to do."""
        return self._config.vip.provider is VipProvider.NONE and not self._config.heartbeat.peers

    def _make_provider(self) -> Provider:
        config = self._config
        match config.vip.provider:
            case VipProvider.NETLINK:
                self._interface = Interface(config.vip.interface, self._places, self._stranger)
                return ByNetlink(self._interface)
            case VipProvider.SCRIPT:
                command, limit_s = config.cluster.failoverscript, config.vip.script_timeout_s
                return ByScript(command, limit_s, config.heartbeat.id or 0, self._script_ended)
        return Nobody()

    def _make_holding(self, provider: Provider) -> Holding:
        config, heartbeat = self._config, self._config.heartbeat
        paths = max(1, len(heartbeat.listen))
        others = len(heartbeat.peers)
        others = min(others, 1) if others <= paths else -(-others // paths)
        witness = config.witness if others and provider.elects else ""
        settings = Settings(
            id=heartbeat.id or 1,
            others=others,
            interval_s=heartbeat.interval_s,
            witness=bool(witness),
            lone_s=config.vip.lone_s,
            alone_keep=config.vip.alone == "keep",
            preempt=config.vip.preempt,
            started=config.vip.initial_state == "started",
        )
        lease = None
        if witness:
            timeout_s = max(2 * heartbeat.interval_s, 0.05)
            lease = Lease(witness, config.cluster.name, settings.id, timeout_s)
        holding = Holding(
            Election(settings, clock()), provider, self._page, lease, self._told, self._say_standing
        )
        holding.on_along = self._heard_along
        if heartbeat.peers:
            holding.heartbeats = Heartbeats(
                Keys(config.security.secrets), heartbeat.listen, heartbeat.peers,
                holding.compose, holding.heard,
            )  # fmt: skip
        holding.along = Alongside(digest=digest_of(config), mac=provider.mac)
        return holding

    def _begin(self) -> None:
        """The kernel's news, leftovers, the gateway."""
        loop = asyncio.get_running_loop()
        if self._interface is not None:
            for host in self._interface.remove_leftovers():
                self._told("leftover-removed", False, {"address": host})
        provider = self._config.vip.provider
        if provider is not VipProvider.NONE or self._config.gvp.nic:
            self._monitor = Monitor()
            loop.add_reader(self._monitor.fileno(), self._kernel_changed)
            netlink = Netlink()
            unknown = self._nics.begin(netlink.links())
            netlink.close()
            for mac in unknown:
                why = f"[gvp] no interface has the hardware address {mac}"
                self._told("config-warning", False, {"why": why})
        if provider is VipProvider.EXTERNAL:
            self._holding.present = present(self._places)
        elif provider is VipProvider.NONE:
            self._holding.present = True
        if self._config.vip.gateway_ip:
            self._gateway = Gateway(self._config.vip.gateway_ip, self._gateway_changed)
            self._keep(self._gateway.watch(), "gateway")
        self._holding.tick()

    # running it

    async def run(self) -> int:
        """Until told to stop, or the worker cannot start; the exit status."""
        self._keep(self._look_at_worker(), "look at the worker")
        self._keep(self._tell_figures(), "figures")
        if (feed_s := watchdog_interval_s()) is not None:
            self._keep(self._feed(feed_s), "watchdog")
        pause_s, status = 0.5, 0
        while True:
            begun = clock()
            status = await self._work()
            if self._stopping:
                break
            if not self._started:
                if status < 0:
                    why = f"the worker was ended by signal {-status} before it had started"
                    self._told("fault", True, {"why": why})
                break
            lived_s = clock() - begun
            self._told("worker-died", True, {"status": status, "lived_s": round(lived_s, 1)})
            if lived_s < STEADY_S:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._ended.wait()
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                pause_s = 0.5
            if self._ended.is_set():
                break
        notify("STOPPING=1")
        await self._close()
        return status if status >= 0 else 1

    async def _work(self) -> int:
        """One worker, from start to end; its exit status."""
        ours, theirs = pair()
        self._page.clear_stamps()
        self._still, self._still_since, self._dead = True, clock(), False
        self._up = False
        self._tether = Tether(ours, self._on_message, self._on_worker_dead)
        command = [sys.executable, "-m", "rmlb.worker", self._config.path]
        command += [str(theirs.fileno()), str(self._page.handle)]
        self._child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), self._page.handle),
            process_group=0,  # a Ctrl-C on the terminal is the keeper's to relay
        )
        theirs.close()
        self._say_standing()
        status = await self._child.wait()
        self._on_worker_dead()
        return status

    def stop(self) -> None:
        """SIGTERM: hand over or drain. A second one: at once."""
        if self._stopping:
            self._say("stop", drain=False)
            return
        self._stopping = True
        self._ended.set()
        notify("STOPPING=1")
        self._keep(self._stop(), "stop")

    async def _stop(self) -> None:
        holding = self._holding
        drain = True
        if holding.provider.elects:
            handed = await holding.command(Stop())
            drain = not handed.done and holding.owner
            if not handed.done and drain:
                self._told("not-handed-over", False, {"why": handed.why})
        if not self._say("stop", drain=drain) and self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.terminate()
        if self._child is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.drain.limit_s + END_S):
                    await self._child.wait()
                    return
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()

    def reload(self) -> None:
        """SIGHUP: the worker reads the configuration again; of ours only the secrets may change."""
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(signal.SIGHUP)
        self._keep(self._reload(), "reload")

    async def _reload(self) -> None:
        with contextlib.suppress(ConfigError):  # the worker says what is wrong
            fresh = await asyncio.to_thread(configuration.load, self._config.path)
            heartbeats = self._holding.heartbeats
            if heartbeats is not None and fresh.security.secrets:
                heartbeats.keys = Keys(fresh.security.secrets)
            self._along(digest=digest_of(fresh))
        notify("READY=1")

    async def _close(self) -> None:
        _be_patient()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._holding.give(Farewell())
        await asyncio.sleep(0)
        await self._holding.close()
        if self._monitor is not None:
            asyncio.get_running_loop().remove_reader(self._monitor.fileno())
            self._monitor.close()
        if self._gateway is not None:
            self._gateway.close()
        if self._tether is not None:
            self._tether.close()
        self._page.close()

    # the worker

    def _on_message(self, message: Message) -> None:
        what = message["is"]
        if what == "started":
            self._started = self._up = True
            notify("READY=1")
            self._show_standing()
            self._judge_worker(clock())
        elif what == "health":
            self._members = int(message["members"])
            self._members_alive = self._members > 0
            self._local_alive = bool(message["local"])
            self._give_health()
        elif what == "succession":
            losses = tuple(SharedLoss(n, m, tuple(s), at) for n, m, s, at in message["losses"])
            self._loss_news.know(losses)
            self._along(
                losses=losses,
                loss_number=message["number"],
                active=message["active"],
                elected=message["elected"],
            )
        elif what == "command":
            self._keep(self._command(message), "command")

    async def _command(self, message: Message) -> None:
        holding = self._holding
        if not holding.provider.elects:
            why = f"[vip] provider is {self._config.vip.provider}: it is not ours to move"
            self._say("answer", number=message["number"], done=False, why=why)
            return
        force = bool(message["force"])
        event = Takeover() if message["word"] == "takeover" else Release(force)
        answer = await holding.command(event)
        self._say("answer", number=message["number"], done=answer.done, why=answer.why)

    def _on_worker_dead(self) -> None:
        if not self._dead:
            self._dead = True
            self._still = True
            self._give_health()
            if self._tether is not None:
                self._tether.close()
                self._tether = None

    async def _look_at_worker(self) -> None:
        """Twice an interval: do its stamps move? And renew the last will."""
        interval_s = self._config.heartbeat.interval_s
        pause_s = 0.1 if self._alone else min(interval_s / 2, 0.1)
        while True:
            await asyncio.sleep(pause_s)
            now = clock()
            held_up = now - self._looked_at > pause_s + STILL_S
            self._looked_at = now
            if not held_up:
                self._judge_worker(now)
            if not self._alone:
                self._renew_will()

    def _judge_worker(self, now: float) -> None:
        oldest = min(self._page.stamps) / 1e9
        limit_s = max(2 * self._config.heartbeat.interval_s, STILL_S)
        if self._alone:  # nobody could take over: it is for the watchdog alone
            limit_s = ALONE_STILL_S
        still = self._dead or not self._up or now - oldest > limit_s
        if still is self._still:
            if still and self._up and not self._dead and now - self._still_since > FROZEN_S:
                self._still_since = now
                self._kill_worker()
            return
        self._still, self._still_since = still, now
        if still and not self._stopping:
            self._told("worker-still", True, {"for_s": round(now - oldest, 3)})
        self._give_health()

    def _kill_worker(self) -> None:
        if self._child is not None and not self._stopping:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()

    def _give_health(self) -> None:
        if not self._config.sip.listen:
            # the VIP follows the local RM: without it this host is worth nothing
            local = self._config.cluster.mymemberid
            alive = self._members_alive if local is None else self._local_alive
            self._holding.give(Health(not self._still and alive, 10))
            self._say_standing()
            return
        score = max(0, 10 - self._nics.down) * NIC_WORTH + min(self._members, MOST_MEMBERS)
        score += GATEWAY_WORTH if self._gateway is None or self._gateway.answers else 0
        ready = not self._still and self._holding.provider.elects
        self._holding.give(Health(ready, score))
        self._say_standing()

    def _renew_will(self) -> None:
        requests, frames = self._holding.last_will()
        with contextlib.suppress(ValueError):
            self._page.put_will(will.write(requests, frames))

    async def _feed(self, every_s: float) -> None:
        while True:
            if not self._still or not self._started:
                notify("WATCHDOG=1")
            await asyncio.sleep(every_s)

    # what it is told

    def _say(self, what: str, **fields: object) -> bool:
        return self._tether is not None and self._tether.say(what, **fields)

    def _show_standing(self) -> None:
        """For `systemctl status`."""
        shown = "owner" if self._holding.owner else "standby"
        if self._started and shown != self._shown:
            self._shown = shown
            notify(f"STATUS={shown} of {self._config.cluster.virtual_ip}")

    def _say_standing(self) -> None:
        holding = self._holding
        if self._tether is None:
            return
        self._show_standing()
        ready = holding.owner or (holding.provider.elects and holding.election.candidate)
        self._say(
            "standing",
            owner=holding.owner,
            can_own=ready or self._could_own(),
            peers=self._peers(),
            figures=self._figures(),
        )

    def _could_own(self) -> bool:
        """Others put it here (external)."""
        return self._config.vip.provider is VipProvider.EXTERNAL

    async def _tell_figures(self) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            if not self._alone:
                self._say_standing()

    def _peers(self) -> list[dict[str, Any]]:
        holding, now = self._holding, clock()
        heartbeats = holding.heartbeats
        if heartbeats is None:
            return []
        shown = []
        for where in self._config.heartbeat.peers:
            id = heartbeats.places.get((where.host, where.port), 0)
            peer = holding.election.peers.get(id)
            alive = peer is not None and holding.election.hears(peer, now)
            owner = peer is not None and alive and peer.beat.owner
            shown.append({"id": id, "address": str(where), "alive": alive, "owner": owner})
        return shown

    def _figures(self) -> dict[str, float]:
        figures, election = self._holding.figures, self._holding.election
        return {
            "takeovers": figures.takeovers,
            "releases": figures.releases,
            "epoch": election.epoch,
            "lease_s": figures.lease_s,
            "lease_failures": figures.lease_failures,
            "add_s": figures.add_s,
            "held_up_s": figures.held_up_s,
            "witness": float(election.settings.witness and not election.blind(clock())),
        }

    def _told(self, name: str, grave: bool, fields: Mapping[str, Value]) -> None:
        """An event: the worker keeps and logs it; without a worker it is logged here."""
        severity = Severity.WARNING if grave else Severity.INFO
        told = Event(EventName(name), time.time(), severity, fields)
        if not self._started or not self._say(
            "event", name=name, at=told.at, severity=str(severity), fields=dict(fields)
        ):
            write_log(told)

    # the peers' routing, and ours for them

    def _along(self, **fields: Any) -> None:
        self._holding.along = replace(self._holding.along, **fields)

    def _heard_along(self, sender: int, along: Alongside, owner: bool) -> None:
        if self._interface is not None and any(along.mac):
            self._interface.known_macs.add(along.mac)
        if any(along.digest) and self._digests.get(sender) != along.digest:
            self._digests[sender] = along.digest
            if along.digest != self._holding.along.digest:
                self._told("configuration-differs", True, {"peer": sender})
        own = self._holding.along
        theirs = (along.loss_number, along.active, along.elected)
        # An owner that was cut off may have recorded losses that are none: they end here.
        news = owner and self._loss_news.hear(sender, along)
        if owner and (news or theirs != (own.loss_number, own.active, own.elected)):
            self._say(
                "succession",
                number=along.loss_number,
                losses=[list(loss) for loss in self._loss_news.losses],
                active=along.active,
                elected=along.elected,
                owner=owner,
            )

    # the kernel, the gateway, strangers, the script

    def _kernel_changed(self) -> None:
        assert self._monitor is not None
        external = False
        try:
            for change in self._monitor.changes():
                if change.link is not None:
                    if self._nics.follow(change.link, change.gone):
                        self._give_health()
                    interface = self._interface
                    if interface and change.link.name == interface.name and not change.gone:
                        renewed = interface.follow(change.link)
                        if self._holding.election.owner and (renewed or change.link.running):
                            self._restore(interface)
                elif change.address is not None:
                    external |= any(change.address.host == host for host, _ in self._places)
                    if self._interface is not None and change.gone:
                        self._address_gone(self._interface, change.address)
        except OSError:  # so much has changed that some of it was lost
            external = True
        if external and self._config.vip.provider is VipProvider.EXTERNAL:
            self._follow_address()

    def _restore(self, interface: Interface) -> None:
        """The interface is another one, or has carrier again: hold and announce it there."""
        with contextlib.suppress(OSError):
            interface.add()

    def _address_gone(self, interface: Interface, address: Any) -> None:
        if interface.held and interface.concerns(address):
            self._told("address-failed", True, {"why": f"somebody removed {address.host}"})
            self._restore(interface)

    def _follow_address(self) -> None:
        here = present(self._places)
        if here is not self._holding.present:
            self._holding.present = here
            self._holding.tick()
            fields: dict[str, Value] = {"owner": int(here), "why": "the address came"}
            if not here:
                fields["why"] = "the address went"
            self._say_standing()
            self._told("owner-changed", False, fields)

    def _nic_changed(self, name: str, running: bool) -> None:
        self._told("nic-up" if running else "nic-down", not running, {"interface": name})

    def _gateway_changed(self, answers: bool) -> None:
        fields = {"address": self._config.vip.gateway_ip}
        self._told("gateway-back" if answers else "gateway-lost", not answers, fields)
        self._give_health()

    def _stranger(self, address: str, mac: str) -> None:
        self._told("stranger-on-vip", True, {"address": address, "mac": mac})

    def _script_ended(self, end: ScriptEnd) -> None:
        good = end.fault is None
        fields: dict[str, Value] = {"action": end.action, "took_s": round(end.took_s, 3)}
        if not good:
            fields |= {"why": end.fault, "output": end.output}
        self._told("failoverscript-ended" if good else "failoverscript-failed", not good, fields)

    def _keep(self, work: Any, name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def digest_of(config: Config) -> bytes:
    """Of all by which two balancers must route alike (HA-RULES 3)."""
    parts = (
        config.cluster.ha_mode,
        config.cluster.hotstandby,
        config.cluster.name,
        sorted((n, rm.sip, rm.weight) for n, rm in config.rm.items()),
        config.affinity.algorithm,
        config.affinity.keys,
        config.affinity.hash_key,
        config.affinity.ttl_s,
        config.sip.record_route,
        config.sip.via_host,
        sorted(map(str, config.virtual_addresses)),
    )
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
