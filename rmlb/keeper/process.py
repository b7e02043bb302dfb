"""The keeper: the only place where its parts meet. Start, stop, reload, commands, the score.

Relays commands and signals between the service manager, the worker and vip.holding.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import Coroutine
from typing import Final

from rmlb import will
from rmlb.config import Config, VipProvider
from rmlb.events import Event, EventName, Severity, Value, write_log
from rmlb.keeper.host import Host
from rmlb.keeper.making import make_holding, make_interface, make_provider
from rmlb.keeper.pulse import Pulse
from rmlb.keeper.relay import Relay
from rmlb.keeper.standing import standing_of
from rmlb.keeper.worker import Worker
from rmlb.notify import notify, watchdog_interval_s
from rmlb.ownership import Page, clock
from rmlb.script import ScriptEnd
from rmlb.tether import Message
from rmlb.vip.advert import Alongside, Keys
from rmlb.vip.ballot import Farewell, Health, Release, Stop, Takeover
from rmlb.vip.nics import MOST_MEMBERS, serves

LONGEST_LOOK_S: Final = 0.1
"""The worker's stamps are looked at so often, or twice an interval."""

TELL_S: Final = 1.0
"""The worker gets figures so often, and changes at once."""

END_S: Final = 5.0
"""A worker told to stop has its drain limit and so much more."""

LOCAL_SCORE: Final = 10
"""Of every host that has its own member, where the VIP follows that."""


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
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = self._reloading = False
        self._shown = ""
        self._members = 0
        self._local_alive = False
        self._page = Page()
        self._worker = Worker(
            config.path, self._page, self._on_message, self._worker_begins, self._worker_ended
        )
        self._report = self._worker.report
        self._pulse = Pulse(config.heartbeat.interval_s, clock())
        interface = make_interface(config, self._stranger)
        provider = make_provider(config, interface, self._script_ended)
        self._host = Host(config, interface, self._report, self._elected)
        self._holding = make_holding(config, provider, self._page, self._report, self._say_standing)
        self._relay = Relay(self._holding, self._report, self._worker.say)
        self._holding.on_along = self._heard_along
        self._host.on_worth, self._host.on_address = self._give_health, self._address_moved
        self._host.begin()
        self._holding.present = self._host.here
        if (watch := self._host.watch()) is not None:
            self._keep(watch, "gateway")
        self._holding.tick()

    @property
    def _alone(self) -> bool:
        """Nothing moves and nobody is to be heard: there is next to nothing to do."""
        return self._config.vip.provider is VipProvider.NONE and not self._config.heartbeat.peers

    def _elected(self) -> bool:
        return self._holding.election.owner

    # start and stop

    async def run(self) -> int:
        """Until told to stop, or the worker cannot start; the exit status."""
        self._keep(self._look_at_worker(), "look at the worker")
        self._keep(self._tell_figures(), "figures")
        if (feed_s := watchdog_interval_s()) is not None:
            self._keep(self._feed(feed_s), "watchdog")
        status = await self._worker.keep_running()
        notify("STOPPING=1")
        await self._close()
        return status if status >= 0 else 1

    def stop(self) -> None:
        """SIGTERM: hand over or drain. A second one: at once."""
        if self._stopping:
            self._worker.say("stop", drain=False)
            return
        self._stopping = True
        self._worker.no_more()
        notify("STOPPING=1")
        self._keep(self._stop(), "stop")

    async def _stop(self) -> None:
        holding = self._holding
        drain = True
        if holding.provider.elects:
            handed = await holding.command(Stop())
            drain = not handed.done and holding.owner
            if not handed.done and drain:
                self._report("not-handed-over", False, {"why": handed.why})
        if not self._worker.say("stop", drain=drain):
            self._worker.signal(signal.SIGTERM)
        await self._worker.end_within(self._config.drain.limit_s + END_S)

    def reload(self) -> None:
        """SIGHUP: the worker reads the configuration again, and says what is in force then.

        Read here it would hold up heartbeats by more than short intervals allow.
        """
        self._reloading = True
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        if self._worker.up:  # one that starts would die of it: it is told when it has started
            self._worker.signal(signal.SIGHUP)

    def _configured(self, secrets: list[str], digest: bytes) -> None:
        """What of the worker's configuration is the keeper's too."""
        heartbeats = self._holding.heartbeats
        if heartbeats is not None and secrets:
            heartbeats.keys = Keys(secrets)
        self._relay.route_by(digest)
        if self._reloading:
            self._reloading = False
            notify("READY=1")

    async def _close(self) -> None:
        _be_patient()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._holding.give(Farewell())
        await asyncio.sleep(0)
        await self._holding.close()
        self._host.close()
        self._worker.close()
        self._page.close()

    # the worker

    def _worker_begins(self) -> None:
        self._pulse.begin(clock())
        self._say_standing()

    def _worker_ended(self) -> None:
        self._pulse.end()
        self._give_health()

    def _on_message(self, message: Message) -> None:
        what = message["is"]
        if what == "started":
            notify("READY=1")
            self._show_standing()
            self._judge_worker(clock())
            if self._reloading:
                self._worker.signal(signal.SIGHUP)
        elif what == "configured":
            self._configured(message["secrets"], bytes.fromhex(message["digest"]))
        elif what == "health":
            self._members = int(message["members"])
            self._local_alive = bool(message["local"])
            self._give_health()
        elif what == "succession":
            self._relay.from_worker(message)
        elif what == "command":
            self._keep(self._command(message), "command")

    async def _command(self, message: Message) -> None:
        holding = self._holding
        if not holding.provider.elects:
            why = f"[vip] provider is {self._config.vip.provider}: it is not ours to move"
            self._worker.say("answer", number=message["number"], done=False, why=why)
            return
        force = bool(message["force"])
        event = Takeover() if message["word"] == "takeover" else Release(force)
        answer = await holding.command(event)
        self._worker.say("answer", number=message["number"], done=answer.done, why=answer.why)

    async def _look_at_worker(self) -> None:
        """Twice an interval: do its stamps move? And renew the last will."""
        pause_s = LONGEST_LOOK_S
        if not self._alone:
            pause_s = min(self._config.heartbeat.interval_s / 2, pause_s)
        while True:
            await asyncio.sleep(pause_s)
            now = clock()
            if not self._pulse.was_held_up(now, pause_s):
                self._judge_worker(now)
            if not self._alone:
                self._renew_will()

    def _judge_worker(self, now: float) -> None:
        stamped_at = min(self._page.stamps) / 1e9
        alone = not self._other_serves(now)
        if self._pulse.judge(stamped_at, self._worker.up, alone, now):
            if self._pulse.still and not self._stopping:
                self._report("worker-still", True, {"for_s": round(now - stamped_at, 3)})
            self._give_health()
        elif self._worker.up and self._pulse.is_frozen(now) and not self._stopping:
            self._worker.signal(signal.SIGKILL)

    def _other_serves(self, now: float) -> bool:
        """Another balancer could take over and has a member in service."""
        heard = self._holding.election.known.heard(now)
        return any(peer.beat.ready and serves(peer.beat.score) for peer in heard)

    def _renew_will(self) -> None:
        requests, frames = self._holding.last_will()
        with contextlib.suppress(ValueError):
            self._page.put_will(will.write(requests, frames))

    async def _feed(self, every_s: float) -> None:
        while True:
            if not self._pulse.still or not self._worker.started:
                notify("WATCHDOG=1")
            await asyncio.sleep(every_s)

    def _give_health(self) -> None:
        turns = not self._pulse.still
        if self._config.sip.listen:
            ready = turns and self._holding.provider.elects
            health = Health(ready, self._host.worth + min(self._members, MOST_MEMBERS))
        else:  # the VIP follows the local RM: without it this host is worth nothing
            local = self._config.cluster.mymemberid
            alive = self._members > 0 if local is None else self._local_alive
            health = Health(turns and alive, LOCAL_SCORE)
        self._holding.give(health)
        self._say_standing()

    # what worker and service manager are told

    def _say_standing(self) -> None:
        if self._worker.heard:
            self._show_standing()
            self._worker.say("standing", **standing_of(self._config, self._holding))

    def _show_standing(self) -> None:
        """For `systemctl status`."""
        shown = "owner" if self._holding.owner else "standby"
        if self._worker.started and shown != self._shown:
            self._shown = shown
            notify(f"STATUS={shown} of {self._config.cluster.virtual_ip}")

    async def _tell_figures(self) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            if not self._alone:
                self._say_standing()

    # peers, the address, strangers, the script

    def _heard_along(self, sender: int, along: Alongside, owner: bool) -> None:
        self._host.know_mac(along.mac)
        self._relay.from_peer(sender, along, owner)

    def _address_moved(self) -> None:
        here = self._holding.present = self._host.here
        self._holding.tick()
        self._say_standing()
        why = "the address came" if here else "the address went"
        self._report("owner-changed", False, {"owner": int(here), "why": why})

    def _stranger(self, address: str, mac: str) -> None:
        self._report("stranger-on-vip", True, {"address": address, "mac": mac})

    def _script_ended(self, end: ScriptEnd) -> None:
        good = end.fault is None
        fields: dict[str, Value] = {"action": end.action, "took_s": round(end.took_s, 3)}
        if not good:
            fields |= {"why": end.fault, "output": end.output}
        self._report("failoverscript-ended" if good else "failoverscript-failed", not good, fields)

    def _keep(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
